import copy

import pytest
import torch
import torchvision
from captum.attr import GuidedBackprop
from torch import nn

from lightning_viz.methods import guided_backprop, saliency

from ...support import small_network
from ..references import TARGETS, assert_close

pytestmark = pytest.mark.filterwarnings("ignore:(Input Tensor 0 did not|Setting backward hooks)")


def out_of_place(model):
    """captum's backward hooks need modules that do not overwrite their input."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return model


def test_equals_captum(network, images):
    if isinstance(network, torchvision.models.EfficientNet):
        with pytest.raises(ValueError, match="runs no ReLU"):
            guided_backprop(network, images, TARGETS)
        return
    if isinstance(network, torchvision.models.DenseNet):
        # DenseNet's last ReLU is functional, which captum's module hooks miss: the same network with modules alone.
        head = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.classifier
        expected = GuidedBackprop(out_of_place(nn.Sequential(network.features, *head))).attribute(
            images, target=TARGETS
        )
        assert_close(guided_backprop(network, images, TARGETS, reduce=None), expected)
        return
    if isinstance(network, torchvision.models.MobileNetV2):
        # captum guides nn.ReLU only. Springenberg et al. let through what is positive both ways, which ReLU6 can as well.
        assert guided_backprop(network, images, TARGETS).max() > 0
        return
    theirs = GuidedBackprop(out_of_place(network)).attribute(images, target=TARGETS)
    assert_close(guided_backprop(network, images, TARGETS, reduce=None), theirs)


FORMS = {
    "module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "functional": nn.functional.relu,
    "functional in place": lambda x: nn.functional.relu(x, inplace=True),
    "torch": torch.relu,
    "torch in place": torch.relu_,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
}


class With(nn.Module):
    """Two convolutions with a ReLU after each, in one form or another."""

    def __init__(self, relu):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.relu = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), relu

    def forward(self, inputs):
        return self.relu(self.two(self.relu(self.one(inputs)))).mean(dim=(2, 3))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_relu_is_guided_alike(form):
    pictures = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = guided_backprop(With(nn.ReLU()), pictures, 1)
    assert not torch.allclose(expected, saliency(With(nn.ReLU()), pictures, 1))
    assert torch.equal(guided_backprop(With(FORMS[form]), pictures, 1), expected)


@pytest.mark.parametrize(
    "cousin", [nn.ReLU6(), nn.LeakyReLU(0.1), nn.ReLU6(inplace=True), nn.LeakyReLU(0.1, inplace=True)]
)
def test_cousins_are_guided(cousin):
    pictures = torch.rand(2, 3, 8, 8)
    assert not torch.allclose(guided_backprop(With(cousin), pictures, 1), saliency(With(cousin), pictures, 1))


def test_only_positive_gradients_pass():
    """One ReLU whose output counts -1: the plain gradient is negative, the guided one nothing (section 3.4, eq. 3)."""
    model = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(3, 1, bias=False))
    nn.init.constant_(model[2].weight, -1)
    pictures = torch.ones(1, 3, 1, 1)
    assert saliency(model, pictures).item() == 1
    assert guided_backprop(model, pictures).item() == 0


@pytest.mark.parametrize("model", [small_network()[:1], nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU())])
def test_no_relu_is_said_with_a_remedy(model):
    model = nn.Sequential(*model, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match=r"runs no ReLU.*'smoothgrad'"):
        guided_backprop(model, torch.rand(1, 3, 8, 8))


def test_the_model_is_itself_again():
    model, pictures = small_network(), torch.rand(2, 3, 8, 8)
    before = saliency(model, pictures)
    guided_backprop(model, pictures)
    assert torch.equal(saliency(model, pictures), before)
