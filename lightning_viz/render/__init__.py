"""Arrays to pictures, uint8 RGB (H, W, 3); never a model."""

from .channel_sheet import channel_cells, channel_line
from .colour import Heatmap, Overlay, Painter, Pictures, Pixels, SignedPixels, Values, max_magnitude
from .colour import peak as peak  # alias: until merged
from .film_strip import Frame, render_film_strip, thin
from .film_strip import film as film  # alias: until merged
from .map_sheet import MapSheet, maximum_text, render_map_film, render_map_sheet
from .patch_sheet import Patch, UnitRow, crop, patch_cells
from .scatter import Cloud as Cloud  # alias: until merged
from .scatter import ScatterFrame, render_scatter, render_scatter_film
from .scatter import scatter as scatter  # alias: until merged
from .scatter import scatter_film as scatter_film  # alias: until merged
from .sheet import Cell, fit_tile, render_sheet
from .sheet import sheet as sheet  # alias: until merged
from .text import INK, RIGHT, WRONG, Caption, Colour, Line, prediction_line
from .text import verdict as verdict  # alias: until merged

__all__ = [
    "INK",
    "RIGHT",
    "WRONG",
    "Caption",
    "Cell",
    "Colour",
    "Frame",
    "Heatmap",
    "Line",
    "MapSheet",
    "Overlay",
    "Painter",
    "Patch",
    "Pictures",
    "Pixels",
    "ScatterFrame",
    "SignedPixels",
    "UnitRow",
    "Values",
    "channel_cells",
    "channel_line",
    "crop",
    "fit_tile",
    "max_magnitude",
    "maximum_text",
    "patch_cells",
    "prediction_line",
    "render_film_strip",
    "render_map_film",
    "render_map_sheet",
    "render_scatter",
    "render_scatter_film",
    "render_sheet",
    "thin",
]
