"""Statistics of the channels of some layers over a whole loop: which are dead, and how sparse the activations are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.capture import activation_functions
from lightning_viz.methods.model.layers import channel_maps, resolve_layer

from .accumulator import HookPoint, RecordedBatch


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """The activations of a layer's channels over all images and positions.

    They are read after the activation function that directly follows the layer. Where there is none, as after the blocks of
    EfficientNet and ConvNeXt, half of the activations are negative and mean nothing by it: `is_linear`.
    """

    highest: Tensor  #: largest activation of each channel, (C,)
    lowest: Tensor  #: smallest activation of each channel, (C,)
    inactive: (
        Tensor  #: the sum over images of the share of activations that are not positive (`is_linear`: that are 0), ()
    )
    count: int  #: images
    is_linear: bool = False  #: the activations are not the result of an activation function

    @classmethod
    def merged(cls, parts: Sequence["ChannelStatistics"]) -> "ChannelStatistics":
        """Over the images of all parts."""
        names = "highest", "lowest", "inactive"
        highest, lowest, inactive = (torch.stack([getattr(part, name) for part in parts]) for name in names)
        count, is_linear = sum(part.count for part in parts), any(part.is_linear for part in parts)
        return cls(highest.amax(dim=0), lowest.amin(dim=0), inactive.sum(), count, is_linear)

    def cpu(self) -> "ChannelStatistics":
        return replace(self, highest=self.highest.cpu(), lowest=self.lowest.cpu(), inactive=self.inactive.cpu())

    @property
    def is_dead(self) -> Tensor:
        """Which channels are never positive; if linear, or with negative activations (SiLU), which never vary. (C,)"""
        if self.is_linear or (self.lowest < 0).any():
            largest = torch.maximum(self.highest.abs(), self.lowest.abs()).max()
            return self.highest - self.lowest <= 1e-6 * largest  # one that varies by less carries no information
        return self.highest <= 0

    @property
    def dead(self) -> float:
        """The share of dead channels; NaN where activations are not finite."""
        return float(self.is_dead.float().mean()) if self._is_finite else torch.nan

    @property
    def sparsity(self) -> float:
        """The share of activations that are not positive, if linear that are 0; NaN where activations are not finite."""
        return float(self.inactive) / self.count if self._is_finite else torch.nan

    @property
    def _is_finite(self) -> bool:
        return bool(self.highest.isfinite().all() and self.lowest.isfinite().all())

    def __str__(self) -> str:
        if not self._is_finite:
            return f"activations not finite over {self.count} images"
        count = f"{int(self.is_dead.sum())} of {len(self.highest)} channels"
        if self.is_linear:
            zero = f"{count} constant, {self.sparsity:.0%} of activations are 0"
            return f"{zero}, over {self.count} images; no activation function follows"
        return f"{count} dead, {self.sparsity:.0%} of activations not positive, over {self.count} images"


@dataclass(eq=False)
class ChannelStatisticsAccumulator:
    """The channel statistics of each layer, an `Accumulator`. Of a layer that runs several times the last run counts."""

    layers_of: Callable[[nn.Module, Tensor], Sequence[str]]  #: from the network and an image to the names of the layers
    _statistics: dict[str, ChannelStatistics] = field(default_factory=dict)
    _linear: set[str] = field(
        default_factory=set
    )  #: layers whose activations are not the result of an activation function

    def hook_points(self, network: nn.Module, images: Tensor) -> Mapping[str, HookPoint]:
        modules = {layer: resolve_layer(network, layer)[1] for layer in self.layers_of(network, images)}
        functions = activation_functions(network, images, [*modules])
        self._linear = {layer for layer, function in functions.items() if function.is_linear}
        reduce = {
            layer: partial(channel_extremes, modules[layer], is_linear=layer in self._linear) for layer in modules
        }
        return {layer: HookPoint(modules[layer], reduce[layer], function=functions[layer]) for layer in modules}

    def update(self, batch: RecordedBatch) -> None:
        repeated, new = torch.from_numpy(batch.positions < 0), dict[str, ChannelStatistics]()
        for layer, values in batch.values.items():
            values = values[~repeated.to(values.device)] if repeated.any() else values
            if len(values):
                highest, lowest = values[..., 0].amax(dim=0), values[..., 1].amin(dim=0)
                inactive = values[..., 2].mean(dim=1).sum()
                new[layer] = ChannelStatistics(highest, lowest, inactive, len(values), layer in self._linear)
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


def channel_extremes(module: nn.Module, activation: Tensor, images: Tensor, is_linear: bool = False) -> Tensor:
    """Largest and smallest activation of each image and channel, and the share that is not positive: (B, C, 3).

    If linear, the share that is 0.
    """
    maps = channel_maps(module, activation, images)
    signs = maps.sign()
    positive = (signs.abs_() if is_linear else signs.clamp_(min=0)).mean(
        dim=(2, 3), dtype=torch.float32
    )  # five times faster than counting
    return torch.stack([maps.amax(dim=(2, 3)).float(), maps.amin(dim=(2, 3)).float(), 1 - positive], dim=2)
