import math

import pytest
import torch
from torch import nn

from lightning_viz.methods.synthesis.fourier import random_views, sample_views, view_matrices


def view(side=1.0, angle=0.0, x=0.0, y=0.0):
    return torch.tensor([[side, angle, x, y]])


@pytest.mark.parametrize("size", [(8, 8), (7, 12)])
def test_the_whole_view_is_the_image_itself(size):
    images = torch.rand(3, 2, *size)
    assert torch.allclose(sample_views(images, view()), images, atol=1e-5)


def test_a_crop_is_cut_and_resized():
    images = torch.rand(2, 3, 16, 24)
    cut = nn.functional.interpolate(images[:, :, 8:, :12], scale_factor=2, mode="bilinear")
    crop = sample_views(images, view(side=0.5, x=-0.5, y=0.5))
    inside = (..., slice(1, -1), slice(1, -1))  # the cut does not see pixels beyond its border
    assert torch.allclose(crop[inside], cut[inside], atol=1e-5)


def test_a_quarter_turn_rotates_the_image():
    images = torch.rand(2, 3, 9, 9)
    assert torch.allclose(sample_views(images, view(angle=math.pi / 2)), images.rot90(1, (3, 2)).flip(2, 3), atol=1e-5)


def test_rotation_keeps_shapes_in_images_that_are_not_square():
    height, width = 20, 50
    linear = view_matrices(view(side=0.5, angle=0.3), (height, width))[0, :, :2]
    pixels = torch.tensor([width / 2, height / 2])
    turn = pixels[:, None] * linear / pixels  # from pixels to pixels
    assert torch.allclose(turn @ turn.T, 0.25 * torch.eye(2), atol=1e-6)


def test_each_image_may_have_its_own_view():
    images = torch.rand(2, 3, 8, 8)
    two = torch.cat([view(), view(side=0.5)])
    views = sample_views(images, two)
    assert torch.allclose(views[:1], sample_views(images[:1], two[:1]))
    assert torch.allclose(views[1:], sample_views(images[1:], two[1:]))


def test_views_are_inside_the_image_and_of_the_requested_sizes():
    views = random_views([torch.Generator().manual_seed(0)] * 2000, (0.3, 0.8), turn=15)
    side, angle, x, y = views.unbind(dim=1)
    for offset in (x, y):
        assert (offset.abs() + side <= 1 + 1e-6).all()
        assert (offset.abs() + side).max() > 0.99
    area = side.square()
    assert area.min() == pytest.approx(0.3, abs=0.01)
    assert area.max() == pytest.approx(0.8, abs=0.01)
    assert angle.abs().max() == pytest.approx(math.radians(15), rel=0.01)
    assert abs(float(angle.mean())) < 0.01
