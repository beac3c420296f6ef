"""ActivationLogger: feature maps of the probe, and how many channels are dead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from lightning_viz.collect.channel_statistics import ChannelStatistics
from lightning_viz.collect.channel_statistics import ChannelStatisticsAccumulator as Statistics
from lightning_viz.collect.data_access import DataAccess
from lightning_viz.data.arguments import as_indices, as_names, check_count, describe_value
from lightning_viz.methods import choose_channels, layers_over_depth
from lightning_viz.methods.features.activations import LayerActivation, layer_activations
from lightning_viz.render.channel_sheet import channel_cells, channel_line
from lightning_viz.render.colour import Heatmap
from lightning_viz.render.text import Line
from lightning_viz.runtime.artifacts import FilmColumn, Scalar, TileGrid
from lightning_viz.runtime.captions import label_captions
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.state import CallbackState

from ._options import CommonOptions, full_names
from .base import VizCallback

RANKINGS = {"active": "the most active at first", "varying": "those that varied most between the pictures at first"}
SIGNED_ENDS = "-largest", "largest magnitude of each channel, over these pictures"
READ = 500  # samples that are read where the loop does not run a layer
ENDS = "0", "maximum of each channel, over these pictures"


@dataclass
class ActivationState(CallbackState):
    """What stays the same over training, by layer."""

    channels: dict[str, list[int]] = field(default_factory=dict)  #: that are shown
    film_pictures: dict[str, list[int]] = field(default_factory=dict)  #: that each channel's film row follows
    signed: dict[str, bool] = field(default_factory=dict)  #: whether the layer ever had negative activations


class ActivationLogger(VizCallback):
    """The feature maps of some layers for the probe: `activations/layer3`, a row for each picture, a column for each
    channel, and `activations/layer3/history`, a row for each channel over time. As scalars:

    - `activations/layer3/dead`, the share of dead channels: never positive, for any image at any position; in a layer that
      has negative activations, channels that never vary by more than a millionth of the layer's largest activation;
    - `activations/layer3/sparsity`, the share of all activations that are not positive.

    The channels are chosen once, before the first step. Each column of the sheet has its own scale, from zero to the
    channel's largest activation; the film strip has one scale for all channels and steps. A layer that has negative
    activations is shown in red and blue. A layer that returns vectors has one position; tokens are folded to the image's
    grid; of a layer that runs several times the last output is shown.

    The scalars are recorded in the validation loop, with no extra forward pass, over all its dataloaders. They are logged
    where a complete loop has ended at this step: at the start only if the sanity check covers all validation data, and not
    with `every_n_train_steps`. Of a layer that the loop does not run (it may run another network) they are those of 500
    samples, read by index, which the panel says.

    Args:
        layers: dotted names of layers, one or several; by default four over the depth of the network, the ends of stages.
        channels: "active" chooses by the mean of the positive part, "varying" by how much their mean differs between the
            pictures; or a list of indices, the same for each layer.
        max_channels: how many to choose.
        common: the options of every callback, see `VizCallback`.
    """

    State = ActivationState
    TAG_FIELDS = ("layers",)
    PINNED = ("channels",)

    def __init__(
        self,
        layers: str | Sequence[str] | None = None,
        channels: str | Sequence[int] = "active",
        max_channels: int = 8,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(**common)
        if channels is None or (isinstance(channels, str) and channels not in RANKINGS):
            raise ValueError(
                f"channels={describe_value(channels)} is unknown; choose {' or '.join(map(repr, RANKINGS))}, or give a list "
                "of indices"
            )
        self.layers = as_names("layers", layers)
        self.channels = channels if isinstance(channels, str) else as_indices("channels", channels) or "active"
        self.max_channels = check_count("max_channels", max_channels, 1)

    def estimated_passes(self, network: nn.Module, images: Tensor) -> float:
        return float(len(images))  # three forward passes: to choose the channels, to draw them, and for the captions

    def check_images(self, ctx: DrawContext) -> None:
        state = ctx.state(ActivationState)
        try:
            layers = self._layers(state, ctx.network, ctx.probe.images)
        except ValueError:
            return  # reported when it is drawn
        for layer, found in self._activations(ctx, layers).items():
            self._choose(state, layer, found.maps)

    def accumulators(self, data: DataAccess, state: ActivationState) -> list[Statistics]:
        return [Statistics(partial(self._layers, state))]

    def draw(self, ctx: DrawContext) -> Iterator[TileGrid | Scalar]:
        state = ctx.state(ActivationState)
        layers = self._layers(state, ctx.network, ctx.probe.images)
        recorded = {layer: one for each in ctx.fresh(Statistics) for layer, one in each.compute().items()}
        read, origin = self._read(ctx, layers)
        for layer, found in self._activations(ctx, layers).items():
            statistics = recorded.get(layer) or read.get(layer)
            note = [] if statistics is None else [f"{statistics}{origin if layer in read else ''}"]
            yield self._grid(ctx, layer, found, note)
            if statistics is not None:
                yield Scalar(f"activations/{layer}/dead", statistics.dead)
                yield Scalar(f"activations/{layer}/sparsity", statistics.sparsity)

    def _read(self, ctx: DrawContext, layers: Sequence[str]) -> tuple[dict[str, ChannelStatistics], str]:
        """The statistics of layers that the recorded loop does not run, of samples read by index; and what these are."""
        ran = {layer for one in ctx.recording.accumulators if isinstance(one, Statistics) for layer in one.compute()}
        missing = [layer for layer in layers if layer not in ran]
        if not missing or not ctx.recording.batches:
            return {}, ""
        collected = ctx.collect(
            lambda one: isinstance(one, Statistics) and not {*missing}.isdisjoint(one.compute()),
            lambda: Statistics(lambda network, images: missing),
            lambda reader: reader.choose(READ),
        )
        return ({}, "") if collected is None else (collected.accumulator.compute(), f" of the {collected.origin}")

    def _activations(self, ctx: DrawContext, layers: Sequence[str]) -> dict[str, LayerActivation]:
        """Of all pictures, with one forward pass."""
        images = ctx.probe.images
        parts = ctx.auto_batch.map(lambda part: layer_activations(ctx.network, images[part], layers), len(images))
        return {
            layer: LayerActivation(torch.cat([part[layer].maps for part in parts]), parts[0][layer].calls)
            for layer in layers
        }

    def _grid(self, ctx: DrawContext, layer: str, found: LayerActivation, statistics: Sequence[str]) -> TileGrid:
        state, maps = ctx.state(ActivationState), found.maps
        channels = self._choose(state, layer, maps)
        state.signed[layer] = state.signed.get(layer, False) or bool((maps < 0).any())  # a film strip keeps its colours
        painter = Heatmap(state.signed[layer])
        values = maps[:, channels].float().cpu()
        count, height, width = maps.shape[1:]
        chosen = f", {RANKINGS[self.channels]}" if isinstance(self.channels, str) and len(channels) < count else ""
        positions = "one position" if height * width == 1 else f"{height}×{width} positions"
        runs = f"; the layer runs {found.calls} times, this is its last output" if found.calls > 1 else ""
        notes = [f"{len(channels)} of {count} channels{chosen}; {positions}{runs}", ctx.note]
        captions = [(*true, *said) for true, said in zip(label_captions(ctx.probe), ctx.captions, strict=True)]
        cells = partial(channel_cells, ctx.probe.pictures, captions, values.numpy(), painter)
        headings, spans = ["picture", *(f"channel {channel}" for channel in channels)], [1, len(channels)]
        film = self._film(ctx, layer, channels, values, painter, notes) if ctx.has_history else None
        ends = SIGNED_ENDS if painter.signed else ENDS
        return TileGrid(f"activations/{layer}", cells, headings, spans, [*statistics, *notes], painter, ends, film)

    def _film(
        self, ctx: DrawContext, layer: str, channels: list[int], values: Tensor, painter: Heatmap, notes: list[str]
    ) -> FilmColumn:
        """A row for each channel: its map of the picture that activated it most at the first drawing."""
        first = values.nan_to_num().amax(dim=(2, 3)).argmax(dim=0).tolist()
        followed = ctx.state(ActivationState).film_pictures.setdefault(layer, first)
        pictures = [row % len(ctx.probe) for row in followed]  # after a resume the probe may be smaller
        true, shown = label_captions(ctx.probe), values[pictures, range(len(channels))]
        labels = [(Line(f"channel {channel}"), *true[row]) for channel, row in zip(channels, pictures, strict=True)]
        captions = [(channel_line(one, painter.signed),) for one in shown.numpy()]
        notes = ["each channel at the picture that activated it most at first", *notes]
        return FilmColumn(shown, painter, labels, captions, ctx.probe.pictures[pictures], notes)

    def _layers(self, state: ActivationState, network: nn.Module, images: Tensor) -> list[str]:
        """The given names, or those found once."""
        return full_names(network, self.layers) or list(state.channels) or layers_over_depth(network, images)

    def _choose(self, state: ActivationState, layer: str, maps: Tensor) -> list[int]:
        """The channels to show of maps (B, C, h, w), chosen the first time."""
        if isinstance(self.channels, list):
            if (most := max(self.channels)) >= maps.shape[1]:
                raise ValueError(
                    f"channels={self.channels}: layer {layer!r} has {maps.shape[1]} channels and none of index {most}; "
                    f"give indices of 0 to {maps.shape[1] - 1}"
                )
            if state.channels.get(layer, self.channels) != self.channels:  # others were given before a resume
                state.film_pictures.pop(layer, None)
                state.films.clear()
            state.channels[layer] = self.channels
        elif layer not in state.channels:
            ranking: Any = self.channels
            state.channels[layer] = choose_channels(maps, self.max_channels, ranking).tolist()
        return state.channels[layer]
