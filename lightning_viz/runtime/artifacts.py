"""What a callback's `draw` yields: panels, scalars, embeddings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_viz.render import Caption, Cell, Painter, Pixels


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture in the making: a tile per item, on a sheet of its own and as the newest column of its film strip.

    Args:
        tag: TensorBoard's tag, such as "saliency/gradient"; a callback's `tag=` replaces its first part.
        values: what was measured, raw, for that the film strip can give all steps one scale: maps (N, h, w),
            pictures (N, C, h, w), or with `columns` maps (N, h, w) for each of these.
        painter: how values become tiles.
        columns: names of the maps to show side by side for each item; such a panel has no film strip.
        items: which pictures of the probe the values are of; all by default.
        beside: pictures (N, H, W, 3) to show next to the tiles.
        labels: what each tile is, for good; by default the true classes of the probe.
        captions: what is to say of each tile now; by default the predicted classes and their probabilities.
        notes: lines to print under the panel.
        common_scale: one scale for all tiles of the sheet, rather than each tile's own.
        size: the least side of a tile in pixels; smaller ones are magnified.
        film: which items the film strip follows; all by default, none if empty.
    """

    tag: str
    values: Tensor | Sequence[Tensor]
    painter: Painter
    columns: Sequence[str] = ()
    items: Sequence[int] | None = None
    beside: Pixels | None = None
    labels: Sequence[Caption] | None = None
    captions: Sequence[Caption] | None = None
    notes: Sequence[str] = ()
    common_scale: bool = False
    size: int = 128
    film: Sequence[int] | None = None


@dataclass(frozen=True, eq=False)
class Tiles:
    """Ready tiles on a sheet of their own.

    Args:
        tag: TensorBoard's tag.
        cells: makes the tiles, row by row, when it is painted.
        headings: what stands above the groups of columns, or above each column.
        spans: how many columns each group has.
        notes: lines to print under the sheet.
        painter: whose colour bar to draw, if any.
        ends: the words at the two ends of the bar.
    """

    tag: str
    cells: Callable[[], Sequence[Cell]]
    headings: Sequence[str]
    spans: Sequence[int]
    notes: Sequence[str] = ()
    painter: Painter | None = None
    ends: tuple[str, str] = ("", "")


@dataclass(frozen=True, eq=False)
class Film:
    """The newest column of a film strip, where the sheet is made of `Tiles`.

    Args:
        tag: that of the sheet.
        values: maps, a row each (N, h, w), raw, for that all steps have one scale.
        painter: how values become tiles.
        labels: what each row is, for good.
        captions: what is to say of each tile now.
        pictures: (N, H, W, 3), to show before each row.
        notes: lines to print under the strip.
    """

    tag: str
    values: Tensor
    painter: Painter
    labels: Sequence[Caption]
    captions: Sequence[Caption]
    pictures: Pixels
    notes: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Scatter:
    """Points in the plane, coloured by class, as a picture of their own and as the newest column of a film strip.

    Args:
        tag: TensorBoard's tag.
        points: (N, 2).
        shares: the share of the variance along each axis.
        labels: class indices (N,), -1 where unknown; None where all are.
        correct: whether the network is right, (N,), where that is known.
        name: from a class index to its name.
        notes: lines to print under the picture.
        film: the points that the film strip follows, the same each time, (F, 2); NaN for one that is missing.
        film_labels: their class indices (F,), as `labels`.
        anew: whether the film strip starts anew, as these points are others than before.
    """

    tag: str
    points: Tensor
    shares: tuple[float, float]
    labels: NDArray[np.int64] | None
    correct: NDArray[np.bool_] | None
    name: Callable[[int], str]
    notes: Sequence[str]
    film: Tensor
    film_labels: NDArray[np.int64] | None
    anew: bool = False


@dataclass(frozen=True, eq=False)
class Embedding:
    """A snapshot for TensorBoard's Projector.

    Args:
        name: of the Projector's run.
        points: by the name of the entry, (N, D) each.
        table: columns of N texts.
        thumbnails: makes the pictures (N, h, w, 3).
        max_snapshots: how many stay, spread over the whole run.
    """

    name: str
    points: Mapping[str, Tensor]
    table: Mapping[str, Sequence[str]]
    thumbnails: Callable[[], Pixels]
    max_snapshots: int


@dataclass(frozen=True)
class Scalar:
    """One number for the Scalars page."""

    tag: str
    value: float


Item = Panel | Tiles | Film | Scatter | Embedding | Scalar
