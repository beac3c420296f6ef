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
OUTSIDE = 205  # the grey of what is outside the image


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
    """A cell for each unit's caption, then `columns` cells of patches, empty where a unit has fewer; row by row."""
    cells = []
    for row in rows:
        cells.append(Cell((), row.caption))
        for patch in row.patches:
            image, gradient = fit_tile(patch.image, *TILE), fit_tile(_render_gradient(patch.gradient), *TILE)
            line = np.full((2, image.shape[1], 3), 255, np.uint8)
            cells.append(Cell((np.concatenate([image, line, gradient]),), patch.caption))
        cells += [Cell(())] * (columns - len(row.patches))
    return cells


def crop(values: NDArray[Any], box: tuple[int, int, int, int] | None, fill: int) -> NDArray[Any]:
    """The box (top, left, bottom, right) of an image (H, W, C), with `fill` outside the image; all of it if None.

    No side of the crop is longer than the image's: a box may be far larger.
    """
    if box is None:
        return values
    (height, width), (top, left, bottom, right) = values.shape[:2], box
    canvas = np.full((min(bottom - top, height), min(right - left, width), *values.shape[2:]), fill, values.dtype)
    inside = values[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    y = len(canvas) - len(inside) if top < 0 else 0  # the part inside is at the end if the start is outside
    x = canvas.shape[1] - inside.shape[1] if left < 0 else 0
    canvas[y : y + len(inside), x : x + inside.shape[1]] = inside
    return canvas


def _render_gradient(gradient: Values) -> Pixels:
    """(C, h, w) -> (h, w, 3), on a scale of its own; the mean of the channels unless they are grey or RGB."""
    gradient = gradient if len(gradient) in (1, 3) else gradient.mean(axis=0, keepdims=True)
    nonzero = np.abs(gradient[gradient != 0])
    scale = float(np.nanquantile(nonzero, QUANTILE)) if np.isfinite(nonzero).any() else None
    tile: Pixels = SignedPixels()(gradient[None], scale)[0]
    return tile
