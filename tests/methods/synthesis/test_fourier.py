import pytest
import torch

from lightning_viz.methods import Fourier
from lightning_viz.methods.synthesis.colours import ColourStatistics, Normalisation
from lightning_viz.methods.synthesis.synthesis_task import SynthesisTask


def optimizer_of(recipe, size=(128, 128), steps=10, start=None):
    normalisation = Normalisation.of(0.5, 0.25, 3, torch.device("cpu"))
    return recipe.start(SynthesisTask((2, 3, *size), steps, normalisation, ColourStatistics.default(3), start, (0, 1)))


def rate(one):
    return one.adam.param_groups[0]["lr"]


def test_the_learning_rate_falls_along_half_a_cosine():
    one, rates = optimizer_of(Fourier(learning_rate=0.04)), []
    for _ in range(10):
        rates.append(rate(one))
        one.step(torch.ones_like(one.variables))
    assert rates == pytest.approx((0.02 * (1 + torch.linspace(0, torch.pi, 11)[:-1].cos())).tolist(), rel=1e-4)


@pytest.mark.parametrize(
    ("size", "factor"), [((128, 128), 1), ((64, 256), 1), ((32, 32), 4), ((16, 64), 4), ((300, 300), 1)]
)
def test_small_images_have_a_larger_learning_rate(size, factor):
    assert rate(optimizer_of(Fourier(learning_rate=0.04), size)) == pytest.approx(0.04 * factor)


def test_without_randomness_the_network_sees_the_image_itself():
    start = 0.1 + 0.8 * torch.rand(2, 3, 9, 12)
    one = optimizer_of(Fourier(crop=(1, 1), turn=0, noise=0), (9, 12), start=start)
    assert torch.allclose(one.inputs(), (start - 0.5) / 0.25, atol=1e-4)
    assert torch.allclose(one.images(), start, atol=1e-5)


def test_noise_has_the_given_deviation_and_differs_between_images():
    plain, noisy = (optimizer_of(Fourier(crop=(1, 1), turn=0, noise=noise)).inputs().detach() for noise in (0, 0.5))
    noise = noisy - plain
    assert float(noise.std()) == pytest.approx(0.5, rel=0.02)
    assert abs(float(torch.corrcoef(noise.flatten(1))[0, 1])) < 0.02


def test_each_step_and_each_image_has_another_view():
    start = 0.1 + 0.8 * torch.rand(1, 3, 16, 16).repeat(2, 1, 1, 1)
    one = optimizer_of(Fourier(noise=0), (16, 16), start=start)
    first, second = one.inputs(), one.inputs()
    assert not torch.allclose(first, second, atol=0.1)
    assert not torch.allclose(first[0], first[1], atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": (0, 1)}, r"crop=\(0, 1\) is invalid; give two rising fractions"),
        ({"crop": (0.8, 0.5)}, "two rising fractions"),
        ({"noise": -0.1}, "noise=-0.1 is negative"),
    ],
)
def test_wrong_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        Fourier(**options)
