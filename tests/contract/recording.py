"""One recorded training of a callback, and one recorded evaluation: everything that the contract looks at."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from lightning_viz import VizCallback
from lightning_viz.render import map_sheet
from lightning_viz.runtime import writer
from lightning_viz.sinks.worker_thread import WorkerThread

from ..careful import FrozenNorm, loaders, train_carefully
from ..cases import Case, Expected, Sheet
from ..support import Events, Lit, loader, small_network, trainer

scatter = importlib.import_module("lightning_viz.render.scatter")  # a function may have the same name

EPOCHS = 3
STEPS = [0, 2, 5, 8]  #: at which it draws: five batches of an epoch, two to a step
HISTORY = 3

#: How every recorded training is made: five batches from two workers, two to a step.
WATCHED: dict[str, Any] = {"accumulate_grad_batches": 2, "max_epochs": EPOCHS}


class Watched(FrozenNorm):
    """A BatchNorm that stays in evaluation mode, frozen weights in the middle, random numbers and counters everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.network[4].requires_grad_(False)


def train(folder: Path, callbacks: Any = (), workers: int = 2, **options: Any) -> dict[str, Any]:
    """All that a training left, bit for bit. `workers` load the training data, half as many the validation data."""

    def data() -> tuple[DataLoader, DataLoader]:
        return loaders(num_workers=workers)[0], loaders(num_workers=workers // 2)[1]

    return train_carefully(folder, callbacks, Watched, data, **{**WATCHED, **options})


@dataclass
class Record:
    """What was seen of a run of one callback."""

    folder: Path
    callback: VizCallback
    modes: set[tuple[bool, ...]] = field(default_factory=set)  #: any module in training; gradients; inference
    sheets: list[Sheet] = field(default_factory=list)
    strips: list[tuple[int, list[Any]]] = field(default_factory=list)  #: columns, and the scale of each
    torch_calls: set[str] = field(default_factory=set)  #: in the queue's thread
    warnings: list[str] = field(default_factory=list)
    left: dict[str, Any] = field(default_factory=dict)  #: after a training

    @cached_property
    def events(self) -> Events:
        """What is on the disk once the run is over."""
        return Events(self.folder / "run/version_0")


def record_training(case: Case, folder: Path) -> Record:
    """Three epochs with validation, accumulated gradients and two workers."""
    record = Record(folder, case.make(history=HISTORY, on_error="raise"))
    with watching(record):
        record.left = train(folder, [record.callback])
    return record


def record_evaluation(case: Case, folder: Path) -> tuple[Record, Record, Expected | None]:
    """`validate` and `test` of a network that gives the same output each time, each with a tag of its own."""
    module = Lit(nn.Sequential(nn.Identity(), *small_network()))
    records = []
    for verb in ("validate", "test"):
        record = Record(folder / verb, case.make(tag="mine", on_error="raise"))
        with watching(record):
            getattr(trainer(record.folder, [record.callback]), verb)(module, loader(), verbose=False)
        records.append(record)
    probe = records[0].callback.runner.probes.get("validation")  # none for a callback that needs no images
    return *records, None if probe is None else Expected.of(module, probe)


@contextmanager
def watching(record: Record) -> Iterator[None]:
    """Records what happens inside, and changes nothing."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _watch_draw(record, patch)
        _watch_sheets(record, patch)
        _watch_strips(record, patch)
        _watch_thread(record, patch)
        yield
    record.warnings = [text for one in caught if "lightning_viz" in (text := str(one.message))]


def _watch_draw(record: Record, patch: pytest.MonkeyPatch) -> None:
    draw = type(record.callback).draw

    def spy(self, ctx):
        for artifact in draw(self, ctx):
            training = any(module.training for module in ctx.network.modules())
            record.modes.add((training, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
            yield artifact

    patch.setattr(type(record.callback), "draw", spy)


def _watch_sheets(record: Record, patch: pytest.MonkeyPatch) -> None:
    render_sheet = writer.render_sheet

    def spy(cells, title, notes=(), **options):
        record.sheets.append(Sheet([[line.text for line in cell.caption] for cell in cells], title, options))
        return render_sheet(cells, title, notes, **options)

    for module in (writer, map_sheet):
        patch.setattr(module, "render_sheet", spy)


def _watch_strips(record: Record, patch: pytest.MonkeyPatch) -> None:
    strip, film, plot = writer.render_film_strip, writer.render_scatter_film, scatter._plot
    windows: list[Any] = []

    def spy(frames, title, notes, painter, labels, pictures=None):
        scales: list[float | None] = []

        class Recording:
            bar, signed, scale_name = painter.bar, painter.signed, painter.scale_name
            scales, select = staticmethod(painter.scales), staticmethod(painter.select)

            def __call__(self, values, scale=None):
                scales.append(scale)
                return painter(values, scale)

        picture = strip(frames, title, notes, Recording(), labels, pictures)
        record.strips.append((len(frames), scales))
        return picture

    def spy_on_plot(frame, markers, window, side):
        windows.append(window)
        return plot(frame, markers, window, side)

    def spy_on_film(frames, *args):
        windows.clear()
        picture = film(frames, *args)
        record.strips.append((len(frames), windows[:]))
        return picture

    for module in (writer, map_sheet):
        patch.setattr(module, "render_film_strip", spy)
    patch.setattr(writer, "render_scatter_film", spy_on_film)
    patch.setattr(scatter, "_plot", spy_on_plot)


def _watch_thread(record: Record, patch: pytest.MonkeyPatch) -> None:
    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            record.torch_calls.add(str(func))
            return func(*args, **kwargs or {})

    def do(self, job, original=WorkerThread._do):
        with Calls():
            original(self, job)

    patch.setattr(WorkerThread, "_do", do)
