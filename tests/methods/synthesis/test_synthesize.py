import copy
import random

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from lightning_viz.methods import Classic, Fourier, synthesize
from lightning_viz.methods.synthesis.goal import gram_similarity
from lightning_viz.methods.synthesis.synthesize import synthesis_passes

from ...support import CLASSES, small_network

RECIPES = ["fourier", "classic"]


@pytest.fixture
def model():
    """Its scores depend on the image more than those of an untrained network."""
    model = small_network().eval()
    with torch.no_grad():
        for layer in (model[0], model[3], model[9]):
            layer.weight.mul_(3)
    return model


def scores(model, pictures, mean=0.5, std=0.25):
    with torch.no_grad():
        return model((pictures - mean) / std)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_score_of_each_class_rises(model, recipe):
    options = dict(size=16, mean=0.5, std=0.25, recipe=recipe)
    before = scores(model, synthesize(model, range(CLASSES), steps=0, **options)).diagonal()
    after = scores(model, synthesize(model, range(CLASSES), steps=40, **options)).diagonal()
    assert (after > before + 0.3).all()


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(28, 28), (17, 24)])
def test_any_size_and_number_of_channels(recipe, channels, size):
    pictures = synthesize(small_network(channels), [1, 2], size=size, steps=2, recipe=recipe)
    assert pictures.shape == (2, channels, *size)
    assert pictures.dtype == torch.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1


def test_the_maximum_of_a_linear_score_is_approached():
    weights = torch.nn.functional.interpolate(torch.randn(1, 3, 4, 4), scale_factor=4, mode="bilinear")
    model = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.cat([weights, -weights]).flatten(1))
    recipe = Fourier(learning_rate=0.3, crop=(1, 1), turn=0, noise=0)
    pictures = synthesize(model, [0, 1], size=16, channels=3, steps=80, recipe=recipe)
    best = weights.clamp(min=0).sum()
    assert scores(model, pictures, 0, 1)[0, 0] > 0.9 * best
    assert ((pictures[0] > 0.5) == (pictures[1] < 0.5)).float().mean() > 0.95


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_seed_makes_it_reproducible(model, recipe):
    options = dict(size=16, steps=5, recipe=recipe)
    first = synthesize(model, [0, 1], **options)
    torch.rand(3)
    assert torch.equal(first, synthesize(model, [0, 1], **options))
    assert not torch.allclose(first, synthesize(model, [0, 1], seed=1, **options), atol=1e-3)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_class_does_not_depend_on_the_others(model, recipe):
    options = dict(size=16, steps=10, recipe=recipe)
    together = synthesize(model.double(), [3, 0, 2], **options)
    alone = synthesize(model, 0, **options)
    assert torch.allclose(together[1:2], alone, atol=1e-3)


def state(model):
    return copy.deepcopy(dict(model.state_dict())), [module.training for module in model.modules()]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("options", [dict(target=[0, 1], copies=2), dict(layer="3", unit=1)], ids=["classes", "layer"])
def test_model_and_random_states_do_not_change(recipe, options):
    model = small_network().train()
    model[1].eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    weights, flags = state(model)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    synthesize(model, size=16, steps=3, recipe=recipe, **options)
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    after, flags_after = state(model)
    assert flags_after == flags
    assert all(torch.equal(after[name], value) for name, value in weights.items())
    assert all((parameter.grad == 1).all() and parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_no_gradient_of_the_weights_is_computed(model):
    computed = []
    for parameter in model.parameters():
        parameter.register_hook(computed.append)
    synthesize(model, 0, size=16, steps=2)
    assert not computed


def test_frozen_networks_and_inference_mode(model):
    expected = synthesize(model, 0, size=16, steps=3, mean=torch.tensor([0.5]))
    model.requires_grad_(False)
    with torch.inference_mode():
        found = synthesize(model, 0, size=16, steps=3, mean=torch.tensor([0.5]))
        synthesize(model, 0, size=16, steps=1, start=found, images=found)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("recipe", RECIPES)
def test_zero_steps_return_the_start(model, recipe):
    options = dict(size=(16, 21), mean=0.5, std=0.25, recipe=recipe)
    finished = synthesize(model, [1, 2], steps=30, **options)
    again = synthesize(model, [1, 2], steps=0, start=finished, **options)
    assert torch.allclose(again, finished, atol=1e-3)


def test_a_warm_start_needs_a_fraction_of_the_steps(model):
    options = dict(size=16, mean=0.5, std=0.25)
    finished = synthesize(model, [0, 1], steps=50, **options)
    cold = scores(model, synthesize(model, [0, 1], steps=10, **options)).diagonal()
    warm = scores(model, synthesize(model, [0, 1], steps=10, start=finished, **options)).diagonal()
    assert (warm > cold).all()
    assert (warm > scores(model, finished).diagonal() - 0.1).all()


def test_a_unit_is_the_mean_of_the_layers_channel(model):
    """The same as maximising the pooled channel of the network's first layers."""
    by_layer = synthesize(model, layer="4", unit=[2, 5], size=16, steps=5)
    trunk = nn.Sequential(*model[:6], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert torch.allclose(by_layer, synthesize(trunk, [2, 5], size=16, steps=5), atol=1e-5)


def test_a_position_is_one_of_the_layers_map(model):
    options = dict(size=16, steps=5)
    by_position = synthesize(model, layer="4", unit=0, position=(1, 6), **options)
    trunk = nn.Sequential(*model[:6])
    assert torch.allclose(by_position, synthesize(trunk, lambda maps: maps[:, 0, 1, 6], **options), atol=1e-5)
    middle = synthesize(model, layer="4", unit=2, position="middle", **options)
    assert torch.equal(middle, synthesize(model, layer="4", unit=2, position=(4, 4), **options))


def test_a_whole_layer_is_the_mean_of_its_squares(model):
    trunk = nn.Sequential(*model[:6])
    expected = synthesize(trunk, lambda maps: maps.square().mean(dim=(1, 2, 3)), size=16, steps=5)
    assert torch.allclose(synthesize(model, layer="4", size=16, steps=5), expected, atol=1e-5)


def test_a_neuron_of_a_head_is_a_class(model):
    assert torch.equal(
        synthesize(model, layer="9", unit=[3, 1], size=16, steps=5), synthesize(model, [3, 1], size=16, steps=5)
    )


def test_a_callable_reads_the_raw_output(model):
    class Detector(nn.Module):
        def forward(self, images):
            return {"boxes": None, "scores": model(images)}

    found = synthesize(Detector(), lambda output: output["scores"][:, 0], size=16, steps=5, channels=3)
    assert torch.equal(found, synthesize(model, 0, size=16, steps=5))


def test_dead_units_are_revived():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True))
    with torch.no_grad():
        model[0].bias.fill_(-0.1)
    options = dict(layer="1", unit=[0, 1], size=16, mean=0.5, std=0.25)
    alive = synthesize(model, steps=60, recipe=Fourier(noise=0), **options)
    assert (scores(model, alive)[[0, 1], [0, 1]].mean(dim=(1, 2)) > 0.1).all()
    dead = synthesize(model, steps=60, recipe=Fourier(noise=0, revive=0), **options)
    assert not scores(model, dead)[[0, 1], [0, 1]].any()


def test_passes_are_those_made(model):
    seen = []
    model.register_forward_pre_hook(lambda _m, inputs: seen.append(len(inputs[0])))
    synthesize(model, [0, 1, 3], size=16, steps=4, copies=2, diversity=0)
    assert sum(seen) == synthesis_passes(steps=4, copies=2, count=3)


def correlation(one, other):
    return float(torch.corrcoef(torch.stack([(one - one.mean()).flatten(), (other - other.mean()).flatten()]))[0, 1])


def test_copies_are_consecutive_and_differ(model):
    options = dict(size=16, copies=2, mean=0.5, std=0.25)
    pictures = synthesize(model, [1, 3], steps=30, **options)
    assert pictures.shape == (4, 3, 16, 16)
    assert not torch.allclose(pictures[0], pictures[1], atol=0.02)
    gain = scores(model, pictures) - scores(model, synthesize(model, [1, 3], steps=0, **options))
    assert (gain[torch.arange(4), [1, 1, 3, 3]] > 0.1).all()


def test_the_first_copy_is_the_single_image(model):
    single = synthesize(model.double(), 1, size=16, steps=5)
    assert torch.allclose(synthesize(model, 1, size=16, steps=5, copies=3, diversity=0)[:1], single, atol=1e-5)


def test_diversity_pushes_features_apart(model):
    similarities = []
    for diversity in (0, 100):
        pictures = synthesize(model, layer="3", unit=1, size=16, steps=30, copies=3, diversity=diversity)
        with torch.no_grad():
            similarities.append(float(gram_similarity(model[:4](pictures), 3).mean()))
    assert similarities[1] < similarities[0] - 0.05


@pytest.mark.parametrize("recipe", RECIPES)
def test_autocast_and_bfloat16(recipe):
    model, options = small_network(), dict(size=16, steps=3, recipe=recipe)
    expected = synthesize(model, [0, 1], **options)
    with torch.autocast("cpu", torch.bfloat16):
        assert correlation(synthesize(model, [0, 1], **options), expected) > 0.95
    pictures = synthesize(model.bfloat16(), [0, 1], **options)
    assert pictures.dtype == torch.float32
    assert correlation(pictures, expected) > 0.95


@pytest.mark.parametrize("recipe", [Fourier(noise=0), Classic(blur_every=1)])
def test_autocast_applies_to_the_network_only(recipe):
    """The network returns its input: views and regularisers in bfloat16 would be off by 1/256."""
    options = dict(size=32, channels=3, steps=3, recipe=recipe)
    seen = []

    def score(output):
        seen.append(output.detach())
        return output.mean(dim=(1, 2, 3))

    expected = synthesize(nn.Identity(), score, **options)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(synthesize(nn.Identity(), score, **options), expected)
    assert torch.equal(torch.stack(seen[:3]), torch.stack(seen[3:]))


def test_a_transformer_of_fixed_size():
    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
    with torch.no_grad():
        model.heads.head.weight.normal_()
    start = synthesize(model, [1, 4], size=32, steps=0)
    found = synthesize(model, [1, 4], size=32, steps=20, copies=2)
    assert (scores(model, found, 0, 1)[[0, 2], [1, 4]] > scores(model, start, 0, 1)[[0, 1], [1, 4]]).all()


def test_compiled_networks_run_as_they_were_written(model):
    assert torch.equal(synthesize(torch.compile(model), 1, size=16, steps=3), synthesize(model, 1, size=16, steps=3))


def test_initial_colours_are_those_of_the_images(model):
    images = torch.rand(8, 3, 6, 6) * 0.2 + torch.tensor([0.7, 0.4, 0.1])[:, None, None]
    pictures = synthesize(model, 0, size=16, steps=0, images=(images - 0.5) / 0.25, mean=0.5, std=0.25)
    assert torch.allclose(pictures.mean(dim=(0, 2, 3)), images.mean(dim=(0, 2, 3)), atol=0.05)


def test_progress_bar_is_optional(model, capsys):
    synthesize(model, 0, size=16, steps=3)
    assert not capsys.readouterr().err
    synthesize(model, 0, size=16, steps=3, progress=True)
    assert "3/3" in capsys.readouterr().err


def test_a_trained_network_recognises_its_classes(pretrained):
    """A strawberry and a bubble."""
    scale = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pictures = synthesize(pretrained, [949, 971], size=64, steps=32, **scale)
    mean, std = (torch.tensor(values)[:, None, None] for values in scale.values())
    probabilities = scores(pretrained, pictures, mean, std).softmax(dim=1)
    assert (probabilities[[0, 1], [949, 971]] > 0.8).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(), "target=None and layer=None: give exactly one of them"),
        (dict(target=1, layer="3"), "target=1 and layer='3'"),
        (dict(target=1, unit=2), "unit=2 and position=None need a layer"),
        (dict(target=7), "is outside the model's 4 classes"),
        (dict(target=[0.5]), r"target=\[0.5\] is invalid"),
        (dict(target=[]), r"target=\[\] is invalid"),
        (dict(target=lambda output: output.detach()[:, 0]), "or none that can be differentiated"),
        (dict(target=lambda output: output[:, :2].flatten(), copies=2), "4 scores for 2 images"),
        (dict(target=lambda output: output), r"target= returned \(1, 4\)"),
        (dict(layer="nope"), "layer='nope' is not in Sequential"),
        (dict(layer="3", unit=8), r"unit=\[8\] is outside the 8 channels of layer='3'; give indices of 0 to 7"),
        (dict(layer="3", unit=0, position=(8, 0)), r"position=\(8, 0\) is outside the map of layer='3', 8×8 positions"),
        (dict(layer="3", unit=0, position="centre"), "position='centre' is invalid"),
        (dict(target=1, steps=-1), "steps=-1 is too small; give 0 or more"),
        (dict(target=1, copies=0), "copies=0 is too small; give 1 or more"),
        (dict(target=1, diversity=-1), "diversity=-1 is too small"),
        (dict(target=1, size=0), "size=0 is invalid; give one side"),
        (dict(target=1, size=(16, 16, 3)), r"size=\(16, 16, 3\) is invalid"),
        (dict(target=1, recipe="best"), "recipe='best' is unknown; choose one of 'fourier', 'classic'"),
        (dict(target=1, mean=(0.5, 0.5), channels=3), "numbers of channels differ: channels= has 3, mean= has 2"),
        (dict(target=1, std=0), "std=0 is invalid; give numbers above 0"),
        (
            dict(target=1, start=torch.rand(2, 3, 16, 16)),
            r"start= has the shape \(2, 3, 16, 16\).*give \(1, 3, 16, 16\)",
        ),
        (dict(target=1, start=torch.rand(1, 3, 16, 16) - 1), "start= has values outside 0 to 1"),
        (dict(target=1, start=torch.rand(3, 16, 16)), r"start= of shape \(3, 16, 16\) has 3 dimensions; give"),
        (
            dict(target=1, images=torch.rand(2, 3, 8, 8), mean=(1, 2)),
            "numbers of channels differ: images= has 3, mean= has 2",
        ),
    ],
)
def test_wrong_arguments(model, options, message):
    with pytest.raises(ValueError, match=message):
        synthesize(model, **{"size": 16, "steps": 1, **options})


def test_unknown_number_of_channels():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    with pytest.raises(
        ValueError, match=r"Sequential has no nn\.Conv2d to read the number of channels from; give channels="
    ):
        synthesize(model, 0, size=8)


@pytest.mark.parametrize("recipe", RECIPES)
def test_images_of_a_diverged_network_are_nan(model, recipe):
    with torch.no_grad():
        model[9].weight[1] = torch.nan
    assert synthesize(model, 1, size=16, steps=2, recipe=recipe).isnan().any()


def test_recipes_with_custom_parameters(model):
    options = dict(size=16, steps=3)
    assert torch.equal(synthesize(model, 0, recipe=Fourier(), **options), synthesize(model, 0, **options))
    assert not torch.equal(
        synthesize(model, 0, recipe=Classic(tv=0), **options), synthesize(model, 0, recipe="classic", **options)
    )
