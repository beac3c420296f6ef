"""The colour and shape of each class in a scatter plot, and the legend that names the classes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .colour import Pixels
from .text import GREY, INK, LINE_HEIGHT, Colour, Line, draw_lines, font, one_line

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.collections import PathCollection

Labels = NDArray[np.integer]
ClassName = Callable[[int], str]  # from a class index to the name

# Okabe and Ito's palette, with Tol's wine and indigo and a brown instead of its black. Ordered so that two colours with
# the same shape differ by a CIEDE2000 of at least 28 for every kind of colour vision, and by 10 with the lighter ones.
COLOURS: tuple[Colour, ...] = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (136, 34, 85), (122, 92, 58),
    (213, 94, 0), (86, 180, 233), (51, 34, 136), (204, 121, 167), (240, 228, 66),
)  # fmt: skip
SHAPES = "os^Dv"  # matplotlib's names of markers
SWATCH = 22  # pixels from the left of a legend's column to its text
DPI = 64  # a power of two, so that sizes in inches are exact


@dataclass(frozen=True)
class Marker:
    """How a point is drawn: colour and shape of its class; hollow if it is misclassified."""

    colour: Colour
    shape: str
    hollow: bool = False


UNLABELLED = Marker(COLOURS[0], "o")
UNKNOWN = Marker((175, 175, 175), "o")
MISCLASSIFIED = Marker((130, 130, 130), "o", hollow=True)


def class_markers(count: int) -> tuple[Marker, ...]:
    """A different marker for each of `count` classes: ten colours, then ten lighter ones; above 20 a rainbow."""
    colours, turn = np.concatenate([COLOURS, (np.array(COLOURS) + 255) // 2]), 2
    if count > len(colours):
        import matplotlib

        colours, turn = matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, count), bytes=True)[:, :3], 0
    shapes = [SHAPES[(index + turn * (index // len(COLOURS))) % len(SHAPES)] for index in range(count)]
    return tuple(Marker((r, g, b), shape) for (r, g, b), shape in zip(colours.tolist(), shapes, strict=False))


@dataclass(frozen=True, eq=False)
class PointMarkers:
    """The marker of each point, and what the markers mean."""

    indices: NDArray[np.intp]  #: index into `markers` of each point, (N,); -1 is the last one: unknown class
    markers: tuple[Marker, ...]  #: one per class that occurs, then that of the unknown class
    names: tuple[str, ...]  #: one per class that occurs; empty if there are no labels

    @classmethod
    def of(cls, labels: Labels | None, name: ClassName, count: int) -> "PointMarkers":
        """The markers of `count` points of classes `labels` (N,), named by `name`; a negative label is unknown.

        Raises ValueError for labels of another shape.
        """
        if labels is None:
            return cls(np.zeros(count, np.intp), (UNLABELLED, UNKNOWN), ())
        if labels.shape != (count,):
            raise ValueError(f"labels have the shape {labels.shape}; they must be {(count,)}, one per point")
        classes = np.unique(labels[labels >= 0])
        indices = np.where(labels >= 0, np.searchsorted(classes, labels), -1)
        names = tuple(one_line(str(name(label))) or str(label) for label in classes.tolist())
        return cls(indices, (*class_markers(len(classes)), UNKNOWN), names)

    def render_legend(self, width: int, height: int, misclassified: bool) -> Pixels | None:
        """The legend, (height, W, 3) with W at most `width` pixels, in one or two columns; None if it has no entry.

        If there is no room for all classes, the most frequent class of each part of the rainbow is named, and the legend
        says how many are missing. `misclassified` adds the hollow marker.
        """
        others: list[tuple[Marker | None, str]] = [(UNKNOWN, "unknown")] if (self.indices < 0).any() else []
        others += [(MISCLASSIFIED, "misclassified")] if misclassified else []
        entries: list[tuple[Marker | None, str]] = list(zip(self.markers, self.names, strict=False))
        rows = (height - 6) // LINE_HEIGHT
        columns = 2 if rows < len(entries) + len(others) <= 2 * rows else 1
        room = rows * columns - len(others)
        if (total := len(entries)) > room:
            counts = np.bincount(self.indices[self.indices >= 0], minlength=total)
            parts = np.array_split(np.arange(total), room - 1)
            entries = [entries[part[counts[part].argmax()]] for part in parts]
            entries.append((None, f"… and {total - len(parts)} more"))
        entries += others
        return _draw_legend(entries, width // columns, height, columns) if entries else None


def _draw_legend(entries: Sequence[tuple[Marker | None, str]], max_width: int, height: int, columns: int) -> Pixels:
    """Entries in columns as wide as their texts, at most `max_width` pixels."""
    rows = -(-len(entries) // columns)
    text_width = min(max_width - SWATCH - 8, max(math.ceil(font().getlength(text[:100])) for _, text in entries))
    column = SWATCH + text_width + 8
    corners = [(index // rows * column, 3 + index % rows * LINE_HEIGHT) for index in range(len(entries))]
    swatches = [(one, (x + 12, height - y - 10)) for (x, y), (one, _) in zip(corners, entries, strict=True) if one]
    collection = marker_collection([marker for marker, _ in swatches], np.array([xy for _, xy in swatches]), 9)
    page = Image.fromarray(rasterise(columns * column, height, [collection]))
    canvas = ImageDraw.Draw(page)
    for (x, y), (marker, text) in zip(corners, entries, strict=True):
        draw_lines(canvas, x + SWATCH, y, text_width, [Line(text, INK if marker else GREY)])
    return np.asarray(page)


def marker_collection(
    markers: Sequence[Marker], positions: NDArray[np.floating], diameter: float, alpha: float = 1.0
) -> "PathCollection":
    """Markers at `positions` (N, 2), in pixels from the bottom left, later ones over earlier ones."""
    from matplotlib.collections import PathCollection
    from matplotlib.markers import MarkerStyle
    from matplotlib.transforms import Affine2D, IdentityTransform

    shapes = {}
    for shape in {marker.shape for marker in markers}:
        style = MarkerStyle(shape)
        size = diameter * (1.15 if shape in "^v" else 0.9 if shape in "sD" else 1)  # to look equally large
        shapes[shape] = style.get_path().transformed(style.get_transform() + Affine2D().scale(size))
    colours = np.array([marker.colour for marker in markers]).reshape(-1, 3) / 255
    hollow = np.array([marker.hollow for marker in markers], bool)[:, None]
    opacity = np.full((len(markers), 1), alpha)
    return PathCollection(
        [shapes[marker.shape] for marker in markers],
        offsets=positions,
        offset_transform=IdentityTransform(),
        transform=IdentityTransform(),
        facecolors=np.hstack([np.where(hollow, 1, colours), opacity]),
        edgecolors=np.hstack([np.where(hollow, 0.85, 0.6) * colours, opacity]),
        linewidths=np.where(hollow[:, 0], 1.2, min(0.8, diameter / 8)),
        antialiased=True,
    )


def rasterise(width: int, height: int, artists: Sequence["Artist"]) -> Pixels:
    """Matplotlib's artists, placed in pixels from the bottom left, on white, (height, width, 3).

    Without pyplot and axes: it works in any thread, and the user's style sheet has no effect.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor="white", edgecolor="white", linewidth=0)
    canvas: Any = FigureCanvasAgg(figure)  # its methods have no type annotations
    for artist in artists:
        figure.add_artist(artist)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
