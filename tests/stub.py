"""A callback that draws next to nothing, and a training that takes next to no time: for the rules of the runtime."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import nn
from torch.utils.data import DataLoader

from lightning_viz import DrawContext, Panel, Scalar, VizCallback
from lightning_viz.collect.accumulator import Accumulator
from lightning_viz.render.colour import SignedPixels
from lightning_viz.runtime.state import CallbackState

from .support import CLASSES, Events, Lit, dataset, loader, trainer

BATCHES = 4  # in an epoch
TAGS = ["stub/images", "stub/images/history"]


@dataclass
class StubState(CallbackState):
    """How often it has drawn, also before a resume."""

    draws: int = 0


class Stub(VizCallback):
    """Draws the probe, tiny, and a number; keeps its steps, the last context, and what its accumulators found.

    Args:
        error: raised when it draws, or by a function of the context that may raise.
        accumulators: makes what it records in a validation loop.
        passes: that it claims from the budget.
        common: the options of every callback.
    """

    State = StubState
    SECONDS = 0.0

    def __init__(
        self,
        error: BaseException | Callable[[DrawContext], None] | None = None,
        accumulators: Callable[[], Sequence[Accumulator]] = list,
        passes: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.error, self.make_accumulators, self.passes = error, accumulators, passes
        self.steps: list[int] = []
        self.found: list[list[Any]] = []  #: by drawing
        self.ctx: DrawContext | None = None

    def tag_fields(self) -> dict[str, Any]:
        return {"kind": type(self).__name__}

    def estimated_passes(self, network: nn.Module, images: Any) -> float:
        return self.passes

    def accumulators(self, data: Any, state: Any) -> Sequence[Accumulator]:
        return self.make_accumulators()

    def draw(self, ctx: DrawContext) -> Iterator[Panel | Scalar]:
        self.steps.append(ctx.step)
        self.ctx = ctx
        self.found.append([one.compute() for one in ctx.fresh(object)])
        ctx.state(StubState).draws += 1
        if isinstance(self.error, BaseException):
            raise self.error
        if self.error is not None:
            self.error(ctx)
        yield Panel("stub/images", ctx.probe.images, SignedPixels(), size=12)
        yield Scalar("stub/draws", ctx.state(StubState).draws)


def tiny_network(channels: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)
    )


def tiny() -> Lit:
    """A module of a few weights."""
    return Lit(tiny_network())


def data(size: int = 12) -> tuple[DataLoader, DataLoader]:
    """Training and validation data, four batches of each."""
    few = dataset(2 * BATCHES, size=size)
    return loader(few, batch_size=2), loader(few, batch_size=2)


def fit(folder: Path, *callbacks: pl.Callback, module: Any = None, given: Any = None, **options: Any) -> Events:
    """Fit for an epoch, or as the trainer's options say; what it logged."""
    run = trainer(folder, callbacks, **{"max_epochs": 1, **options})
    run.fit(tiny() if module is None else module, *(data() if given is None else given))
    return Events(folder / f"run/version_{run.logger.version}")
