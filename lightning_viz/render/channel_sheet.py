"""The cells of a channel sheet: a row per picture, a column per channel, each channel on its own colour scale."""

from collections.abc import Sequence

import numpy as np

from .colour import Painter, Pixels, Values
from .sheet import Cell, fit_tile
from .text import Caption, Line

TILE = (104, 128)  # pixels: limits of the longer side of a tile


def channel_cells(pictures: Pixels, captions: Sequence[Caption], activations: Values, painter: Painter) -> list[Cell]:
    """Each picture of (B, H, W, 3) with its caption, then its channels of `activations` (B, C, h, w), row by row."""
    scales = painter.scales(np.moveaxis(activations, 1, 0))
    tiles = [painter(activations[:, channel], float(scale)) for channel, scale in enumerate(scales)]
    side = max(fit_tile(tiles[0][0], *TILE).shape[:2])
    cells = []
    for row, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        cells.append(Cell((fit_tile(picture, side, side),), caption))
        cells += [
            Cell((fit_tile(tile[row], *TILE),), (channel_line(channel_map, painter.signed),))
            for tile, channel_map in zip(tiles, activations[row], strict=True)
        ]
    return cells


def channel_line(channel_map: Values, signed: bool) -> Line:
    """The range of one map (h, w): minimum and maximum if the colours are signed, otherwise the maximum."""
    low, high = float(channel_map.min()), float(channel_map.max())
    if not np.isfinite(channel_map).all():
        return Line("not finite")
    if low == high:
        return Line("all zero" if high == 0 else f"{high:.2g}" if channel_map.size == 1 else f"all {high:.2g}")
    return Line(f"{low:.2g} to {high:.2g}" if signed else f"max {high:.2g}")
