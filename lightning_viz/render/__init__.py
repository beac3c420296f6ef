"""Arrays to pictures, uint8 RGB (H, W, 3); never a model."""

from .channel_sheet import channel_cells, channel_line
from .colour import Heatmap, Overlay, Painter, Pictures, Pixels, SignedPixels, Values, max_magnitude
from .film_strip import Frame, render_film_strip, thin
from .map_sheet import MapSheet, maximum_text, render_map_film, render_map_sheet
from .patch_sheet import Patch, UnitRow, crop, patch_cells
from .scatter import ScatterFrame, render_scatter, render_scatter_film
from .sheet import Cell, fit_tile, render_sheet
from .text import INK, RIGHT, WRONG, Caption, Colour, Line, prediction_line

__all__ = [
    "INK", "RIGHT", "WRONG", "Caption", "Cell", "Colour", "Frame", "Heatmap", "Line", "MapSheet", "Overlay", "Painter",
    "Patch", "Pictures", "Pixels", "ScatterFrame", "SignedPixels", "UnitRow", "Values", "channel_cells", "channel_line",
    "crop", "fit_tile", "max_magnitude", "maximum_text", "patch_cells", "prediction_line", "render_film_strip",
    "render_map_film", "render_map_sheet", "render_scatter", "render_scatter_film", "render_sheet", "thin",
]  # fmt: skip
