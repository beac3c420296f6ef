"""From what a callback yields to TensorBoard: sheet, film strip, scalar, each under its tag and step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor, nn

from lightning_viz.render import Caption, Cell, Frame, Line, Pixels, Values, film, fit_tile, peak, sheet, thin
from lightning_viz.sinks import TensorBoardSink

from .memory import Memory
from .network import truths, verdicts
from .panel import Panel, Scalar
from .probe import Probe


@dataclass(frozen=True, eq=False)
class Log:
    """One drawing of one callback at one step. Tensors are copied here, pictures are painted by the sink's thread."""

    sink: TensorBoardSink
    memory: Memory
    stage: str
    step: int
    prefix: str | None
    history: int
    network: nn.Module
    probe: Probe

    def send(self, item: Panel | Scalar) -> None:
        tag = self._tag(item.tag)
        if isinstance(item, Scalar):
            self.sink.scalar(tag, self.step, item.value)
            return
        maps = [_copied(one) for one in ([item.values] if isinstance(item.values, Tensor) else item.values)]
        items = range(len(self.probe)) if item.items is None else item.items
        labels = [self._truths[one] for one in items] if item.labels is None else item.labels
        captions = [self._verdicts[one] for one in items] if item.captions is None else item.captions
        title = f"{tag} · step {self.step}"
        failed = self.memory.failures.append
        self.sink.image(tag, self.step, lambda: paint_sheet(item, maps, labels, captions, title), failed)
        values = maps[0]
        rows = list(range(len(values)) if item.film is None else item.film)
        if self.history and rows and not item.columns and self.stage == "fit":
            frame = Frame.of(self.step, values[rows], [captions[row] for row in rows])
            frames = self.memory.films[tag] = thin([*self.memory.films.get(tag, ()), frame], self.history)
            tag = f"{tag}/history"
            self.sink.image(tag, self.step, lambda: paint_film(item, frames, rows, labels, tag), failed)

    def _tag(self, tag: str) -> str:
        first, _, rest = tag.partition("/")
        tag = f"{self.prefix or first}/{rest}"
        return tag if self.stage == "fit" else f"{self.stage}/{tag}"

    @cached_property
    def _truths(self) -> Sequence[Caption]:
        return truths(self.probe)

    @cached_property
    def _verdicts(self) -> Sequence[Caption]:
        return verdicts(self.network, self.probe)


def _copied(values: Tensor) -> Values:
    """Weights go on changing while they are painted."""
    return values.detach().float().cpu().numpy().copy()


def paint_sheet(
    panel: Panel, maps: Sequence[Values], labels: Sequence[Caption], captions: Sequence[Caption], title: str
) -> Pixels:
    """All tiles of a panel, each beside its picture, with label, caption and, if rescaled by itself, its maximum.

    `maps` are one for each column of the panel, or a single one.
    """
    painter = panel.painter
    largest = max(float(peak(each.reshape(1, -1))[0]) for each in maps)
    scale = float(painter.peaks(maps[0].reshape(1, -1))[0]) if panel.common_scale else None
    tiles = [painter(each, scale) for each in maps]
    cells = []
    for index in range(len(maps[0])):
        pictures = [*([] if panel.beside is None else [panel.beside[index]]), *(each[index] for each in tiles)]
        words = " | ".join(_describe(each[index], painter.signed, largest) for each in maps)
        extra = () if panel.common_scale else (Line(words),)
        fitted = tuple(fit_tile(picture, panel.size) for picture in pictures)
        cells.append(Cell(fitted, (*labels[index], *captions[index], *extra)))
    if scale is not None:
        ends = (f"{-scale:.2g}" if painter.signed else "0", f"{scale:.2g}, the {painter.top} over all tiles")
    else:
        ends = (f"-{painter.top}" if painter.signed else "0", f"{painter.top} of each tile")
    order = ["left to right: " + ", ".join([*(["input"] if panel.beside is not None else []), *panel.columns])]
    return sheet(cells, title, [*(order if panel.columns else []), *panel.notes], painter=painter, ends=ends)


def paint_film(
    panel: Panel, frames: Sequence[Frame], rows: Sequence[int], labels: Sequence[Caption], title: str
) -> Pixels:
    """The strip of these frames; maps keep their painter's pictures, cut to the rows shown."""
    beside = None if panel.beside is None else panel.beside[rows]
    return film(frames, title, panel.notes, panel.painter.of(rows), [labels[row] for row in rows], beside)


def _describe(values: Values, signed: bool, largest: float) -> str:
    """The maximum that a tile's colours stand for; what is no picture says so."""
    top = float(peak((values if signed else np.maximum(values, 0))[None])[0])
    if not np.isfinite(values).all():
        return "not finite (magenta)"
    if top == 0:
        return "zero everywhere" if not values.any() else "nowhere above zero"
    return f"max {top:.2g}" if top > 1e-4 * largest else f"≈ 0 ({top:.0e})"
