"""TopPatchesLogger: the image patches that activate the units of a layer most."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isnan
from typing import Unpack

import numpy as np
import torch
from torch import Tensor, nn

from lightning_viz.collect.data_access import DataAccess
from lightning_viz.collect.top_activations import LayerTopActivations, TopActivations
from lightning_viz.data.arguments import as_indices, as_list, as_names, check_count
from lightning_viz.methods import layers_over_depth
from lightning_viz.methods.model.batching import FORWARD
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.layers import plain_name, resolve_layer
from lightning_viz.render.patch_sheet import patch_cells
from lightning_viz.runtime.artifacts import Scalar, TileGrid
from lightning_viz.runtime.context import Collected, DrawContext
from lightning_viz.runtime.state import CallbackState

from ._options import CommonOptions, check_units
from ._patch_sheet import PatchExtractor
from .base import VizCallback

READ = 500  # samples that are read where there is no loop to record


@dataclass
class PatchesState(CallbackState):
    """The units that are shown, by the plain name of the layer, once they are chosen for good."""

    units: dict[str, list[int]] = field(default_factory=dict)
    shuffled_purity: dict[str, float] = field(default_factory=dict)  #: by layer, of the choice of units


class TopPatchesLogger(VizCallback):
    """The validation image patches that activate a unit most, with their guided backpropagation.

    Under `patches/<layer>`: for each unit a row of patches, largest activation first, each the receptive field of the
    position with the largest activation (Zeiler and Fergus 2014; the whole picture where the receptive field covers it),
    and below it the guided gradient of the unit there (Springenberg et al. 2015), or the plain gradient where the network
    has no ReLU up to the layer. Below each pair stand its class and the activation; beside the row the most frequent class,
    whose share is the unit's purity. As a scalar `patches/<layer>/purity`, the share over all patches shown, and beside it
    `purity_shuffled`, that of units chosen in the same way with the labels shuffled: what pure noise gives. Patches that do
    not exceed the unit's mean over all images are left out: a dead unit has none.

    The patches are recorded in the validation loop, with no extra forward pass. Where there is none at that moment (at the
    start, without validation data, with `every_n_train_steps`), 500 of the samples are read by index; the sheet says so. Of
    several validation loaders the first is used. A drawing also costs a forward and a backward pass up to the layer for each
    pair, 96 by default; while the units are still being chosen, the pictures shown are read again by index.

    The most selective units are shown: first by purity, then by how many standard deviations the patches exceed the mean
    over all images. In an untrained network some of thousands of units are pure by chance; so the units are chosen again
    until the first drawing after a training step, and stay the same from then on.

    Args:
        layers: dotted names of the layers, one or several; by default two, in the middle of the network and at its end.
        units: channels to show, the same ones in each layer; by default the most selective.
        max_units: how many units to choose.
        patches: how many patches to show of each.
        common: the options of every callback, see `VizCallback`.
    """

    State = PatchesState
    TAG_FIELDS = ("layers", "units")
    CHEAPER = "fewer units (max_units=, units=), patches (patches=) or layers (layers=)"
    PINNED = ("units",)
    SAMPLES_READ = READ
    SECONDS = 0.2

    def __init__(
        self,
        layers: str | Sequence[str] | None = None,
        units: Sequence[int] | None = None,
        max_units: int = 8,
        patches: int = 6,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(**common)
        self.layers = as_names("layers", layers)
        self.units = as_indices("units", units)
        self.max_units = check_count("max_units", max_units, 1)
        self.patches = check_count("patches", patches, 1)

    def estimated_passes(self, network: nn.Module, images: Tensor) -> float:
        pairs = len(self.units or range(self.max_units)) * self.patches
        return READ * FORWARD + (len(as_list(self.layers)) or 2) * pairs

    def check_images(self, ctx: DrawContext) -> None:
        images = ctx.probe.images[:1]
        for layer in self._layers(ctx.network, images) if self.layers or self.units else []:
            check_units(self.units or [0], ctx.network, layer, images, "layers")

    def accumulators(self, data: DataAccess, state: PatchesState) -> list[TopActivations]:
        return [self._accumulator(state, keep_images=not data.is_indexable(0))]

    def draw(self, ctx: DrawContext) -> Iterator[TileGrid | Scalar]:
        state = ctx.state(PatchesState)
        collected = self._collect(ctx, state)
        chosen, shuffled = {}, {}
        for layer, one in collected.items():
            top = one.accumulator.compute()[layer]
            chosen[layer] = top if self._known_units(state, layer) else top.at(top.most_selective(self.max_units))
            shuffled[layer] = self._shuffled_purity(state, layer, top, one.accumulator.class_counts)
        keeps = ctx.has_history and ctx.global_step > 0 and self.units is None
        notes = {layer: self._describe_choice(state, collected[layer].accumulator, layer, keeps) for layer in chosen}
        if keeps:
            state.units |= {plain_name(layer): top.channels for layer, top in chosen.items()}
            state.shuffled_purity |= {plain_name(layer): one for layer, one in shuffled.items()}
        kept = {layer: one.accumulator.images for layer, one in collected.items()}
        images = self._read(ctx, {layer: top for layer, top in chosen.items() if not kept[layer]})
        for layer, top in chosen.items():
            origin = f"{top.count:,} of the {collected[layer].origin}"
            yield from self._sheet(ctx, layer, top, kept[layer] or images, [notes[layer], origin], shuffled[layer])

    # Where the patches come from, and which units are shown.

    def _collect(self, ctx: DrawContext, state: PatchesState) -> dict[str, Collected]:
        """What the loop recorded, by layer; of the layers that it does not run, what is read by index."""
        found: dict[str, Collected] = {}
        layers = self._layers(ctx.network, ctx.probe.images[:1])

        def missing() -> list[str]:
            return [layer for layer in layers if layer not in found]

        while missing():
            collected = ctx.collect(
                lambda one: isinstance(one, TopActivations) and not one.recorded_layers.isdisjoint(missing()),
                lambda: self._accumulator(state, layers=missing()),
                lambda reader: reader.choose(READ),
            )
            if collected is None:
                break
            found |= {layer: collected for layer in missing() if layer in collected.accumulator.recorded_layers}
        return {layer: found[layer] for layer in layers if layer in found}

    def _accumulator(
        self, state: PatchesState, keep_images: bool = False, layers: Sequence[str] | None = None
    ) -> TopActivations:
        keep_images = keep_images or bool(self.units or state.units)
        layers_of = self._layers if layers is None else lambda network, images: layers
        return TopActivations(self.patches, layers_of, partial(self._known_units, state), keep_images)

    def _layers(self, network: nn.Module, images: Tensor) -> list[str]:
        layers = as_list(self.layers) or layers_over_depth(network, images, 2)
        return [resolve_layer(network, layer)[0] for layer in layers]

    def _read(self, ctx: DrawContext, chosen: Mapping[str, LayerTopActivations]) -> dict[int, Tensor]:
        """The pictures to show, by position, read by index."""
        if not chosen or (reader := ctx.data.reader(0)) is None:
            return {}
        positions = np.unique(torch.cat([one.top.positions.flatten() for one in chosen.values()]).numpy())
        return {
            int(position): image.cpu()
            for found, part in reader.batches(positions[positions >= 0])
            for position, image in zip(part, found.images, strict=True)
        }

    def _known_units(self, state: PatchesState, layer: str) -> list[int] | None:
        """The given units, or those chosen for good."""
        return self.units or state.units.get(plain_name(layer))

    def _shuffled_purity(
        self, state: PatchesState, layer: str, top: LayerTopActivations, class_counts: Mapping[int, int]
    ) -> float:
        """The purity with shuffled labels; of units that were chosen for good, at their choice."""
        if self.units is None and (known := state.shuffled_purity.get(plain_name(layer))) is not None:
            return known
        return top.shuffled_purity(class_counts, None if self._known_units(state, layer) else self.max_units)

    def _describe_choice(self, state: PatchesState, accumulator: TopActivations, layer: str, keeps: bool) -> str:
        if self.units is not None:
            return "units given"
        if self._known_units(state, layer):
            return "units chosen at the first drawing after a training step"
        some, total = len(accumulator.channels[layer]), accumulator.channel_counts[layer]
        competing = f"all {total:,} units"
        if some < total:
            competing = f"{some:,} of {total:,} units, as many as memory keeps pictures of"
        return f"the most selective of {competing}, chosen {'now and kept' if keeps else 'now'}"

    # What is drawn of them.

    def _sheet(
        self,
        ctx: DrawContext,
        layer: str,
        top: LayerTopActivations,
        images: dict[int, Tensor],
        origin: Sequence[str],
        shuffled: float,
    ) -> Iterator[TileGrid | Scalar]:
        extractor = PatchExtractor(FeatureMaps(ctx.network, layer), images, ctx.cache, ctx.auto_batch)
        rows = extractor.rows(top, ctx.probe)
        notes = [
            *extractor.describe(ctx.probe.images),
            "mean: of the unit's largest activation per image, over all images; patches that do not exceed it are left out",
            *([] if isnan(top.purity) else [f"purity {top.purity:.2f}; {shuffled:.2f} with the labels shuffled"]),
            *origin,
            ctx.probe.note,
        ]
        tag, headings = f"patches/{plain_name(layer)}", ("unit", "patches that activate it most: class, activation")
        yield TileGrid(tag, partial(patch_cells, rows, self.patches), headings, (1, self.patches), notes)
        if not isnan(top.purity):
            yield Scalar(f"{tag}/purity", top.purity)
            yield Scalar(f"{tag}/purity_shuffled", shuffled)
