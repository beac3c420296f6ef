"""What a callback's `draw` yields: panels and scalars."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lightning_viz.render import Caption, Painter, Pixels


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


@dataclass(frozen=True)
class Scalar:
    """One number for the Scalars page."""

    tag: str
    value: float
