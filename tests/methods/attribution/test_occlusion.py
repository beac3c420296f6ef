import pytest
import torch
from captum.attr import Occlusion
from torch import nn

from lightning_viz.methods import occlusion

from ...support import small_network
from ..references import TARGETS, assert_close


@pytest.mark.parametrize(("window", "stride"), [(16, 16), (24, 20)], ids=["tiling", "overlapping, cut at the edge"])
def test_equals_captum(network, images, window, stride):
    theirs = Occlusion(network).attribute(
        images, target=TARGETS, sliding_window_shapes=(3, window, window), strides=(3, stride, stride), baselines=0.25
    )
    assert_close(occlusion(network, images, TARGETS, window=window, stride=stride, fill=0.25, reduce=None), theirs)


def one_pixel(row, column):
    """A model whose score is one pixel's brightness."""

    class Pixel(nn.Module):
        def forward(self, images):
            return images[:, :1, row, column]

    return Pixel()


def test_the_window_over_the_pixel_is_found():
    pictures = torch.zeros(2, 3, 14, 14)
    pictures[:, :, 5, 9] = 1
    maps = occlusion(one_pixel(5, 9), pictures, fill=0.0)
    expected = torch.zeros(14, 14)
    expected[4:6, 8:10] = 1
    assert torch.equal(maps, expected.expand(2, 14, 14))


def test_default_fill_is_the_mean_colour_of_the_batch():
    pictures = torch.rand(2, 3, 14, 14)
    grey = pictures.mean(dim=(0, 2, 3))
    model = small_network()
    assert torch.equal(occlusion(model, pictures), occlusion(model, pictures, fill=grey))


def test_the_drop_is_signed():
    pictures = torch.zeros(1, 3, 14, 14)
    assert occlusion(one_pixel(3, 3), pictures, fill=2.0).min() == -2


def test_refining_finds_the_pixel_with_fewer_passes_than_a_fine_grid():
    passes = []
    model = one_pixel(5, 9)
    model.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    pictures = torch.zeros(1, 3, 64, 64)
    pictures[:, :, 5, 9] = 1
    maps = occlusion(model, pictures, window=16, fill=0.0, refine=3)
    assert maps.argmax() in [64 * row + column for row in (4, 5) for column in (8, 9)]
    assert (maps == 1).sum() == 4
    assert sum(passes) < 32 * 32 / 3


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batch_size_changes_memory_only(batch_size):
    model, pictures, seen = small_network(), torch.rand(3, 3, 14, 14), []
    expected = occlusion(model, pictures, 1)
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    assert torch.allclose(occlusion(model, pictures, 1, batch_size=batch_size), expected, atol=1e-6)
    assert max(seen) <= max(batch_size, 3)


@pytest.mark.parametrize("options", [{"window": 0}, {"window": 99}, {"stride": 0}, {"refine": -1}, {"batch_size": 0}])
def test_invalid_options(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name}={value}"):
        occlusion(small_network(), torch.rand(1, 3, 14, 14), **options)
