"""ClassSynthesisLogger, in real runs."""

import itertools

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from lightning_viz import ClassSynthesisLogger, Probe
from lightning_viz.callbacks import class_synthesis as synthesis

from ..support import CLASSES, Events, Lit, dataset, loader, trainer

FEW = {"steps": 6, "warm_steps": 2, "on_error": "raise"}


@pytest.fixture
def painted(monkeypatch):
    """The arguments of each call of `synthesize`, and what it returned."""
    calls, original = [], synthesis.synthesize

    def synthesize(network, **options):
        calls.append((options, original(network, **options)))
        return calls[-1][1]

    monkeypatch.setattr(synthesis, "synthesize", synthesize)
    return calls


@pytest.fixture
def panels(monkeypatch):
    """The panels of each drawing."""
    drawn, original = [], ClassSynthesisLogger.draw

    def draw(self, network, probe):
        items = list(original(self, network, probe))
        drawn.append(items)
        yield from items

    monkeypatch.setattr(ClassSynthesisLogger, "draw", draw)
    return drawn


def fitted(folder, callback, module=None, **options):
    run = trainer(folder, [callback], **options)
    run.fit(module or Lit(), loader(), loader())
    return Events(folder / "run/version_0")


def words(panel):
    return [[line.text for line in caption] for caption in panel.captions]


def test_a_drawing_goes_on_from_the_one_before(tmp_path, painted):
    """At three quarters of its contrast; not from that of the untrained network."""
    events = fitted(tmp_path, ClassSynthesisLogger(**FEW), max_epochs=3)
    assert events.image_tags == ["synthesis/classes", "synthesis/classes/history"]
    steps = events.image_steps("synthesis/classes")
    assert steps == events.scalar_steps("synthesis/classes/probability") == [0, 3, 7, 11]
    assert [options["steps"] for options, _ in painted] == [6, 6, 2, 2]
    assert painted[1][0]["start"] is None
    for (_, before), (options, _) in itertools.pairwise(painted[1:]):
        middle = before.mean(dim=(2, 3), keepdim=True)
        torch.testing.assert_close(options["start"] - middle, 0.75 * (before - middle))


def test_a_cold_start_each_time(tmp_path, painted):
    fitted(tmp_path, ClassSynthesisLogger(warm_start=False, **FEW))
    assert [(options["steps"], options["start"]) for options, _ in painted] == [(6, None)] * 3


def test_it_goes_on_after_a_resume(tmp_path, painted):
    keeping = ModelCheckpoint(tmp_path, filename="last")
    trainer(tmp_path, [ClassSynthesisLogger(**FEW), keeping], max_epochs=1, enable_checkpointing=True).fit(
        Lit(), loader(), loader()
    )
    run = trainer(tmp_path, [ClassSynthesisLogger(**FEW)], max_epochs=2)
    run.fit(Lit(), loader(), loader(), ckpt_path=tmp_path / "last.ckpt")
    assert [options["steps"] for options, _ in painted] == [6, 6, 2]
    assert float(painted[2][0]["start"].mean()) == pytest.approx(float(painted[1][1].mean()))


@pytest.mark.parametrize("changed", [{"size": 20}, {"copies": 2}])
def test_a_resume_with_other_options_begins_anew(changed, tmp_path, painted):
    def network():
        return Lit(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)))

    keeping = ModelCheckpoint(tmp_path, filename="last")
    trainer(tmp_path, [ClassSynthesisLogger(**FEW), keeping], max_epochs=1, enable_checkpointing=True).fit(
        network(), loader(), loader()
    )
    run = trainer(tmp_path, [ClassSynthesisLogger(**changed, **FEW)], max_epochs=2)
    run.fit(network(), loader(), loader(), ckpt_path=tmp_path / "last.ckpt")
    assert (painted[-1][0]["steps"], painted[-1][0]["start"]) == (6, None)


def test_each_tile_says_the_probability_of_its_class(tmp_path, painted, panels):
    """Of the finished picture, in the input's own normalisation."""
    images, labels = dataset(8).tensors
    probe = Probe(images, labels, mean=(0.5, 0.4, 0.3), std=0.5)
    module = Lit()
    fitted(tmp_path, ClassSynthesisLogger(probe=probe, per_class=True, warm_start=False, **FEW), module)
    options, pictures = painted[-1]
    mean = torch.tensor([0.5, 0.4, 0.3])[:, None, None]
    with torch.no_grad():
        chances = module.eval()((pictures - mean) / 0.5).softmax(dim=1)
    assert options["target"] == list(range(CLASSES))
    panel, *scalars = panels[-1]
    for label, caption in enumerate(words(panel)):
        assert caption[0].split()[1] == f"{chances[label, label]:.2f}"
        seen = int(chances[label].argmax())
        assert caption[1:] == ([] if seen == label else [f"seen as {seen}"])
        assert caption[0].startswith("✓" if seen == label else "✗")
    own = chances.diagonal().tolist()
    assert [scalar.tag for scalar in scalars] == [
        "synthesis/classes/probability", *(f"synthesis/classes/probability/{label}" for label in range(CLASSES))
    ]  # fmt: skip
    assert [scalar.value for scalar in scalars] == pytest.approx([sum(own) / len(own), *own], abs=1e-5)


def test_copies_stand_side_by_side(tmp_path, painted, panels):
    fitted(tmp_path, ClassSynthesisLogger(classes=[2, 0], copies=3, **FEW))
    _, pictures = painted[0]
    assert len(pictures) == 6
    assert [label[0].text for label in panels[0][0].labels] == ["2", "2", "2", "0", "0", "0"]
    assert painted[0][0]["copies"] == 3


@pytest.mark.parametrize(
    ("options", "tag", "names"),
    [
        ({"layer": "network.0", "units": [4, 1]}, "synthesis/network.0", ["channel 4", "channel 1"]),
        ({"layer": "network.0", "units": [4], "position": [2, 3]}, "synthesis/network.0", ["channel 4"]),
        ({"layer": "network.0"}, "synthesis/network.0", ["all channels"]),
        ({"target": lambda output: output[:, 0] - output[:, 1]}, "synthesis/target", ["the target given"]),
        ({"target": 1}, "synthesis/classes", ["1"]),
        ({"target": [2, 2, 0, 1, 1, 2, 0, 0]}, "synthesis/classes", ["2", "0", "1"]),
        ({"target": "label"}, "synthesis/classes", ["0", "1", "2", "3"]),
    ],
)
def test_what_is_painted(options, tag, names, tmp_path, panels):
    events = fitted(tmp_path, ClassSynthesisLogger(**options, **FEW))
    assert events.image_tags == [tag, f"{tag}/history"]
    assert [label[0].text for label in panels[0][0].labels] == names


def test_what_a_unit_answers_is_said(tmp_path, painted, panels):
    module = Lit()
    fitted(tmp_path, ClassSynthesisLogger(layer="network.0", units=[4], warm_start=False, **FEW), module)
    probe_mean = painted[-1][0]["mean"], painted[-1][0]["std"]
    inputs = (painted[-1][1] - probe_mean[0]) / probe_mean[1]
    with torch.no_grad():
        answer = module.eval().network[0](inputs)[:, 4].mean()
    assert words(panels[-1][0]) == [[f"answers {float(answer):.3g}"]]


def test_ten_of_many_classes_those_of_the_probe_first(tmp_path, painted):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 40))
    images, _ = dataset(4).tensors
    probe = Probe(images, torch.tensor([30, 7, 30, 12]))
    fitted(tmp_path, ClassSynthesisLogger(probe=probe, **FEW), Lit(network))
    assert [options["target"] for options, _ in painted] == [[0, 1, 2, 3, 4, 5, 6, 7, 12, 30]] * 3


def test_a_network_that_diverges_is_marked(tmp_path, panels):
    class Diverging(Lit):
        def on_train_epoch_end(self):
            nn.init.constant_(self.network[-1].weight, torch.nan)

    events = fitted(tmp_path, ClassSynthesisLogger(**FEW), Diverging())
    assert events.image_steps("synthesis/classes") == [0, 3, 7]
    assert words(panels[-1][0]) == [["output is not finite"]] * CLASSES
    assert torch.isnan(torch.tensor(events.scalars("synthesis/classes/probability")[-1]))


def test_one_score_for_each_picture(tmp_path, panels):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))

    class Regression(Lit):
        def training_step(self, batch, batch_idx):
            return self(batch[0]).square().mean()

        def validation_step(self, batch, batch_idx):
            self(batch[0])

    fitted(tmp_path, ClassSynthesisLogger(**FEW), Regression(network))
    (caption,) = words(panels[-1][0])
    assert caption[0].startswith("answers ")


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_any_number_of_channels(channels, tmp_path, panels):
    network = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
    data = loader(dataset(24, channels))
    run = trainer(tmp_path, [ClassSynthesisLogger(**FEW)])
    run.fit(Lit(network), data, data)
    assert panels[-1][0].values.shape == (CLASSES, 3, 12, 12)


def test_a_size_of_ones_own(tmp_path, panels):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
    fitted(tmp_path, ClassSynthesisLogger(size=20, **FEW), Lit(network))
    assert panels[-1][0].values.shape == (CLASSES, 3, 20, 20)


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
def test_wrong_arguments(options, error, message):
    with pytest.raises(error, match=message):
        ClassSynthesisLogger(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": [4]}, "outside the model's 4 classes"),
        ({"layer": "network.0", "units": [99]}, "99"),
        ({"layer": "nine"}, "layer='nine' is not in Lit"),
    ],
)
def test_what_does_not_fit_the_network_fails_at_once(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        fitted(tmp_path, ClassSynthesisLogger(**options, **{**FEW, "on_error": "warn"}))


def test_a_size_that_the_network_does_not_take_fails_at_once(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.Linear(600, CLASSES))
    with pytest.raises(ValueError, match="size=20"):
        fitted(tmp_path, ClassSynthesisLogger(size=20), Lit(network))
