"""Colours: a model's Normalize(mean, std), and the statistics by which synthesised images are decorrelated."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

#: One number for all channels, one for each channel, or None for the default.
ChannelValues = float | Sequence[float] | Tensor | None

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))  # as measured for Olah et al. 2017


class Normalisation(NamedTuple):
    """From images in the display range, 0 to 1, to a model's input space, (images - mean) / std, and back."""

    mean: Tensor  #: (C, 1, 1)
    std: Tensor  #: (C, 1, 1)

    @classmethod
    def of(cls, mean: ChannelValues, std: ChannelValues, channels: int, device: torch.device) -> Self:
        """By default 0 and 1. Raises ValueError for values that do not fit the channels, are not finite or divide by 0."""
        fields = {}
        for name, values in (("mean", 0.0 if mean is None else mean), ("std", 1.0 if std is None else std)):
            given = torch.as_tensor(values).detach().to(device, torch.float32).flatten()
            if len(given) not in (1, channels) or not given.isfinite().all():
                raise ValueError(
                    f"{name}={values!r} does not fit {channels} channels; give one finite number, or one per channel"
                )
            # A copy, as a tensor made in inference mode cannot be part of a graph.
            fields[name] = given.expand(channels)[:, None, None].clone()
        if not (fields["std"] > 0).all():
            raise ValueError(f"std={std!r} is invalid; give numbers above 0")
        return cls(**fields)

    def normalise(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in the display range as inputs of the model."""
        return (images - self.mean) / self.std

    def denormalise(self, inputs: Tensor) -> Tensor:
        """Inputs of the model (N, C, H, W) as images in the display range, clamped to it."""
        return (inputs.to(self.mean) * self.std + self.mean).clamp(0, 1)


class ColourStatistics(NamedTuple):
    """The mean (C,) and a root (C, C) of the covariance, root @ root.T, of pixels in the display range, 0 to 1."""

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """The statistics of the finite pixels of images (B, C, H, W), 0 to 1; without any, `default`."""
        pixels = images.detach().cpu().double().transpose(0, 1).flatten(1)
        pixels = pixels[:, pixels.isfinite().all(dim=0)]
        if not pixels.numel():
            return cls.default(images.shape[1])
        values, vectors = torch.linalg.eigh(torch.cov(pixels, correction=0).reshape(len(pixels), -1))
        # A colour that these images lack must still be possible in the synthesised ones.
        values = values.clamp(min=1e-4 * max(float(values[-1]), 1e-4))
        return cls(pixels.mean(dim=1).float(), (vectors * values.sqrt()).flip(1).float())

    @classmethod
    def default(cls, channels: int) -> Self:
        """ImageNet's for three channels; else grey and uncorrelated."""
        float32 = torch.float32
        if channels == 3:
            return cls(torch.tensor(_IMAGENET_MEAN, dtype=float32), torch.tensor(_IMAGENET_ROOT, dtype=float32))
        return cls(torch.full((channels,), 0.5, dtype=float32), torch.eye(channels, dtype=float32) / 4)
