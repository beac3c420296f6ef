import pytest
import torch
from captum.attr import Saliency
from torch import nn

from lightning_viz.methods import saliency

from ..support import small_network
from .references import TARGETS, assert_close, images, network  # noqa: F401


def test_equals_captum(network, images):
    theirs = Saliency(network).attribute(images, target=TARGETS, abs=True).amax(dim=1)
    assert_close(saliency(network, images, TARGETS), theirs)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_of_a_linear_model_is_its_weights():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    expected = model[1].weight[1].reshape(3, 4, 4).abs().amax(dim=0)
    assert torch.allclose(saliency(model, torch.rand(2, 3, 4, 4), 1), expected.expand(2, 4, 4))


def test_predicted_class_by_default():
    model, images = small_network().eval(), torch.rand(3, 3, 8, 8)
    assert torch.equal(saliency(model, images), saliency(model, images, model(images).argmax(dim=1)))


def test_a_batch_equals_its_images_one_by_one():
    model, images = small_network(), torch.rand(3, 3, 8, 8)
    alone = torch.cat([saliency(model, image[None], 1) for image in images])
    assert torch.allclose(saliency(model, images, 1), alone, rtol=1e-5, atol=1e-9)


def test_does_not_depend_on_the_train_flag():
    model, images = small_network(), torch.rand(3, 3, 8, 8)
    assert torch.equal(saliency(model.train(), images, 1), saliency(model.eval(), images, 1))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_works_wherever_it_is_called(context, frozen):
    model = small_network().requires_grad_(not frozen)
    with context():
        maps = saliency(model, torch.rand(2, 3, 8, 8))
    assert maps.shape == (2, 8, 8)
    assert maps.max() > 0


def test_bfloat16_comes_back_as_float32():
    model = small_network().bfloat16()
    assert saliency(model, torch.rand(2, 3, 8, 8).bfloat16()).dtype == torch.float32


def test_leaves_gradients_alone():
    model = small_network()
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]
    images = torch.rand(2, 3, 8, 8)
    saliency(model, images)
    assert all(torch.equal(one, parameter.grad) for one, parameter in zip(before, model.parameters(), strict=True))
    assert images.grad is None
    assert not images.requires_grad
