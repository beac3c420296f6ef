"""A sheet of maps, one or several per item, beside their pictures; and the captions that state each map's maximum."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .colour import Painter, Pixels, Values, max_magnitude
from .film_strip import Frame, render_film_strip, scale_labels
from .sheet import Cell, fit_tile, render_sheet
from .text import Caption, Line

NEARLY_ZERO = 1e-4  # of the sheet's largest magnitude: a map below it is noise, drawn as strongly as the others


@dataclass(frozen=True, eq=False)
class MapSheet:
    """Maps of N items, and how to draw them."""

    maps: Sequence[Values]  #: (N, h, w) or (N, C, h, w), one array per column; a single one without `columns`
    painter: Painter
    labels: Sequence[Caption]  #: the first lines below each item's tiles, (N)
    captions: Sequence[Caption]  #: the lines after the labels, (N)
    columns: Sequence[str] = ()  #: names of the maps, from left to right
    beside: Pixels | None = None  #: pictures (N, H, W, 3) to the left of the tiles
    notes: Sequence[str] = ()  #: printed below the sheet
    common_scale: bool = False  #: one colour scale for all tiles instead of one for each
    size: int = 128  #: the least length of a tile's longer side, in pixels; smaller tiles are enlarged


def render_map_sheet(sheet: MapSheet, title: str) -> Pixels:
    """One picture (H, W, 3), a cell per item; with a scale for each tile, captions state the maximum of each map."""
    painter, notes = sheet.painter, list(sheet.notes)
    if sheet.columns:
        names = [*(["input"] if sheet.beside is not None else []), *sheet.columns]
        notes.insert(0, f"From left to right: {', '.join(names)}.")
    scale, ends = None, (f"-{painter.scale_name}" if painter.signed else "0", f"{painter.scale_name} of each tile")
    if sheet.common_scale:
        scale = float(painter.scales(sheet.maps[0].reshape(1, -1))[0])
        ends = scale_labels(painter, scale, "all tiles")
    tiles = [*([] if sheet.beside is None else [sheet.beside]), *(painter(maps, scale) for maps in sheet.maps)]
    largest = max(float(max_magnitude(maps.reshape(1, -1))[0]) for maps in sheet.maps)
    cells = []
    for index in range(len(sheet.maps[0])):
        maxima = [maximum_text(maps[index], painter.signed, largest) for maps in sheet.maps]
        extra = () if sheet.common_scale else (Line(" | ".join(maxima)),)
        pictures = tuple(fit_tile(column[index], sheet.size) for column in tiles)
        cells.append(Cell(pictures, (*sheet.labels[index], *sheet.captions[index], *extra)))
    return render_sheet(cells, title, notes, painter=painter, ends=ends)


def render_map_film(sheet: MapSheet, frames: Sequence[Frame], rows: Sequence[int], title: str) -> Pixels:
    """The film strip (H, W, 3) of the items `rows`; the frames hold these items only, the sheet all."""
    beside = None if sheet.beside is None else sheet.beside[list(rows)]
    labels = [sheet.labels[row] for row in rows]
    return render_film_strip(frames, title, sheet.notes, sheet.painter.select(rows), labels, beside)


def maximum_text(values: Values, signed: bool, largest: float) -> str:
    """The value that has the strongest colour in one map; or that it is not finite, zero, or nearly zero.

    `largest` is the largest magnitude of all maps of the sheet. Unsigned colours show positive values only.
    """
    if not np.isfinite(values).all():
        return "not finite (magenta)"
    top = float(max_magnitude((values if signed else np.maximum(values, 0))[None])[0])
    if top == 0:
        return "no positive value" if values.any() else "zero everywhere"
    return f"max {top:.2g}" if top > NEARLY_ZERO * largest else f"≈ 0 ({top:.0e})"
