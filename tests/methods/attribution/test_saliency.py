import torch
from captum.attr import Saliency
from torch import nn

from lightning_viz.methods import saliency

from ...support import small_network
from ..references import TARGETS, assert_close


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
