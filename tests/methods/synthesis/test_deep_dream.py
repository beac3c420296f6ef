import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torchvision
from skimage import data
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lightning_viz.methods import deep_dream
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.synthesis.deep_dream import deep_dream_objective, deep_dream_passes

from ...support import small_network
from ..references import assert_close, network_with_statistics, unchanged

LAYER = "5"  # the last ReLU of `small_network`
PLAIN = {"octaves": 1, "steps": 1, "jitter": 0.0}


@pytest.fixture
def model() -> nn.Module:
    return network_with_statistics(16)


@pytest.fixture
def images() -> Tensor:
    return 2 * torch.randn(4, 3, 16, 16).double()


# The result.


@pytest.mark.parametrize(("channel", "factor"), [(None, 1.25), (7, 3), (30, 3)])
def test_the_activation_for_photographs_increases(channel, factor, pretrained):
    crops = [data.cat()[60:156, 100:196], data.coffee()[100:196, 200:296]]
    photographs = (torch.tensor(np.stack(crops)).permute(0, 3, 1, 2) / 255 - 0.449) / 0.226
    dream = deep_dream(pretrained, photographs, layer="_blocks.10", channel=channel, mean=0.449, std=0.226)
    with torch.no_grad():
        before, after = (
            deep_dream_objective(FeatureMaps(pretrained, "_blocks.10"), one, channel).tolist()
            for one in (photographs, dream)
        )
    assert after[0] > factor * abs(before[0])
    assert after[1] > factor * abs(before[1])


def test_a_channel_increases_most_in_its_own_result(model, images):
    mine, other = (deep_dream(model, images, layer="3", channel=channel) for channel in (2, 6))
    with torch.no_grad():
        first, second = (deep_dream_objective(FeatureMaps(model.eval(), "3"), dream, 2) for dream in (mine, other))
    assert (first > second).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_no_steps_give_the_images(dtype, model, images):
    for options in ({}, {"mean": 0.5, "std": 0.1}):
        dream = deep_dream(model.to(dtype), images.to(dtype), layer=LAYER, steps=0, **options)
        assert dream.dtype == dtype
        assert torch.equal(dream, images.to(dtype))


def ascended(model: nn.Module, images: Tensor, low: Tensor, high: Tensor, learning_rate: float) -> Tensor:
    """One step of gradient ascent, image by image."""
    dreams = []
    for image in images:
        pixels = image.clone().requires_grad_()
        model[:6](pixels[None]).square().sum().sqrt().backward()
        gradient = pixels.grad * (high - low)
        step = learning_rate * (high - low) * gradient / gradient.abs().mean()
        dreams.append(torch.minimum(torch.maximum(image + step, low), high))
    return torch.stack(dreams)


MEAN, STD = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)


def black_and_white(mean=MEAN, std=STD) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(value).double()[:, None, None] for value in (mean, std))
    return -mean / std, (1 - mean) / std


def test_a_step_follows_the_formula(model, images):
    low, high = black_and_white()
    expected = ascended(model.eval(), images, low, high, 0.03)
    assert_close(
        deep_dream(model, images, layer=LAYER, learning_rate=0.03, mean=MEAN, std=STD, **PLAIN) - images,
        expected - images,
    )


def test_the_change_is_resized_and_added_to_the_images_detail(model, images):
    (low, high), model = black_and_white(), model.eval()
    small = interpolate(images, size=(8, 8), mode="bilinear", antialias=True)
    detail = ascended(model, small, low, high, 0.02) - small
    carried = images + interpolate(detail, size=(16, 16), mode="bilinear")
    expected = ascended(model, carried, low, high, 0.02)
    options = {**PLAIN, "octaves": 2, "octave_scale": 2, "learning_rate": 0.02}
    assert_close(deep_dream(model, images, layer=LAYER, mean=MEAN, std=STD, **options), expected)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20)])
def test_jitter_is_rolled_back(height, width):
    """A 1×1 convolution does not see where a pixel is: jitter changes nothing."""
    model, pictures = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()), torch.rand(2, 3, height, width)
    still, rolled = (deep_dream(model, pictures, layer="1", jitter=jitter) for jitter in (0, 0.5))
    assert (still - pictures).abs().max() > 0.05
    assert torch.allclose(still, rolled, atol=1e-5)


def test_jitter_is_drawn_from_the_seed(model, images):
    one, same, other = (deep_dream(model, images, layer=LAYER, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    still, as_still = (deep_dream(model, images, layer=LAYER, seed=seed, jitter=0) for seed in (0, 1))
    assert torch.equal(still, as_still)
    assert not torch.allclose(one, still)


# The range of values.


def test_values_stay_between_black_and_white(model, images):
    dream = deep_dream(model, images, layer=LAYER, learning_rate=0.5, mean=MEAN, std=STD)
    low, high = black_and_white()
    for bound, found in ((low, dream.amin(dim=(0, 2, 3))), (high, dream.amax(dim=(0, 2, 3)))):
        assert torch.allclose(found, bound.flatten(), atol=1e-6)


def test_without_normalisation_they_stay_between_each_images_extremes(model, images):
    images = images * torch.tensor([1, 2, 3, 4])[:, None, None, None]
    dream = deep_dream(model, images, layer=LAYER, learning_rate=0.5)
    assert torch.equal(dream.amin(dim=(1, 2, 3)), images.amin(dim=(1, 2, 3)))
    assert torch.equal(dream.amax(dim=(1, 2, 3)), images.amax(dim=(1, 2, 3)))


def test_normalisation_outside_the_network_equals_normalisation_inside(model):
    pictures = torch.rand(2, 3, 16, 16).double()
    mean, std = (torch.tensor(value).double()[:, None, None] for value in (MEAN, STD))

    class Normalising(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pictures):
            return self.model((pictures - mean) / std)

    inside = deep_dream(Normalising(), pictures, layer="model.5", mean=0, std=1)
    outside = deep_dream(model, (pictures - mean) / std, layer=LAYER, mean=mean, std=std)
    assert_close(outside * std + mean, inside)


# Octaves and cost.


@pytest.mark.parametrize(
    ("size", "sides"), [((28, 28), [12, 19, 28]), ((12, 30), [8, 12]), ((9, 9), [9]), ((4, 4), [4])]
)
def test_octaves_below_8_pixels_are_left_out(size, sides):
    seen = []
    network = small_network()
    network.register_forward_pre_hook(lambda _m, inputs: seen.append(tuple(inputs[0].shape[2:])))
    dream = deep_dream(network, torch.rand(1, 3, *size), layer=LAYER, steps=5)
    assert dream.shape == (1, 3, *size)
    optimised = {height: seen.count((height, width)) for height, width in seen if seen.count((height, width)) >= 5}
    assert sorted(optimised) == sides


def test_a_network_of_fixed_size_has_one_octave():
    network = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32)
    pictures = torch.rand(2, 3, 32, 32)
    one, many = (deep_dream(network, pictures, layer="encoder.ln", octaves=octaves, steps=2) for octaves in (1, 4))
    assert torch.equal(one, many)


def test_an_octave_too_small_for_the_layer_is_left_out():
    network = nn.Sequential(nn.Conv2d(3, 4, 20), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    pictures = torch.rand(2, 3, 24, 24)
    one, many = (deep_dream(network, pictures, layer="1", octaves=octaves) for octaves in (1, 3))
    assert torch.equal(one, many)


def test_a_head_of_fixed_size_after_the_layer_does_not_matter():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 22 * 22, 2))
    pictures = torch.rand(2, 3, 24, 24)
    one, many = (deep_dream(network, pictures, layer="1", octaves=octaves) for octaves in (1, 3))
    assert not torch.allclose(one, many)


@pytest.mark.parametrize("options", [{}, {"octaves": 2, "octave_scale": 2.0, "steps": 3}, {"octaves": 1, "steps": 5}])
def test_passes_are_those_made_weighted_by_area(options):
    network, areas = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), []
    network.register_forward_pre_hook(lambda _m, inputs: areas.append(inputs[0].shape[2] * inputs[0].shape[3] / 72**2))
    deep_dream(network, torch.rand(1, 3, 72, 72), layer="1", **{**options, "steps": 0})
    preparation = sum(areas)
    areas.clear()
    deep_dream(network, torch.rand(1, 3, 72, 72), layer="1", **options)
    assert sum(areas) - preparation == pytest.approx(deep_dream_passes(options))


# The context it is called in.


def test_a_batch_equals_its_images_one_by_one(model, images):
    alone = [deep_dream(model, image[None], layer=LAYER) for image in images]
    assert_close(deep_dream(model, images, layer=LAYER), torch.cat(alone))


def test_model_images_and_random_states_do_not_change(model, images):
    with unchanged(model, images):
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        deep_dream(model, images, layer=LAYER)
        assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_no_gradient_of_weights_is_computed(model, images):
    for weight in model.parameters():
        weight.register_hook(lambda gradient: pytest.fail("a gradient of weights"))
    deep_dream(model, images, layer=LAYER, steps=1)


@pytest.mark.parametrize("frozen", [False, True], ids=["trainable", "frozen"])
@pytest.mark.parametrize("context", [nullcontext, torch.no_grad, torch.inference_mode])
def test_result_does_not_depend_on_the_grad_mode(context, frozen, model, images):
    expected = deep_dream(model.eval(), images, layer=LAYER)
    model.train().requires_grad_(not frozen)
    with context():
        dream = deep_dream(model, images.clone(), layer=LAYER)
    assert torch.equal(dream, expected)
    assert not dream.requires_grad


@pytest.mark.parametrize("how", ["autocast", "bfloat16"])
def test_half_precision_increases_the_activation_too(how, model, images):
    model, images = model.float().eval(), images.float()
    with torch.no_grad():
        maps = FeatureMaps(model, LAYER)
        before = deep_dream_objective(maps, images)
    if how == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            dream = deep_dream(model, images, layer=LAYER)
        assert dream.dtype == torch.float32
    else:
        dream = deep_dream(small_twin(model), images.bfloat16(), layer=LAYER)
        assert dream.dtype == torch.bfloat16
    exact = deep_dream(model, images, layer=LAYER)
    with torch.no_grad():
        increase, exact_increase = (deep_dream_objective(maps, one.float()) / before for one in (dream, exact))
    assert (increase - 1 > 0.8 * (exact_increase - 1)).all()
    assert not torch.equal(dream.float(), exact)  # half precision was on


def small_twin(model: nn.Module) -> nn.Module:
    twin = small_network()
    twin.load_state_dict(model.state_dict())
    return twin.bfloat16()


class Activations(nn.Module):
    """A layer whose first channel is 3 times the image, and whose second is as it is, with the opposite sign."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 1, bias=False)
        self.layer.weight.data = torch.tensor([3.0, -1.0]).reshape(2, 1, 1, 1)

    def forward(self, images):
        return self.layer(images).mean(dim=(2, 3))


def test_the_sum_of_activations_grows_where_the_norm_would_shrink():
    """The sum, 2 x, grows with each pixel; the norm with its distance from zero."""
    pictures = torch.tensor([-0.5, 0.5]).repeat(32).reshape(1, 1, 8, 8)
    options = dict(layer="layer", octaves=1, steps=1, jitter=0, learning_rate=0.1)
    summed, norm = (
        deep_dream(Activations(), 2 * pictures, mean=0.5, std=0.4, objective=one, **options) for one in ("sum", "norm")
    )
    moved = summed - 2 * pictures
    assert torch.allclose(moved[pictures < 0], torch.tensor(0.25))  # a tenth of the range from black to white
    assert ((norm - 2 * pictures).sign() == pictures.sign()).all()


@pytest.mark.parametrize("channel", [None, 1])
def test_the_objectives_are_the_norm_the_mean_and_the_sum(channel):
    maps, pictures = FeatureMaps(Activations(), "layer"), torch.rand(2, 1, 8, 8)
    output = maps(pictures) if channel is None else maps(pictures)[:, channel : channel + 1]
    assert torch.allclose(deep_dream_objective(maps, pictures, channel, "sum"), output.sum(dim=(1, 2, 3)))
    plain = output.flatten(1).norm(dim=1) if channel is None else output.mean(dim=(1, 2, 3))
    assert torch.allclose(deep_dream_objective(maps, pictures, channel), plain)


def test_the_sum_of_a_channel_makes_the_same_images_as_its_mean(model, images):
    one, other = (deep_dream(model, images, layer=LAYER, channel=2, objective=kind) for kind in ("norm", "sum"))
    assert torch.allclose(one, other, atol=1e-6)


def test_a_dead_layer_does_not_change_the_images():
    network, pictures = small_network(), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        network[4].weight.fill_(0)
        network[4].bias.fill_(-1)
    assert torch.equal(deep_dream(network, pictures, layer=LAYER, octaves=1), pictures)


def test_progress_bar_is_optional(model, images, capsys):
    quiet = deep_dream(model, images, layer=LAYER)
    assert capsys.readouterr().err == ""
    loud = deep_dream(model, images, layer=LAYER, progress=True)
    assert "DeepDream at 16×16" in capsys.readouterr().err
    assert torch.equal(quiet, loud)


# Errors.


class Constant(nn.Module):
    """Has a layer whose output does not depend on the image."""

    def __init__(self):
        super().__init__()
        self.constant, self.never = nn.Identity(), nn.Identity()

    def forward(self, images):
        return self.constant(torch.ones_like(images)) + images


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "conv9"}, "layer='conv9' is not in Sequential"),
        ({"channel": 8}, "channel=8 is outside the 8 channels of layer='5'; give one of 0 to 7"),
        ({"channel": -1}, "channel=-1 is outside"),
        ({"objective": "l1"}, "objective='l1' is unknown; choose 'norm' or 'sum'"),
        ({"octaves": 0}, "octaves=0 is out of range; give 1 or more"),
        ({"octave_scale": 1.0}, r"octave_scale=1.0 is out of range; give more than 1"),
        ({"steps": -1}, "steps=-1 is out of range"),
        ({"learning_rate": 0}, "learning_rate=0 is out of range; give a fraction"),
        ({"jitter": 32}, "jitter=32 is out of range; give a fraction of the sides"),
        ({"mean": 0.5}, "mean=0.5 and std=None belong together"),
        ({"mean": 0.5, "std": (1, 2)}, r"std=\(1, 2\) does not fit 3 channels"),
        ({"mean": 0.5, "std": 0}, "std=0 is invalid; give numbers above 0"),
    ],
)
def test_wrong_arguments(options, message, model, images):
    with pytest.raises(ValueError, match=message):
        deep_dream(model, images, **{"layer": LAYER, **options})


@pytest.mark.parametrize(
    ("layer", "message"), [("constant", "does not depend on the images"), ("never", "did not run")]
)
def test_layers_without_a_gradient(layer, message):
    with pytest.raises(ValueError, match=f"layer='{layer}' {message}"):
        deep_dream(Constant(), torch.rand(1, 3, 8, 8), layer=layer)
