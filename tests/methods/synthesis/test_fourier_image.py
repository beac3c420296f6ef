import pytest
import torch

from lightning_viz.methods.synthesis.colours import ColourStatistics
from lightning_viz.methods.synthesis.fourier import FourierImage

CPU = torch.device("cpu")


def generators(count):
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def fourier_image(size=(16, 16), channels=3, decay=1.0):
    return FourierImage(size, ColourStatistics.default(channels), decay, CPU)


@pytest.mark.parametrize("size", [(16, 16), (15, 17), (12, 33)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_decode_inverts_encode(size, channels):
    pictures = 0.002 + 0.996 * torch.rand(2, channels, *size)
    parametrised = fourier_image(size, channels)
    assert torch.allclose(parametrised.decode(parametrised.encode(pictures)), pictures, atol=1e-5)


def test_black_and_white_are_off_by_a_thousandth():
    pictures = torch.rand(2, 3, 16, 16).round()
    parametrised = fourier_image()
    assert (parametrised.decode(parametrised.encode(pictures)) - pictures).abs().max() < 1.01e-3


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_random_image_is_almost_uniform_in_the_mean_colour(channels):
    colours = ColourStatistics(torch.linspace(0.2, 0.7, channels), ColourStatistics.default(channels).root)
    parametrised = FourierImage((32, 32), colours, 1.0, CPU)
    picture = parametrised.decode(parametrised.random(generators(1)))[0]
    assert torch.allclose(picture.mean(dim=(1, 2)), colours.mean, atol=0.02)
    assert 0 < picture.std() < 0.3


def test_the_spectrum_falls_as_that_of_photographs():
    """The power of unit coefficients falls as 1 / f²."""
    parametrised = fourier_image((64, 64), channels=1)
    waves = torch.fft.rfft2(
        torch.logit(parametrised.decode(torch.full((1, 1, 64, 33, 2), 0.01)))[0, 0], norm="ortho"
    ).abs()
    assert waves[0, 4] / waves[0, 8] == pytest.approx(2, rel=1e-3)
    assert waves[3, 4] / waves[6, 8] == pytest.approx(2, rel=1e-3)


def test_contrast_does_not_depend_on_the_size():
    """A unit coefficient of the lowest frequency has the same amplitude in an image of 32 pixels as in one of 128."""
    amplitudes = []
    for side in (32, 128):
        coefficients = torch.zeros(1, 1, side, side // 2 + 1, 2)
        coefficients[0, 0, 0, 1, 0] = 1
        amplitudes.append(float(torch.logit(fourier_image((side, side), 1).decode(coefficients)).max()))
    assert amplitudes[0] == pytest.approx(amplitudes[1], rel=1e-3)


def test_independent_coefficients_have_the_colours_of_the_images():
    """In the space before the sigmoid, up to the contrast."""
    mixing = torch.tensor([[0.3, 0.0, 0.0], [0.2, 0.1, 0.0], [-0.2, 0.05, 0.1]])
    colours = ColourStatistics(torch.full((3,), 0.5), mixing)
    parametrised = FourierImage((64, 64), colours, 0.0, CPU)
    images = torch.logit(parametrised.decode(parametrised.random(generators(20))))
    covariance, wanted = torch.cov(images.transpose(0, 1).flatten(1)), mixing @ mixing.T
    assert torch.allclose(covariance / covariance.trace(), wanted / wanted.trace(), atol=0.01)


def test_images_of_one_grey_have_colours_all_the_same():
    grey = torch.rand(3, 1, 8, 8).expand(3, 3, 8, 8)
    parametrised = FourierImage((8, 8), ColourStatistics.of(grey), 1.0, CPU)
    pictures = 0.1 + 0.8 * torch.rand(1, 3, 8, 8)
    assert torch.allclose(parametrised.decode(parametrised.encode(pictures)), pictures, atol=1e-3)
