"""The cells of a patch sheet: a row per unit, each image patch above the gradient of the unit in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .colour import Pixels, SignedPixels, Values
from .sheet import Cell, fit_tile
from .text import Caption

TILE = (80, 128)  # pixels: limits of the longer side of a tile
QUANTILE = 0.99  # of the gradients that are not 0: the largest few are many times larger than all others


@dataclass(frozen=True, eq=False)
class Patch:
    """An image patch (h, w, 3), the gradient of the unit in it, (C, h, w), and the caption below."""

    image: Pixels
    gradient: Values
    caption: Caption


@dataclass(frozen=True, eq=False)
class UnitRow:
    """One row: the caption of the unit and its patches, the highest activation first."""

    caption: Caption
    patches: Sequence[Patch]


def patch_cells(rows: Sequence[UnitRow], columns: int) -> list[Cell]:
    """A cell for each unit's caption, then `columns` cells of patches, empty where a unit has fewer; row by row.

    A gradient has a scale of its own; unless it is grey or RGB, it is the mean of its channels.
    """
    cells = []
    for row in rows:
        cells.append(Cell((), row.caption))
        for patch in row.patches:
            gradient = patch.gradient if len(patch.gradient) in (1, 3) else patch.gradient.mean(axis=0, keepdims=True)
            nonzero = np.abs(gradient[gradient != 0])
            scale = float(np.nanquantile(nonzero, QUANTILE)) if np.isfinite(nonzero).any() else None
            upper, lower = fit_tile(patch.image, *TILE), fit_tile(SignedPixels()(gradient[None], scale)[0], *TILE)
            line = np.full((2, upper.shape[1], 3), 255, np.uint8)
            cells.append(Cell((np.concatenate([upper, line, lower]),), patch.caption))
        cells += [Cell(())] * (columns - len(row.patches))
    return cells


def crop(values: NDArray[Any], box: tuple[int, int, int, int] | None, fill: int) -> NDArray[Any]:
    """The box (top, left, bottom, right) of an image (H, W, C), with `fill` outside the image; all of it if None.

    No side of the crop is longer than the image's: a box may be far larger.
    """
    if box is None:
        return values
    (height, width), (top, left, bottom, right) = values.shape[:2], box
    inside = values[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    rows, columns = min(bottom - top, height) - inside.shape[0], min(right - left, width) - inside.shape[1]
    above_below, left_right = (rows, 0) if top < 0 else (0, rows), (columns, 0) if left < 0 else (0, columns)
    return np.pad(inside, (above_below, left_right, (0, 0)), constant_values=fill)
