"""Statistics of the channels of some layers over a whole loop: which are dead, and how sparse the activations are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.layers import channel_maps, resolve_layer

from .accumulator import HookPoint, RecordedBatch


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """The channels of a layer over all images and positions."""

    highest: Tensor  #: largest activation of each channel, (C,)
    lowest: Tensor  #: smallest activation of each channel, (C,)
    inactive: Tensor  #: the sum over images of the share of activations that are not positive, ()
    count: int  #: images

    @classmethod
    def merged(cls, parts: Sequence["ChannelStatistics"]) -> "ChannelStatistics":
        """Over the images of all parts."""
        names = "highest", "lowest", "inactive"
        highest, lowest, inactive = (torch.stack([getattr(part, name) for part in parts]) for name in names)
        return cls(highest.amax(dim=0), lowest.amin(dim=0), inactive.sum(), sum(part.count for part in parts))

    def cpu(self) -> "ChannelStatistics":
        return ChannelStatistics(self.highest.cpu(), self.lowest.cpu(), self.inactive.cpu(), self.count)

    @property
    def is_dead(self) -> Tensor:
        """Which channels are never positive; in a layer with negative activations, which never vary. (C,)"""
        if (self.lowest < 0).any():
            largest = torch.maximum(self.highest.abs(), self.lowest.abs()).max()
            return self.highest - self.lowest <= 1e-6 * largest  # one that varies by less carries no information
        return self.highest <= 0

    @property
    def dead(self) -> float:
        """The share of dead channels; NaN where activations are not finite."""
        return float(self.is_dead.float().mean()) if self._is_finite else torch.nan

    @property
    def sparsity(self) -> float:
        """The share of activations that are not positive; NaN where activations are not finite."""
        return float(self.inactive) / self.count if self._is_finite else torch.nan

    @property
    def _is_finite(self) -> bool:
        return bool(self.highest.isfinite().all() and self.lowest.isfinite().all())

    def __str__(self) -> str:
        if not self._is_finite:
            return f"activations not finite over {self.count} images"
        dead = f"{int(self.is_dead.sum())} of {len(self.highest)} channels dead"
        return f"{dead}, {self.sparsity:.0%} of activations not positive, over {self.count} images"


@dataclass(eq=False)
class ChannelStatisticsAccumulator:
    """The channel statistics of each layer, an `Accumulator`. Of a layer that runs several times the last run counts."""

    layers_of: Callable[[nn.Module, Tensor], Sequence[str]]  #: from the network and an image to the names of the layers
    _statistics: dict[str, ChannelStatistics] = field(default_factory=dict)

    def hook_points(self, network: nn.Module, images: Tensor) -> Mapping[str, HookPoint]:
        modules = {layer: resolve_layer(network, layer)[1] for layer in self.layers_of(network, images)}
        return {layer: HookPoint(module, partial(channel_extremes, module)) for layer, module in modules.items()}

    def update(self, batch: RecordedBatch) -> None:
        repeated, new = torch.from_numpy(batch.positions < 0), dict[str, ChannelStatistics]()
        for layer, values in batch.values.items():
            values = values[~repeated.to(values.device)] if repeated.any() else values
            if len(values):
                highest, lowest = values[..., 0].amax(dim=0), values[..., 1].amin(dim=0)
                new[layer] = ChannelStatistics(highest, lowest, values[..., 2].mean(dim=1).sum(), len(values))
        self.merge_state([self._statistics, new])

    def state(self) -> dict[str, ChannelStatistics]:
        return {layer: one.cpu() for layer, one in self._statistics.items()}

    def merge_state(self, states: Sequence[dict[str, ChannelStatistics]]) -> None:
        parts: dict[str, list[ChannelStatistics]] = {}
        for layer, one in chain.from_iterable(state.items() for state in states):
            parts.setdefault(layer, []).append(one)
        self._statistics = {layer: ChannelStatistics.merged(several) for layer, several in parts.items()}

    def compute(self) -> dict[str, ChannelStatistics]:
        """By layer, of those that ran."""
        return self._statistics


def channel_extremes(module: nn.Module, activation: Tensor, images: Tensor) -> Tensor:
    """Largest and smallest activation of each image and channel, and the share that is not positive: (B, C, 3)."""
    maps = channel_maps(module, activation, images)
    positive = maps.sign().clamp_(min=0).mean(dim=(2, 3), dtype=torch.float32)  # five times faster than counting
    return torch.stack([maps.amax(dim=(2, 3)).float(), maps.amin(dim=(2, 3)).float(), 1 - positive], dim=2)
