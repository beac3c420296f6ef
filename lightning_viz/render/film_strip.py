"""The film strip: the same items at several steps, all on one colour scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .colour import Painter, Pixels, Values, max_magnitude
from .sheet import Cell, fit_tile, render_sheet
from .text import Caption

TILE = 128  # pixels a side: the width that a class name and a probability need


@dataclass(frozen=True, eq=False)
class Frame:
    """One column of a film strip: the values at one step, divided by their largest magnitude to fit float16."""

    step: int
    values: NDArray[np.float16]  #: (N, h, w) or (N, C, h, w), -1 to 1
    max_magnitude: float
    captions: tuple[Caption, ...]  #: one per item

    @classmethod
    def of(cls, step: int, values: Values, captions: Sequence[Caption]) -> "Frame":
        """A frame of raw values, (N, h, w) or (N, C, h, w); more than TILE pixels a side are of no use."""
        largest = float(max_magnitude(values).max(initial=0))
        return cls(step, (values / (largest or 1)).astype(np.float16), largest, tuple(captions))

    @property
    def raw(self) -> Values:
        """The raw values, float32."""
        return self.values.astype(np.float32) * self.max_magnitude


def thin(frames: Sequence[Frame], columns: int) -> tuple[Frame, ...]:
    """At most `columns` of the frames: the first, the last, and others spread evenly over the steps between."""
    remaining = list(frames)
    while len(remaining) > max(columns, 2):
        gaps = [after.step - before.step for before, after in zip(remaining, remaining[2:], strict=False)]
        del remaining[1 + gaps.index(min(gaps))]
    return tuple(remaining[-columns:])


def render_film_strip(
    frames: Sequence[Frame],
    title: str,
    notes: Sequence[str],
    painter: Painter,
    labels: Sequence[Caption],
    pictures: Pixels | None = None,
) -> Pixels:
    """One picture (H, W, 3): a row per item, a column per frame, all on one scale: that of all values of all frames.

    `pictures` (N, H, W, 3) with `labels` (N) below them are the first column; without pictures, each tile has its label.
    """  # fmt: skip
    scale = float(painter.scales(np.concatenate([frame.raw.ravel() for frame in frames])[None])[0])
    tiles = [painter(frame.raw, scale) for frame in frames]
    cells = []
    for row, label in enumerate(labels):
        if pictures is not None:
            cells.append(Cell((fit_tile(pictures[row], TILE, TILE),), label))
        shared = label if pictures is None else ()
        cells += [
            Cell((fit_tile(column[row], TILE, TILE),), (*shared, *frame.captions[row]))
            for frame, column in zip(frames, tiles, strict=True)
        ]
    headings = [*([] if pictures is None else ["input"]), *(f"step {frame.step}" for frame in frames)]
    ends = scale_labels(painter, scale, "all steps")
    return render_sheet(cells, title, notes, columns=len(headings), headings=headings, painter=painter, ends=ends)


def scale_labels(painter: Painter, scale: float, over: str) -> tuple[str, str]:
    """The texts at the two ends of the colour bar of a scale that is shared `over` "all steps", for example."""
    return (f"{-scale:.2g}" if painter.signed else "0", f"{scale:.2g} ({painter.scale_name} over {over})")
