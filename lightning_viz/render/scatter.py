"""Points in the plane, coloured by class, at one step or over training."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .colour import Pixels
from .legend import Key, Labels, draw, points
from .sheet import Cell, sheet
from .text import GREY, Caption, Line

if TYPE_CHECKING:
    from matplotlib.collections import LineCollection

SIDE, COLUMN = 470, 252  # pixels: of a picture alone, and of one in a strip
REACH = 2.5  # times as far out as 98 in 100 of the points: where the window ends
FEW = 10  # points of which none is an outlier


@dataclass(frozen=True, eq=False)
class Cloud:
    """Where points are at a step.

    Args:
        step: the global step.
        points: coordinates, (N, 2); a point that is not there has NaN.
        shares: the share of the variance along each axis, 0 to 1.
        correct: whether each point is classified correctly, (N,), where that is known.

    Raises ValueError for arrays of another shape.
    """

    step: int
    points: NDArray[np.floating]
    shares: tuple[float, float] | None = None
    correct: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 2:
            raise ValueError(f"points have the shape {self.points.shape}; they must be coordinates (N, 2)")
        if self.correct is not None and self.correct.shape != self.points.shape[:1]:
            raise ValueError(
                f"correct has the shape {self.correct.shape}; it must be {self.points.shape[:1]}, one per point"
            )

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which points have a place, (N,)."""
        return np.asarray(~np.isnan(self.points).any(axis=1))


@dataclass(frozen=True)
class Window:
    """The part of the plane that is seen: a square, as both axes have one scale."""

    x: float
    y: float
    half: float  #: of its side

    @classmethod
    def of(cls, clouds: Sequence[Cloud]) -> "Window":
        """The window of all clouds but for what lies far out of its own one."""
        cores = np.concatenate([_core(cloud.points) for cloud in clouds])
        if not len(cores):
            return cls(0.0, 0.0, 1.0)
        low, high = cores.min(axis=0), cores.max(axis=0)
        x, y = ((low + high) / 2).tolist()
        return cls(x, y, 1.06 * float((high - low).max() / 2) or 1.0)

    def units(self, positions: NDArray[np.floating]) -> NDArray[np.float64]:
        """Positions (N, 2) in halves of its side from its middle: what is seen lies within -1 and 1."""
        units: NDArray[np.float64] = (positions.astype(np.float64) - (self.x, self.y)) / self.half
        return units.clip(-1e30, 1e30)  # infinity has a direction

    @property
    def grid(self) -> float:
        """A round distance of grid lines, of which there are about six."""
        least = self.half / 3
        power = 10.0 ** math.floor(math.log10(least))
        return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def scatter(
    cloud: Cloud,
    title: str,
    notes: Sequence[str] = (),
    labels: Labels | None = None,
    name: Callable[[int], str] = str,
) -> Pixels:
    """One picture (H, W, 3) of a cloud, its points coloured by `labels` (N,), with a legend; -1 is an unknown class.

    Raises ValueError for labels that do not fit the points.
    """
    key, window = _key([cloud], labels, name), Window.of([cloud])
    legend = key.legend(SIDE * 3 // 5, SIDE, cloud.correct is not None)
    pictures = (_plot(cloud, key, window, SIDE), *([] if legend is None else [legend]))
    return sheet([Cell(pictures, _caption(cloud, window))], title, [_scale(window, "both axes"), *notes])


def scatter_film(
    clouds: Sequence[Cloud],
    title: str,
    notes: Sequence[str] = (),
    labels: Labels | None = None,
    name: Callable[[int], str] = str,
) -> Pixels:
    """One picture (H, W, 3) of the same points at several steps, a column for each, all on one scale, and a legend.

    Raises ValueError for labels that do not fit the points.
    """
    key, window = _key(clouds, labels, name), Window.of(clouds)
    cells = [Cell((_plot(cloud, key, window, COLUMN),), _caption(cloud, window)) for cloud in clouds]
    headings = [f"step {cloud.step}" for cloud in clouds]
    legend = key.legend(COLUMN, COLUMN, any(cloud.correct is not None for cloud in clouds))
    if legend is not None:
        cells.append(Cell((legend,)))
    notes = [_scale(window, "both axes and all steps"), *notes]
    return sheet(cells, title, notes, columns=len(cells), headings=headings)


def _key(clouds: Sequence[Cloud], labels: Labels | None, name: Callable[[int], str]) -> Key:
    counts = [len(cloud.points) for cloud in clouds]
    if len(set(counts)) != 1:
        raise ValueError(f"clouds are of {counts} points; give the same points at one step or more")
    if labels is not None and labels.shape != (counts[0],):
        raise ValueError(f"labels have the shape {labels.shape}; they must be {(counts[0],)}, one per point")
    return Key.of(labels, name, counts[0])


def _core(positions: NDArray[np.floating]) -> NDArray[np.float64]:
    """The points but for those more than `REACH` times as far from the middle as 98 in 100; all where they are few."""
    finite: NDArray[np.float64] = positions[np.isfinite(positions).all(axis=1)].astype(np.float64)
    if len(finite) < FEW:
        return finite
    distances = np.abs(finite - np.median(finite, axis=0)).max(axis=1)
    most = float(np.quantile(distances, 0.98, method="lower"))
    return finite[distances <= REACH * most] if most else finite


def _plot(cloud: Cloud, key: Key, window: Window, side: int) -> Pixels:
    """The points in a random order, so that no class hides the others, the misclassified ones on top."""
    wrong = np.zeros(len(cloud.points), bool) if cloud.correct is None else ~cloud.correct
    order = np.random.default_rng(0).permutation(len(wrong))
    order = order[cloud.there[order]]
    order = order[np.argsort(wrong[order], kind="stable")]
    crowd = max(len(wrong), 20) / 20
    diameter = max(3.5, side / 47 * crowd**-0.2)
    units = window.units(cloud.points[order])
    units /= np.abs(units).max(axis=1, initial=1, keepdims=True)  # what is outside goes to the edge, in its direction
    places = side / 2 + units * (side - diameter) / 2
    marks = [
        replace(key.marks[rank], hollow=bool(wrong[row])) for row, rank in zip(order, key.ranks[order], strict=True)
    ]
    return draw(side, side, [_grid(window, side - diameter, side), points(marks, places, diameter, 0.9 * crowd**-0.07)])


def _grid(window: Window, span: float, side: int) -> "LineCollection":
    from matplotlib.collections import LineCollection
    from matplotlib.transforms import IdentityTransform

    segments, shades = [], []
    for axis, middle in enumerate((window.x, window.y)):
        first, last = math.ceil((middle - window.half) / window.grid), math.floor((middle + window.half) / window.grid)
        for line in range(first, last + 1):
            at = side / 2 + (line * window.grid - middle) / window.half * span / 2
            segments.append([(at, 0), (at, side)] if axis == 0 else [(0, at), (side, at)])
            shades.append("0.72" if line == 0 else "0.92")
    return LineCollection(segments, colors=shades, linewidths=1.0, transform=IdentityTransform(), zorder=0)


def _scale(window: Window, what: str) -> str:
    return f"one scale for {what}; grid lines {window.grid:g} apart, darker at 0"


def _caption(cloud: Cloud, window: Window) -> Caption:
    present = cloud.points[cloud.there]
    shares = cloud.shares or (math.nan, math.nan)
    words = [f" ({share:.0%} of variance)" if math.isfinite(share) else "" for share in shares]
    lines = [Line(f"→ component 1{words[0]}", GREY), Line(f"↑ component 2{words[1]}", GREY)]
    if len(present) < len(cloud.points) or not len(present):
        lines.append(Line(f"{len(present)} of {len(cloud.points)} points"))
    if cloud.correct is not None:
        lines.append(Line(f"{int((~cloud.correct[cloud.there]).sum())} of {len(present)} misclassified"))
    if outside := int((np.abs(window.units(present)) > 1).any(axis=1).sum()):
        lines.append(Line(f"{outside} outside, drawn at the edge"))
    return tuple(lines)
