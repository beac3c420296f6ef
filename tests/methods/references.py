"""What the tests of several methods share."""

import copy
from functools import cache, partial
from typing import get_args

import pytest
import torch
import torchvision
from torch import Tensor, nn

from lightning_viz.methods import grad_cam, guided_backprop, integrated_gradients, occlusion, saliency, smoothgrad
from lightning_viz.methods.attribution.grad_cam import CamMethod

CAMS = get_args(CamMethod)

#: Every attribution method, (model, images, target) -> (B, h, w), in few steps.
METHODS = {
    "gradient": saliency,
    "smoothgrad": partial(smoothgrad, samples=16),
    "guided_backprop": guided_backprop,
    "integrated_gradients": partial(integrated_gradients, steps=16),
    "occlusion": partial(occlusion, window=6, stride=2, fill=0.0),  # by default its colour is the mean of the batch
    **{method: partial(grad_cam, method=method) for method in CAMS},
}

NETWORKS = [
    "alexnet", "densenet121", "efficientnet_b0", "mnasnet0_5", "mobilenet_v2", "regnet_y_400mf", "resnet18",
    "shufflenet_v2_x0_5", "squeezenet1_1", "vgg11",
]  # fmt: skip


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return calibrated(request.param)


def calibrated(name: str) -> nn.Module:
    """A torchvision network with random weights, whose activations neither vanish nor explode, in float64."""
    return copy.deepcopy(_calibrated(name))


@cache
def _calibrated(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=10)
    # The default weights of several networks make gradients vanish; the batch's own statistics bring them back.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64))
    return model.eval().double()  # so that the order of sums does not decide which side of a kink a unit is on


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()


TARGETS = torch.tensor([3, 0, 9, 3])


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """Equal to 1e-4 of the largest value, which must not be nothing."""
    theirs = theirs.to(ours.dtype)
    assert ours.shape == theirs.shape
    assert theirs.abs().max() > 1e-12
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()
