import pytest
import torch
from torchvision.transforms.v2 import functional

from lightning_viz.methods.features.downscale import downscale


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2, 3, 30, 60), (2, 3, 10, 20)), ((2, 60, 30), (2, 20, 10)), ((1, 3, 300, 2), (1, 3, 20, 1))],
    ids=["images", "maps", "at least a pixel"],
)
def test_fits_into_the_square_and_keeps_the_aspect_ratio(shape, expected):
    assert downscale(torch.rand(shape), 20).shape == expected


def test_equals_torchvisions_antialiased_resize():
    images = torch.rand(2, 3, 37, 50)
    expected = functional.resize(images, [15, 20], antialias=True)
    assert torch.allclose(downscale(images, 20), expected, atol=1e-6)
    assert torch.allclose(downscale(images[:, 0], 20), expected[:, 0], atol=1e-6)


def test_a_constant_stays_constant():
    assert downscale(torch.full((1, 3, 300, 2), 0.5), 20).numpy() == pytest.approx(0.5)


def test_small_images_are_returned_unchanged():
    images = torch.rand(2, 1, 8, 20).half()
    assert downscale(images, 20) is images
    assert downscale(torch.rand(1, 1, 40, 40).half(), 20).dtype == torch.float32
