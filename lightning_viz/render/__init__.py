"""Numbers to pictures: uint8 RGB arrays; never a model."""

from .colour import Heatmap, Overlay, Painter, Pictures, Pixels, SignedPixels, Values, peak
from .film import Frame, film, thin
from .scatter import Cloud, scatter, scatter_film
from .sheet import Cell, fit_tile, sheet
from .text import INK, RIGHT, WRONG, Caption, Colour, Line, verdict

__all__ = [
    "INK",
    "RIGHT",
    "WRONG",
    "Caption",
    "Cell",
    "Cloud",
    "Colour",
    "Frame",
    "Heatmap",
    "Line",
    "Overlay",
    "Painter",
    "Pictures",
    "Pixels",
    "SignedPixels",
    "Values",
    "film",
    "fit_tile",
    "peak",
    "scatter",
    "scatter_film",
    "sheet",
    "thin",
    "verdict",
]
