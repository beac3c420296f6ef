"""Scatter plots of points in the plane, coloured by class, at one step or at several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .colour import Pixels
from .legend import ClassName, Labels, PointMarkers, marker_collection, rasterise
from .sheet import Cell, render_sheet
from .text import GREY, Caption, Line

SIDE, COLUMN = 470, 252  # pixels a side of a single plot, and of one in a film strip
OUTLIER = 2.5  # times the distance of the 98% quantile from the median: points further away are outliers
MIN_COUNT = 10  # below this, no point is an outlier


@dataclass(frozen=True, eq=False)
class ScatterFrame:
    """The points at one step. Raises ValueError for arrays of another shape."""

    step: int
    points: NDArray[np.floating]  #: coordinates, (N, 2); NaN for a missing point
    explained_variance: tuple[float, float] | None = None  #: ratio of the variance along each axis; NaN if unknown
    correct: NDArray[np.bool_] | None = None  #: whether each point is classified correctly, (N,); None if unknown

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 2:
            raise ValueError(f"points have the shape {self.points.shape}; they must be coordinates (N, 2)")
        if self.correct is not None and self.correct.shape != self.points.shape[:1]:
            count = self.points.shape[:1]
            raise ValueError(f"correct has the shape {self.correct.shape}; it must be {count}, one per point")

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which points are not missing, (N,)."""
        return np.asarray(~np.isnan(self.points).any(axis=1))


@dataclass(frozen=True)
class Window:
    """The visible part of the plane: a square, since both axes have the same scale."""

    x: float  #: of its centre
    y: float
    half: float  #: half of its side

    @classmethod
    def of(cls, frames: Sequence[ScatterFrame]) -> "Window":
        """The window of all points of all frames, except each frame's outliers."""
        inliers = np.concatenate([_inliers(frame.points) for frame in frames])
        if not len(inliers):
            return cls(0.0, 0.0, 1.0)
        low, high = inliers.min(axis=0), inliers.max(axis=0)
        x, y = ((low + high) / 2).tolist()
        return cls(x, y, 1.06 * float((high - low).max() / 2) or 1.0)

    def relative(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (N, 2) relative to the window: visible ones are within -1 and 1 on both axes."""
        relative: NDArray[np.float64] = (points.astype(np.float64) - (self.x, self.y)) / self.half
        return relative.clip(-1e30, 1e30)  # finite, so that it can be scaled to the edge

    @property
    def grid(self) -> float:
        """A round distance between grid lines, of which about six are visible."""
        least = self.half / 3
        power = 10.0 ** math.floor(math.log10(least))
        return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def render_scatter(
    frame: ScatterFrame, title: str, notes: Sequence[str] = (), labels: Labels | None = None, name: ClassName = str
) -> Pixels:
    """One picture (H, W, 3) of the points, coloured by class `labels` (N,), with a legend; label -1 is unknown.

    Raises ValueError for labels of another shape.
    """
    markers, window = PointMarkers.of(labels, name, len(frame.points)), Window.of([frame])
    legend = markers.render_legend(SIDE * 3 // 5, SIDE, frame.correct is not None)
    pictures = (_plot(frame, markers, window, SIDE), *([] if legend is None else [legend]))
    return render_sheet([Cell(pictures, _caption(frame, window))], title, [_axes_note("", window), *notes])


def render_scatter_film(
    frames: Sequence[ScatterFrame],
    title: str,
    notes: Sequence[str] = (),
    labels: Labels | None = None,
    name: ClassName = str,
) -> Pixels:
    """One picture (H, W, 3) of the same points at several steps, a column for each, all on one scale, and a legend.

    Raises ValueError for frames of different sizes, and for labels of another shape.
    """
    counts = [len(frame.points) for frame in frames]
    if len(set(counts)) != 1:
        raise ValueError(f"frames have {counts} points; give one frame or more with the same points")
    markers, window = PointMarkers.of(labels, name, counts[0]), Window.of(frames)
    cells = [Cell((_plot(frame, markers, window, COLUMN),), _caption(frame, window)) for frame in frames]
    headings = [f"step {frame.step}" for frame in frames]
    legend = markers.render_legend(COLUMN, COLUMN, any(frame.correct is not None for frame in frames))
    if legend is not None:
        cells.append(Cell((legend,)))
    notes = [_axes_note(" and at all steps", window), *notes]
    return render_sheet(cells, title, notes, columns=len(cells), headings=headings)


def _inliers(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """The finite points without outliers."""
    finite: NDArray[np.float64] = points[np.isfinite(points).all(axis=1)].astype(np.float64)
    if len(finite) < MIN_COUNT:
        return finite
    distances = np.abs(finite - np.median(finite, axis=0)).max(axis=1)
    most = float(np.quantile(distances, 0.98, method="lower"))
    return finite[distances <= OUTLIER * most] if most else finite


def _plot(frame: ScatterFrame, markers: PointMarkers, window: Window, side: int) -> Pixels:
    """The points in random order, so that no class covers the others; misclassified ones on top; a grid behind them."""
    from matplotlib.collections import LineCollection
    from matplotlib.transforms import IdentityTransform

    wrong = np.zeros(len(frame.points), bool) if frame.correct is None else ~frame.correct
    order = np.random.default_rng(0).permutation(len(wrong))
    order = order[frame.present[order]]
    order = order[np.argsort(wrong[order], kind="stable")]
    density = max(len(wrong), 20) / 20
    diameter = max(3.5, side / 47 * density**-0.2)
    relative = window.relative(frame.points[order])
    relative /= np.abs(relative).max(axis=1, initial=1, keepdims=True)  # outliers: at the edge, in their direction
    drawn = [replace(markers.markers[markers.indices[row]], hollow=bool(wrong[row])) for row in order]
    positions = side / 2 + relative * (side - diameter) / 2
    points = marker_collection(drawn, positions, diameter, 0.9 * density**-0.07)
    segments, greys = [], []
    for axis, centre in enumerate((window.x, window.y)):
        first, last = math.ceil((centre - window.half) / window.grid), math.floor((centre + window.half) / window.grid)
        for line in range(first, last + 1):
            at = side / 2 + (line * window.grid - centre) / window.half * (side - diameter) / 2
            segments.append([(at, 0), (at, side)] if axis == 0 else [(0, at), (side, at)])
            greys.append("0.72" if line == 0 else "0.92")
    grid = LineCollection(segments, colors=greys, linewidths=1.0, transform=IdentityTransform(), zorder=0)
    return rasterise(side, side, [grid, points])


def _axes_note(when: str, window: Window) -> str:
    return f"Same scale on both axes{when}; grid lines every {window.grid:g}, darker at 0."


def _caption(frame: ScatterFrame, window: Window) -> Caption:
    present = frame.points[frame.present]
    lines = [
        Line(f"{axis}: component {number}" + (f" ({ratio:.0%} of variance)" if math.isfinite(ratio) else ""), GREY)
        for axis, number, ratio in zip("xy", (1, 2), frame.explained_variance or (math.nan, math.nan), strict=True)
    ]
    if len(present) < len(frame.points) or not len(present):
        lines.append(Line(f"{len(present)} of {len(frame.points)} points"))
    if frame.correct is not None:
        lines.append(Line(f"{int((~frame.correct[frame.present]).sum())} of {len(present)} misclassified"))
    if outside := int((np.abs(window.relative(present)) > 1).any(axis=1).sum()):
        lines.append(Line(f"outliers drawn at the edge: {outside}"))
    return tuple(lines)
