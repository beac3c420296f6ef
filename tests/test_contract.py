"""The promises, held by every exported callback. A new one is held to them by being in `lightning_viz.__all__`.

The whole suite in all that Lightning offers is in `promises`."""

import gc
import json
import os
import re
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils._python_dispatch import TorchDispatchMode

import lightning_viz.runtime.writer as log_module
from lightning_viz import (
    ClassSynthesisLogger,
    DeepDreamLogger,
    FilterLogger,
    Panel,
    TopPatchesLogger,
    VizCallback,
    viz_callbacks,
)
from lightning_viz.render import SignedPixels
from lightning_viz.runtime.session import session_of
from lightning_viz.sinks import Queue
from lightning_viz.sinks.worker import Worker

from .careful import differences, loaders, train_carefully
from .support import CALLBACKS, Events, Lit, dataset, loader, quick, quick_suite, trainer

scatter_module = import_module("lightning_viz.render.scatter")  # a function has the same name

#: Those that draw no film strip: the pictures that a unit likes best are others at each step.
FILMLESS = {TopPatchesLogger}

every_callback = pytest.mark.parametrize("callback", CALLBACKS)


def test_every_callback_is_here():
    assert {callback.__name__ for callback in CALLBACKS} >= {"FilterLogger", "SaliencyLogger", "GradCAMLogger"}


# 1. Training is bit-identical.


WATCHED = {"data": partial(loaders, num_workers=2), "accumulate_grad_batches": 2}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train_carefully(tmp_path_factory.mktemp("without"), **WATCHED)


@every_callback
def test_training_is_bit_identical(callback, undisturbed, tmp_path):
    watched = train_carefully(tmp_path, [callback(on_error="raise")], **WATCHED)
    assert differences(undisturbed, watched) == []
    assert Events(tmp_path / "run/version_0").image_tags


@every_callback
def test_draws_in_evaluation_mode_with_gradients_possible(callback, tmp_path, monkeypatch):
    seen = []
    draw = callback.draw

    def spy(self, network, probe):
        for item in draw(self, network, probe):
            seen.append((network.training, any(m.training for m in network.modules()), torch.is_grad_enabled()))
            yield item

    monkeypatch.setattr(callback, "draw", spy)
    run = trainer(tmp_path, [callback(on_error="raise")], max_epochs=1)
    run.fit(Lit(), loader(), loader())
    run.validate(Lit(), loader(), verbose=False)
    assert len(seen) >= 3
    assert set(seen) == {(False, False, True)}


# 2. A picture never stops a run.


@every_callback
def test_a_failure_warns_once_and_switches_off_this_callback_alone(callback, tmp_path, monkeypatch, our_warnings):
    draws = []

    def fail(self, network, probe):
        draws.append(1)
        raise RuntimeError("no paint left")
        yield

    class Other(VizCallback):
        def draw(self, network, probe):
            yield Panel("drawn/still", probe.images, SignedPixels())

    monkeypatch.setattr(callback, "draw", fail)
    module = Lit()
    trainer(tmp_path, [callback(), Other()], max_epochs=3).fit(module, loader(), loader())
    (warning,) = our_warnings()
    assert callback.__name__ in warning
    assert "no paint left" in warning
    assert "on_error='raise'" in warning
    assert len(draws) == 1
    assert len(module.losses) == 12
    events = Events(tmp_path / "run/version_0")
    assert events.image_tags == ["drawn/still", "drawn/still/history"]
    assert events.image_steps("drawn/still") == [0, 3, 7, 11]


@every_callback
def test_a_failure_while_painting_is_a_failure(callback, tmp_path, monkeypatch, our_warnings):
    def fail(*args, **options):
        raise RuntimeError("no paint left")

    monkeypatch.setattr(log_module, "sheet", fail)
    module = Lit()
    trainer(tmp_path, [callback()]).fit(module, loader(), loader())
    (warning,) = our_warnings()
    assert "no paint left" in warning
    assert len(module.losses) == 8


@every_callback
def test_on_error_raise_raises(callback, tmp_path, monkeypatch):
    def fail(self, network, probe):
        raise RuntimeError("no paint left")
        yield

    monkeypatch.setattr(callback, "draw", fail)
    with pytest.raises(RuntimeError, match="no paint left"):
        trainer(tmp_path, [callback(on_error="raise")]).fit(Lit(), loader(), loader())


@every_callback
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every_n_epochs": 0}, ValueError, "every_n_epochs=0"),
        ({"every_n_train_steps": 0}, ValueError, "every_n_train_steps=0"),
        ({"every_n_epochs": 1.5}, TypeError, "every_n_epochs=1.5"),
        ({"max_images": 0}, ValueError, "max_images=0"),
        ({"history": -1}, ValueError, "history=-1"),
        ({"on_error": "ignore"}, ValueError, "on_error='ignore'"),
        ({"target": "truth"}, ValueError, "target='truth'"),
        ({"tag": ""}, ValueError, "tag=''"),
        ({"probe": torch.zeros(1, 3, 4, 4)}, TypeError, "probe is Tensor"),
        ({"no_such_option": 1}, TypeError, "no_such_option"),
    ],
)
def test_a_wrong_argument_fails_in_the_constructor(callback, options, error, message):
    with pytest.raises(error, match=message):
        callback(**options)


@every_callback
def test_arguments_are_stored_under_their_own_names(callback):
    options = {"every_n_epochs": 3, "max_images": 2, "tag": "mine", "history": 0, "target": 1, "log_at_start": False}
    made = callback(**options)
    assert {name: getattr(made, name) for name in options} == options


# 3. Nothing logged is lost.


class Stopping(pl.Callback):
    """Ends the run in the third epoch, one way or another."""

    def __init__(self, error):
        self.error = error

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 2:
            if self.error is not None:
                raise self.error
            trainer.should_stop = True


@every_callback
@pytest.mark.parametrize(
    ("error", "raised", "steps"),
    [
        (None, None, [0, 3, 7, 8]),
        (RuntimeError("loss exploded"), RuntimeError, [0, 3, 7]),
        (KeyboardInterrupt(), SystemExit, [0, 3, 7]),
    ],
    ids=["early stop", "exception", "Ctrl-C"],
)
def test_what_was_drawn_is_on_disk(callback, error, raised, steps, tmp_path):
    run = trainer(tmp_path, [quick(callback), Stopping(error)], max_epochs=5)
    if raised is None:
        run.fit(Lit(), loader(), loader())
    else:
        with pytest.raises(raised):
            run.fit(Lit(), loader(), loader())
    events = Events(tmp_path / "run/version_0")
    assert events.image_tags
    for tag in events.image_tags:
        assert events.image_steps(tag) == steps


# 4. It is where the user looks.


@every_callback
def test_pictures_and_scalars_of_a_moment_have_the_same_step(callback, tmp_path):
    trainer(tmp_path, [quick(callback)], max_epochs=3).fit(Lit(), loader(), loader())
    events = Events(tmp_path / "run/version_0")
    assert events.image_tags
    for tag in events.image_tags:
        assert events.image_steps(tag) == [0, *events.scalar_steps("loss_epoch")]
        assert events.image_steps(tag)[1:] == events.scalar_steps("validation")
    ours = [tag for tag in events.scalar_tags if "/" in tag]
    for tag in ours:
        # What is kept of the last picture is known at the second; the sanity check here is of half the data.
        first = 1 if tag.endswith(("/neighbours_kept", "/dead", "/sparsity")) else 0
        assert events.scalar_steps(tag) == [0, 3, 7, 11][first:]


@every_callback
@pytest.mark.parametrize(
    ("options", "trainer_options", "steps"),
    [
        ({"every_n_epochs": 2}, {"max_epochs": 5}, [0, 7, 15]),
        ({"log_at_start": False}, {"max_epochs": 2}, [3, 7]),
        ({"every_n_train_steps": 3}, {"max_epochs": 2}, [0, 2, 5]),
        ({"every_n_train_steps": 2}, {"max_epochs": 2, "accumulate_grad_batches": 2}, [0, 1, 3]),
        ({}, {"max_epochs": 2, "accumulate_grad_batches": 3}, [0, 1, 3]),
        ({}, {"max_steps": 6, "max_epochs": -1}, [0, 3, 5]),
        ({}, {"max_epochs": 2, "limit_val_batches": 0}, [0, 3, 7]),
        ({}, {"max_epochs": 2, "val_check_interval": 0.5}, [0, 3, 7]),
        ({}, {"max_epochs": 2, "check_val_every_n_epoch": 2, "num_sanity_val_steps": 0}, [0, 3, 7]),
    ],
    ids=[
        "every 2 epochs", "not at start", "every 3 steps", "every 2 steps, accumulating", "accumulating",
        "max_steps in mid-epoch", "no validation", "validation in mid-epoch", "validation every 2 epochs",
    ],
)  # fmt: skip
def test_schedule(callback, options, trainer_options, steps, tmp_path):
    trainer(tmp_path, [quick(callback, **options)], **trainer_options).fit(Lit(), loader(), loader())
    events = Events(tmp_path / "run/version_0")
    assert events.image_tags
    for tag in events.image_tags:
        assert events.image_steps(tag) == steps


@every_callback
def test_a_resumed_run_goes_on_where_it_was(callback, tmp_path):
    first, second = quick(callback), quick(callback)
    saving = ModelCheckpoint(tmp_path, filename="saved")
    data = loader(), loader()
    trainer(tmp_path, [first, saving], enable_checkpointing=True).fit(Lit(), *data)
    trainer(tmp_path, [second], max_epochs=4).fit(Lit(), *data, ckpt_path=str(tmp_path / "saved.ckpt"))
    before, after = Events(tmp_path / "run/version_0"), Events(tmp_path / "run/version_1")
    assert before.image_tags == after.image_tags
    for tag in after.image_tags:
        assert before.image_steps(tag) + after.image_steps(tag) == [0, 3, 7, 11, 15]
    for frames in second._memory.films.values():
        assert [frame.step for frame in frames] == [0, 3, 7, 11, 15]


@every_callback
@pytest.mark.parametrize(("verb", "prefix"), [("validate", ""), ("test", "test/")])
def test_evaluation_draws_once(callback, verb, prefix, tmp_path):
    run = trainer(tmp_path, [quick(callback, on_error="raise")])
    getattr(run, verb)(Lit(), loader(), verbose=False)
    events = Events(tmp_path / "run/version_0")
    assert events.image_tags
    for tag in events.image_tags:
        assert tag.startswith(prefix)
        assert events.image_steps(tag) == [0]


@every_callback
def test_tag_replaces_the_first_part(callback, tmp_path):
    data = loader(), loader()
    trainer(tmp_path, [quick(callback)], max_epochs=1).fit(Lit(), *data)
    trainer(tmp_path, [quick(callback, tag="mine")], max_epochs=1).fit(Lit(), *data)
    plain, renamed = Events(tmp_path / "run/version_0"), Events(tmp_path / "run/version_1")
    assert [f"mine/{tag.partition('/')[2]}" for tag in plain.image_tags] == renamed.image_tags


@every_callback
def test_two_of_a_kind_stand_side_by_side(callback, tmp_path):
    trainer(tmp_path, [quick(callback, tag="one"), quick(callback, tag="two")], max_epochs=1).fit(
        Lit(), loader(), loader()
    )
    tags = Events(tmp_path / "run/version_0").image_tags
    assert {tag.partition("/")[0] for tag in tags} == {"one", "two"}


@every_callback
def test_a_second_run_starts_anew(callback, tmp_path):
    """The same callback in another trainer: no steps, films or failures of the first run."""
    one = quick(callback)
    for _ in range(2):
        trainer(tmp_path, [one], max_epochs=1).fit(Lit(), loader(), loader())
    for version in (0, 1):
        events = Events(tmp_path / f"run/version_{version}")
        assert all(events.image_steps(tag) == [0, 3] for tag in events.image_tags)


@every_callback
def test_history_0_draws_no_film_strip(callback, tmp_path):
    trainer(tmp_path, [quick(callback, history=0)], max_epochs=1).fit(Lit(), loader(), loader())
    tags = Events(tmp_path / "run/version_0").image_tags
    assert tags
    assert not [tag for tag in tags if tag.endswith("/history")]


# 5. No hook, graph or tensor stays behind.


def test_nothing_stays_behind(tmp_path, monkeypatch):
    """A thousand draws of every callback, without the painting, whose share of the memory the next test looks at."""
    monkeypatch.setattr(Queue, "image", lambda *args: None)
    counts = {}

    class Counting(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step in (500, 1000):
                session_of(trainer).sink(trainer).flush()  # what waits in the queue does not stay
                gc.collect()
                counts[trainer.global_step] = sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())

    module = Lit()
    watching = quick_suite(every_n_train_steps=1, max_images=2, on_error="raise")
    options = {"max_steps": 1001, "max_epochs": -1, "log_every_n_steps": 10**6, "check_val_every_n_epoch": 10**6}
    data = loader(dataset(count=8), batch_size=8)  # little is read for each
    trainer(tmp_path, [*watching, Counting()], **options).fit(module, data, data)
    assert {one._memory.last_steps["fit"] for one in watching} == {1000}
    assert counts[1000] <= counts[500]
    for part in module.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert not part._backward_hooks


@every_callback
def test_the_queues_thread_leaves_torch_alone(callback, tmp_path, monkeypatch):
    """Torch, called there, would keep threads for it: with those of training more than there are processors, which then wait
    for each other in every operation."""
    called = set()

    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.add(str(func))
            return func(*args, **kwargs or {})

    def do(self, job, original=Worker._do):
        with Calls():
            original(self, job)

    monkeypatch.setattr(Worker, "_do", do)
    watching = quick(callback, max_images=2, on_error="raise")
    trainer(tmp_path, [watching], max_epochs=2).fit(Lit(), loader(), loader())
    assert called <= {"aten.detach.default"}  # which computes nothing


@every_callback
def test_the_film_and_the_queue_stay_bounded(callback, tmp_path):
    watching = quick(callback, every_n_train_steps=1, max_images=2, history=3)
    run = trainer(tmp_path, [watching], max_steps=40, max_epochs=-1)
    run.fit(Lit(), loader(), loader())
    assert watching._memory.films or callback in FILMLESS
    for frames in watching._memory.films.values():
        assert [frames[0].step, frames[-1].step, len(frames)] == [0, 39, 3]


# 6. Nothing outside is touched.

OUTSIDE = """
import json, os, sys
from tests.support import *
from lightning_viz import Probe
from pathlib import Path

touched, watching = [], False

def watch(event, args):
    if not watching:
        return
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        touched.append(os.fsdecode(args[0]))
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.symlink", "shutil.rmtree"):
        touched.append(os.fsdecode(args[0]))
    elif event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        touched.append(f"{event} {args}")

evil = ["../../escape", "/etc/passwd", "<script>alert(1)</script>", "a\\tb\\nc\\0d"]
probe = Probe(torch.rand(4, 3, 12, 12), torch.arange(4), evil)
sys.addaudithook(watch)  # it stays for good
found = {}
for callback in CALLBACKS:
    folder, touched = Path(sys.argv[1]) / callback.__name__, []
    run = trainer(folder, [callback(probe=probe, tag="../../../tag", on_error="raise")], max_epochs=1)
    run.logger.experiment
    watching = True
    run.fit(Lit(), loader(), loader())
    watching = False
    found[callback.__name__] = touched, Events(folder / "run/version_0").image_tags
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """By callback the folder of its run, the files and addresses that were touched, and the tags; from a process."""
    folder = tmp_path_factory.mktemp("outside")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OUTSIDE, str(folder)],
        capture_output=True, text=True, cwd=Path(__file__).parent.parent,
        env={**os.environ, "MPLCONFIGDIR": str(folder / "matplotlib")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: (folder / name, *one) for name, one in found.items()}


@every_callback
def test_only_the_loggers_folder_is_written(callback, written):
    folder, touched, tags = written[callback.__name__]
    inside = str(folder / "run/version_0")
    assert [path for path in touched if not os.path.abspath(path).startswith((inside, "/dev/null"))] == []
    assert touched  # among others the file of hyperparameters
    assert tags


# 7. An honest time axis.


@every_callback
def test_every_column_of_a_film_strip_has_one_scale(callback, tmp_path, monkeypatch):
    strips = []
    film = log_module.film

    def spy(frames, title, notes, painter, labels, pictures=None):
        scales = []

        class Recording:
            bar, signed, top, peaks = painter.bar, painter.signed, painter.top, staticmethod(painter.peaks)

            def __call__(self, values, scale=None):
                scales.append(scale)
                return painter(values, scale)

        picture = film(frames, title, notes, Recording(), labels, pictures)
        strips.append((len(frames), scales))
        return picture

    def spy_on_points(clouds, *args):
        windows = []
        monkeypatch.setattr(scatter_module, "_plot", lambda *given: (windows.append(given[2]), plot(*given))[1])
        picture = scatter_film(clouds, *args)
        strips.append((len(clouds), windows[:]))  # other pictures add to it later
        return picture

    plot, scatter_film = scatter_module._plot, log_module.scatter_film
    monkeypatch.setattr(log_module, "film", spy)
    monkeypatch.setattr(log_module, "scatter_film", spy_on_points)
    trainer(tmp_path, [callback()], max_epochs=3).fit(Lit(), loader(), loader())
    assert any(columns == 4 for columns, _ in strips) or callback in FILMLESS
    for columns, scales in strips:
        assert len(scales) == columns
        assert len(set(scales)) == 1
        assert scales[0] is not None


@every_callback
def test_every_tile_says_what_it_is_and_what_its_colours_mean(callback, tmp_path, monkeypatch):
    sheets = []
    sheet = log_module.sheet

    def spy(cells, title, notes=(), **options):
        sheets.append(([[line.text for line in cell.caption] for cell in cells], title, options))
        return sheet(cells, title, notes, **options)

    monkeypatch.setattr(log_module, "sheet", spy)
    module, watching = Lit(), callback()
    trainer(tmp_path, [watching]).validate(module, loader(), verbose=False)
    probe = watching._memory.probes["fit"]
    with torch.no_grad():
        chances = module.eval()(probe.images).softmax(dim=1)
    assert sheets
    for captions, title, options in sheets:
        assert re.search(r"step 0$", title)
        if issubclass(callback, TopPatchesLogger):  # its tiles are no pictures of the probe, either
            columns = sum(options["spans"])
            assert all(re.match(r"unit \d+$", lines[0]) for lines in captions[::columns])
            patches = [lines for place, lines in enumerate(captions) if place % columns]
            assert all(lines[0] in "0123" and re.match(r"-?[\d.e+-]+$", lines[1]) for lines in patches)
            continue
        if "spans" in options:  # rows of a picture and others
            captions, own_scale = captions[:: sum(options["spans"])], False
        else:
            assert all(options["ends"])
            own_scale = "over all tiles" not in options["ends"][1]
        for index, lines in enumerate(captions):
            assert not own_scale or re.match(
                r"max [\d.e+-]+$|≈ 0|zero everywhere|nowhere above|not finite", lines.pop()
            )
            if issubclass(callback, FilterLogger):  # its tiles are no pictures of the probe
                assert lines == [f"filter {index}"]
                continue
            if issubclass(callback, ClassSynthesisLogger):  # nor these
                assert lines[0] == str(index)
                assert re.match(r"[✓✗] \d\.\d\d$", lines[1])
                assert len(lines) == 2 or re.match(r"seen as \d$", lines[2])
                continue
            if issubclass(callback, DeepDreamLogger):
                assert re.match(r"×\d+\.\d\d$", lines.pop())
            true, predicted = int(probe.labels[index]), int(chances[index].argmax())
            mark = "✓" if true == predicted else "✗"
            assert lines == [str(true), f"{mark} {predicted} {chances[index].max():.2f}"]


def test_the_suite_is_every_callback():
    assert {type(one) for one in viz_callbacks(every_n_epochs=2)} == set(CALLBACKS)
    assert {one.every_n_epochs for one in viz_callbacks(every_n_epochs=2)} == {2}


def test_early_stopping_and_the_suite_get_along(tmp_path):
    run = trainer(
        tmp_path,
        [EarlyStopping("validation", patience=0, min_delta=10), *viz_callbacks(max_overhead=None)],
        max_epochs=9,
    )
    run.fit(Lit(), loader(), loader())
    assert run.current_epoch == 2
