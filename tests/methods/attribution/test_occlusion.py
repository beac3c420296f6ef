import pytest
import torch
from captum.attr import Occlusion
from torch import nn

from lightning_viz.methods import occlusion
from lightning_viz.methods.attribution.occlusion import Windows

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


def picture_with(row, column, side):
    """Black with one bright pixel."""
    pictures = torch.zeros(2, 3, side, side)
    pictures[:, :, row, column] = 1
    return pictures


def test_the_window_over_the_pixel_is_found():
    maps = occlusion(one_pixel(5, 9), picture_with(5, 9, 14), fill=0.0, stride=2)
    expected = torch.zeros(14, 14)
    expected[4:6, 8:10] = 1
    assert torch.equal(maps, expected.expand(2, 14, 14))


def test_a_pixel_is_the_mean_of_the_windows_over_it():
    maps = occlusion(one_pixel(5, 9), picture_with(5, 9, 14), fill=0.0)  # windows of 2, one pixel apart
    near = torch.tensor([0.5, 1, 0.5])
    expected = torch.zeros(14, 14)
    expected[4:7, 8:11] = near[:, None] * near
    assert torch.equal(maps, expected.expand(2, 14, 14))


class Mark(nn.Module):
    """A network whose score is there while any quarter of the mark is: windows that split it change nothing."""

    def forward(self, images):
        mark = images[:, :, 28:36, 28:36].unfold(2, 4, 4).unfold(3, 4, 4)
        return mark.mean(dim=(1, 4, 5)).amax(dim=(1, 2))[:, None]


def test_a_mark_on_the_border_of_two_windows_is_found():
    pictures = torch.zeros(1, 3, 64, 64)
    pictures[:, :, 28:36, 28:36] = 1  # the middle of a grid of 8, and on its border
    split = occlusion(Mark(), pictures, window=16, stride=16, fill=0.0, batch_size=4)
    maps = occlusion(Mark(), pictures, window=16, fill=0.0)
    assert split.max() == 0
    assert maps[0, 28:36, 28:36].min() > 0.2
    assert maps[0, :16].max() == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("options", [{}, {"refine": 1}], ids=["plain", "refined"])
def test_an_image_that_is_not_finite_changes_no_other(value, options):
    pictures, model = torch.rand(3, 3, 14, 14), small_network()
    pictures[1, 0, 4, 4] = value
    maps = occlusion(model, pictures, 1, **options)
    assert torch.allclose(maps[[0, 2]], occlusion(model, pictures[[0, 2]], 1, **options), atol=1e-6)
    assert maps[1].isnan().any()


def test_a_batch_without_any_finite_image_is_no_error():
    assert occlusion(small_network(), torch.full((2, 3, 14, 14), torch.nan), 1).isnan().all()


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
    assert maps.argmax() == 64 * 5 + 9
    assert (maps == 1).sum() == 1
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


def test_windows_may_be_farther_apart_than_they_are_large():
    maps = occlusion(one_pixel(8, 0), picture_with(8, 0, 10), window=1, stride=8, fill=0.0)
    assert maps[0].nonzero().tolist() == [[8, 0]]


@pytest.mark.parametrize(("size", "window", "stride"), [((13, 17), 4, 3), ((10, 10), 1, 8), ((12, 12), 12, 5)])
def test_only_windows_in_the_top_quarter_are_refined(size, window, stride):
    windows, maps = Windows(window, stride, size), torch.rand(2, *size)
    expected = torch.stack(
        [
            maps[:, row : row + window, column : column + window].mean(dim=(1, 2))
            for row in windows.corners[0]
            for column in windows.corners[1]
        ],
        dim=1,
    )
    above = expected > maps.flatten(1).quantile(0.75, dim=1, keepdim=True)
    assert torch.equal(windows.above(maps).flatten(1), above)
