"""Classes as colours and shapes, and the legend that names them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .colour import Pixels
from .text import GREY, INK, LINE, Colour, Line, clean, font, write

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.collections import PathCollection

Labels = NDArray[np.integer]

# Okabe and Ito's colours, with Tol's wine and indigo and a brown for their black, in such an order that two of one
# shape are far apart for every kind of colour vision: CIEDE2000 of at least 28; 10 among the lighter ones as well.
COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (136, 34, 85),
    (122, 92, 58),
    (213, 94, 0),
    (86, 180, 233),
    (51, 34, 136),
    (204, 121, 167),
    (240, 228, 66),
)
SHAPES = "os^Dv"  # as matplotlib names its markers
SWATCH = 22  # pixels from the left of a legend's column to its words
DPI = 64  # a power of two: sizes in inches are exact, and no pixel is lost


@dataclass(frozen=True)
class Mark:
    """How a point looks: the colour and the shape of its class; hollow if it is misclassified."""

    colour: Colour
    shape: str
    hollow: bool = False


PLAIN = Mark(COLOURS[0], "o")
UNKNOWN = Mark((175, 175, 175), "o")
MISCLASSIFIED = Mark((130, 130, 130), "o", hollow=True)


def marks(count: int) -> tuple[Mark, ...]:
    """The looks of `count` classes: ten colours, ten lighter ones, and for more than 20 a rainbow by index."""
    if count > 2 * len(COLOURS):
        import matplotlib

        rainbow = matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, count), bytes=True)[:, :3].tolist()
        return tuple(Mark((r, g, b), SHAPES[rank % len(SHAPES)]) for rank, (r, g, b) in enumerate(rainbow))
    lighter = [tuple((part + 255) // 2 for part in colour) for colour in COLOURS]
    colours = (*COLOURS, *lighter)[:count]
    return tuple(
        Mark((r, g, b), SHAPES[(rank + 2 * (rank // len(COLOURS))) % len(SHAPES)])
        for rank, (r, g, b) in enumerate(colours)
    )


@dataclass(frozen=True, eq=False)
class Key:
    """Which point looks how, and what that means.

    Args:
        ranks: for each point the index of its mark, (N,); -1 is the last one, of points of no known class.
        marks: one per class that occurs, and that of the unknown.
        names: one per class that occurs; none where there are no classes.
    """

    ranks: NDArray[np.intp]
    marks: tuple[Mark, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, labels: Labels | None, name: Callable[[int], str], count: int) -> "Key":
        """The key to `count` points of these classes; a negative label is an unknown one."""
        if labels is None:
            return cls(np.zeros(count, np.intp), (PLAIN, UNKNOWN), ())
        classes = np.unique(labels[labels >= 0])
        ranks = np.where(labels >= 0, np.searchsorted(classes, labels), -1)
        names = tuple(clean(str(name(label))) or str(label) for label in classes.tolist())
        return cls(ranks, (*marks(len(classes)), UNKNOWN), names)

    def legend(self, width: int, height: int, misclassified: bool) -> Pixels | None:
        """The legend, (height, W, 3), W at most `width`; None if there is nothing to tell.

        In one column or two. Where there are more classes than that, each part of the rainbow is told by its most
        frequent one, and the legend says how many are left out.
        """
        others = [(UNKNOWN, "unknown")] if (self.ranks < 0).any() else []
        others += [(MISCLASSIFIED, "misclassified")] if misclassified else []
        classes: list[tuple[Mark | None, str]] = list(zip(self.marks, self.names, strict=False))
        rows = (height - 6) // LINE
        columns = 2 if rows < len(classes) + len(others) <= 2 * rows else 1
        room = rows * columns - len(others)
        if len(classes) > room:
            counts = np.bincount(self.ranks[self.ranks >= 0], minlength=len(classes))
            parts = np.array_split(np.arange(len(classes)), room - 1)
            left_out = (None, f"… and {len(classes) - len(parts)} more")
            classes = [*(classes[part[counts[part].argmax()]] for part in parts), left_out]
        entries = [*classes, *others]
        return _draw_legend(entries, width // columns, height, columns) if entries else None


def _draw_legend(entries: Sequence[tuple[Mark | None, str]], widest: int, height: int, columns: int) -> Pixels:
    """Entries in columns as wide as their words, `widest` at most."""
    rows = -(-len(entries) // columns)
    words = min(widest - SWATCH - 8, max(math.ceil(font().getlength(text[:100])) for _, text in entries))
    column = SWATCH + words + 8
    places = [(index // rows * column, 3 + index % rows * LINE) for index in range(len(entries))]
    swatches = [(mark, (x + 12, height - y - 10)) for (x, y), (mark, _) in zip(places, entries, strict=True) if mark]
    artist = points([mark for mark, _ in swatches], np.array([place for _, place in swatches]), 9)
    page = Image.fromarray(draw(columns * column, height, [artist]))
    canvas = ImageDraw.Draw(page)
    for (x, y), (mark, text) in zip(places, entries, strict=True):
        write(canvas, x + SWATCH, y, words, [Line(text, INK if mark else GREY)])
    return np.asarray(page)


def points(
    looks: Sequence[Mark], places: NDArray[np.floating], diameter: float, alpha: float = 1.0
) -> "PathCollection":
    """Marks at `places` (N, 2), pixels from the bottom left, drawn one after the other."""
    from matplotlib.collections import PathCollection
    from matplotlib.markers import MarkerStyle
    from matplotlib.transforms import Affine2D, IdentityTransform

    shapes = {}
    for shape in {mark.shape for mark in looks}:
        style = MarkerStyle(shape)
        size = diameter * (1.15 if shape in "^v" else 0.9 if shape in "sD" else 1)  # to look alike in size
        shapes[shape] = style.get_path().transformed(style.get_transform() + Affine2D().scale(size))
    colours = np.array([mark.colour for mark in looks]).reshape(-1, 3) / 255
    hollow = np.array([mark.hollow for mark in looks], bool)[:, None]
    opacity = np.full((len(looks), 1), alpha)
    return PathCollection(
        [shapes[mark.shape] for mark in looks],
        offsets=places,
        offset_transform=IdentityTransform(),
        transform=IdentityTransform(),
        facecolors=np.hstack([np.where(hollow, 1, colours), opacity]),
        edgecolors=np.hstack([np.where(hollow, 0.85, 0.6) * colours, opacity]),
        linewidths=np.where(hollow[:, 0], 1.2, min(0.8, diameter / 8)),
        antialiased=True,
    )


def draw(width: int, height: int, artists: Sequence["Artist"]) -> Pixels:
    """Matplotlib's artists, in pixels from the bottom left, on white, (height, width, 3).

    Without pyplot and its axes, and so whatever the user's style sheet says, and in any thread.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor="white", edgecolor="white", linewidth=0)
    canvas: Any = FigureCanvasAgg(figure)  # whose methods have no types
    for artist in artists:
        figure.add_artist(artist)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
