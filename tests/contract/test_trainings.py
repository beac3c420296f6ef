"""Every statement on every picture is true, for each meaning of an output; and no training is stopped."""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from lightning_viz import ClassSynthesisLogger, Probe, SaliencyLogger
from lightning_viz.callbacks.suite import CALLBACKS
from lightning_viz.render import map_sheet
from lightning_viz.runtime import writer

from ..cases import MAXIMUM
from ..support import Events, quick, trainer
from .batch_kinds import BATCHES
from .trainings import COUNT, PAIRS, TRAININGS, Training

#: Whose sheets have a picture of the probe in each row: what is below it.
OF_THE_PROBE = "saliency", "gradcam", "activations", "embedding", "deepdream"


#: The classes are those that the output has.
OWN = {ClassSynthesisLogger: {"classes": None}}


class Seen:
    """What was printed last: by tag the lines below each tile, the lines below the sheet; and the points that are right."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.captions: dict[str, list[list[str]]] = {}
        self.notes: dict[str, str] = {}
        self.spans: dict[str, int] = {}
        self.correct: list[object] = []
        render_sheet, render_scatter = writer.render_sheet, writer.render_scatter

        def sheet(cells, title, notes=(), **options):
            tag = title.partition(" ")[0]
            self.captions[tag] = [[line.text for line in cell.caption] for cell in cells]
            self.notes[tag] = " ".join(notes)
            self.spans[tag] = sum(options.get("spans", ()))
            return render_sheet(cells, title, notes, **options)

        def scatter(cloud, *args):
            self.correct.append(cloud.correct)
            return render_scatter(cloud, *args)

        for module in (writer, map_sheet):
            patch.setattr(module, "render_sheet", sheet)
        patch.setattr(writer, "render_scatter", scatter)

    def below_pictures(self) -> dict[str, list[list[str]]]:
        """What is said of the pictures of the probe, on the sheets that show them, without the maximum of a map."""
        found = {}
        for title, captions in self.captions.items():
            if title.startswith(OF_THE_PROBE):
                rows = captions[:: self.spans[title] or 1]
                found[title] = [[line for line in lines if not re.match(rf"{MAXIMUM}|×", line)] for lines in rows]
        return found


@dataclass(frozen=True)
class Run:
    """One recorded fit, with its validation, of a training with the suite attached."""

    training: Training
    seen: Seen
    module: nn.Module
    probe: Probe
    said: list[str]
    tags: set[str]

    @property
    def shown(self) -> list[int]:
        """Which samples the pictures of the probe are: each must be as the network was given it."""
        own = self.training.loader().dataset.images.float()
        return [int((own == image.float().cpu()).flatten(1).all(dim=1).nonzero()) for image in self.probe.images]

    @torch.no_grad()
    def truth(self, indices: Sequence[int]) -> list[list[str]]:
        """What is to be said of these samples."""
        data = self.training.loader().dataset
        output = self.module.eval()(data.images[indices])
        return self.training.truth(output, None if data.labels is None else data.labels[indices])


@pytest.fixture(scope="module", params=TRAININGS.values(), ids=TRAININGS)
def recorded(request, tmp_path_factory):
    training, folder = request.param, tmp_path_factory.mktemp("run")
    module, callbacks = training.module(), [quick(one, history=0, **OWN.get(one, {})) for one in CALLBACKS]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen = Seen(patch)
        trainer(folder, callbacks, max_epochs=1).fit(module, training.loader(), training.loader())
    # An estimate of how long a drawing takes is of the machine, and how busy it is.
    texts = [text for one in caught if "lightning_viz" in (text := str(one.message))]
    said = [text for text in texts if "is estimated to draw for" not in text]
    tags = {tag.partition("/")[0] for tag in Events(folder / "run/version_0").image_tags}
    return Run(training, seen, module, callbacks[-1].runner.probes["validation"], said, tags)


def test_the_training_goes_on_and_pictures_are_drawn(recorded):
    assert recorded.module.trainer.global_step == 4
    assert {"filters", "activations", "embedding", "patches", "deepdream"} <= recorded.tags
    assert len(recorded.said) == (1 if recorded.training.explains is None else 0), recorded.said


def test_what_stands_below_each_picture_is_true(recorded):
    truth, found = recorded.truth(recorded.shown), recorded.seen.below_pictures()
    assert len(found) >= 3
    for title, lines in found.items():
        assert lines == truth, title


def test_what_is_explained_and_shown_is_said(recorded):
    training, notes = recorded.training, recorded.seen.notes
    maps = {title: note for title, note in notes.items() if title.startswith(("saliency", "gradcam"))}
    assert len(maps) == (0 if training.explains is None else 2)
    assert all(training.explains in note for note in maps.values())
    assert all(training.batch.said in note for title, note in notes.items() if title.startswith("activations"))


def test_a_synthesised_image_has_the_name_of_its_class(recorded):
    captions = recorded.seen.captions
    shown = {tag: [lines[0] for lines in found] for tag, found in captions.items() if tag.startswith("synthesis")}
    assert shown == recorded.training.synthesised


def test_what_is_said_of_predictions_stands_where_they_are_shown(recorded):
    """Not below synthesised images and patches, whose marks and captions are others."""
    notes = {title: note for title, note in recorded.seen.notes.items() if title.startswith(("synthesis", "patches"))}
    assert notes
    assert not any("exact match" in note or "predicted region" in note for note in notes.values())


def test_the_points_that_are_right_are_known(recorded):
    correct = recorded.seen.correct[-1]
    assert (correct is not None) is recorded.training.correct
    if correct is not None:
        assert correct.tolist() == [line[-1].startswith("✓") for line in recorded.truth(range(COUNT))]


def test_each_kind_meets_three_of_the_other():
    assert all(len(batches) >= 2 for batches in PAIRS.values())  # and the one of its own
    met = Counter(batch.split(",")[0] for batches in PAIRS.values() for batch in batches)
    assert {batch for batch in BATCHES if "lists" not in batch} - {"tuple"} == {one for one in met if met[one] >= 3}


def losses_of(name, module, data):
    """Of each sample, worked out without the library."""
    with torch.no_grad():
        output = module.eval()(data.images)
    if name == "classes":
        return nn.functional.cross_entropy(output, data.labels, reduction="none")
    targets = data.labels.float().reshape(output.shape)
    loss = nn.functional.binary_cross_entropy_with_logits(output, targets, reduction="none")
    return loss if loss.ndim == 1 else loss.mean(dim=1)


@pytest.mark.parametrize("name", ["classes", "one logit", "one logit, squeezed", "several labels"])
def test_the_hardest_pictures_have_the_highest_losses(name, tmp_path):
    training = TRAININGS[name]
    module, hardest = training.module(), SaliencyLogger(probe=Probe.hardest(), max_images=5, on_error="raise")
    trainer(tmp_path, [hardest]).validate(module, training.loader(), verbose=False)
    data = training.loader().dataset
    expected = losses_of(name, module, data).topk(5).indices
    assert torch.equal(hardest.runner.probes["validation"].images, data.images[expected])
