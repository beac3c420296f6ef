"""From what a callback yields to TensorBoard: sheet, film strip, scalar, each under its tag and step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor, nn

from lightning_viz.collect.samples import shrunk
from lightning_viz.data.probe import Probe
from lightning_viz.render import (
    Caption,
    Cell,
    Cloud,
    Frame,
    Line,
    Pixels,
    Values,
    film,
    fit_tile,
    peak,
    scatter,
    scatter_film,
    sheet,
    thin,
)
from lightning_viz.render.film import TILE
from lightning_viz.sinks import Queue, Snapshot

from .artifacts import Embedding, Film, Item, Panel, Scalar, Scatter, Tiles
from .network import truths, verdicts
from .state import Memory
from .words import plain_tag


@dataclass(frozen=True, eq=False)
class Log:
    """One drawing of one callback at one step. Tensors are copied here, pictures are painted by the sink's thread."""

    sink: Queue
    memory: Memory
    stage: str
    step: int
    prefix: str | None
    history: int
    network: nn.Module
    probe: Probe

    def send(self, item: Item) -> None:
        match item:
            case Panel():
                self._panel(item)
            case Tiles():
                self._tiles(item)
            case Film():
                self._film(item)
            case Scatter():
                self._scatter(item)
            case Embedding():
                self._embedding(item)
            case Scalar():
                self.sink.scalar(self._tag(item.tag), self.step, item.value)

    def _panel(self, item: Panel) -> None:
        tag = self._tag(item.tag)
        maps = [_copied(one) for one in ([item.values] if isinstance(item.values, Tensor) else item.values)]
        items = range(len(self.probe)) if item.items is None else item.items
        labels = [self._truths[one] for one in items] if item.labels is None else item.labels
        captions = [self._verdicts[one] for one in items] if item.captions is None else item.captions
        self._paint(tag, lambda title: paint_sheet(item, maps, labels, captions, title))
        values = item.values if isinstance(item.values, Tensor) else item.values[0]
        rows = list(range(len(values)) if item.film is None else item.film)
        if self.history and rows and not item.columns and self.stage == "fit":
            values = shrunk(values if item.film is None else values[rows], TILE)
            frames = self._filmed(tag, Frame.of(self.step, _copied(values), [captions[row] for row in rows]))
            self._paint(f"{tag}/history", lambda title: paint_film(item, frames, rows, labels, title))

    def _tiles(self, item: Tiles) -> None:
        tag = self._tag(item.tag)
        options: Any = {name: getattr(item, name) for name in ("headings", "spans", "painter", "ends")}
        self._paint(tag, lambda title: sheet(item.cells(), title, item.notes, **options))

    def _film(self, item: Film) -> None:
        if self.history and self.stage == "fit":
            tag = self._tag(item.tag)
            frames = self._filmed(tag, Frame.of(self.step, _copied(shrunk(item.values, TILE)), item.captions))
            rows = item.painter, item.labels, item.pictures
            self._paint(f"{tag}/history", lambda title: film(frames, title, item.notes, *rows))

    def _scatter(self, item: Scatter) -> None:
        tag, points = self._tag(item.tag), _copied(item.points)
        cloud = Cloud(self.step, points, item.shares, item.correct)
        self._paint(tag, lambda title: scatter(cloud, title, item.notes, item.labels, item.name))
        if self.history and self.stage == "fit":
            if item.anew:
                self.memory.films.pop(tag, None)
            frames = self._filmed(tag, Frame.of(self.step, _copied(item.film)[None], []))
            clouds = [Cloud(frame.step, frame.raw[0]) for frame in frames]
            notes = [*item.notes, *([f"{len(item.film)} of them here"] if len(item.film) < len(points) else [])]
            self._paint(f"{tag}/history", lambda title: scatter_film(clouds, title, notes, item.film_labels, item.name))

    def _embedding(self, item: Embedding) -> None:
        name = "-".join(
            ([self.stage] if self.stage != "fit" else []) + [item.name] + ([self.prefix] if self.prefix else [])
        )
        points = {title: _copied(values) for title, values in item.points.items()}
        step = max(self.step, 0)
        self.sink.embedding(
            name,
            lambda: Snapshot(step, points, item.table, item.thumbnails()),
            item.max_snapshots,
            self.memory.failures.append,
        )

    def _filmed(self, tag: str, frame: Frame) -> tuple[Frame, ...]:
        frames = self.memory.films[tag] = thin([*self.memory.films.get(tag, ()), frame], self.history)
        return frames

    def _paint(self, tag: str, paint: Callable[[str], Pixels]) -> None:
        title = tag if tag.endswith("/history") else f"{tag} · step {self.step}"
        self.sink.image(tag, self.step, lambda: paint(title), self.memory.failures.append)

    def _tag(self, tag: str) -> str:
        first, _, rest = tag.partition("/")
        tag = f"{self.prefix or first}/{rest}"
        return plain_tag(tag if self.stage == "fit" else f"{self.stage}/{tag}")

    @cached_property
    def _truths(self) -> Sequence[Caption]:
        return truths(self.probe)

    @cached_property
    def _verdicts(self) -> Sequence[Caption]:
        return verdicts(self.network, self.probe, self.memory.portions)


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
