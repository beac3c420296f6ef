"""What the comparisons with independent libraries share."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

NETWORKS = [
    "alexnet", "densenet121", "efficientnet_b0", "mnasnet0_5", "mobilenet_v2", "regnet_y_400mf", "resnet18",
    "shufflenet_v2_x0_5", "squeezenet1_1", "vgg11",
]  # fmt: skip


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return calibrated(request.param)


def calibrated(name: str) -> nn.Module:
    """A torchvision network with random weights, whose activations neither vanish nor explode, in float64."""
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
