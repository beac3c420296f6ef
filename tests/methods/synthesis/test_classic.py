import pytest
import torch
from torch import nn
from torchvision.transforms.v2 import functional

from lightning_viz.methods import Classic, synthesize
from lightning_viz.methods.synthesis.classic import (
    gaussian_blur,
    total_variation,
    total_variation_gradient,
    zero_smallest,
)

#: Plain gradient ascent: every regulariser off.
PLAIN = dict(l2=0, tv=0, blur=0, small_pixels=0, small_gradients=0)


def linear(weights):
    """A model with one class, whose score is the inner product of the weights and the image."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 1, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(weights.flatten())
    return model


def synthesised(weights, steps=30, **options):
    return synthesize(
        linear(weights),
        0,
        size=weights.shape[-2:],
        channels=len(weights),
        steps=steps,
        mean=0.5,
        std=0.25,
        recipe=Classic(**{**PLAIN, **options}),
    )[0]


def test_the_maximum_of_a_linear_score_is_found():
    weights = torch.randn(3, 6, 8).sign() * (0.2 + torch.rand(3, 6, 8))
    assert torch.equal(synthesised(weights, steps=100), (weights > 0).float())


def test_one_step_is_along_the_gradient_scaled_to_one():
    weights = torch.randn(3, 6, 8)
    moved = synthesised(weights, steps=1, deviation=0, learning_rate=0.5) - 0.5
    assert torch.allclose(moved, 0.5 * 0.25 * weights / weights.square().mean().sqrt(), atol=1e-6)


def test_l2_lowers_the_energy():
    weights = torch.randn(3, 6, 8)
    energies = [float((synthesised(weights, l2=l2) - 0.5).square().mean()) for l2 in (0, 0.5, 2)]
    assert energies[0] > 1.2 * energies[1] > 1.4 * energies[2]


def test_l2_converges_where_it_balances_the_gradient():
    weights = torch.randn(3, 6, 8).clamp(-1.5, 1.5)
    end = synthesised(weights, l2=2, steps=60)
    assert torch.allclose((end - 0.5) / 0.25, weights / weights.square().mean().sqrt() / 2, atol=1e-4)


def test_total_variation_is_lowered():
    weights = torch.randn(3, 12, 12)
    variations = [float(total_variation(synthesised(weights, tv=tv)[None])) for tv in (0, 0.3, 1)]
    assert variations[0] > 1.1 * variations[1] > 1.2 * variations[2]


def test_total_variation_is_the_norm_of_the_gradient():
    picture = torch.zeros(1, 1, 6, 6)
    picture[..., 3:] = 2  # an edge of 6 pixels, 2 high
    assert float(total_variation(picture)) == pytest.approx(12, rel=1e-3)


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
def test_total_variation_with_an_exponent_by_its_equation(beta):
    """Mahendran and Vedaldi 2015, the sum of ((x_i,j+1 - x_ij)^2 + (x_i+1,j - x_ij)^2)^(beta / 2)."""
    picture, expected = torch.randn(1, 1, 5, 5), 0.0
    rows = torch.nn.functional.pad(picture, (0, 1, 0, 1), mode="replicate")[0, 0].tolist()
    for i in range(5):
        for j in range(5):
            down, across = rows[i + 1][j] - rows[i][j], rows[i][j + 1] - rows[i][j]
            expected += (down**2 + across**2) ** (beta / 2)
    assert float(total_variation(picture, beta)) == pytest.approx(expected, rel=1e-4)


def test_a_larger_exponent_spreads_edges():
    weights = torch.zeros(1, 12, 12)
    weights[..., :6], weights[..., 6:] = -1, 1
    options = dict(learning_rate=0.05, deviation=0, tv=0.6, steps=200)
    steepest = [float(synthesised(weights, tv_beta=beta, **options).diff(dim=2).max()) for beta in (1.0, 2.0)]
    assert steepest[1] < 0.9 * steepest[0]


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_total_variation_gradient_by_finite_differences(beta):
    pixels, direction = torch.randn(1, 2, 5, 5).double(), torch.randn(1, 2, 5, 5).double()
    above, below = (total_variation(pixels + side * 1e-6 * direction, beta) for side in (1, -1))
    slope = (above - below) / 2e-6
    assert torch.allclose((total_variation_gradient(pixels, beta) * direction).sum(), slope.squeeze(), rtol=1e-4)


def test_blur_is_gaussian():
    pictures = torch.rand(2, 3, 20, 15)
    assert torch.allclose(
        gaussian_blur(pictures, 1.5), functional.gaussian_blur(pictures, [9, 9], [1.5, 1.5]), atol=0.01
    )
    assert torch.allclose(
        gaussian_blur(pictures, 2.0), functional.gaussian_blur(pictures, [13, 13], [2.0, 2.0]), atol=1e-5
    )


def test_blur_is_applied_every_few_steps():
    weights = torch.randn(3, 12, 12)
    options = dict(learning_rate=0.05, deviation=0)
    assert torch.equal(synthesised(weights, 3, blur=1, blur_every=4, **options), synthesised(weights, 3, **options))
    plain, smooth = synthesised(weights, 4, **options), synthesised(weights, 4, blur=1, blur_every=4, **options)
    assert torch.allclose(smooth - 0.5, gaussian_blur(plain[None] - 0.5, 1)[0], atol=1e-6)


def test_small_pixels_are_set_to_the_mean_colour():
    image = synthesised(torch.randn(3, 10, 10), small_pixels=0.3, deviation=0)
    assert int((image == 0.5).all(dim=0).sum()) == 30


def test_small_gradients_move_nothing():
    weights = torch.randn(3, 10, 10)
    unchanged = (synthesised(weights, small_gradients=0.4, deviation=0) == 0.5).all(dim=0)
    norms = weights.norm(dim=0)
    assert int(unchanged.sum()) == 40
    assert norms[unchanged].max() < norms[~unchanged].min()


def test_the_smallest_are_found_in_each_image():
    values = torch.stack([torch.arange(1.0, 5), 100 * torch.arange(1.0, 5)]).reshape(2, 1, 2, 2)
    assert zero_smallest(values, 0.5).flatten(1).tolist() == [[0, 0, 3, 4], [0, 0, 300, 400]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tv": -1}, "tv=-1 is negative"),
        ({"tv_beta": 0.0}, "tv_beta=0 makes the total variation constant"),
        ({"small_pixels": 1.0}, "small_pixels=1.0 is invalid"),
        ({"blur_every": 0}, "blur_every=0 is invalid"),
    ],
)
def test_wrong_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        Classic(**options)
