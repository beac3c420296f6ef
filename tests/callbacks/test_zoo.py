"""Zero configuration over torchvision's families: every callback draws.

Each family is narrow and shallow, by the name of a usual network: the same kinds of layers in the same order.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig
from torchvision.models.resnet import Bottleneck
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2
from torchvision.models.vgg import make_layers

from lightning_viz import ActivationLogger, EmbeddingProjectorLogger, Probe, TopPatchesLogger
from lightning_viz.collect.samples import Samples
from lightning_viz.runtime.guard import guard

from ..methods import references
from ..methods.references import VGG11, with_small_head
from ..support import CALLBACKS, QUICK, SUITE, Events, Lit, loader, quick, trainer
from .context import data_of, draw, record


def bottleneck_resnet(**options: int) -> nn.Module:
    return models.ResNet(Bottleneck, [1, 2, 1, 1], num_classes=10, **options)


def efficientnet_v2() -> nn.Module:
    fused = [FusedMBConvConfig(2, 3, stride, 8, 8, 2) for stride in (1, 2, 2)]
    stages = [*fused, *(MBConvConfig(2, 3, stride, 8, 8, 2) for stride in (2, 1, 2))]
    return models.EfficientNet(stages, 0.2, num_classes=10, last_channel=64)


def convnext() -> nn.Module:
    return models.ConvNeXt(
        [CNBlockConfig(8, 16, 1), CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 2)], num_classes=10
    )


def swin(window: int, **options: type[nn.Module]) -> nn.Module:
    sizes = {"patch_size": [4, 4], "embed_dim": 16, "depths": [2, 2, 2], "num_heads": [1, 2, 4]}
    return models.SwinTransformer(**sizes, window_size=[window, window], num_classes=10, **options)


def maxvit() -> nn.Module:
    return models.MaxVit(
        (64, 64), 8, 2, block_channels=[8, 8, 16, 16], block_layers=[1, 1, 1, 1], head_dim=8, stochastic_depth_prob=0.1,
        num_classes=10,
    )  # fmt: skip


def vgg_with_norms() -> nn.Module:
    return with_small_head(lambda: models.VGG(make_layers(VGG11, True), 10, init_weights=False), 32 * 7 * 7)


#: Those of the methods' tests, and more.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **references.NETWORKS,
    "convnext_tiny": convnext,
    "efficientnet_v2_s": efficientnet_v2,
    "googlenet": lambda: models.GoogLeNet(10, init_weights=False),
    "inception_v3": lambda: models.Inception3(10, init_weights=False),
    "maxvit_t": maxvit,
    "mobilenet_v3_small": lambda: models.mobilenet_v3_small(num_classes=10),
    "resnext50_32x4d": partial(bottleneck_resnet, groups=32, width_per_group=1),
    "shufflenet_v2_x0_5": lambda: models.ShuffleNetV2([2, 2, 2], [8, 16, 24, 32, 64], num_classes=10),
    "swin_t": partial(swin, 7),
    "swin_v2_t": partial(swin, 8, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2),
    "vgg11_bn": vgg_with_norms,
    "vit_b_32": lambda: models.VisionTransformer(64, 16, 3, 4, 32, 64, num_classes=10),
    "wide_resnet50_2": partial(bottleneck_resnet, width_per_group=16),
}
SIZES = {"inception_v3": 96}  # pixels; it accepts no less than 75
RECORDING = (ActivationLogger, EmbeddingProjectorLogger, TopPatchesLogger)


def check_recorded(result: Any) -> None:
    """The samples have predictions; the others have an entry for each layer."""
    if isinstance(result, Samples):
        assert result.predicted.min() >= 0
        assert len(result.features) == 1
    else:
        assert len(result) >= 2


@pytest.mark.parametrize("name", NETWORKS)
def test_every_callback_draws(name):
    network, size = NETWORKS[name]().train(), SIZES.get(name, 64)
    probe = Probe(torch.rand(2, 3, size, size), torch.tensor([1, 2]))
    data = data_of(loader(TensorDataset(probe.images, probe.labels)))
    for callback in map(quick, CALLBACKS):
        with guard(network):
            recording = record(callback, network, data) if isinstance(callback, RECORDING) else None
            items = draw(callback, network, probe, data=data, _recording=recording)
        assert items, type(callback).__name__
        assert all(
            torch.isfinite(item.values).all()
            for item in items
            if isinstance(getattr(item, "values", None), torch.Tensor)
        )
        if recording is not None:
            check_recorded(*[one.compute() for one in recording.accumulators])
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "swin_t", "vit_b_32"])
def test_zero_configuration_reaches_tensorboard(name, tmp_path):
    """From a classifier to pictures without an option; the shapes of the outputs are all that matters."""
    data = TensorDataset(torch.rand(4, 3, 64, 64), torch.arange(4))
    common = {"on_error": "raise", "max_images": 2, "history": 0}
    run = trainer(tmp_path, [kind(**QUICK.get(kind, {}), **common) for kind in CALLBACKS])
    run.validate(Lit(NETWORKS[name]()), loader(data), verbose=False)
    tags = Events(tmp_path / "run/version_0").image_tags
    assert {tag.partition("/")[0] for tag in tags} == SUITE
