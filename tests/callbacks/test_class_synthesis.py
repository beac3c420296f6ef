import itertools
from functools import partial

import pytest
import torch
from torch import nn

from lightning_viz import ClassSynthesisLogger, Probe
from lightning_viz.callbacks import class_synthesis
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.model_output import OutputKind, OutputMeaning
from lightning_viz.methods.synthesis.recipes import RECIPES
from lightning_viz.runtime.captions import predict

from ..support import CLASSES, Events, Lit, dataset, loader, small_network, trainer
from .context import draw, make_context, scalars, texts

FEW = {"steps": 4, "warm_steps": 2, "on_error": "raise"}
PROBE = Probe(dataset().tensors[0][:8], dataset().tensors[1][:8])


def head(outputs=CLASSES, channels=3):
    """A small network that accepts any image size."""
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs)
    )  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """The arguments of each call of `synthesize`, and what it returned."""
    made, original = [], class_synthesis.synthesize

    def synthesize(network, **options):
        made.append((options, original(network, **options)))
        return made[-1][1]

    monkeypatch.setattr(class_synthesis, "synthesize", synthesize)
    return made


def drawn(network, probe=PROBE, step=1, callback=None, **options):
    """The panel and the scalars."""
    callback = callback or ClassSynthesisLogger(**{**FEW, **options})
    (panel, *_), found = (items := draw(callback, network, probe, global_step=step)), scalars(items)
    return panel, found


# The warm start.


def test_a_drawing_is_warm_started_from_the_previous_one(calls):
    """At three quarters of its contrast; not from that of the untrained network."""
    callback, network = ClassSynthesisLogger(**FEW), small_network()
    for step in (0, 4, 8, 12):
        drawn(network, step=step, callback=callback)
    assert [options["steps"] for options, _ in calls] == [4, 4, 2, 2]
    assert calls[1][0]["start"] is None
    for (_, before), (options, _) in itertools.pairwise(calls[1:]):
        middle = before.mean(dim=(2, 3), keepdim=True)
        torch.testing.assert_close(options["start"] - middle, 0.75 * (before - middle))


def test_a_cold_start_each_time(calls):
    callback, network = ClassSynthesisLogger(warm_start=False, **FEW), small_network()
    for step in (0, 4, 8):
        panel, _ = drawn(network, step=step, callback=callback)
        assert "4 steps, from noise" in panel.notes[0]
    assert [(options["steps"], options["start"]) for options, _ in calls] == [(4, None)] * 3


@pytest.mark.parametrize("changed", [{"size": 20}, {"copies": 2}], ids=str)
def test_other_options_than_before_a_resume_start_again(changed, calls):
    before, network = ClassSynthesisLogger(**FEW), head()
    drawn(network, callback=before)
    after = ClassSynthesisLogger(**changed, **FEW)
    after.load_state_dict(before.state_dict())
    after.runner.state.films["synthesis/classes"] = ()
    calls.clear()
    drawn(network, callback=after)
    assert (calls[-1][0]["steps"], calls[-1][0]["start"]) == (4, None)
    assert after.runner.state.films == {}


def test_noise_differs_from_step_to_step_and_not_from_run_to_run(calls):
    for seed, step in ((0, 3), (0, 3), (0, 4), (1, 3)):
        drawn(head(), step=step, seed=seed)
    assert [options["seed"] for options, _ in calls] == [3, 3, 4, 4]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run of two epochs, what it kept, and the events of the run that goes on from it."""
    folder, first, second = tmp_path_factory.mktemp("run"), ClassSynthesisLogger(**FEW), ClassSynthesisLogger(**FEW)
    run = trainer(folder, [first])
    run.fit(Lit(), loader(), loader())
    run.save_checkpoint(folder / "saved.ckpt")
    with pytest.MonkeyPatch.context() as patch:
        starts, original = [], class_synthesis.synthesize
        patch.setattr(
            class_synthesis, "synthesize", lambda *args, **options: starts.append(options) or original(*args, **options)
        )
        later = trainer(folder, [second], max_epochs=3)
        later.fit(Lit(), loader(), loader(), ckpt_path=str(folder / "saved.ckpt"))
    return Events(folder / "run/version_0"), first.runner.state.pictures["synthesis/classes"], starts


def test_a_sheet_a_film_strip_and_a_scalar_are_logged(saved):
    events, *_ = saved
    assert events.image_tags == ["synthesis/classes", "synthesis/classes/history"]
    steps = [events.image_steps(tag) for tag in events.image_tags]
    assert [*steps, events.scalar_steps("synthesis/classes/probability")] == [[0, 3, 7]] * 3


def test_a_resumed_run_is_warm_started_from_the_images_before(saved):
    _, pictures, (options,) = saved
    assert options["steps"] == 2
    middle = pictures.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(options["start"], middle + 0.75 * (pictures - middle), rtol=1e-3, atol=1e-3)


# What the captions say.


def test_each_tile_says_the_probability_of_its_class(calls):
    """Of the finished image, normalised as the network expects it."""
    images, labels = dataset(8).tensors
    network, mean = small_network(), torch.tensor([0.5, 0.4, 0.3])[:, None, None]
    panel, found = drawn(network, Probe(images, labels, mean=(0.5, 0.4, 0.3), std=0.5), per_class=True)
    options, pictures = calls[-1]
    with torch.no_grad():
        probabilities = network((pictures - mean) / 0.5).softmax(dim=1)
    assert options["target"] == list(range(CLASSES))
    for label, caption in enumerate(texts(panel.captions)):
        predicted = int(probabilities[label].argmax())
        assert caption[0].split()[1] == f"{probabilities[label, label]:.2f}"
        assert caption[1:] == ([] if predicted == label else [f"predicted {predicted}"])
        assert caption[0].startswith("✓" if predicted == label else "✗")
    own = probabilities.diagonal().tolist()
    expected = {f"synthesis/classes/probability/{label}": own[label] for label in range(CLASSES)}
    assert found == pytest.approx({"synthesis/classes/probability": sum(own) / len(own), **expected}, abs=1e-5)


def test_the_activation_of_a_unit(calls):
    network = small_network()
    panel, found = drawn(network, layer="0", units=[4])
    options, pictures = calls[-1]
    with torch.no_grad():
        activation = network[0]((pictures - options["mean"]) / options["std"])[:, 4].mean()
    assert texts(panel.captions) == [[f"activation {float(activation):.3g}"]]
    assert found == {}


def test_a_network_that_has_diverged_is_marked():
    network = small_network()
    nn.init.constant_(network[-1].weight, torch.nan)
    panel, found = drawn(network)
    assert texts(panel.captions) == [["output is not finite"]] * CLASSES
    assert found["synthesis/classes/probability"] != found["synthesis/classes/probability"]


def test_images_that_are_not_finite_are_no_start(monkeypatch):
    callback = ClassSynthesisLogger(**FEW)
    monkeypatch.setattr(class_synthesis, "synthesize", lambda *_, **__: torch.full((CLASSES, 3, 12, 12), torch.nan))
    drawn(small_network(), callback=callback)
    assert callback.runner.state.pictures == {}


def test_one_score_for_each_picture_has_no_probability():
    panel, found = drawn(head(1))
    ((caption,),) = texts(panel.captions)
    assert caption.startswith("score ")
    assert found == {}


# What is synthesised.


@pytest.mark.parametrize(
    ("options", "tag", "names"),
    [
        ({"layer": "0", "units": [4, 1]}, "synthesis/0", ["channel 4", "channel 1"]),
        ({"layer": "0", "units": [4], "position": [2, 3]}, "synthesis/0", ["channel 4"]),
        ({"layer": "0"}, "synthesis/0", ["all channels"]),
        ({"target": lambda output: output[:, 0] - output[:, 1]}, "synthesis/target", ["the given target"]),
        ({"target": 1}, "synthesis/classes", ["1"]),
        ({"target": [2, 2, 0, 1, 1, 2, 0, 0]}, "synthesis/classes", ["2", "0", "1"]),
        ({"target": "label"}, "synthesis/classes", ["0", "1", "2", "3"]),
        ({"classes": (2, 0)}, "synthesis/classes", ["2", "0"]),
        ({"classes": range(2)}, "synthesis/classes", ["0", "1"]),
    ],
)
def test_what_is_synthesised(options, tag, names):
    panel, _ = drawn(small_network(), **options)
    assert panel.tag == tag
    assert [label[0].text for label in panel.labels] == names


def test_copies_are_beside_each_other(calls):
    panel, _ = drawn(small_network(), classes=[2, 0], copies=3)
    options, pictures = calls[-1]
    assert (len(pictures), options["copies"]) == (6, 3)
    assert [label[0].text for label in panel.labels] == ["2", "2", "2", "0", "0", "0"]


def test_of_many_classes_ten_those_of_the_probe_first(calls):
    probe = Probe(dataset(4).tensors[0], torch.tensor([30, 7, -1, 12]))
    callback = ClassSynthesisLogger(**FEW)
    for _ in range(2):
        drawn(head(40), probe, callback=callback)
    assert [options["target"] for options, _ in calls] == [[0, 1, 2, 3, 4, 5, 6, 7, 12, 30]] * 2


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_any_number_of_channels(channels):
    panel, _ = drawn(head(channels=channels), Probe(torch.rand(2, channels, 12, 12)))
    assert panel.values.shape == (CLASSES, 3, 12, 12)


def test_a_custom_size():
    assert drawn(head(), size=20)[0].values.shape == (CLASSES, 3, 20, 20)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipe_and_its_options_are_used(recipe, calls):
    panel, _ = drawn(head(), recipe=recipe)
    assert type(calls[-1][0]["recipe"]) is RECIPES[recipe].recipe
    assert panel.notes[0].endswith(f"recipe: {recipe}")


def test_options_reach_the_recipe(calls):
    drawn(head(), recipe_options={"turn": 7.0})
    assert calls[-1][0]["recipe"].turn == 7.0


@pytest.mark.parametrize(
    "options",
    [{"classes": [0, 1, 2, 3]}, {"classes": [1, 2], "copies": 2}, {"layer": "3"}, {"layer": "3", "units": [1, 5]}],
    ids=str,
)
def test_the_estimated_passes_are_about_those_made(options):
    """A forward pass alone counts a third."""
    network, made, callback = small_network(), [], ClassSynthesisLogger(**{**FEW, **options, "steps": 16})

    def count(module, inputs, output):
        made.append(len(inputs[0]) / 3)
        if output.requires_grad:
            output.register_hook(lambda gradient: made.append(2 * len(gradient) / 3))

    network[0].register_forward_hook(count)
    list(callback.draw(make_context(network, PROBE, callback)))
    assert 0.6 < sum(made) / callback.estimated_passes(network, PROBE.images) < 1.7


# What is invalid.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"classes": 3}, TypeError, "classes=3"),
        ({"classes": [-1]}, ValueError, "classes=-1"),
        ({"classes": [True]}, TypeError, "classes=True"),
        ({"units": [1]}, ValueError, "layer="),
        ({"layer": 4}, TypeError, "layer=4"),
        ({"layer": "a", "classes": [1]}, ValueError, "one of them"),
        ({"layer": "a", "position": [1]}, ValueError, "give 2"),
        ({"steps": 0}, ValueError, "steps=0"),
        ({"warm_steps": 0}, ValueError, "warm_steps=0"),
        ({"warm_start": 1}, TypeError, "warm_start=1"),
        ({"copies": 0}, ValueError, "copies=0"),
        ({"size": 1}, ValueError, "size=1"),
        ({"recipe": "modern"}, ValueError, "recipe='modern'"),
        ({"recipe_options": {"spin": 3}}, ValueError, "spin"),
        ({"recipe_options": {"crop": [0.0, 1.0]}}, ValueError, "crop"),
    ],
)
def test_invalid_arguments(options, error, message):
    with pytest.raises(error, match=message):
        ClassSynthesisLogger(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": [4]}, r"classes=\[4\] are not all among the 4 classes of the model; give some of 0 to 3"),
        ({"layer": "network.0", "units": [99]}, r"units=\[99\] are not all among the 6 channels of layer='network.0'"),
        ({"layer": "nine"}, "layer='nine' is not in Lit"),
    ],
)
def test_what_does_not_fit_the_network_ends_the_run_at_once(options, message, tmp_path):
    module = Lit()
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, [ClassSynthesisLogger(**options)]).fit(module, loader(), loader())
    assert not module.losses


def test_a_size_that_the_network_does_not_accept_is_an_error_at_once():
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.Linear(600, CLASSES))
    callback = ClassSynthesisLogger(size=20)
    with pytest.raises(ValueError, match="size=20: Sequential does not run on images of this size"):
        callback.check_images(make_context(network, PROBE, callback))


def test_of_one_logit_each_class_has_its_own_side():
    """A network whose logit is the brightness: the positive class is the bright image."""
    network = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.ones_(network[0].weight)
    probe = Probe(torch.rand(2, 3, 16, 16) - 0.5, torch.tensor([0, 1]), ["dark", "bright"])
    meaning = OutputMeaning(OutputKind.ONE_LOGIT, width=1)
    predicted = partial(predict, network, auto_batch=AutoBatch(), meaning=meaning)
    callback = ClassSynthesisLogger(steps=8)
    (panel, *_) = draw(callback, network, probe, _predict=lambda one: predicted(one))
    assert texts(panel.labels) == [["dark"], ["bright"]]
    dark, bright = panel.values.mean(dim=(1, 2, 3))
    assert dark + 0.1 < bright
