"""What a callback's `draw` yields: raw values, and how to render them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_viz.render import Caption, Cell, Painter, Pixels


@dataclass(frozen=True, eq=False)
class Panel:
    """One tile per item: on a sheet, and as the newest column of a film strip.

    Args:
        tag: TensorBoard's tag, such as "saliency/gradient"; a callback's `tag=` replaces its first part.
        values: raw, so that all steps of the film strip get one scale: maps (N, h, w), pictures (N, C, h, w), or with
            `columns` maps (N, h, w) for each of these.
        painter: how values become colours.
        columns: names of the maps shown side by side for each item; such a panel has no film strip.
        items: which pictures of the probe the values belong to; all by default.
        beside: pictures (N, H, W, 3) to show next to the tiles.
        labels: what each tile is at every step; by default the true classes of the probe.
        captions: what is to be said of each tile at this step; by default the predicted classes and probabilities.
        notes: lines below the sheet.
        common_scale: one colour scale for all tiles of the sheet, rather than one for each tile.
        size: the smallest side of a tile in pixels; smaller ones are magnified.
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
class FilmColumn:
    """The newest column of the film strip of a `TileGrid`.

    Args:
        values: maps, one for each row, (N, h, w), raw, so that all steps get one scale.
        painter: how values become colours.
        labels: what each row is at every step.
        captions: what is to be said of each tile at this step.
        pictures: (N, H, W, 3), shown before each row.
        notes: lines below the strip.
    """

    values: Tensor
    painter: Painter
    labels: Sequence[Caption]
    captions: Sequence[Caption]
    pictures: Pixels
    notes: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class TileGrid:
    """Ready tiles in rows and columns on a sheet.

    Args:
        tag: TensorBoard's tag.
        cells: makes the tiles, row by row, in the queue's thread.
        headings: above the groups of columns, or above each column.
        spans: how many columns each group has.
        notes: lines below the sheet.
        painter: whose colour bar is drawn, if any.
        ends: the texts at the two ends of the colour bar.
        film: the newest column of its film strip, if it has one.
    """

    tag: str
    cells: Callable[[], Sequence[Cell]]
    headings: Sequence[str]
    spans: Sequence[int]
    notes: Sequence[str] = ()
    painter: Painter | None = None
    ends: tuple[str, str] = ("", "")
    film: FilmColumn | None = None


@dataclass(frozen=True, eq=False)
class Scatter:
    """Points in the plane, coloured by class: a picture, and the newest column of a film strip.

    Args:
        tag: TensorBoard's tag.
        points: (N, 2).
        shares: the share of the variance along each axis.
        labels: class indices (N,), -1 where unknown; None where all are.
        correct: whether each prediction is correct, (N,); None where that is not known.
        name: from a class index to its name.
        notes: lines below the picture.
        film: the points that the film strip follows, the same at each step, (F, 2); NaN for a missing one.
        film_labels: their class indices (F,), as `labels`.
        restart_film: whether these are other points than before, so that the film strip starts again.
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
    restart_film: bool = False


@dataclass(frozen=True, eq=False)
class Embedding:
    """A snapshot for TensorBoard's Projector.

    Args:
        name: of the Projector's run.
        points: by the name of the entry, (N, D) each.
        metadata: columns of N texts.
        thumbnails: makes the pictures (N, h, w, 3), in the queue's thread.
        max_snapshots: how many stay, spread over the whole run.
    """

    name: str
    points: Mapping[str, Tensor]
    metadata: Mapping[str, Sequence[str]]
    thumbnails: Callable[[], Pixels]
    max_snapshots: int


@dataclass(frozen=True)
class Scalar:
    """One number for the Scalars page."""

    tag: str
    value: float


Artifact = Panel | TileGrid | Scatter | Embedding | Scalar
