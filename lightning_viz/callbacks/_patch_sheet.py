"""Patches of pictures as a unit sees them, each above the gradient of the unit with respect to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_viz.collect.top_activations import Answers
from lightning_viz.collect.top_samples import Top
from lightning_viz.data.probe import Probe
from lightning_viz.methods import ReceptiveField, guided_backprop, receptive_field, saliency
from lightning_viz.methods.model.batching import Portions
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.render import WRONG, Caption, Cell, Line, Pixels, SignedPixels, Values, fit_tile
from lightning_viz.render.text import GREY

SMALLEST, LARGEST = 80, 128  # pixels a side of a tile
QUANTILE = 0.99  # of what is not 0: a few pixels have many times the gradient of all others
BEYOND = 205  # the grey of what lies beyond a picture


@dataclass(frozen=True, eq=False)
class Pair:
    """A patch of a picture (h, w, 3), and of the gradient of what its unit answers, (C, h, w)."""

    patch: Pixels
    gradient: Values


@dataclass(frozen=True, eq=False)
class Row:
    """A unit's pairs, strongest first, and what is to say of each; and of the unit."""

    words: Caption
    pairs: Sequence[Pair]
    captions: Sequence[Caption]


@dataclass(eq=False)
class Cutter:
    """Cuts the samples that activate the units of one layer most to what the units see of them.

    `images` are by position in the data. `guided` is known once something was cut: False where the network has no ReLU
    up to the layer, and the gradients are plain ones.
    """

    network: nn.Module
    layer: str
    images: Mapping[int, Tensor]
    fields: dict[tuple[str, int, int], ReceptiveField | None]  #: found so far, by layer and the images' size
    portions: Portions
    guided: bool = True
    _maps: FeatureMaps = field(init=False)

    def __post_init__(self) -> None:
        self._maps = FeatureMaps(self.network, self.layer)

    def rows(self, answers: Answers, probe: Probe) -> list[Row]:
        """All units' rows."""
        shown = answers.shown
        classes, counts, known = (one.tolist() for one in shown.classes)
        rows = []
        for index, channel in enumerate(answers.channels):
            words = [Line(f"unit {channel}")]
            if not answers.moments[0, index]:
                words.append(Line("not finite", WRONG))
            elif answers.silent[index]:
                words.append(Line("silent: all alike", GREY))
            elif known[index]:
                words.append(Line(f"{probe.name(classes[index])} {counts[index]}/{known[index]}"))
            words.append(Line(f"mean {answers.mean[index]:.2g}", GREY))
            top = shown.at(torch.tensor([index]))
            rows.append(Row(tuple(words), self._pairs(channel, top, probe), _captions(top, probe)))
        return rows

    def _pairs(self, channel: int, top: Top, probe: Probe) -> list[Pair]:
        """Of one unit."""
        there = (top.positions[0] >= 0).nonzero()[:, 0]
        images = [self.images[position] for position in top.positions[0, there].tolist()]
        places = torch.stack([top.rows[0, there], top.columns[0, there]], dim=1)
        alike = len({image.shape for image in images}) == 1
        pairs = []
        for part in [slice(None)] if alike else [slice(one, one + 1) for one in range(len(images))]:
            if not images:
                continue
            batch = torch.stack(images[part]).to(probe.images)
            gradients = self._gradients(batch, channel, places[part].to(batch.device)).cpu().numpy()
            seen = self.field(batch)
            for picture, gradient, (row, column) in zip(
                probe.shown(batch), gradients, places[part].tolist(), strict=True
            ):
                box = None if seen is None else seen.box(row, column)
                pairs.append(
                    Pair(_cut(picture, box, BEYOND), np.moveaxis(_cut(np.moveaxis(gradient, 0, -1), box, 0), -1, 0))
                )
        return pairs

    def _gradients(self, images: Tensor, channel: int, places: Tensor) -> Tensor:
        """Signed gradients (B, C, H, W) of the unit's activation at each image's place, guided if that can be."""
        return self.portions(lambda part: self._some_gradients(images[part], channel, places[part]), len(images))

    def _some_gradients(self, images: Tensor, channel: int, places: Tensor) -> Tensor:
        target = partial(_activations, channel=channel, places=places)
        if self.guided:
            try:
                return guided_backprop(self._maps, images, target, reduce=None)
            except ValueError:  # no ReLU; or another reason, which the plain gradient raises again
                self.guided = False
        return saliency(self._maps, images, target, reduce=None)

    def field(self, images: Tensor) -> ReceptiveField | None:
        """What the places of the layer see of images of this size; None where that cannot be found."""
        key = (self.layer, *images.shape[-2:])
        if key not in self.fields:
            try:
                self.fields[key] = receptive_field(self.network, self.layer, images)
            except ValueError:  # NaN does not find its way through, or these weights are NaN
                self.fields[key] = None
        return self.fields[key]


def _activations(maps: Tensor, channel: int, places: Tensor) -> Tensor:
    return maps[torch.arange(len(maps), device=maps.device), channel, places[:, 0], places[:, 1]]


def _captions(top: Top, probe: Probe) -> list[Caption]:
    """Class and activation of each patch of one unit."""
    captions: list[Caption] = []
    for value, label, position in zip(
        top.values[0].tolist(), top.labels[0].tolist(), top.positions[0].tolist(), strict=True
    ):
        if position >= 0:
            captions.append((*([Line(probe.name(label))] if label >= 0 else []), Line(f"{value:.3g}", GREY)))
    return captions


def _cut(values: NDArray[Any], box: tuple[int, int, int, int] | None, beyond: int) -> NDArray[Any]:
    """The box of a picture (H, W, C), and `beyond` for what of it is outside the picture.

    Much of a large box may be: no side is longer than the picture's.
    """
    if box is None:
        return values
    (height, width), (top, left, bottom, right) = values.shape[:2], box
    canvas = np.full((min(bottom - top, height), min(right - left, width), *values.shape[2:]), beyond, values.dtype)
    inside = values[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    above = _offset(top, bottom, height, len(inside))
    before = _offset(left, right, width, inside.shape[1])
    canvas[above : above + len(inside), before : before + inside.shape[1]] = inside
    return canvas


def _offset(start: int, end: int, size: int, inside: int) -> int:
    """Where on the canvas the part inside begins: at its end, if it is the start that is outside."""
    return min(end - start, size) - inside if start < 0 else 0


def cells(rows: Sequence[Row], columns: int) -> list[Cell]:
    """Each unit's words and its pairs, one row after the other, the rest of a row empty."""
    painter, found = SignedPixels(), []
    for row in rows:
        found.append(Cell((), row.words))
        for pair, caption in zip(row.pairs, row.captions, strict=True):
            gradient = pair.gradient if len(pair.gradient) in (1, 3) else pair.gradient.mean(axis=0, keepdims=True)
            nonzero = np.abs(gradient[gradient != 0])
            scale = float(np.nanquantile(nonzero, QUANTILE)) if np.isfinite(nonzero).any() else None
            found.append(Cell((_stacked(pair.patch, painter(gradient[None], scale)[0]),), caption))
        found.extend([Cell(())] * (columns - len(row.pairs)))
    return found


def _stacked(*pictures: Pixels) -> Pixels:
    """One above the other, with a white line between."""
    upper, lower = (fit_tile(picture, SMALLEST, LARGEST) for picture in pictures)
    return np.concatenate([upper, np.full((2, upper.shape[1], 3), 255, np.uint8), lower])
