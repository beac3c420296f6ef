import math

import pytest
import torch
from torch import nn

from lightning_viz.methods.synthesis.random_views import look, random_windows, window_matrices


def window(side=1.0, angle=0.0, across=0.0, down=0.0):
    return torch.tensor([[side, angle, across, down]])


@pytest.mark.parametrize("size", [(8, 8), (7, 12)])
def test_the_whole_is_the_picture_itself(size):
    pictures = torch.rand(3, 2, *size)
    assert torch.allclose(look(pictures, window()), pictures, atol=1e-5)


def test_a_crop_is_cut_and_resized():
    pictures = torch.rand(2, 3, 16, 24)
    cut = nn.functional.interpolate(pictures[:, :, 8:, :12], scale_factor=2, mode="bilinear")
    view = look(pictures, window(side=0.5, across=-0.5, down=0.5))
    inside = (..., slice(1, -1), slice(1, -1))  # the cut knows nothing of what is beyond it
    assert torch.allclose(view[inside], cut[inside], atol=1e-5)


def test_a_quarter_turn_is_one():
    pictures = torch.rand(2, 3, 9, 9)
    assert torch.allclose(look(pictures, window(angle=math.pi / 2)), pictures.rot90(1, (3, 2)).flip(2, 3), atol=1e-5)


def test_turned_pictures_that_are_not_square_keep_their_shapes():
    height, width = 20, 50
    linear = window_matrices(window(side=0.5, angle=0.3), (height, width))[0, :, :2]
    pixels = torch.tensor([width / 2, height / 2])
    turn = pixels[:, None] * linear / pixels  # from pixels to pixels
    assert torch.allclose(turn @ turn.T, 0.25 * torch.eye(2), atol=1e-6)


def test_each_picture_may_have_a_window_of_its_own():
    pictures = torch.rand(2, 3, 8, 8)
    windows = torch.cat([window(), window(side=0.5)])
    views = look(pictures, windows)
    assert torch.allclose(views[:1], look(pictures[:1], windows[:1]))
    assert torch.allclose(views[1:], look(pictures[1:], windows[1:]))


def test_windows_are_within_the_picture_and_of_the_sizes_asked_for():
    windows = random_windows([torch.Generator().manual_seed(0)] * 2000, (0.3, 0.8), turn=15)
    side, angle, across, down = windows.unbind(dim=1)
    for place in (across, down):
        assert (place.abs() + side <= 1 + 1e-6).all()
        assert (place.abs() + side).max() > 0.99
    area = side.square()
    assert area.min() == pytest.approx(0.3, abs=0.01)
    assert area.max() == pytest.approx(0.8, abs=0.01)
    assert angle.abs().max() == pytest.approx(math.radians(15), rel=0.01)
    assert abs(float(angle.mean())) < 0.01
