import pytest
import timm
import torch
from torch import nn
from torchvision.models import VisionTransformer

from lightning_viz.methods import activations, layers_over_depth
from lightning_viz.methods.model.layers import is_spatial

from ...support import Lit, small_network
from .networks import FAMILIES, family

#: The side of the images, and the layers that a practitioner would want to see.
EXPECTED = {
    "alexnet": (96, ["features.0", "features.3", "features.10"]),
    "convnext_tiny": (64, ["features.1", "features.3", "features.5", "features.7"]),
    "densenet121": (64, [*(f"features.denseblock{k}" for k in (1, 2, 3)), "features.norm5"]),
    "efficientnet_b0": (64, ["features.2", "features.3", "features.5", "features.8"]),
    "googlenet": (96, ["conv3", "inception3b", "inception4e", "inception5b"]),
    "inception_v3": (128, ["Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"]),
    "maxvit_t": (64, ["blocks.0", "blocks.1", "blocks.2", "blocks.3"]),
    "mnasnet0_5": (64, ["layers.8", "layers.9", "layers.11", "layers.15"]),
    "mobilenet_v2": (64, ["features.3", "features.6", "features.13", "features.18"]),
    "mobilenet_v3_small": (64, ["features.1", "features.3", "features.8", "features.12"]),
    "regnet_y_400mf": (64, [f"trunk_output.block{k}" for k in (1, 2, 3, 4)]),
    "resnet18": (64, ["layer1", "layer2", "layer3", "layer4"]),
    "shufflenet_v2_x0_5": (64, ["conv1", "stage2", "stage3", "conv5"]),
    "squeezenet1_1": (64, ["features.0", "features.4", "features.7", "features.12"]),
    "swin_t": (64, ["features.1", "features.3", "features.5", "features.7"]),
    "swin_v2_t": (64, ["features.1", "features.3", "features.5", "features.7"]),
    "vgg11_bn": (64, ["features.5", "features.12", "features.19", "features.26"]),
    "vgg11": (64, ["features.3", "features.8", "features.13", "features.18"]),
    "vit_b_16": (32, [f"encoder.layers.encoder_layer_{k}" for k in (2, 5, 8, 11)]),
}


def test_every_family_is_here():
    assert EXPECTED.keys() == FAMILIES.keys()


@pytest.mark.parametrize("name", FAMILIES)
def test_ends_of_stages_in_the_order_they_run(name):
    size, expected = EXPECTED[name]
    model, images = family(name), torch.randn(2, 3, size, size)
    assert layers_over_depth(model, images) == expected
    assert all(is_spatial(activations(model, images, layer), images) for layer in expected)


@pytest.mark.parametrize("count", range(1, 8))
def test_count_limits_them_and_the_last_is_always_there(count):
    names = layers_over_depth(family("resnet18"), torch.randn(1, 3, 64, 64), count)
    assert len(names) == min(count, 5)
    assert names[-1] == "layer4"
    assert sorted(set(names), key=["bn1", "layer1", "layer2", "layer3", "layer4"].index) == names


@pytest.mark.parametrize(("count", "expected"), [(1, [4]), (2, [1, 4]), (3, [1, 2, 4]), (9, [0, 1, 2, 3, 4])])
def test_blocks_are_evenly_spread(count, expected):
    names = layers_over_depth(VisionTransformer(32, 8, 5, 2, 16, 32), torch.randn(1, 3, 32, 32), count)
    assert names == [f"encoder.layers.encoder_layer_{k}" for k in expected]


def test_wrapped_and_compiled_networks_have_the_same_layers():
    images = torch.randn(1, 3, 12, 12)
    assert layers_over_depth(small_network(), images) == ["1", "4"]
    assert layers_over_depth(Lit(small_network()), images) == ["network.1", "network.4"]
    assert layers_over_depth(Lit(torch.compile(small_network())), images) == ["network.1", "network.4"]


def test_decoders_have_stages_too():
    """A segmentation network returns to the resolution of its input."""
    down = [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 2, stride=2), nn.Conv2d(4, 4, 2, stride=2)]
    up = [nn.ConvTranspose2d(4, 4, 2, stride=2), nn.ConvTranspose2d(4, 2, 2, stride=2)]
    names = layers_over_depth(nn.Sequential(*down, *up), torch.randn(1, 3, 16, 16), 9)
    assert names == ["0", "1", "2", "3", "4"]


class Backbone(nn.Module):
    """Several stages in a custom module which returns feature maps, with a table of positions in it."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(channels, 4, 2, stride=2) for channels in (3, 4, 4))
        self.table = nn.Conv2d(2, 4, 1)

    def forward(self, images):
        return self.three(self.two(self.one(images))) + self.table(torch.rand(1, 2, 2, 2))


def test_a_trunk_is_replaced_by_its_layers_and_tables_are_left_out():
    model = nn.Sequential(Backbone(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert layers_over_depth(model, torch.randn(1, 3, 16, 16)) == ["0.one", "0.two", "0.three"]


def test_blocks_within_blocks_are_not_counted():
    def block(inside):
        return nn.Sequential(nn.Conv2d(3, 3, 1), inside)

    model = nn.Sequential(*[block(block(nn.ReLU())) for _ in range(3)], nn.Flatten())
    assert layers_over_depth(model, torch.randn(1, 3, 4, 4)) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("name", "options", "size", "expected"),
    [
        (
            "xcit_nano_12_p16_224",
            dict(embed_dim=16, num_heads=2),
            96,
            ["blocks.2", "blocks.5", "blocks.8", "blocks.11"],
        ),
        ("levit_128s", dict(img_size=128), 128, ["stages.0", "stages.1", "stages.2"]),
    ],
)
def test_a_stem_that_ends_at_the_resolution_of_the_blocks_is_left_out(name, options, size, expected):
    assert layers_over_depth(timm.create_model(name, **options), torch.rand(1, 3, size, size)) == expected


def test_network_is_unchanged():
    model = small_network().train()
    with torch.inference_mode():
        layers_over_depth(model, torch.rand(2, 3, 8, 8))
    assert all(module.training for module in model.modules())
    assert model[1].num_batches_tracked == 0
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("model", "count", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), 4, "Sequential has no layer with a height and a width"),
        (small_network(), 0, "count=0 is too small"),
    ],
)
def test_invalid_arguments(model, count, message):
    with pytest.raises(ValueError, match=message):
        layers_over_depth(model, torch.rand(1, 3, 4, 4), count)
