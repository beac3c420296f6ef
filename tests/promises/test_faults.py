"""What goes wrong in long runs, really: training goes on where it can, one warning says why, nothing drawn is lost."""

import io
import pickle
import signal
import time

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from lightning_viz import (
    ActivationLogger,
    ClassSynthesisLogger,
    DeepDreamLogger,
    EmbeddingProjectorLogger,
    FilterLogger,
    GradCAMLogger,
    Panel,
    Probe,
    SaliencyLogger,
    TopPatchesLogger,
    VizCallback,
)
from lightning_viz.render.colour import SignedPixels

from ..processes import finished, forking
from ..sinks.projector_backend import ProjectorBackend
from ..support import CALLBACKS, QUICK, Events, Lit, Notes, dataset, loader, quick_suite, small_network, trainer
from . import faults


class Steps(pl.Callback):
    """Another callback, which is told of everything."""

    def __init__(self):
        self.steps, self.validations = [], 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append(trainer.global_step)

    def on_validation_end(self, trainer, pl_module):
        self.validations += not trainer.sanity_checking


def went_on(folder, callbacks, module, *data, epochs=3):
    """Fit, with others beside: whether they and the checkpoints went on; the events."""
    others, saving = Steps(), ModelCheckpoint(folder / "saved", save_top_k=-1)
    run = trainer(folder, [*callbacks, others, saving], max_epochs=epochs, enable_checkpointing=True)
    run.fit(module, *(data or (loader(), loader())))
    assert others.steps == [*range(1, 4 * epochs + 1)]
    assert len(list((folder / "saved").iterdir())) == epochs
    return Events(folder / "run/version_0")


def readable(folder):
    """Every picture of a run, read by TensorBoard and decoded; the steps by tag."""
    found = Events(folder)
    for tag in found.image_tags:
        for picture in found.pictures(tag):
            assert np.asarray(Image.open(io.BytesIO(picture))).size
    return {tag: found.image_steps(tag) for tag in found.image_tags}


def failed(warnings):
    return [text for text in warnings if "is disabled for the rest of this run" in text]


def disabled(callbacks):
    return [one for one in callbacks if one.runner.disabled]


# The model.


class NotInEvaluation(nn.Module):
    """Raises in evaluation mode."""

    def __init__(self, error):
        super().__init__()
        self.inner, self.error = small_network(), error

    def forward(self, images):
        if not self.training:
            raise self.error("this network only trains")
        return self.inner(images)


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_a_model_that_raises_in_evaluation_mode(error, tmp_path, our_warnings):
    """With the defaults, and with layers and a target given: no argument is blamed. One warning for the one cause."""
    layer, tag = "network.inner.3", "given"
    kinds = [ActivationLogger, GradCAMLogger, EmbeddingProjectorLogger, TopPatchesLogger]
    given = [*(kind(layer, tag=tag) for kind in kinds), SaliencyLogger(target=1, tag=tag)]
    filters, *callbacks = [*quick_suite(), *given]
    found = went_on(tmp_path, [filters, *callbacks], Lit(NotInEvaluation(error)), loader())
    ours = our_warnings()
    (warning,) = failed(ours)
    assert (
        f"Lit.forward(images) does not run with images of 3×12×12 alone: {error.__name__}: this network only" in warning
    )
    assert "give forward=" in warning
    assert "on_error='raise'" in warning
    assert disabled([filters, *callbacks]) == callbacks
    assert len(ours) == 2  # that these are training pictures
    assert found.image_steps("filters/network.inner.0") == [0, 3, 7, 11]  # which runs nothing


class TurnsNaN(Lit):
    def forward(self, images):
        return super().forward(images) * (torch.nan if len(self.losses) >= 5 else 1)


def test_a_model_that_returns_nan(tmp_path, our_warnings):
    found = went_on(tmp_path, quick_suite(), TurnsNaN())
    (warning,) = our_warnings()
    assert (
        "all are NaN or infinite; look at the loss" in warning
    )  # the weights are NaN by now, and points must have coordinates
    for tag in found.image_tags:
        assert found.image_steps(tag) == ([0, 3] if tag.startswith("embedding/") else [0, 3, 7, 11])


class TurnsFeaturesNaN(nn.Module):
    def __init__(self):
        super().__init__()
        self.features, self.head = small_network()[:9], nn.Linear(8, 4)
        self.seen = 0

    def forward(self, images):
        self.seen += self.training
        return self.head(self.features(images) * (torch.nan if self.seen > 5 else 1))


def test_features_that_turn_nan_are_warned_of_once(tmp_path, our_warnings):
    found = went_on(tmp_path, [EmbeddingProjectorLogger()], Lit(TurnsFeaturesNaN()), epochs=5)
    assert found.image_steps("embedding/network.head/pca") == [0, 3]
    (warning,) = our_warnings()
    assert "all are NaN or infinite" in warning


class Surgery(pl.Callback):
    """Takes a layer out, or puts another network in, in the second epoch."""

    def __init__(self, how):
        self.how = how

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step != 5:
            return
        if self.how == "deleted":
            del pl_module.network[3:7]
            pl_module.network[-1] = nn.Linear(6, 4)
        elif self.how == "replaced":
            pl_module.network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 4))
        else:
            pl_module.second = small_network()


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_layer_disappears(how, tmp_path, our_warnings):
    layer = "network.5"
    callbacks = [*quick_suite(), GradCAMLogger(layer, tag="mine"), EmbeddingProjectorLogger(layer, tag="my")]
    callbacks += [TopPatchesLogger(layer, tag="top"), ActivationLogger(layer, tag="all")]
    found = went_on(tmp_path, [*callbacks, Surgery(how)], Lit())
    assert len(disabled(callbacks)) >= 4
    causes = [text.partition("Cause: ")[2].partition(" (on_error")[0] for text in failed(our_warnings())]
    assert all(causes)
    assert len({*causes}) == len(causes) >= 1
    assert len(our_warnings()) <= len(disabled(callbacks))
    assert found.image_tags
    for tag in found.image_tags:
        assert found.image_steps(tag)[:2] == [0, 3]
    assert [*found.image_steps("saliency/gradient")] == [0, 3, 7, 11]


class Headless(Lit):
    """No forward: the network is its one submodule with weights."""

    forward = pl.LightningModule.forward

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.network(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        self.network(batch[0])


def test_a_second_network_appears(tmp_path, our_warnings):
    callbacks = [SaliencyLogger(), ActivationLogger(), EmbeddingProjectorLogger()]
    found = went_on(tmp_path, [*callbacks, Surgery("second")], Headless())
    (warning,) = our_warnings()
    assert "2 submodules with weights" in warning
    assert disabled(callbacks) == callbacks
    assert all(found.image_steps(tag) == [0, 3] for tag in found.image_tags)


# Memory.


class LittleMemory(nn.Module):
    """Takes no more than so many pictures at once in evaluation mode."""

    def __init__(self, most):
        super().__init__()
        self.inner, self.most, self.refused = small_network(), most, Notes()

    def forward(self, images):
        if not self.training and len(images) > self.most:
            self.refused.entries.append(len(images))
            raise torch.OutOfMemoryError(f"CUDA out of memory: {len(images)} pictures")
        return self.inner(images)


HUNGRY = [
    *({"method": one} for one in ("gradient", "smoothgrad", "guided_backprop", "integrated_gradients", "occlusion")),
    {"trust": ["faithfulness", "sanity"]},
    {"target": "label"},
    {"target": [0, 1, 2, 3, 0, 1, 2]},
]


def hungry_callbacks():
    images, labels = dataset(7).tensors
    options = {"probe": Probe(images, labels), "history": 0}
    layer, inner = "network.inner.5", {"layers": "network.inner.5"}
    given = {TopPatchesLogger: inner, ActivationLogger: inner, DeepDreamLogger: {"layer": layer}, GradCAMLogger: inner}
    units = {"layer": layer, "units": [1, 3, 4], "steps": 2, "warm_steps": 2, **options}
    synthesis = [ClassSynthesisLogger(copies=copies, tag=f"copies {copies}", **units) for copies in (1, 2)]
    attributions = [SaliencyLogger(**one, **options, tag=str(number)) for number, one in enumerate(HUNGRY)]
    suite = [kind(**{**QUICK.get(kind, {}), **options, **given.get(kind, {})}) for kind in CALLBACKS]
    return [*attributions, *synthesis, *suite]


def drawn(most, folder):
    """What is drawn before and after two steps by a network that takes so many pictures at once; what it refused."""
    torch.manual_seed(0)
    network = LittleMemory(most)
    data = loader(dataset(6), batch_size=1)
    trainer(folder, hungry_callbacks(), max_steps=2, limit_val_batches=0).fit(Lit(network), data)
    return Events(folder / "run/version_0"), network.refused.entries


@pytest.fixture(scope="module")
def plenty(tmp_path_factory):
    events, refused = drawn(10**6, tmp_path_factory.mktemp("plenty"))
    assert not refused
    assert len(events.image_tags) >= 18
    return events


@pytest.mark.parametrize("most", [3, 1])
def test_out_of_memory_halves_the_pictures_and_draws_the_same(most, plenty, tmp_path, our_warnings):
    events, refused = drawn(most, tmp_path)
    assert len(our_warnings()) == (most == 1)
    assert all("ClassSynthesisLogger" in text for text in our_warnings())  # copies are kept different, so: together
    assert 7 in refused
    assert len(refused) <= 4 * len(hungry_callbacks())  # each stays with what fits
    assert {*plenty.image_tags} - {*events.image_tags} == ({"copies 2/network.inner.5"} if most == 1 else set())
    numbers, others = ([tag for tag in one.scalar_tags if not tag.startswith("viz/")] for one in (events, plenty))
    assert numbers == others
    for tag in events.image_tags:
        assert events.image_steps(tag) == [0, 1]
        for one, other in zip(events.pictures(tag), plenty.pictures(tag), strict=True):
            one, other = (np.asarray(Image.open(io.BytesIO(each))).astype(int) for each in (one, other))
            assert np.abs(one - other).mean() < 0.02, tag
    for tag in numbers:
        np.testing.assert_allclose(events.scalars(tag), plenty.scalars(tag), rtol=1e-3, atol=1e-5, err_msg=tag)


def test_out_of_memory_at_a_single_picture_is_a_failure_like_others(tmp_path, our_warnings):
    callbacks = [
        FilterLogger(),
        SaliencyLogger(),
        GradCAMLogger(),
        SaliencyLogger(target=1, tag="one"),
    ]
    found = went_on(tmp_path, callbacks, Lit(LittleMemory(0)), loader())
    (warning,) = failed(our_warnings())  # the same cause for all
    assert "OutOfMemoryError" in warning
    assert "tried down to 1 image of 8" in warning
    assert disabled(callbacks) == callbacks[1:]
    assert found.image_steps("filters/network.inner.0") == [0, 3, 7, 11]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_that_is_full_draws_the_same(tmp_path, our_warnings):
    """A real allocation that fails: the gradients of eight pictures at once take more than is left."""

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.head, self.notes = nn.Linear(64, 4), Notes()

        def forward(self, images):
            self.notes.entries += [] if self.training else [len(images)]
            return self.head(self.inner(images))

    pictures, sizes = [], []
    probe = Probe(torch.rand(8, 3, 512, 512, generator=torch.Generator().manual_seed(0)))
    one = 64 * 510 * 510 * 4  # bytes of one picture's feature maps, of which there are four at least at once
    share = 10 * one / torch.cuda.get_device_properties(0).total_memory
    for limit in (1.0, share):
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(limit)
        torch.manual_seed(0)
        network = Wide()
        run = pl.Trainer(
            accelerator="gpu", devices=1, max_steps=1, limit_val_batches=0, enable_checkpointing=False,
            callbacks=[SaliencyLogger(probe=probe, history=0)], logger=TensorBoardLogger(tmp_path / str(limit), name="run"),
        )  # fmt: skip
        run.fit(Lit(network), loader(batch_size=2))
        found = Events(tmp_path / str(limit) / "run/version_0").pictures("saliency/gradient")[0]
        pictures.append(np.asarray(Image.open(io.BytesIO(found))).astype(int))
        sizes.append(max(network.notes.entries[-2:]))
    torch.cuda.set_per_process_memory_fraction(1.0)
    assert failed(our_warnings()) == []
    assert sizes[0] == 8 > sizes[1]
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.1


# The disk.


@pytest.fixture(scope="module")
def start():
    with forking("tests.promises.faults") as start:
        yield start


@pytest.mark.parametrize("fault", faults.DISK_FAULTS)
def test_the_disk_fails_during_the_training(fault, tmp_path, start):
    result = tmp_path / "result"
    assert finished(start(faults.run_on_a_small_disk, fault, tmp_path / "disk", result)) == 0
    found = pickle.loads(result.read_bytes())
    if "cannot" in found:
        pytest.skip(f"needs a disk of its own: {found['cannot']}")
    assert found["raised"] is None
    assert (found["losses"], found["checkpoints"]) == (16, 4)
    (warning,) = found["warnings"]
    words = {"full": "No space left", "read-only": "Read-only file system", "gone": "No such file"}
    assert words[fault] in warning
    assert "make room there" in warning
    assert "lightning_viz is disabled for the rest of this run" in warning
    assert not (tmp_path / "disk/run").exists()  # the disk was that process's
    if fault == "gone":
        return
    steps = readable(tmp_path / "copy")
    assert {tuple(one) for one in steps.values()} == {(0, 3)}
    assert {tag.partition("/")[0] for tag in steps} == {"filters", "saliency", "embedding"}
    assert len(ProjectorBackend(tmp_path / "copy").load_all()) == 4
    if fault == "full":  # the numbers of the training still have room
        assert Events(tmp_path / "copy").scalar_steps("loss_step") == [*range(16)]


# kill -9.


def test_killed_in_mid_draw(tmp_path, start):
    assert finished(start(faults.quietly, faults.run_until_killed_drawing, tmp_path)) == -signal.SIGKILL
    steps = readable(tmp_path / "run/version_0")
    assert steps["filters/network.0"] == steps["first/images"] == [0, 3, 7]
    assert steps["second/images"] == [0, 3]


def test_killed_in_mid_write(tmp_path, start):
    assert finished(start(faults.quietly, faults.run_until_killed_writing, tmp_path)) == -signal.SIGKILL
    steps = readable(tmp_path / "run/version_0")
    assert steps["filters/network.0"] == steps["saliency/gradient"] == [0, 3, 7]
    assert steps["saliency/gradient/history"] == [0, 3]


def test_killed_at_any_time(tmp_path, start):
    for turn in range(3):
        folder = tmp_path / str(turn)
        process = start(faults.quietly, faults.run_for_ever, folder)
        while not list(folder.glob("run/version_0/projector-*")):
            assert process.is_alive()
            time.sleep(0.05)
        time.sleep(0.37 * turn)
        process.kill()
        process.join()
        steps = readable(folder / "run/version_0")
        assert steps
        assert all(one == [*range(len(one))] for one in steps.values())
        ProjectorBackend(folder / "run/version_0").load_all()


# Ctrl-C.


@pytest.mark.parametrize("kind", [faults.ManyPanels, faults.LongDrawing])
def test_ctrl_c_ends_the_process_and_what_was_drawn_is_on_disk(kind, tmp_path, start):
    result = tmp_path / "result"
    assert finished(start(faults.quietly, faults.run_until_interrupted, kind, tmp_path, result)) == 1
    found = pickle.loads(result.read_bytes())
    assert 0 < len(found["drawn"]) < 60
    assert "all" not in found["drawn"]
    steps = readable(tmp_path / "run/version_0")
    assert steps["filters/network.0"] == [0, 3, 7]
    assert {tag: steps[tag] for tag in found["drawn"]} == {tag: [0, 3, 7] for tag in found["drawn"]}


# Others.


HOOKS = [
    "on_validation_batch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_batch_end",
    "on_save_checkpoint",
]


@pytest.mark.parametrize("hook", HOOKS)
def test_an_exception_in_another_callback_is_its_own(hook, tmp_path, our_warnings):
    class Failing(pl.Callback):
        pass

    def fail(self, trainer, *args):
        if trainer.current_epoch >= 1:
            raise KeyError("mine")

    setattr(Failing, hook, fail)
    module, saving = Lit(), ModelCheckpoint(tmp_path / "saved")
    callbacks = [FilterLogger(), ActivationLogger(), EmbeddingProjectorLogger()]
    run = trainer(tmp_path, [*callbacks, Failing(), saving], max_epochs=4, enable_checkpointing=True)
    with pytest.raises(KeyError, match="mine"):
        run.fit(module, loader(), loader())
    assert our_warnings() == []
    steps = readable(tmp_path / "run/version_0")
    assert {tag.partition("/")[0] for tag in steps} == {"filters", "activations", "embedding"}
    assert {tuple(one[:2]) for one in steps.values()} == {(0, 3)}
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


class FailsAtStep7(VizCallback):
    def draw(self, ctx):
        if self.tag == "one" and ctx.step == 7:
            raise RuntimeError("no paint left")
        yield Panel("same/images", ctx.probe.images, SignedPixels())


def test_of_two_of_a_kind_one_fails_alone(tmp_path, our_warnings):
    found = went_on(tmp_path, [FailsAtStep7(tag="one"), FailsAtStep7(tag="two")], Lit())
    assert found.image_steps("one/images") == [0, 3]
    assert found.image_steps("two/images") == [0, 3, 7, 11]
    assert len(our_warnings()) == 1


def test_workers_are_forked_while_the_thread_paints(tmp_path, start):
    assert finished(start(faults.run_forking, tmp_path)) == 0
    steps = readable(tmp_path / "run/version_0")
    assert steps == {f"busy/{number}": [*range(6)] for number in range(4)}


def test_two_hundred_epochs_leave_nothing_behind(tmp_path, start):
    result = tmp_path / "result"
    assert finished(start(faults.run_many_epochs, tmp_path, result)) == 0
    after = pickle.loads(result.read_bytes())
    assert after[199]["hooks"] == after[50]["hooks"] == 0
    for what in ("tensors", "arrays", "threads", "files"):
        assert after[199][what] <= after[50][what], what
    assert after[199]["MiB"] <= after[50]["MiB"] + 4
