"""What a callback's `draw` yields: raw values, and how to render them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_viz.render.colour import Painter, Pixels
from lightning_viz.render.sheet import Cell
from lightning_viz.render.text import Caption


@dataclass(frozen=True, eq=False)
class Panel:
    """One tile per item: on a sheet, and as the newest column of a film strip."""

    tag: str  #: TensorBoard's tag, such as "saliency/gradient"; a callback's `tag=` replaces its first part
    #: Raw, so that a film strip has one scale: maps (N, h, w), pictures (N, C, h, w), or maps (N, h, w) for each column.
    values: Tensor | Sequence[Tensor]
    painter: Painter  #: how values become colours
    columns: Sequence[str] = ()  #: names of the maps shown side by side; such a panel has no film strip
    items: Sequence[int] | None = None  #: which pictures of the probe the values belong to; all by default
    beside: Pixels | None = None  #: pictures (N, H, W, 3) next to the tiles
    labels: Sequence[Caption] | None = None  #: below each tile at every step; the true classes of the probe by default
    captions: Sequence[Caption] | None = None  #: below each tile at this step; the predictions by default
    notes: Sequence[str] = ()  #: lines below the sheet
    common_scale: bool = False  #: one colour scale for all tiles of the sheet, rather than one for each tile
    size: int = 128  #: the smallest side of a tile in pixels; smaller ones are magnified
    film: Sequence[int] | None = None  #: which items the film strip follows; all by default, none if empty


@dataclass(frozen=True, eq=False)
class FilmColumn:
    """The newest column of the film strip of a `TileGrid`."""

    values: Tensor  #: maps, one for each row, (N, h, w), raw, so that all steps get one scale
    painter: Painter  #: how values become colours
    labels: Sequence[Caption]  #: of each row
    captions: Sequence[Caption]  #: below each tile at this step
    pictures: Pixels  #: before each row, (N, H, W, 3)
    notes: Sequence[str] = ()  #: lines below the strip


@dataclass(frozen=True, eq=False)
class TileGrid:
    """Ready tiles in rows and columns on a sheet."""

    tag: str
    cells: Callable[[], Sequence[Cell]]  #: makes the tiles, row by row, in the queue's thread
    headings: Sequence[str]  #: above the groups of columns, or above each column
    spans: Sequence[int]  #: how many columns each group has
    notes: Sequence[str] = ()  #: lines below the sheet
    painter: Painter | None = None  #: whose colour bar is drawn, if any
    ends: tuple[str, str] = ("", "")  #: the texts at the two ends of the colour bar
    film: FilmColumn | None = None


@dataclass(frozen=True, eq=False)
class Scatter:
    """Points in the plane, coloured by class: a picture, and the newest column of a film strip."""

    tag: str
    points: Tensor  #: (N, 2)
    shares: tuple[float, float]  #: the share of the variance along each axis
    labels: NDArray[np.int64] | None  #: class indices (N,), -1 where unknown; None where all are
    correct: NDArray[np.bool_] | None  #: whether each prediction is correct, (N,); None where that is not known
    name: Callable[[int], str]  #: from a class index to its name
    notes: Sequence[str]  #: lines below the picture
    film: Tensor  #: the points that the film strip follows, the same at each step, (F, 2); NaN for a missing one
    film_labels: NDArray[np.int64] | None  #: their class indices (F,), as `labels`
    restart_film: bool = False  #: whether these are other points than before, so that the film strip starts again


@dataclass(frozen=True, eq=False)
class Embedding:
    """A snapshot for TensorBoard's Projector."""

    name: str  #: of the Projector's run
    points: Mapping[str, Tensor]  #: by the name of the entry, (N, D) each
    metadata: Mapping[str, Sequence[str]]  #: columns of N texts
    thumbnails: Callable[[], Pixels]  #: makes the pictures (N, h, w, 3), in the queue's thread
    max_snapshots: int  #: how many stay, spread over the whole run


@dataclass(frozen=True)
class Scalar:
    """One number for the Scalars page."""

    tag: str
    value: float


Artifact = Panel | TileGrid | Scatter | Embedding | Scalar
