"""SmoothGrad and integrated gradients: gradients averaged over variants of the image."""

import pytest
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from torch import nn

from lightning_viz.methods import integrated_gradients, saliency, smoothgrad
from lightning_viz.methods.attribution.saliency import _noise

from ...support import small_network
from ..references import TARGETS, assert_close

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")


def test_smoothgrad_equals_captum_with_the_same_noise(network, images, monkeypatch):
    noise = torch.stack(list(_noise(images, 4, 0.2, seed=5)), dim=1).flatten(
        0, 1
    )  # captum: the copies of an image in a row
    monkeypatch.setattr(torch, "normal", lambda mean, std: noise)
    tunnel = NoiseTunnel(Saliency(network))
    signed = tunnel.attribute(images, nt_samples=4, nt_type="smoothgrad", target=TARGETS, abs=False)
    ours = smoothgrad(network, images, TARGETS, samples=4, noise=0.2, seed=5, batch_size=8)
    assert_close(ours, signed.abs().amax(dim=1))


def test_smoothgrad_without_noise_is_the_gradient():
    model, pictures = small_network(), torch.rand(3, 3, 8, 8)
    assert torch.allclose(
        smoothgrad(model, pictures, samples=3, noise=0), saliency(model, pictures), rtol=1e-5, atol=1e-9
    )


def test_signed_gradients_are_averaged_before_the_absolute_value():
    model = nn.Sequential(nn.Flatten(), Kink(), nn.Linear(12, 1, bias=False))
    nn.init.ones_(model[2].weight)
    maps = smoothgrad(model, torch.tensor([0.5, -0.5]).repeat(6).reshape(1, 3, 2, 2), samples=2000, noise=2.0)
    assert maps.max() < 0.3  # each single gradient is 1 or -1


class Kink(nn.Module):
    def forward(self, inputs):
        return inputs.abs()


def test_smoothgrad_explains_the_class_of_the_clean_image():
    model, pictures = small_network().eval(), torch.rand(4, 3, 8, 8)
    predicted = model(pictures).argmax(dim=1)
    options = dict(samples=8, noise=3.0)
    assert torch.equal(smoothgrad(model, pictures, **options), smoothgrad(model, pictures, predicted, **options))


def test_smoothgrad_draws_from_a_generator_of_its_own():
    before = torch.get_rng_state()
    model, pictures = small_network(), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(smoothgrad(model, pictures, 0), smoothgrad(model, pictures, 0))
    assert not torch.equal(smoothgrad(model, pictures, 0), smoothgrad(model, pictures, 0, seed=1))
    torch.set_rng_state(before)
    smoothgrad(model, pictures, 0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("method", [smoothgrad, integrated_gradients])
@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_the_batch_size_changes_nothing_but_the_memory(method, batch_size):
    seen = []
    model = small_network()
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    pictures = torch.rand(3, 3, 8, 8)
    maps = method(model, pictures, 1, batch_size=batch_size)
    assert torch.allclose(maps, method(model, pictures, 1, batch_size=3), rtol=1e-4, atol=1e-8)
    assert max(seen) <= max(batch_size, 3)


def test_integrated_gradients_equal_captum(network, images):
    reference = IntegratedGradients(network).attribute(images, target=TARGETS, n_steps=8, method="riemann_middle")
    assert_close(integrated_gradients(network, images, TARGETS, steps=8, reduce=None), reference)


def test_integrated_gradients_sum_to_the_difference_of_the_scores():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 4)
    )
    pictures, baseline = torch.randn(4, 3, 8, 8), torch.full((3, 1, 1), 0.1)
    sums = integrated_gradients(model, pictures, 3, baseline=baseline, steps=64, reduce=None).sum(dim=(1, 2, 3))
    with torch.no_grad():
        difference = (model(pictures) - model(baseline.expand(1, 3, 8, 8)))[:, 3]
    assert ((sums - difference).abs() < 0.01 * difference.abs()).all()


@pytest.mark.parametrize(
    ("method", "options"),
    [(smoothgrad, {"samples": 0}), (smoothgrad, {"noise": -0.1}), (integrated_gradients, {"steps": 0})],
)
def test_wrong_options(method, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}="):
        method(small_network(), torch.rand(1, 3, 8, 8), **options)
