"""What several callbacks record, they record in the validation loop's own forward passes."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_viz import ActivationLogger, EmbeddingProjectorLogger, GradCAMLogger, Probe, TopPatchesLogger
from lightning_viz.runtime.writer import Writer

from ..support import Events, Lit, dataset, loader, small_network, trainer


class Passes(pl.Callback):
    """The sizes of the network's forward passes during each validation batch."""

    def __init__(self):
        self.sizes = []

    def on_validation_batch_start(self, trainer, pl_module, *args):
        sizes = []
        self.sizes.append(sizes)
        self.hook = pl_module.network.register_forward_pre_hook(lambda _m, inputs: sizes.append(len(inputs[0])))

    def on_validation_batch_end(self, *args):
        self.hook.remove()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The forward passes and the events of a run with all that records."""
    folder, passes = tmp_path_factory.mktemp("run"), Passes()
    callbacks = [
        passes,  # before those that record, so that it sees all that they do
        ActivationLogger(on_error="raise"),
        EmbeddingProjectorLogger(on_error="raise"),
        TopPatchesLogger(max_units=2, patches=2, on_error="raise"),
        GradCAMLogger(probe=Probe.hardest(), on_error="raise"),
    ]
    trainer(folder, callbacks).fit(Lit(), loader(), loader())
    return passes.sizes, Events(folder / "run/version_0")


def test_the_loop_has_no_forward_pass_more(run):
    """But for a few images at the start of each, to find what to listen to."""
    passes, _ = run
    loops = passes[:2], passes[2:6], passes[6:]
    assert all(sizes[-1] == 6 and 6 not in sizes[:-1] for sizes, *_ in loops)
    assert all(sum(sizes[:-1]) <= 3 for sizes, *_ in loops[1:])
    assert all(sizes == [6] for _, *others in loops for sizes in others)


def test_everything_recorded_is_drawn(run):
    _, events = run
    first = {tag.split("/")[0] for tag in events.image_tags}
    assert first == {"activations", "embedding", "gradcam", "patches"}
    assert events.scalar_steps("activations/network.4/dead") == [3, 7]


# Loops that do not run the watched network.


class Stream(IterableDataset):
    def __iter__(self):
        return iter(dataset())


class WorkersOnly(TensorDataset):
    """Read in this process by the loop alone."""

    reading = False

    def __getitem__(self, index):
        if not self.reading:
            raise OSError("no connection in this process")
        return super().__getitem__(index)


class Averaged(Lit):
    """Validates an averaged copy of its network."""

    def __init__(self):
        super().__init__()
        self.average = AveragedModel(self.network)

    def validation_step(self, batch, batch_idx):
        self.average(batch[0])

    test_step = validation_step


class Nothing(Lit):
    def validation_step(self, batch, batch_idx):
        pass

    test_step = validation_step


class Backbone(Lit):
    """Validates features alone, as for a kNN."""

    def validation_step(self, batch, batch_idx):
        self.network[:8](batch[0])


class Concatenated(Lit):
    """Runs two views in one batch."""

    def validation_step(self, batch, batch_idx):
        self(torch.cat([batch[0], batch[0].flip(3)]))

    test_step = validation_step


class TwoViews(Lit):
    """Sees each picture twice, the original last."""

    def validation_step(self, batch, batch_idx):
        self(batch[0].flip(3))
        self(batch[0])


class Auxiliary(Lit):
    """Has a head that only training runs in its loop."""

    def __init__(self):
        super().__init__()
        self.aux = nn.Conv2d(6, 5, 1)

    def forward(self, images):
        features = self.network[:3](images)
        return self.network[3:](features) + 0 * self.aux(features).mean()

    def validation_step(self, batch, batch_idx):
        self.network(batch[0])


SAYS = "read by index for this drawing, since the loop recorded nothing of the layer"


class Notes(pl.Callback):
    """The notes below the pictures, by tag, of the last drawing; the numbers, and what the Projector gets."""

    def __init__(self, monkeypatch):
        self.notes, self.numbers, self.metadata = {}, {}, {}
        write = Writer.write

        def spy(writer, item):
            if hasattr(item, "notes"):
                self.notes[item.tag] = " ".join(item.notes)
            elif hasattr(item, "metadata"):
                self.metadata = item.metadata
            else:
                self.numbers[item.tag] = item.value
            write(writer, item)

        monkeypatch.setattr(Writer, "write", spy)


def three(**options):
    kinds = ActivationLogger, EmbeddingProjectorLogger, TopPatchesLogger
    few = {TopPatchesLogger: {"max_units": 2, "patches": 2}}
    return [one(max_images=2, history=0, on_error="raise", **few.get(one, {}), **options) for one in kinds]


@pytest.fixture
def notes(monkeypatch):
    return Notes(monkeypatch)


@pytest.mark.parametrize("module", [Averaged, Nothing, Concatenated])
@pytest.mark.parametrize("verb", ["fit", "test"])
def test_samples_are_read_by_index_where_the_loop_does_not_run_the_network(module, verb, tmp_path, notes, our_warnings):
    run, made, given = trainer(tmp_path, three(), max_epochs=1), module(), dataset()
    if verb == "fit":
        run.fit(made, loader(), loader(given))
    else:
        run.test(made, loader(given), verbose=False)
    assert our_warnings() == []
    for tag in ("activations/network.4", "patches/network.4", "embedding/network.9/pca"):
        assert SAYS in notes.notes[tag]
        assert "24 " in notes.notes[tag]
    with torch.no_grad():
        maps = made.eval().network[:6](given.tensors[0])
    dead = float((maps.amax(dim=(0, 2, 3)) <= 0).float().mean())
    assert notes.numbers["activations/network.4/dead"] == pytest.approx(dead)
    assert notes.numbers["activations/network.4/sparsity"] == pytest.approx(float((maps <= 0).float().mean()), abs=1e-6)
    predicted = [str(one) for one in made.network(given.tensors[0]).argmax(dim=1).tolist()]
    assert [one.removeprefix("class ") for one in notes.metadata["predicted"]] == predicted


def test_activations_of_the_same_samples_are_counted_at_each_drawing(tmp_path):
    """At the start too, since the sanity check has shown that the loop does not run the network."""
    trainer(tmp_path, three()[:1], max_epochs=2).fit(Averaged(), loader(), loader())
    assert Events(tmp_path / "run/version_0").scalar_steps("activations/network.4/dead") == [0, 3, 7]


def stream():
    return DataLoader(Stream(), batch_size=6)


def unreadable():
    data = WorkersOnly(*dataset().tensors)
    return DataLoader(data, batch_size=6, num_workers=1, worker_init_fn=start_reading)


def start_reading(_):
    WorkersOnly.reading = True


@pytest.mark.parametrize(
    ("made", "cause"),
    [
        (stream, "the data are a stream, which cannot be read by index"),
        (unreadable, "samples cannot be read by index: no connection in this process"),
    ],
)
def test_one_warning_with_the_true_cause_where_they_cannot_be_read(made, cause, tmp_path, our_warnings):
    trainer(tmp_path, three(), max_epochs=3).fit(Averaged(), loader(), made())
    (warning,) = our_warnings()
    assert "the validation loop does not run the watched layer" in warning
    assert "(2 batches seen, no activation recorded), and " in warning
    assert cause in warning
    assert "give forward=" in warning


def test_a_watched_network_that_the_loop_runs_is_recorded(tmp_path, notes, our_warnings):
    """With the remedy that the warning names."""
    watched = three(forward=lambda module, images: module.average(images))
    trainer(tmp_path, watched, max_epochs=1).fit(Averaged(), loader(), stream())
    assert our_warnings() == []
    assert "recorded in the validation loop" in notes.notes["patches/average.module.4"]
    assert "activations/average.module.4/dead" in notes.numbers


def test_in_steps_that_is_the_cause(tmp_path, our_warnings):
    trainer(tmp_path, three(every_n_train_steps=2), max_epochs=2).fit(Averaged(), loader(), stream())
    (warning,) = our_warnings()
    assert "a schedule in steps, and the data are a stream" in warning
    assert "instead of steps" in warning


def test_without_validation_data_no_loop_is_promised(tmp_path, our_warnings):
    trainer(tmp_path, three(), max_epochs=2).fit(Lit(), stream())
    told = [one for one in our_warnings() if "no samples" in one]
    (warning,) = told
    assert "there is no validation loop to record" in warning
    assert "add validation data" in warning


def test_a_part_of_the_network_that_the_loop_runs_is_recorded(tmp_path, notes, our_warnings):
    callbacks = [
        ActivationLogger(["network.5", "network.9"], history=0, on_error="raise"),
        TopPatchesLogger(["network.5", "network.9"], max_units=2, patches=2, on_error="raise"),
        EmbeddingProjectorLogger("network.5", history=0, on_error="raise"),
    ]
    trainer(tmp_path, callbacks, max_epochs=1).fit(Backbone(), loader(), loader())
    assert our_warnings() == []
    for tag in ("patches/network.5", "embedding/network.5/pca"):
        assert "recorded in the validation loop" in notes.notes[tag]
    assert "read by index" not in notes.notes["activations/network.5"]
    for tag in ("patches/network.9", "activations/network.9"):
        assert SAYS in notes.notes[tag]
    assert "predicted" not in notes.metadata
    assert {"activations/network.5/dead", "activations/network.9/dead"} <= set(notes.numbers)


def test_a_layer_that_the_loop_leaves_out(tmp_path, notes, our_warnings):
    callbacks = [
        kind(["aux", "network.5"], history=0, on_error="raise") for kind in (ActivationLogger, TopPatchesLogger)
    ]
    trainer(tmp_path, callbacks, max_epochs=1).fit(Auxiliary(), loader(), loader())
    assert our_warnings() == []
    assert SAYS in notes.notes["patches/aux"]
    assert SAYS in notes.notes["activations/aux"]
    assert "recorded in the validation loop" in notes.notes["patches/network.5"]


def test_of_two_passes_the_last_is_recorded(tmp_path, notes):
    """As if it were the only one: samples keep their positions."""
    found = []
    for module in (TwoViews(), Lit()):
        torch.manual_seed(0)
        module.network.load_state_dict(small_network().state_dict())
        trainer(tmp_path, three(), max_epochs=0).validate(module, loader(), verbose=False)
        found.append(({**notes.numbers}, notes.metadata))
    assert found[0][0] == pytest.approx(found[1][0])
    assert found[0][1] == found[1][1]


def test_the_hardest_say_that_the_loop_does_not_run_the_network(tmp_path, our_warnings):
    callback = GradCAMLogger(probe=Probe.hardest())
    trainer(tmp_path, [callback], max_epochs=1).fit(Averaged(), loader(), loader())
    (warning,) = our_warnings()
    assert "the validation data does not run the watched network (4 batches seen, no scores recorded)" in warning
