"""PatchExtractor: the receptive fields of units in the pictures that activate them most, with the unit's gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lightning_viz.collect.top_activations import LayerTopActivations
from lightning_viz.collect.top_samples import TopSamples
from lightning_viz.data.probe import Probe
from lightning_viz.methods import ReceptiveField, guided_backprop, receptive_field, saliency
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.render.patch_sheet import Patch, UnitRow, crop
from lightning_viz.render.text import GREY, WRONG, Line

OUTSIDE = 205  # the grey of what lies outside a picture


@dataclass(eq=False)
class PatchExtractor:
    """Cuts the top samples of the units of one layer to the units' receptive fields."""

    maps: FeatureMaps  #: of the network at the layer
    images: Mapping[int, Tensor]  #: by position in the data
    fields: dict[tuple[str, int, int], ReceptiveField | None]  #: found so far, by layer and image size
    auto_batch: AutoBatch
    guided: bool = True  #: False once the network turned out to have no ReLU up to the layer: gradients are plain ones

    def rows(self, found: LayerTopActivations, probe: Probe) -> list[UnitRow]:
        """A row for each unit."""
        shown = found.above_mean
        majority = zip(*(one.tolist() for one in shown.majority), strict=True)
        rows = []
        for index, (channel, (label, count, labelled)) in enumerate(zip(found.channels, majority, strict=True)):
            lines = [Line(f"unit {channel}")]
            if not found.moments[0, index]:
                lines.append(Line("not finite", WRONG))
            elif found.is_constant[index]:
                lines.append(Line("constant activation", GREY))
            elif labelled:
                lines.append(Line(f"{probe.class_name(label)} {count}/{labelled}"))
            lines.append(Line(f"mean {found.mean[index]:.2g}", GREY))
            top = shown.at(torch.tensor([index]))
            rows.append(UnitRow(tuple(lines), self._patches(channel, top, probe)))
        return rows

    def describe(self, images: Tensor) -> list[str]:
        """Lines on what patches and gradients are, for images of this size."""
        gradient = "guided gradient" if self.guided else "gradient (no ReLU before the layer to guide it)"
        below = f"below each patch: {gradient} of the unit at that position, scaled to its 99% quantile, zero in grey"
        found = self.receptive_field(images)
        if found is None:
            return [below, "whole pictures: the receptive field could not be found"]
        size = f" {found.size[0]}×{found.size[1]} px (light grey: outside the picture)"
        covers = ": the whole picture" if found.is_global else size
        return [below, f"{len(found.rows)}×{len(found.columns)} positions, receptive field{covers}"]

    def receptive_field(self, images: Tensor) -> ReceptiveField | None:
        """The receptive fields of the layer for images of this size; None where they cannot be found."""
        key = (self.maps.layer, *images.shape[-2:])
        if key not in self.fields:
            try:
                self.fields[key] = receptive_field(self.maps.model, self.maps.layer, images)
            except ValueError:  # NaN does not pass through the network, or these weights are NaN
                self.fields[key] = None
        return self.fields[key]

    def _patches(self, channel: int, top: TopSamples, probe: Probe) -> list[Patch]:
        present = (top.positions[0] >= 0).nonzero()[:, 0]
        images = [self.images[position] for position in top.positions[0, present].tolist()]
        positions = torch.stack([top.rows[0, present], top.columns[0, present]], dim=1)
        captions = [
            (*([Line(probe.class_name(label))] if label >= 0 else []), Line(f"{value:.3g}", GREY))
            for value, label in zip(top.values[0, present].tolist(), top.labels[0, present].tolist(), strict=True)
        ]
        same_size = len({image.shape for image in images}) == 1
        patches = []
        for part in [slice(None)] if same_size else [slice(one, one + 1) for one in range(len(images))]:
            batch, where = torch.stack(images[part]).to(probe.images), positions[part].to(probe.images.device)
            gradients = self.auto_batch.cat(partial(self._gradients, batch, channel, where), len(batch)).cpu().numpy()
            found = self.receptive_field(batch)
            boxes = [None if found is None else found.box(*position) for position in where.tolist()]
            for picture, gradient, box, caption in zip(
                probe.to_pixels(batch), gradients, boxes, captions[part], strict=True
            ):
                cut = crop(np.moveaxis(gradient, 0, -1), box, 0)
                patches.append(Patch(crop(picture, box, OUTSIDE), np.moveaxis(cut, -1, 0), caption))
        return patches

    def _gradients(self, images: Tensor, channel: int, positions: Tensor, part: slice) -> Tensor:
        """Signed gradients (B, C, H, W) of the unit's activation at each image's position, guided where possible."""
        rows, columns = positions[part].T

        def target(maps: Tensor) -> Tensor:
            return maps[torch.arange(len(maps), device=maps.device), channel, rows, columns]

        if self.guided:
            try:
                return guided_backprop(self.maps, images[part], target, reduce=None)
            except ValueError:  # no ReLU; or another reason, which the plain gradient raises again
                self.guided = False
        return saliency(self.maps, images[part], target, reduce=None)
