"""One small network of each family of torchvision, with the layer names of the usual ones, built once for all tests."""

from functools import cache, partial

from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vgg import make_layers

from ..references import NETWORKS, VGG11, with_small_head

SWIN = partial(SwinTransformer, [4, 4], 8, [1, 1, 1, 1], [1, 1, 1, 1], num_classes=4)
VGG11_BN = partial(models.VGG, make_layers(VGG11, batch_norm=True), 10, init_weights=False)
CONVNEXT = [CNBlockConfig(8, 12, 2), CNBlockConfig(12, 16, 2), CNBlockConfig(16, 24, 2), CNBlockConfig(24, None, 2)]

FAMILIES = NETWORKS | {
    "convnext_tiny": partial(models.ConvNeXt, CONVNEXT, num_classes=4),
    "googlenet": partial(models.GoogLeNet, num_classes=4, init_weights=False),
    "inception_v3": partial(models.Inception3, num_classes=4, init_weights=False),
    "maxvit_t": partial(models.MaxVit, (64, 64), 8, 2, [8, 16, 24, 32], [1, 1, 2, 1], 8, 0.0, num_classes=4),
    "mobilenet_v3_small": partial(models.mobilenet_v3_small, weights=None, num_classes=4),
    "swin_t": partial(SWIN, [7, 7]),
    "swin_v2_t": partial(SWIN, [8, 8], block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2),
    "vgg11_bn": lambda: with_small_head(lambda: VGG11_BN(), 32 * 7 * 7),
    "vit_b_16": partial(models.VisionTransformer, 32, 8, 12, 2, 16, 32, num_classes=4),
}


@cache
def family(name: str) -> nn.Module:
    return FAMILIES[name]()
