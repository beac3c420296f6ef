"""Gradients with respect to the image, against captum, and by definition."""

import copy

import pytest
import torch
from captum.attr import GuidedBackprop, IntegratedGradients, NoiseTunnel, Saliency
from torch import nn
from torchvision import models

from lightning_viz.methods import guided_backprop, integrated_gradients, saliency, smoothgrad
from lightning_viz.methods.attribution.saliency import _noise

from ...support import small_network
from ..references import TARGETS, assert_close

pytestmark = pytest.mark.filterwarnings("ignore:(Input Tensor 0 did not|Setting backward hooks)")


def test_saliency_equals_captum(network, images):
    theirs = Saliency(network).attribute(images, target=TARGETS, abs=True).amax(dim=1)
    assert_close(saliency(network, images, TARGETS), theirs)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_saliency_of_a_linear_model_is_its_weights():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    expected = model[1].weight[1].reshape(3, 4, 4).abs().amax(dim=0)
    assert torch.allclose(saliency(model, torch.rand(2, 3, 4, 4), 1), expected.expand(2, 4, 4))


def test_predicted_class_by_default():
    model, images = small_network().eval(), torch.rand(3, 3, 8, 8)
    assert torch.equal(saliency(model, images), saliency(model, images, model(images).argmax(dim=1)))


def test_smoothgrad_equals_captum_with_the_same_noise(network, images, monkeypatch):
    noise = torch.stack([*_noise(images, 4, 0.2, seed=5)], dim=1).flatten(
        0, 1
    )  # captum: all copies of an image in a row
    monkeypatch.setattr(torch, "normal", lambda mean, std: noise)
    tunnel = NoiseTunnel(Saliency(network))
    signed = tunnel.attribute(images, nt_samples=4, nt_type="smoothgrad", target=TARGETS, abs=False)
    ours = smoothgrad(network, images, TARGETS, samples=4, noise=0.2, seed=5, batch_size=8)
    assert_close(ours, signed.abs().amax(dim=1))


def test_smoothgrad_without_noise_is_the_gradient():
    model, images = small_network(), torch.rand(3, 3, 8, 8)
    assert torch.allclose(smoothgrad(model, images, samples=3, noise=0), saliency(model, images), rtol=1e-5, atol=1e-9)


class Abs(nn.Module):
    def forward(self, inputs):
        return inputs.abs()


def test_smoothgrad_averages_signed_gradients():
    model = nn.Sequential(nn.Flatten(), Abs(), nn.Linear(12, 1, bias=False))
    nn.init.ones_(model[2].weight)
    maps = smoothgrad(model, torch.tensor([0.5, -0.5]).repeat(6).reshape(1, 3, 2, 2), samples=2000, noise=2.0)
    assert maps.max() < 0.3  # each single gradient is 1 or -1


def test_smoothgrad_explains_the_class_of_the_clean_image():
    model, images = small_network().eval(), torch.rand(4, 3, 8, 8)
    predicted = model(images).argmax(dim=1)
    options = dict(samples=8, noise=3.0)
    assert torch.equal(smoothgrad(model, images, **options), smoothgrad(model, images, predicted, **options))


def test_smoothgrad_has_a_separate_generator():
    before = torch.get_rng_state()
    model, images = small_network(), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(smoothgrad(model, images, 0), smoothgrad(model, images, 0))
    assert not torch.equal(smoothgrad(model, images, 0), smoothgrad(model, images, 0, seed=1))
    torch.set_rng_state(before)
    smoothgrad(model, images, 0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("method", [smoothgrad, integrated_gradients])
@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_batch_size_changes_memory_only(method, batch_size):
    seen = []
    model = small_network()
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    images = torch.rand(3, 3, 8, 8)
    maps = method(model, images, 1, batch_size=batch_size)
    assert torch.allclose(maps, method(model, images, 1, batch_size=3), rtol=1e-4, atol=1e-8)
    assert max(seen) <= max(batch_size, 3)


def test_integrated_gradients_equal_captum(network, images):
    theirs = IntegratedGradients(network).attribute(images, target=TARGETS, n_steps=8, method="riemann_middle")
    assert_close(integrated_gradients(network, images, TARGETS, steps=8, reduce=None), theirs)


def test_integrated_gradients_sum_to_the_difference_of_the_scores():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 4)
    )
    images, baseline = torch.randn(4, 3, 8, 8), torch.full((3, 1, 1), 0.1)
    sums = integrated_gradients(model, images, 3, baseline=baseline, steps=64, reduce=None).sum(dim=(1, 2, 3))
    with torch.no_grad():
        difference = (model(images) - model(baseline.expand(1, 3, 8, 8)))[:, 3]
    assert ((sums - difference).abs() < 0.01 * difference.abs()).all()


@pytest.mark.parametrize(
    ("method", "options"),
    [(smoothgrad, {"samples": 0}), (smoothgrad, {"noise": -0.1}), (integrated_gradients, {"steps": 0})],
)
def test_invalid_options(method, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}="):
        method(small_network(), torch.rand(1, 3, 8, 8), **options)


def out_of_place(model):
    """captum's backward hooks need modules that do not overwrite their input."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return model


def test_guided_backprop_equals_captum(network, images):
    if isinstance(network, models.EfficientNet):
        with pytest.raises(ValueError, match="runs no ReLU"):
            guided_backprop(network, images, TARGETS)
        return
    if isinstance(network, models.MobileNetV2):
        # captum guides nn.ReLU only. The rule of Springenberg et al. also applies to ReLU6.
        assert guided_backprop(network, images, TARGETS).max() > 0
        return
    reference = network
    if isinstance(network, models.DenseNet):
        # DenseNet's last ReLU is functional, which captum's module hooks miss: the same network with modules only.
        reference = nn.Sequential(
            network.features, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.classifier
        )
    theirs = GuidedBackprop(out_of_place(reference)).attribute(images, target=TARGETS)
    assert_close(guided_backprop(network, images, TARGETS, reduce=None), theirs)


RELUS = {
    "module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "functional": nn.functional.relu,
    "functional in place": lambda x: nn.functional.relu(x, inplace=True),
    "torch": torch.relu,
    "torch in place": torch.relu_,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
}


class With(nn.Module):
    """Two convolutions, each followed by a form of ReLU."""

    def __init__(self, relu):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.relu = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), relu

    def forward(self, inputs):
        return self.relu(self.two(self.relu(self.one(inputs)))).mean(dim=(2, 3))


@pytest.mark.parametrize("form", RELUS)
def test_every_form_of_relu_is_guided_alike(form):
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = guided_backprop(With(nn.ReLU()), images, 1)
    assert not torch.allclose(expected, saliency(With(nn.ReLU()), images, 1))
    assert torch.equal(guided_backprop(With(RELUS[form]), images, 1), expected)


@pytest.mark.parametrize(
    "relu", [nn.ReLU6(), nn.LeakyReLU(0.1), nn.ReLU6(inplace=True), nn.LeakyReLU(0.1, inplace=True)]
)
def test_variants_of_relu_are_guided(relu):
    images = torch.rand(2, 3, 8, 8)
    assert not torch.allclose(guided_backprop(With(relu), images, 1), saliency(With(relu), images, 1))


def test_only_positive_gradients_pass():
    """One ReLU with an output weight of -1: the gradient is negative, the guided one zero (section 3.4, eq. 3)."""
    model = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(3, 1, bias=False))
    nn.init.constant_(model[2].weight, -1)
    images = torch.ones(1, 3, 1, 1)
    assert saliency(model, images).item() == 1
    assert guided_backprop(model, images).item() == 0


@pytest.mark.parametrize("model", [small_network()[:1], nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU())])
def test_no_relu_raises_with_a_remedy(model):
    model = nn.Sequential(*model, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match=r"runs no ReLU.*'smoothgrad'"):
        guided_backprop(model, torch.rand(1, 3, 8, 8))


def test_guided_backprop_leaves_other_gradients_alone():
    model, images = small_network(), torch.rand(2, 3, 8, 8)
    before = saliency(model, images)
    guided_backprop(model, images)
    assert torch.equal(saliency(model, images), before)
