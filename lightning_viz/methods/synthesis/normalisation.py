"""From images in the display range, 0 to 1, to a model's input space and back: Normalize(mean, std)."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

#: One number for all channels, one for each channel, or None for the default.
ChannelValues = float | Sequence[float] | Tensor | None


class Normalisation(NamedTuple):
    """The mean and the standard deviation of the input space, (C, 1, 1) each: inputs = (images - mean) / std."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, mean: ChannelValues, std: ChannelValues, channels: int, device: torch.device) -> Self:
        """By default 0 and 1. Raises ValueError for values that do not fit the channels, are not finite or divide by 0."""
        result = cls(_per_channel("mean", mean, 0.0, channels, device), _per_channel("std", std, 1.0, channels, device))
        if not (result.std > 0).all():
            raise ValueError(f"std={std!r} is invalid; give numbers above 0")
        return result

    def normalise(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in the display range as inputs of the model."""
        return (images - self.mean) / self.std

    def denormalise(self, inputs: Tensor) -> Tensor:
        """Inputs of the model (N, C, H, W) as images in the display range, clamped to it."""
        return (inputs.to(self.mean) * self.std + self.mean).clamp(0, 1)


def _per_channel(name: str, values: ChannelValues, default: float, channels: int, device: torch.device) -> Tensor:
    given = torch.as_tensor(default if values is None else values).detach().to(device, torch.float32).flatten()
    if len(given) not in (1, channels) or not given.isfinite().all():
        raise ValueError(
            f"{name}={values!r} does not fit {channels} channels; give one finite number, or one per channel"
        )
    return given.expand(channels)[:, None, None].clone()  # a tensor made in inference mode cannot be part of a graph
