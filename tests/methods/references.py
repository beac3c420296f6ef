"""Networks, images and comparisons that the tests of several methods share."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import make_layers

from lightning_viz.methods import grad_cam
from lightning_viz.methods.attribution.registry import CAM_METHODS, PIXEL_METHODS

from ..support import small_network

#: Options that make a method quick, and its maps those of each image alone (occlusion's default colour is the batch's).
QUICK = {
    "smoothgrad": dict(samples=16),
    "integrated_gradients": dict(steps=16),
    "occlusion": dict(window=6, stride=3, fill=0.0),
}

#: Every attribution method of the registries, (model, images, target) -> (B, h, w), in few steps.
METHODS: dict[str, Callable[..., Tensor]] = {
    **{name: partial(method.function, **QUICK.get(name, {})) for name, method in PIXEL_METHODS.items()},
    **{name: partial(grad_cam, method=name, **QUICK.get(name, {})) for name in CAM_METHODS},
}


def with_small_head(build: Callable[[], nn.Module], features: int) -> nn.Module:
    """A network whose classifier is replaced by a small one: that of AlexNet and VGG has most of the weights."""
    with torch.device("meta"):  # its weights are never made
        model = build()
    model.classifier = nn.Sequential(
        nn.Linear(features, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(32, 32), nn.ReLU(inplace=True),
        nn.Dropout(), nn.Linear(32, 10),
    )  # fmt: skip
    model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return model


def regnet() -> nn.Module:
    params = BlockParams([1] * 4, [8, 16, 24, 32], [8] * 4, [1.0] * 4, [2] * 4, se_ratio=0.25)
    return models.RegNet(params, num_classes=10, stem_width=8)


def efficientnet() -> nn.Module:
    kernels_strides = [(3, 1), (3, 2), (5, 2), (3, 2), (5, 1), (5, 2), (3, 1)]
    stages = [MBConvConfig(2, kernel, stride, 8, 8, 1) for kernel, stride in kernels_strides]
    return models.EfficientNet(stages, 0.2, num_classes=10, last_channel=64)


VGG11 = [8, "M", 16, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"]

#: torchvision's families, narrow and shallow: the same layers in the same order, by the names of the usual ones.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "alexnet": lambda: with_small_head(models.AlexNet, 256 * 6 * 6),
    "densenet121": lambda: models.DenseNet(4, (2, 2, 2, 2), 8, num_classes=10),
    "efficientnet_b0": efficientnet,
    "mnasnet0_5": lambda: models.MNASNet(0.2, num_classes=10),
    "mobilenet_v2": lambda: models.MobileNetV2(num_classes=10, width_mult=0.2),
    "regnet_y_400mf": regnet,
    "resnet18": lambda: models.ResNet(BasicBlock, [1, 2, 1, 1], num_classes=10),
    "shufflenet_v2_x0_5": lambda: models.ShuffleNetV2([1, 1, 1], [8, 16, 24, 32, 64], num_classes=10),
    "squeezenet1_1": lambda: models.SqueezeNet("1_1", num_classes=10),
    "vgg11": lambda: with_small_head(lambda: models.VGG(make_layers(VGG11), 10, init_weights=False), 32 * 7 * 7),
}


def calibrated(name: str) -> nn.Module:
    """One of `NETWORKS` with random weights, whose activations neither vanish nor explode, in float64."""
    return copy.deepcopy(_calibrated(name))


@cache
def _calibrated(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name]()
    # The default weights of several networks make gradients vanish; normalising by the batch's own statistics does not.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64))
    return model.eval().double()  # so that the order of sums does not decide which side of a kink a unit is on


def network_with_statistics(size: int) -> nn.Sequential:
    """`small_network` in training mode, with batch statistics that are not those of the images of a test."""
    model = small_network().double()  # so that the order of sums does not decide which side of a kink a unit is on
    with torch.no_grad():
        for _ in range(4):
            model(2 * torch.randn(16, 3, size, size).double())
    return model


@contextmanager
def unchanged(model: nn.Sequential, images: Tensor) -> Iterator[None]:
    """Asserts that weights, gradients, train flags and hooks of `network_with_statistics`, and images, stay as they are."""

    def state_and_gradients() -> list[Tensor]:
        return [*map(torch.clone, model.state_dict().values()), *(weight.grad.clone() for weight in model.parameters())]

    model[4].eval()  # a BatchNorm frozen for good
    model(images).sum().backward()
    before, seen = state_and_gradients(), images.clone()
    yield
    assert all(torch.equal(one, other) for one, other in zip(before, state_and_gradients(), strict=True))
    assert [module.training for module in model] == [True] * 4 + [False] + [True] * 5
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(images, seen)
    assert images.grad is None
    assert not images.requires_grad


def images_of(size: int, count: int = 4) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1)).double()


TARGETS = torch.tensor([3, 0, 9, 3])


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """Equal to 1e-4 of the largest value, which must not be zero."""
    theirs = theirs.to(ours.dtype)
    assert ours.shape == theirs.shape
    assert theirs.abs().max() > 1e-12
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def followed(model: nn.Module, layer: str) -> str:
    """The ReLU module after a convolution in a sequence, which others must be given; else the layer."""
    path, _, index = layer.rpartition(".")
    after = f"{path}.{int(index) + 1}" if index.isdigit() else layer
    modules = dict(model.named_modules())
    return after if isinstance(modules.get(after), nn.ReLU) else layer
