"""ActivationLogger: what the channels of some layers answer to the probe, and which answer to nothing."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_viz.collect.channel_stats import Firing, Firings
from lightning_viz.data.probe import Probe
from lightning_viz.methods import choose_channels, layers_over_depth
from lightning_viz.methods.model.layers import resolve_layer
from lightning_viz.render import Caption, Cell, Heatmap, Line, Values, fit_tile
from lightning_viz.runtime.answers import Answers
from lightning_viz.runtime.artifacts import Film, Item, Scalar, Tiles
from lightning_viz.runtime.lightning_compat import pl
from lightning_viz.runtime.network import truths
from lightning_viz.runtime.validation import check_count, check_indices
from lightning_viz.runtime.words import check_layers, named, shown

from .base import VizCallback

TILE = (104, 128)  # pixels: the longer side of a tile; small maps are magnified by a whole factor, large ones shrunk
RANKINGS = {"active": "the most active", "varying": "those that vary most between the pictures"}


class ActivationLogger(VizCallback):
    """The feature maps of some layers for the probe: `activations/layer3`, a row for each picture, a column for each
    channel, and `activations/layer3/history`, a row for each channel over time. As scalars:

    - `activations/layer3/dead`, the share of dead channels: never above zero, for any image and at any place; in a layer
      that has negative activations as well, never varying by more than a millionth of its largest activation;
    - `activations/layer3/sparsity`, the share of all activations that are not above zero.

    The channels are chosen once, before the first step, and stayed with. Each column of the sheet has its own scale, from
    zero to the channel's largest activation; the film strip has one for all channels and steps. A layer that has negative
    activations is shown in red and blue. One that returns vectors has one place; tokens are folded to the images' grid; of
    one that runs several times the last output is shown.

    The scalars are counted while the validation loop runs, without a forward pass more, over all its dataloaders. They are
    logged where a whole loop has ended at this step: at the start only if the sanity check is of all validation data, and
    not with `every_n_train_steps`.

    Args:
        layers: dotted names of layers, one or several; by default four over the depth of the network, the ends of stages.
        channels: "active" chooses by the mean of the positive part, "varying" by how much their mean differs between the
            pictures; or a list of indices, the same for each layer.
        max_channels: how many to choose.
        common: the options of every callback, see `VizCallback`.
    """

    def __init__(
        self,
        layers: str | list[str] | None = None,
        channels: str | list[int] = "active",
        max_channels: int = 8,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        check_layers(layers)
        check_count("max_channels", max_channels, 1)
        if isinstance(channels, list) and channels:
            check_indices("channels", channels)
        elif not isinstance(channels, str) or channels not in RANKINGS:
            raise ValueError(
                f"channels={shown(channels)} is unknown; choose {' or '.join(map(repr, RANKINGS))}, or give a list of indices"
            )
        self.layers = layers
        self.channels = channels
        self.max_channels = max_channels
        self._firings: dict[str, Firing] = {}  # by layer, while they are drawn

    def distinction(self) -> dict[str, Any]:
        return {"layers": self.layers}

    def check(self, network: nn.Module) -> None:
        for layer in named(self.layers):
            resolve_layer(network, layer)

    def begin(self, network: nn.Module, probe: Probe) -> None:
        try:
            layers = self._layers(network, probe.images)
        except ValueError:
            return  # said when it is to be drawn
        for layer, maps in Answers(network, probe, layers, self._memory.portions).maps.items():
            self._chosen(layer, maps)

    # Numbers, from the validation loop.

    def collectors(self, trainer: pl.Trainer, stage: str) -> list[Firings]:
        """None for a schedule in steps, at which no validation loop ends."""
        self._share_pins(trainer, "channels/")
        return [] if self.every_n_train_steps and trainer.state.fn == "fit" else [Firings(self._layers)]

    def prepare(self, trainer: pl.Trainer, network: nn.Module, stage: str) -> None:
        harvest, self._firings = self._memory.harvest, {}
        if harvest is None or not harvest.whole or harvest.error or harvest.global_step != trainer.global_step:
            return
        for one in harvest.collectors:
            if isinstance(one, Firings):
                self._firings = one.layers

    # Pictures, of the probe.

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Item]:
        answers = Answers(network, probe, self._layers(network, probe.images), self._memory.portions)
        for layer, maps in answers.maps.items():
            channels = self._chosen(layer, maps)
            painter = Heatmap(self._is_signed(layer, maps))
            values = maps[:, channels].float().cpu()
            firing = [str(self._firings[layer])] if layer in self._firings else []
            notes = [self._what(layer, maps), *answers.runs(layer), probe.note]
            yield self._tiles(layer, channels, values, painter, probe, answers.captions, [*firing, *notes])
            yield self._film(layer, channels, values, painter, probe, notes)
            if layer in self._firings:
                yield Scalar(f"activations/{layer}/dead", self._firings[layer].dead)
                yield Scalar(f"activations/{layer}/sparsity", self._firings[layer].sparsity)
        self._firings = {}

    def _tiles(
        self,
        layer: str,
        channels: Sequence[int],
        values: Tensor,
        painter: Heatmap,
        probe: Probe,
        captions: Sequence[Caption],
        notes: Sequence[str],
    ) -> Tiles:
        return Tiles(
            f"activations/{layer}",
            partial(_cells, values.numpy(), painter, probe, captions),
            ["picture", *(f"channel {channel}" for channel in channels)],
            [1, len(channels)],
            notes,
            painter,
            ("-largest", "largest magnitude of each channel, over these pictures")
            if painter.signed
            else ("0", "maximum of each channel, over these pictures"),
        )

    def _film(
        self, layer: str, channels: Sequence[int], values: Tensor, painter: Heatmap, probe: Probe, notes: Sequence[str]
    ) -> Film:
        """A row for each channel: its map of the picture that it answered to most when it was drawn first."""
        kept, true = self._memory.kept, truths(probe)
        rows = kept.setdefault(f"pictures/{layer}", values.nan_to_num().amax(dim=(2, 3)).argmax(dim=0))
        pictures = (rows % len(probe)).tolist()  # a probe given anew may be smaller
        shown = values[pictures, range(len(channels))]
        return Film(
            f"activations/{layer}",
            shown,
            painter,
            [(Line(f"channel {channel}"), *true[row]) for channel, row in zip(channels, pictures, strict=True)],
            [_words(one, painter) for one in shown.numpy()],
            probe.pictures[pictures],
            ["each channel at the picture that it first answered most", *notes],
        )

    # What is stayed with.

    def _layers(self, network: nn.Module, images: Tensor) -> list[str]:
        """The names given, or those found once."""
        pinned = [key.removeprefix("channels/") for key in self._memory.kept if key.startswith("channels/")]
        return named(self.layers) or pinned or layers_over_depth(network, images)

    def _chosen(self, layer: str, maps: Tensor) -> list[int]:
        """The channels to show of maps (B, C, h, w), chosen when they are first asked for."""
        kept, key = self._memory.kept, f"channels/{layer}"
        if isinstance(self.channels, list):
            if (most := max(self.channels)) >= maps.shape[1]:
                raise ValueError(
                    f"channels={self.channels}: layer {layer!r} has {maps.shape[1]} channels and none of index {most}; "
                    f"give indices of 0 to {maps.shape[1] - 1}"
                )
            if key in kept and kept[key].tolist() != self.channels:  # others were given before a resume
                kept.pop(f"pictures/{layer}", None)
                self._memory.films.clear()
            kept[key] = torch.tensor(self.channels)
        elif key not in kept:
            by: Any = self.channels
            kept[key] = choose_channels(maps, self.max_channels, by).cpu()
        channels: list[int] = kept[key].tolist()
        return channels

    def _is_signed(self, layer: str, maps: Tensor) -> bool:
        """Whether the layer has ever answered below zero: a film strip keeps its colours."""
        kept, key = self._memory.kept, f"signed/{layer}"
        kept[key] = (maps < 0).any().cpu() | kept.get(key, torch.tensor(False))
        return bool(kept[key])

    def _what(self, layer: str, maps: Tensor) -> str:
        count, height, width = maps.shape[1:]
        shown = len(self._memory.kept[f"channels/{layer}"])
        chosen = f", {RANKINGS[self.channels]} at first" if isinstance(self.channels, str) and shown < count else ""
        places = "one place" if height * width == 1 else f"{height}×{width} places"
        return f"{shown} of {count} channels{chosen}; {places}"


def _cells(values: Values, painter: Heatmap, probe: Probe, captions: Sequence[Caption]) -> list[Cell]:
    """Rows of a picture and its maps (B, C, h, w), each channel on its own scale."""
    scales = painter.peaks(np.moveaxis(values, 1, 0))
    tiles = [painter(values[:, index], float(scale)) for index, scale in enumerate(scales)]
    side = max(fit_tile(tiles[0][0], *TILE).shape[:2])
    cells = []
    for row, (picture, words) in enumerate(zip(probe.pictures, captions, strict=True)):
        cells.append(Cell((fit_tile(picture, side, side),), words))
        cells += [
            Cell((fit_tile(tile[row], *TILE),), _words(one, painter))
            for tile, one in zip(tiles, values[row], strict=True)
        ]
    return cells


def _words(values: Values, painter: Heatmap) -> Caption:
    """What the numbers of one map (h, w) are."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(values).all():
        return (Line("not finite"),)
    if low == high:
        return (Line("all zero" if high == 0 else f"{high:.2g}" if values.size == 1 else f"all {high:.2g}"),)
    return (Line(f"{low:.2g} to {high:.2g}" if painter.signed else f"max {high:.2g}"),)
