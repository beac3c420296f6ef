"""The film strip: what each picture looked like over training, on one colour scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .colour import Painter, Pixels, Values, peak
from .sheet import Cell, fit_tile, sheet
from .text import Caption

TILE = 128  # pixels: what a class name and a probability need


@dataclass(frozen=True, eq=False)
class Frame:
    """One column: the values at a step, as parts of their own largest magnitude, `peak`."""

    step: int
    values: NDArray[np.float16]  #: (N, h, w) or (N, C, h, w), -1 to 1
    peak: float
    captions: tuple[Caption, ...]  #: one per row

    @classmethod
    def of(cls, step: int, values: Values, captions: Sequence[Caption]) -> "Frame":
        """A frame of raw values; maps and pictures need no more than TILE pixels a side."""
        top = float(peak(values).max(initial=0))
        return cls(step, (values / (top or 1)).astype(np.float16), top, tuple(captions))

    @property
    def raw(self) -> Values:
        return self.values.astype(np.float32) * self.peak


class _Stepped(Protocol):
    @property
    def step(self) -> int: ...


AnyFrame = TypeVar("AnyFrame", bound=_Stepped)


def thin(frames: Sequence[AnyFrame], columns: int) -> tuple[AnyFrame, ...]:
    """At most `columns` frames that still span the whole run: the first and the last stay, the rest spread evenly."""
    kept = list(frames)
    while len(kept) > max(columns, 2):
        gaps = [after.step - before.step for before, after in zip(kept, kept[2:], strict=False)]
        del kept[1 + gaps.index(min(gaps))]
    return tuple(kept[-columns:])


def film(
    frames: Sequence[Frame],
    title: str,
    notes: Sequence[str],
    painter: Painter,
    labels: Sequence[Caption],
    pictures: Pixels | None = None,
) -> Pixels:
    """One picture of all frames: a row per item, a column per step, all on one scale, the painter's peak of all values.

    `pictures` (N, H, W, 3) and `labels` make the first column; without pictures, the labels stand under each tile.
    """  # fmt: skip
    scale = float(painter.peaks(np.concatenate([frame.raw.ravel() for frame in frames])[None])[0])
    tiles = [painter(frame.raw, scale) for frame in frames]
    cells = []
    for row, label in enumerate(labels):
        if pictures is not None:
            cells.append(Cell((_tile(pictures[row]),), label))
        above = label if pictures is None else ()
        cells += [
            Cell((_tile(column[row]),), (*above, *frame.captions[row]))
            for frame, column in zip(frames, tiles, strict=True)
        ]
    headings = [*([] if pictures is None else ["input"]), *(f"step {frame.step}" for frame in frames)]
    ends = (f"{-scale:.2g}" if painter.signed else "0", f"{scale:.2g}, the {painter.top} over all steps")
    return sheet(cells, title, notes, columns=len(headings), headings=headings, painter=painter, ends=ends)


def _tile(picture: Pixels) -> Pixels:
    return fit_tile(picture, TILE, TILE)
