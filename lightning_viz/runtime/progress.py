"""A long drawing is announced with an estimate, and shows how far it is beside the trainer's progress bar."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.batching import FORWARD

from .budget import Budget
from .context import DrawContext, VizCallbackProtocol
from .lightning_compat import is_a, pl

LONG = 10.0  # seconds, from which a drawing is announced
SHORT = 10  # passes for each picture of the probe, up to which no pass is timed beforehand
TIMED = 8  # images in a timed pass
WAIT = 2.0  # seconds, after which a drawing is estimated by what it has done
REFRESH = 0.1  # seconds between two refreshes of Rich's bars


@dataclass(eq=False)
class Progress:
    """Of the drawings of one callback: estimates the next by the last, or by a timed pass; counts images by a hook."""

    callback: VizCallbackProtocol
    warn: Callable[[str], None]
    passes: float | None = None  #: of the last drawing, counted as in `estimated_passes`
    seconds: float = 0.0  #: that it took
    _announced: bool = False

    @contextmanager
    def following(
        self, trainer: pl.Trainer, name: str, ctx: DrawContext, passes: float, budget: Budget
    ) -> Iterator[None]:
        """Around a drawing that is estimated to take so many passes. Counts what it sends through the network."""
        if not self.callback.NEEDS_IMAGES:  # it reads weights
            yield
            return
        images = ctx.probe.images
        expected = self.seconds
        if self.passes is None and passes > SHORT * len(images):
            if budget.pass_seconds is None:
                budget.pass_seconds = time_pass(ctx.network, images[: min(TIMED, ctx.auto_batch.limit or TIMED)])
            expected = passes * budget.pass_seconds
        drawing = _Drawing(passes, lambda seconds: self._announce(trainer, name, passes, seconds))
        if expected > LONG:
            drawing.announce(expected)
        area = images.shape[-2:].numel()
        # Before each pass: one that ends at a layer, see `FeatureMaps`, has no end.
        hook = ctx.network.register_forward_pre_hook(
            lambda _, args, kwargs: drawing.count(count_passes(args, kwargs, area)), with_kwargs=True
        )
        try:
            yield
        finally:
            hook.remove()
            drawing.close()
        self.passes, self.seconds = drawing.done, drawing.elapsed

    def _announce(self, trainer: pl.Trainer, name: str, passes: float, seconds: float) -> "Bar | None":
        if not self._announced:
            self._announced = True
            cheaper = f"{self.callback.CHEAPER}; or " if self.callback.CHEAPER else ""
            self.warn(
                f"lightning_viz: {name} is estimated to draw for {seconds:.0f} s now; training waits. To make it cheaper: "
                f"{cheaper}draw less often (every_n_epochs=, log_at_start=False), or within a share of the fit's time (max_overhead=)"
            )
        return open_bar(trainer, name, passes)


class _Drawing:
    """One drawing: the passes that it has made, and its bar if it is long."""

    def __init__(self, total: float, open_bar: Callable[[float], "Bar | None"]) -> None:
        self.total, self.done = total, 0.0
        self._started = time.perf_counter()
        self._open_bar = open_bar
        #: When the first pass was done, which also warms up, and its images.
        self._first: tuple[float, float] | None = None
        self._is_long = False
        self._bar: Bar | None = None

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self._started

    def announce(self, seconds: float) -> None:
        self._is_long = True
        self._bar = self._open_bar(seconds)

    def count(self, passes: float) -> None:
        """With a forward pass of the network."""
        self.done += passes
        if self._first is None:
            self._first = self.elapsed, self.done
        elif not self._is_long and (seconds := self._expected()) > LONG:
            self.announce(seconds)
        if self._bar is not None:
            self._bar.update(min(self.done, self.total or self.done))

    def _expected(self) -> float:
        """Seconds that the whole drawing takes, by what it has done; 0 where that is too little to tell."""
        then, before = self._first or (0.0, 0.0)
        if (elapsed := self.elapsed - then) < WAIT or self.done <= before:
            return 0.0
        return elapsed * max(1.0, (self.total - before) / (self.done - before))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def count_passes(args: Sequence[Any], kwargs: Mapping[str, Any], area: int) -> float:
    """What a call of the network counts, whose pictures have this many pixels; smaller ones count by their area."""
    images = next((one for one in [*args, *kwargs.values()] if isinstance(one, Tensor) and one.ndim), None)
    if images is None:
        return 0.0
    size = images.shape[-2:].numel() / area if images.ndim == 4 else 1.0
    return len(images) * size * (1.0 if torch.is_grad_enabled() else FORWARD)


@torch.no_grad()
def time_pass(network: nn.Module, images: Tensor, clock: Callable[[], float] | None = None) -> float:
    """Seconds that an image takes forward and backward, estimated by two forward passes; 0 where the network fails."""
    seconds, clock = [], clock or time.perf_counter
    with suppress(Exception):  # the drawing itself reports it
        for _ in range(2):  # the first warms up
            start = clock()
            network(images.clone())
            if images.device.type != "cpu":
                torch.accelerator.synchronize(images.device)
            seconds.append(clock() - start)
    return min(seconds, default=0.0) / FORWARD / len(images)


class Bar(Protocol):
    """A progress bar beside the trainer's."""

    def update(self, done: float) -> None: ...
    def close(self) -> None: ...


def open_bar(trainer: pl.Trainer, name: str, total: float) -> Bar | None:
    """A bar of the kind of the trainer's; None where that is off, or of another kind."""
    shown: Any = trainer.progress_bar_callback
    if not getattr(shown, "is_enabled", False):
        return None
    if is_a("TQDMProgressBar", shown):
        return _TqdmBar(name, total)
    if is_a("RichProgressBar", shown) and getattr(shown, "progress", None) is not None:
        return _RichBar(shown.progress, name, total)
    return None


class _TqdmBar:
    """A line below the trainer's bars, and gone when the drawing is over."""

    def __init__(self, name: str, total: float) -> None:
        from tqdm.auto import tqdm  # Lightning needs it, too

        shape = "{l_bar}{bar}| [{elapsed}<{remaining}]"
        self._bar = tqdm(
            desc=name, total=total or None, leave=False, dynamic_ncols=True, file=sys.stdout, bar_format=shape
        )

    def update(self, done: float) -> None:
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _RichBar:
    """A line in the trainer's display, and gone when the drawing is over."""

    def __init__(self, progress: Any, name: str, total: float) -> None:
        from rich.markup import escape

        self._progress, self._shown = progress, -math.inf
        self._task = progress.add_task(escape(name), total=round(total) or math.inf)
        self._progress.refresh()

    def update(self, done: float) -> None:
        self._progress.update(self._task, completed=done)
        if time.perf_counter() - self._shown > REFRESH:
            self._shown = time.perf_counter()
            self._progress.refresh()

    def close(self) -> None:
        self._progress.remove_task(self._task)
        self._progress.refresh()
