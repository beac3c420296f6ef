"""Numbers to pictures: uint8 RGB arrays; never a model."""

from .colour import Overlay, Painter, Pixels, SignedPixels, Values, peak
from .film import Frame, film, thin
from .sheet import Cell, fit_tile, sheet
from .text import WRONG, Caption, Line, verdict

__all__ = [
    "WRONG",
    "Caption",
    "Cell",
    "Frame",
    "Line",
    "Overlay",
    "Painter",
    "Pixels",
    "SignedPixels",
    "Values",
    "film",
    "fit_tile",
    "peak",
    "sheet",
    "thin",
    "verdict",
]
