"""How the channels of some layers fire over a whole loop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.layers import channel_maps, resolve_layer

from .recorder import Seen, Tap

CONSTANT = 1e-6  # of a layer's largest activation: a channel that varies by less says the same of every image


@dataclass(frozen=True, eq=False)
class Firing:
    """A layer's channels, over all images and places seen."""

    highest: Tensor  #: of each channel, (C,)
    lowest: Tensor  #: of each channel, (C,)
    off: Tensor  #: the sum over the images of the share of a layer's activations that are not above zero, ()
    count: int  #: of images

    @classmethod
    def joined(cls, parts: Sequence["Firing"]) -> "Firing":
        """Of all images of the parts."""
        return cls(
            torch.stack([part.highest for part in parts]).amax(dim=0),
            torch.stack([part.lowest for part in parts]).amin(dim=0),
            torch.stack([part.off for part in parts]).sum(),
            sum(part.count for part in parts),
        )

    @property
    def is_dead(self) -> Tensor:
        """Which channels are never above zero; in a layer that has negative activations, which never vary. (C,)"""
        if (self.lowest < 0).any():
            largest = torch.maximum(self.highest.abs(), self.lowest.abs()).max()
            return self.highest - self.lowest <= CONSTANT * largest
        return self.highest <= 0

    @property
    def dead(self) -> float:
        """The share of dead channels; NaN where activations are not finite."""
        return float(self.is_dead.float().mean()) if self._is_finite else torch.nan

    @property
    def sparsity(self) -> float:
        """The share of activations that are not above zero; NaN where activations are not finite."""
        return float(self.off) / self.count if self._is_finite else torch.nan

    @property
    def _is_finite(self) -> bool:
        return bool(self.highest.isfinite().all() and self.lowest.isfinite().all())

    def __str__(self) -> str:
        if not self._is_finite:
            return f"activations that are not finite, over {self.count} pictures"
        return (
            f"{int(self.is_dead.sum())} of {len(self.highest)} channels dead, {self.sparsity:.0%} of all activations not "
            f"above zero, over {self.count} pictures"
        )


@dataclass(eq=False)
class Firings:
    """The firing of each layer, a `Collector`. Of a layer that runs several times for a batch, the last counts.

    Args:
        listen: from the network and an image to the names of the layers.
    """

    listen: Callable[[nn.Module, Tensor], Sequence[str]]
    layers: dict[str, Firing] = field(default_factory=dict)  #: those heard

    def taps(self, network: nn.Module, images: Tensor) -> Mapping[str, Tap]:
        modules = {layer: resolve_layer(network, layer)[1] for layer in self.listen(network, images)}
        return {layer: Tap(module, partial(extremes, module)) for layer, module in modules.items()}

    def take(self, seen: Seen) -> None:
        repeated = torch.from_numpy(seen.positions < 0)
        for layer, values in seen.taken.items():
            values = values[~repeated.to(values.device)] if repeated.any() else values
            if len(values):
                batch = Firing(
                    values[..., 0].amax(dim=0),
                    values[..., 1].amin(dim=0),
                    values[..., 2].mean(dim=1).sum(),
                    len(values),
                )
                known = [self.layers[layer]] if layer in self.layers else []
                self.layers[layer] = Firing.joined([*known, batch])

    def share(self) -> dict[str, Firing]:
        return {
            layer: Firing(one.highest.cpu(), one.lowest.cpu(), one.off.cpu(), one.count)
            for layer, one in self.layers.items()
        }

    def merge(self, shares: Sequence[dict[str, Firing]]) -> None:
        names = dict.fromkeys(layer for share in shares for layer in share)
        self.layers = {layer: Firing.joined([share[layer] for share in shares if layer in share]) for layer in names}


def extremes(module: nn.Module, activation: Tensor, images: Tensor) -> Tensor:
    """Of each image and channel the largest and the smallest activation, and the share not above zero: (B, C, 3)."""
    maps = channel_maps(module, activation, images)
    on = maps.sign().clamp_(min=0).mean(dim=(2, 3), dtype=torch.float32)  # five times faster than counting
    return torch.stack([maps.amax(dim=(2, 3)).float(), maps.amin(dim=(2, 3)).float(), 1 - on], dim=2)
