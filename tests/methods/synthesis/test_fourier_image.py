import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from lightning_viz.methods.synthesis.fourier_image import Canvas, Colours, Scale

CPU = torch.device("cpu")


def generators(count):
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def canvas(size=(16, 16), channels=3, decay=1.0):
    return Canvas(size, Colours.usual(channels), decay, CPU)


@pytest.mark.parametrize("size", [(16, 16), (15, 17), (12, 33)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pictures_come_back_from_their_coefficients(size, channels):
    pictures = 0.002 + 0.996 * torch.rand(2, channels, *size)
    paper = canvas(size, channels)
    assert torch.allclose(paper.paint(paper.read(pictures)), pictures, atol=1e-5)


def test_black_and_white_come_back_but_for_a_thousandth():
    pictures = torch.rand(2, 3, 16, 16).round()
    paper = canvas()
    assert (paper.paint(paper.read(pictures)) - pictures).abs().max() < 1.01e-3


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_random_one_is_almost_of_the_mean_colour(channels):
    colours = Colours(torch.linspace(0.2, 0.7, channels), Colours.usual(channels).root)
    paper = Canvas((32, 32), colours, 1.0, CPU)
    picture = paper.paint(paper.random(generators(1)))[0]
    assert torch.allclose(picture.mean(dim=(1, 2)), colours.mean, atol=0.02)
    assert 0 < picture.std() < 0.3


def test_equal_steps_move_frequencies_as_photographs_have_them():
    """The power that unit coefficients have falls as 1 / f²."""
    paper = canvas((64, 64), channels=1)
    waves = torch.fft.rfft2(torch.logit(paper.paint(torch.full((1, 1, 64, 33, 2), 0.01)))[0, 0], norm="ortho").abs()
    assert waves[0, 4] / waves[0, 8] == pytest.approx(2, rel=1e-3)
    assert waves[3, 4] / waves[6, 8] == pytest.approx(2, rel=1e-3)


def test_contrast_does_not_depend_on_the_size():
    """A step of 1 of the slowest wave, as high a hill on a picture of 32 pixels as on one of 128."""
    heights = []
    for side in (32, 128):
        coefficients = torch.zeros(1, 1, side, side // 2 + 1, 2)
        coefficients[0, 0, 0, 1, 0] = 1
        heights.append(float(torch.logit(canvas((side, side), 1).paint(coefficients)).max()))
    assert heights[0] == pytest.approx(heights[1], rel=1e-3)


def test_colours_are_those_of_the_images():
    images = torch.rand(5, 4, 9, 7) * torch.tensor([1, 0.2, 0.5, 0.7])[:, None, None]
    images[:, 1] += 0.5 * images[:, 0]
    colours = Colours.of(images)
    pixels = images.transpose(0, 1).flatten(1).numpy()
    assert np.allclose(colours.root @ colours.root.T, np.cov(pixels, ddof=0), atol=1e-6)
    assert np.allclose(colours.mean, pixels.mean(axis=1), atol=1e-6)


def test_independent_coefficients_have_the_colours_of_the_images():
    """In the space before the sigmoid, up to the contrast."""
    mixing = torch.tensor([[0.3, 0.0, 0.0], [0.2, 0.1, 0.0], [-0.2, 0.05, 0.1]])
    colours = Colours(torch.full((3,), 0.5), mixing)
    paper = Canvas((64, 64), colours, 0.0, CPU)
    painted = torch.logit(paper.paint(paper.random(generators(20))))
    covariance, wanted = torch.cov(painted.transpose(0, 1).flatten(1)), mixing @ mixing.T
    assert torch.allclose(covariance / covariance.trace(), wanted / wanted.trace(), atol=0.01)


def test_images_of_one_grey_have_colours_all_the_same():
    grey = torch.rand(3, 1, 8, 8).expand(3, 3, 8, 8)
    paper = Canvas((8, 8), Colours.of(grey), 1.0, CPU)
    pictures = 0.1 + 0.8 * torch.rand(1, 3, 8, 8)
    assert torch.allclose(paper.paint(paper.read(pictures)), pictures, atol=1e-3)


def test_scale_is_the_usual_normalisation():
    mean, std, pictures = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3), torch.rand(2, 3, 4, 4)
    scale = Scale.of(mean, torch.tensor(std), 3, CPU)
    assert torch.allclose(scale.inputs(pictures), v2.functional.normalize(pictures, mean, std), atol=1e-6)
    assert torch.allclose(scale.pictures(scale.inputs(pictures)), pictures, atol=1e-6)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5, 0.5), None, "mean=.*does not fit 3 channels"),
        (None, float("nan"), "std=nan does not fit"),
        (None, (0.1, 0.0, 0.1), "std=.*cannot divide"),
    ],
)
def test_scales_that_do_not_fit(mean, std, message):
    with pytest.raises(ValueError, match=message):
        Scale.of(mean, std, 3, CPU)
