from itertools import product

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.models.vgg import make_layers

from lightning_viz.methods import receptive_field

from ...support import small_network

#: Kernel, stride, dilation and padding of the layers on a path.
CONV, POOL = (3, 1, 1, 1), (2, 2, 1, 0)
VGG11 = [CONV, POOL, CONV, POOL, CONV, CONV, POOL, CONV, CONV, POOL, CONV, CONV, POOL]
STEM = [(7, 2, 1, 3), (3, 2, 1, 1)]
HALVING = [(3, 2, 1, 1), CONV, CONV, CONV]  # the longer branch of two basic blocks; the shortcut has a smaller field
DILATED = [(3, 1, 1, 1), (3, 2, 2, 2), (3, 1, 4, 4), (5, 1, 2, 0)]


def boxes(path, height, width):
    """The receptive field of each position of a map of h×w, by the usual recursion."""
    size, jump, start = 1, 1, 0
    for kernel, stride, dilation, padding in path:
        size += (kernel - 1) * dilation * jump
        start -= padding * jump
        jump *= stride
    return {
        (row, column): (
            row * jump + start,
            column * jump + start,
            row * jump + start + size,
            column * jump + start + size,
        )
        for row, column in product(range(height), range(width))
    }


def all_boxes(field):
    return {position: field.box(*position) for position in product(range(len(field.rows)), range(len(field.columns)))}


def dilated():
    layers = [nn.Conv2d(3, 3, k, stride=s, dilation=d, padding=p) for k, s, d, p in DILATED]
    return nn.Sequential(*[one for layer in layers for one in (layer, nn.ReLU(inplace=True))])


RESNET18 = torchvision.models.resnet18()


def thin_resnet18():
    """timm's ResNet-18 with few channels in its blocks."""
    return timm.models.resnet.ResNet(timm.models.resnet.BasicBlock, (2, 2, 2, 2), channels=(4, 4, 4, 4))


def thin_vgg11():
    return make_layers([2, "M", 2, "M", 2, 2, "M", 2, 2, "M", 2, 2, "M"])


@pytest.mark.parametrize(
    ("model", "layer", "path", "size", "grid"),
    [
        (thin_vgg11(), "3", VGG11[:3], (40, 56), (20, 28)),
        (thin_vgg11(), "14", VGG11[:9], (160, 192), (20, 24)),
        (thin_vgg11(), "20", VGG11, (224, 256), (7, 8)),
        (RESNET18, "relu", STEM[:1], (48, 64), (24, 32)),
        (RESNET18, "layer1", STEM + [CONV] * 4, (96, 64), (24, 16)),
        (thin_resnet18(), "layer2", STEM + [CONV] * 4 + HALVING, (128, 160), (16, 20)),
        (thin_resnet18(), "layer3", STEM + [CONV] * 4 + HALVING * 2, (192, 176), (12, 11)),
        (dilated(), "3", DILATED[:2], (24, 31), (12, 16)),
        (dilated(), "5", DILATED[:3], (40, 31), (20, 16)),
        (dilated(), "7", DILATED, (64, 71), (24, 28)),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_size_and_position_are_the_analytic_ones(model, layer, path, size, grid):
    expected = boxes(path, *grid)
    assert len(expected) > 12
    field = receptive_field(model, layer, torch.randn(2, 3, *size))
    assert all_boxes(field) == expected
    top, left, bottom, right = expected[0, 0]
    assert field.size == (bottom - top, right - left)
    assert not field.is_global


def test_longest_branch_counts():
    """DenseNet: a 7×7 and a pooling of stride 2, then a 3×3 in each of six layers, one inside the other."""
    model = torchvision.models.DenseNet(4, (6, 2, 2, 2), 8)
    field = receptive_field(model, "denseblock1", torch.randn(1, 3, 64, 80))
    assert all_boxes(field) == boxes(STEM + [CONV] * 6, 16, 20)


def test_weights_do_not_matter():
    """All ReLUs are dead, max pooling has only ties, and all weights are zero."""
    model = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), nn.ReLU6())
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(model[0].bias, -1)
    field = receptive_field(model, "4", torch.randn(1, 3, 20, 24))
    assert all_boxes(field) == boxes([CONV, POOL, (3, 1, 1, 0)], 8, 10)


@pytest.mark.parametrize("true", [False, True], ids=["mixed", "true"])
def test_low_precision_does_not_spread_nan(true):
    model, images = (
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3)),
        torch.rand(1, 3, 16, 16),
    )
    if true:
        model, images = model.bfloat16(), images.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=not true):
        assert receptive_field(model, "2", images).size == (5, 5)


def test_adaptive_pooling_has_uneven_bins_inside_the_image():
    field = receptive_field(nn.Sequential(nn.AdaptiveAvgPool2d((7, 4))), "0", torch.randn(1, 3, 10, 8))
    assert field.rows == tuple((row * 10 // 7, -(-(row + 1) * 10 // 7)) for row in range(7))
    assert field.columns == ((0, 2), (2, 4), (4, 6), (6, 8))


def test_pooling_to_more_positions_repeats_them():
    model = nn.Sequential(nn.Conv2d(3, 2, 4, stride=4), nn.AdaptiveAvgPool2d(4))
    assert receptive_field(model, "1", torch.randn(1, 3, 8, 8)).rows == ((0, 4), (0, 4), (4, 8), (4, 8))


def test_windowed_attention_depends_on_its_window():
    """Swin's first block attends within windows of 7×7 patches, 28×28 pixels."""
    field = receptive_field(torchvision.models.swin_t(), "features.1.0", torch.randn(1, 3, 56, 84))
    assert field.rows == tuple((28 * (row // 7), 28 * (row // 7) + 28) for row in range(14))
    assert len(field.columns) == 21
    assert field.box(8, 20) == (28, 56, 56, 84)


@pytest.mark.parametrize(
    ("model", "layer", "size"),
    [
        (torchvision.models.efficientnet_b0(), "features.2", 64),
        (torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32), "encoder_layer_0", 32),
        (RESNET18, "layer3", 64),
        (RESNET18, "avgpool", 64),
        (RESNET18, "fc", 64),
    ],
    ids=["squeeze and excitation", "attention", "large convolutions", "pooling", "vectors"],
)
def test_the_whole_image(model, layer, size):
    field = receptive_field(model, layer, torch.randn(2, 3, size, size))
    assert field.is_global
    assert field.box(0, 0) == (0, 0, size, size)
    assert field.size == (size, size)


def test_the_whole_height_is_not_the_whole_image():
    model = nn.Sequential(nn.Conv2d(3, 2, (8, 3)))
    field = receptive_field(model, "0", torch.randn(1, 3, 8, 8))
    assert not field.is_global
    assert field.box(0, 5) == (0, 5, 8, 8)


def test_boxes_end_at_the_image_where_the_spacing_is_unknown():
    """One position in three is clear of the border: the spacing cannot be determined."""
    model = nn.Sequential(nn.Conv2d(3, 2, 15, stride=4, padding=7))
    assert receptive_field(model, "0", torch.randn(1, 3, 9, 9)).rows == ((0, 8), (0, 9), (1, 9))


class Crossed(nn.Module):
    """Each row depends on itself, except the two in the middle, which are swapped."""

    def forward(self, inputs):
        return inputs[:, :, [*range(15), 16, 15, *range(17, 32)]]


def test_positions_out_of_order_are_found():
    field = receptive_field(nn.Sequential(Crossed()), "0", torch.randn(1, 3, 32, 32))
    assert [field.rows[row] for row in (14, 15, 16, 17)] == [(14, 15), (16, 17), (15, 16), (17, 18)]


def test_network_is_left_as_it_was():
    model = small_network().train()
    model[1].eval()
    images, flags = torch.randn(2, 3, 16, 16), [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = images.clone()
    receptive_field(model, "3", images)
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(images, before)
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.backends.cudnn.enabled
    assert torch._C._get_nnpack_enabled()


@pytest.mark.parametrize("size", [64, 224])
def test_few_passes_are_needed(size):
    model, passes = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)), []
    model.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    receptive_field(model, "1", torch.randn(4, 1, size, size))
    assert sum(passes) <= 64


class Cleaning(nn.Module):
    def forward(self, inputs):
        return inputs.nan_to_num()


@pytest.mark.parametrize(
    ("model", "value", "message"),
    [
        (nn.Sequential(Cleaning()), 0.0, "layer='0' does not propagate NaN.*choose another layer"),
        (nn.Sequential(nn.ReLU()), torch.nan, "layer='0' returns NaN for this image"),
    ],
)
def test_models_that_hide_nan(model, value, message):
    with pytest.raises(ValueError, match=message):
        receptive_field(model, "0", torch.full((1, 3, 8, 8), value))


def test_a_position_outside_the_map():
    field = receptive_field(small_network(), "3", torch.randn(1, 3, 16, 24))
    with pytest.raises(ValueError, match=r"row=8, column=0 is outside a map of 8×12 positions; give a row of 0 to 7"):
        field.box(8, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gpu_kernels_do_not_spread_nan(layout):
    model = torchvision.models.resnet18().cuda().to(memory_format=layout)
    field = receptive_field(model, "layer2", torch.randn(1, 3, 160, 160).cuda())
    assert all_boxes(field) == boxes(STEM + [CONV] * 4 + HALVING, 20, 20)
