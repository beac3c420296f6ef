"""A long drawing is announced, shows its progress and can be interrupted. By a clock of its own."""

import re
from functools import partial
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

import lightning_viz.runtime.progress as progress_module
from lightning_viz import ClassSynthesisLogger, Probe, Scalar
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.runtime.progress import count_passes, open_bar, time_pass
from lightning_viz.runtime.session import session_of

from ..cases import CASES
from ..stub import Stub, data, tiny, tiny_network
from ..support import Events, Lit, dataset, trainer


class Clock:
    """Slots, since the guard restores what is in attributes."""

    __slots__ = ("now",)

    def perf_counter(self):
        return self.now


class Sending(Stub):
    """Draws no picture, for whose caption the probe would be sent through."""

    def __init__(self, *args, **options):
        super().__init__(*args, probe=Probe(*dataset(8).tensors), **options)

    def draw(self, ctx):
        yield from (one for one in super().draw(ctx) if isinstance(one, Scalar))


class Slow(nn.Module):
    """An image of several takes this many seconds forward, by the clock."""

    def __init__(self, clock, seconds=0.1):
        super().__init__()
        self.inner, self.clock, self.seconds = tiny_network(), clock, seconds

    def forward(self, images):
        if not self.training and len(images) > 1:
            self.clock.now += self.seconds * len(images)
        return self.inner(images)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    clock.now = 100.0
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


@pytest.fixture
def bars(monkeypatch):
    """What was shown: for each bar its name, its total, and how far it was."""
    shown = []

    class Bar:
        def __init__(self, name, total):
            self.name, self.total, self.done, self.closed = name, total, [], False
            shown.append(self)

        def update(self, done):
            self.done.append(done)

        def close(self):
            self.closed = True

    monkeypatch.setattr(progress_module, "open_bar", lambda trainer, name, total: Bar(name, total))
    return shown


def passes(count, size=2):
    """A drawing of so many forward passes of two images."""

    def draw(ctx):
        with torch.no_grad():
            for _ in range(count):
                ctx.network(ctx.probe.images[:size])

    return draw


DECIDED = 4  # images, of which the network's output tells what it means


def fit(folder, clock, *callbacks, seconds=0.1, **options):
    run = trainer(folder, callbacks, **{"max_steps": 1, "limit_val_batches": 0, **options})
    run.fit(Lit(Slow(clock, seconds)), *data())
    return run


def test_what_takes_long_is_announced_once_before_it_is_drawn(clock, bars, tmp_path, our_warnings):
    """100 passes of 0.3 s. Timed with two passes of eight images."""
    said = []
    stub = Sending(lambda ctx: said.append((len(our_warnings()), clock.now)), passes=100, tag="slow")
    fit(tmp_path, clock, stub, max_steps=-1, max_epochs=2)
    assert said[0] == (1, pytest.approx(101.6 + DECIDED * 0.1))
    (warning,) = our_warnings()
    assert warning.startswith("lightning_viz: slow is estimated to draw for 30 s now")
    assert "max_images=" in warning
    assert "max_overhead=" in warning


@pytest.mark.parametrize("count", [30, 79, 0])
def test_what_is_short_is_not(count, clock, bars, tmp_path, our_warnings):
    """30 passes of 0.3 s are not long; up to ten for each picture none is timed."""
    stub = Sending(passes=count)
    fit(tmp_path, clock, stub)
    assert our_warnings() == bars == []
    assert clock.now == pytest.approx(100 + DECIDED * 0.1)  # nothing was timed


def test_a_pass_is_timed_once_for_all(clock, bars, tmp_path):
    fit(tmp_path, clock, *(Sending(passes=1000, tag=tag) for tag in ("one", "two", "three")), seconds=0.01)
    assert clock.now == pytest.approx(100.16 + DECIDED * 0.01)
    assert [bar.name for bar in bars] == ["one", "two", "three"]


def test_what_was_not_expected_is_announced_when_it_is_seen(clock, bars, tmp_path, our_warnings):
    """Claims little for each image, which takes a second: 24 s in all."""
    fit(tmp_path, clock, Sending(passes(12), passes=8), seconds=1.0)
    (warning,) = our_warnings()
    assert "is estimated to draw for 22 s" in warning
    (bar,) = bars
    assert bar.done == pytest.approx([2 / 3 * n for n in range(2, 13)])


def test_what_claims_too_little_is_announced_when_it_has_taken_long(clock, bars, tmp_path, our_warnings):
    fit(tmp_path, clock, Sending(passes(12)), seconds=1.0)
    assert "is estimated to draw for 12 s" in our_warnings()[0]
    assert bars[0].total == 0


def test_the_bar_follows_the_work(clock, bars, tmp_path):
    fit(tmp_path, clock, Sending(passes(150), passes=100))
    (bar,) = bars
    assert (bar.name, bar.total, bar.closed) == ("Sending", 100, True)
    assert bar.done == pytest.approx([2 / 3 * n for n in range(1, 151)])


def test_the_next_drawing_is_estimated_by_the_last(clock, bars, tmp_path, our_warnings):
    """It claims nothing, and makes 90 passes of 0.3 s; later ones have a bar from the start, and are not announced."""
    run = fit(tmp_path, clock, Sending(passes(135), every_n_train_steps=1), max_steps=3)
    assert len(our_warnings()) == 1
    (runner,) = session_of(run).runners(run)
    assert runner.progress.passes == pytest.approx(90)
    assert runner.progress.seconds == pytest.approx(27)


@pytest.mark.parametrize("size", [6, 12])
def test_passes_are_counted_as_they_are_estimated(size):
    images = torch.rand(4, 3, size, size)
    assert count_passes([images], {}, 144) == 4 * size**2 / 144
    with torch.no_grad():
        assert count_passes([], {"x": images}, 144) == pytest.approx(4 / 3 * size**2 / 144)
    assert count_passes(["text", None], {}, 144) == 0


def test_a_network_that_fails_is_not_timed():
    assert time_pass(nn.Linear(2, 2), torch.rand(2, 3)) == 0


def test_an_interrupt_in_the_middle(clock, bars, tmp_path):
    """What was drawn before is on disk, the bar is closed, and the network is as it was."""
    network, flags = Slow(clock), []

    class Interrupted(Stub):
        def draw(self, ctx):
            yield from super().draw(ctx)
            ctx.network.changed = True
            raise KeyboardInterrupt

    class Watching(pl.Callback):
        def on_exception(self, trainer, pl_module, exception):
            flags.extend(part.training for part in pl_module.modules())

    module = Lit(network)
    run = trainer(tmp_path, [Interrupted(passes=100), Watching()])
    with pytest.raises(SystemExit):
        run.fit(module, *data())
    assert flags
    assert all(flags)
    assert not hasattr(module, "changed")
    assert not module._forward_hooks
    assert [bar.closed for bar in bars] == [True]
    assert Events(tmp_path / "run/version_0").image_steps("stub/images") == [0]


def test_every_callback_names_arguments_that_it_has():
    for case in CASES:
        callback = case.make()
        named = re.findall(r"(\w+)=", callback.CHEAPER)
        assert named
        assert all(hasattr(callback, name) for name in named), case.name


def test_a_real_callback_is_announced(clock, tmp_path, our_warnings):
    fit(
        tmp_path,
        clock,
        ClassSynthesisLogger(steps=32, classes=[0, 1, 2, 3], history=0, probe=Probe(*dataset(8).tensors)),
    )
    (warning,) = our_warnings()
    assert warning.startswith("lightning_viz: ClassSynthesisLogger is estimated to draw for 38 s now")
    assert "steps=" in warning


# The bars.


def shown(bar, folder, **options):
    """What a fit with this bar of Lightning's writes."""
    run = pl.Trainer(
        accelerator="cpu",
        logger=TensorBoardLogger(folder, name="run"),
        max_epochs=1,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **({"enable_progress_bar": False} if bar is None else {}),
        callbacks=[Stub(passes(3), passes=1e9, tag="[a] slow one"), *([] if bar is None else [bar])],
    )
    run.fit(tiny(), *data())
    return run


@pytest.mark.parametrize("make", [TQDMProgressBar, partial(RichProgressBar, console_kwargs={"force_terminal": True})])
def test_a_bar_beside_that_of_the_trainer(make, tmp_path, capsys):
    shown(make(), tmp_path)
    written = capsys.readouterr().out
    assert "[a] slow one" in written
    assert "Epoch 0" in written


@pytest.mark.parametrize(
    "make", [lambda: None, lambda: TQDMProgressBar(refresh_rate=0), lambda: RichProgressBar(refresh_rate=0)]
)
def test_none_where_the_trainers_is_off(make, tmp_path, capsys, our_warnings):
    shown(make(), tmp_path)
    assert "slow one" not in capsys.readouterr().out
    assert len(our_warnings()) == 1


def test_none_beside_a_bar_of_another_kind():
    trainer = SimpleNamespace(progress_bar_callback=SimpleNamespace(is_enabled=True))
    assert open_bar(trainer, "one", 10) is None


def test_passes_up_to_a_layer_count_too(tmp_path):
    """They end early; so they are counted when they begin."""

    def up_to_a_layer(ctx):
        with torch.no_grad():
            FeatureMaps(ctx.network, "network.1")(ctx.probe.images)

    stub = Sending(up_to_a_layer, passes=8)
    trainer(tmp_path, [stub], max_steps=1, limit_val_batches=0).fit(tiny(), *data())
    assert stub.runner.progress.passes == pytest.approx((1 + 8) / 3)  # one image to count how often the layer runs


@pytest.mark.parametrize(("read", "announced"), [(0, 1), (500, 0)])
def test_only_the_samples_that_there_are_count(read, announced, clock, bars, tmp_path, our_warnings):
    """Eight, where as many as 500 may be read: 600 forward passes of 0.1 s are announced, 108 are not."""
    stub = Sending(passes=600 / 3)
    stub.SAMPLES_READ = read
    fit(tmp_path, clock, stub, limit_val_batches=1.0)
    assert len(our_warnings()) == announced
