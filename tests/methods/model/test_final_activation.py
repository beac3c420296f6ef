"""A model that returns probabilities is explained as the same model without its softmax or sigmoid."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_viz.methods import grad_cam, insertion_deletion, integrated_gradients, occlusion, saliency, synthesize
from lightning_viz.methods.model.final_activation import final_activation, recording_activations
from lightning_viz.methods.model.outputs import target_scores


class Ending(nn.Module):
    """A small network, and what is done to its logits."""

    def __init__(self, ending: Callable[[Tensor], Tensor], outputs: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(6, outputs)
        nn.init.normal_(self.head.weight, std=20)  # confident: probabilities of 1 hide the gradient
        self.ending = ending

    def forward(self, images: Tensor) -> Tensor:
        return self.ending(self.head(self.features(images).mean(dim=(2, 3))))


METHODS = {
    "saliency": saliency,
    "integrated_gradients": partial(integrated_gradients, steps=2),
    "occlusion": partial(occlusion, window=4),
    "grad_cam": partial(grad_cam, layer="features.0"),
}
ENDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.Softmax(dim=1),
    "function": lambda z: functional.softmax(z, dim=1),
    "method": lambda z: z.softmax(-1),
    "logarithm": lambda z: functional.log_softmax(z, dim=1),
    "clamped": lambda z: z.softmax(1).clamp(1e-7, 1 - 1e-7),
    "reshaped": lambda z: z[:, None].softmax(2).squeeze(1).float(),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_maps_equal_those_without_the_softmax(method: str, ending: str):
    images = torch.randn(2, 3, 8, 8)
    expected = METHODS[method](Ending(nn.Identity()), images, 1)
    torch.testing.assert_close(METHODS[method](Ending(ENDINGS[ending]), images, 1), expected)


@pytest.mark.parametrize("ending", [nn.Sigmoid(), torch.sigmoid, lambda z: z.sigmoid_(), lambda z: z.sigmoid()[:, 0]])
def test_maps_equal_those_without_the_sigmoid(ending: Callable[[Tensor], Tensor]):
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(saliency(Ending(ending, 1), images), saliency(Ending(nn.Identity(), 1), images))


def test_one_channel_of_probabilities_is_split_at_one_half():
    maps = torch.tensor([[[[3.0, -1.0], [-2.0, -1.0]]]])
    with recording_activations():
        torch.testing.assert_close(target_scores(maps.sigmoid(), 1), target_scores(maps, 1))


def test_images_are_synthesised_for_the_logit():
    probabilities, plain = (
        synthesize(Ending(ending), 2, size=16, steps=2) for ending in (ENDINGS["module"], nn.Identity())
    )
    torch.testing.assert_close(probabilities, plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ending", ENDINGS)
def test_faithfulness_equals_that_without_the_softmax(ending: str, dtype: torch.dtype):
    images, maps = torch.randn(2, 3, 8, 8).to(dtype), torch.rand(2, 8, 8)
    found, expected = (
        insertion_deletion(Ending(one).to(dtype), images, maps, steps=4) for one in (ENDINGS[ending], nn.Identity())
    )
    torch.testing.assert_close(found.insertion_area, expected.insertion_area, atol=0.01, rtol=0)


def test_probabilities_of_unknown_origin_are_explained_by_their_logarithm():
    probabilities = torch.tensor([[0.2, 0.8], [0.5, 0.5]])
    torch.testing.assert_close(target_scores(probabilities, 1), probabilities[:, 1].log())


def test_other_scores_are_left_as_they_are():
    scores = torch.tensor([[0.2, 0.9], [0.5, 0.5]])
    torch.testing.assert_close(target_scores(scores, 1), scores[:, 1])


def test_the_input_of_an_earlier_softmax_is_forgotten():
    with recording_activations():
        attention = torch.rand(1, 2, 3, 3).softmax(dim=-1)
        output = (attention.sum(dim=(1, 2)) + 1).softmax(dim=1)
    assert final_activation(attention) is None
    assert final_activation(output) is not None


def test_nothing_is_recorded_outside():
    assert final_activation(torch.rand(1, 3).softmax(dim=1)) is None
