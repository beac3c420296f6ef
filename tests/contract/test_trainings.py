"""Every statement on every picture is true, for each meaning of an output; and no training is stopped."""

import re
import warnings

import pytest
import torch
from torch import nn

from lightning_viz import ClassSynthesisLogger, Probe, SaliencyLogger
from lightning_viz.callbacks.suite import CALLBACKS
from lightning_viz.render import map_sheet
from lightning_viz.runtime import writer

from ..cases import MAXIMUM
from ..support import Events, quick, trainer
from .trainings import TRAININGS

#: Whose sheets have a picture of the probe in each row: what is below it.
OF_THE_PROBE = "saliency", "gradcam", "activations", "embedding", "deepdream"


#: The classes are those that the output has.
OWN = {ClassSynthesisLogger: {"classes": None}}


class Seen:
    """What was printed: by title the lines below each tile, the lines below the sheet, and the points that are right."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.captions: dict[str, list[list[str]]] = {}
        self.notes: dict[str, str] = {}
        self.spans: dict[str, int] = {}
        self.correct: list[object] = []
        render_sheet, render_scatter = writer.render_sheet, writer.render_scatter

        def sheet(cells, title, notes=(), **options):
            self.captions[title] = [[line.text for line in cell.caption] for cell in cells]
            self.notes[title] = " ".join(notes)
            self.spans[title] = sum(options.get("spans", ()))
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


def run(verb, training, folder, **options):
    """A run with the suite; the module, the callbacks, and the library's warnings."""
    module, callbacks = training.module(), [quick(one, history=0, **OWN.get(one, {})) for one in CALLBACKS]
    run = trainer(folder, callbacks, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = (training.loader(),) * (2 if verb == "fit" else 1)
        getattr(run, verb)(module, *data, **({} if verb == "fit" else {"verbose": False}))
    return module, callbacks, [text for one in caught if "lightning_viz" in (text := str(one.message))]


@pytest.fixture(scope="module", params=TRAININGS.values(), ids=TRAININGS)
def validated(request, tmp_path_factory):
    """One recorded validation of each training: the training, what was printed, module, callbacks and warnings."""
    with pytest.MonkeyPatch.context() as patch:
        seen = Seen(patch)
        return request.param, seen, *run("validate", request.param, tmp_path_factory.mktemp("run"))


def test_what_stands_below_each_picture_is_true(validated):
    training, seen, module, callbacks, _ = validated
    probe = callbacks[-1].runner.probes["validation"]
    with torch.no_grad():
        truth = training.truth(module.eval()(probe.images), probe.labels)
    found = seen.below_pictures()
    assert len(found) >= 3
    for title, lines in found.items():
        assert lines == truth, title


def test_what_is_explained_is_said(validated):
    training, seen, *_, said = validated
    maps = {title: note for title, note in seen.notes.items() if title.startswith(("saliency", "gradcam"))}
    assert len(maps) == (0 if training.explains is None else 2)
    assert all(training.explains in note for note in maps.values())
    assert len(said) == (1 if training.explains is None else 0), said


def test_a_synthesised_image_has_the_name_of_its_class(validated):
    training, seen, *_ = validated
    named = {title.split(" ")[0]: found for title, found in seen.captions.items()}
    shown = {tag: [lines[0] for lines in found] for tag, found in named.items() if tag.startswith("synthesis")}
    assert shown == training.synthesised


def test_the_points_that_are_right_are_known(validated):
    training, seen, module, *_ = validated
    (correct,) = seen.correct
    assert (correct is not None) is training.correct
    if training.correct:
        data = training.loader().dataset
        images, labels = data.images, torch.stack([torch.as_tensor(label) for _, label in data.items])
        labels = labels.argmax(dim=1) if labels.shape[1:] == (4,) else labels.flatten().long()
        with torch.no_grad():
            lines = training.truth(module.eval()(images), labels)
        assert correct.tolist() == [line[-1].startswith("✓") for line in lines]


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_the_training_goes_on(training, tmp_path):
    run("fit", training, tmp_path, max_epochs=1)
    tags = Events(tmp_path / "run/version_0").image_tags
    assert {"filters", "activations", "embedding"} <= {tag.partition("/")[0] for tag in tags}


def losses_of(name, module, data):
    """Of each sample, worked out without the library."""
    targets = torch.stack([torch.as_tensor(target) for _, target in data.items])
    with torch.no_grad():
        output = module.eval()(data.images)
    if name == "classes":
        return nn.functional.cross_entropy(output, targets, reduction="none")
    targets = targets.float().reshape(output.shape)
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
