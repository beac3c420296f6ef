"""The statistics of an image set's colours, with which a synthesised image is initialised and decorrelated."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))  # as measured for Olah et al. 2017


class ColourStatistics(NamedTuple):
    """The mean (C,) and a root (C, C) of the covariance, root @ root.T, of pixels in the display range, 0 to 1."""

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """The statistics of images (B, C, H, W), 0 to 1."""
        pixels = images.detach().cpu().double().transpose(0, 1).flatten(1)
        values, vectors = torch.linalg.eigh(torch.cov(pixels, correction=0).reshape(len(pixels), -1))
        # A colour that these images lack must still be possible in the synthesised ones.
        values = values.clamp(min=1e-4 * max(float(values[-1]), 1e-4))
        return cls(pixels.mean(dim=1).float(), (vectors * values.sqrt()).flip(1).float())

    @classmethod
    def default(cls, channels: int) -> Self:
        """ImageNet's for three channels; else grey and uncorrelated."""
        if channels == 3:
            return cls(
                torch.tensor(_IMAGENET_MEAN, dtype=torch.float32), torch.tensor(_IMAGENET_ROOT, dtype=torch.float32)
            )
        return cls(torch.full((channels,), 0.5, dtype=torch.float32), torch.eye(channels, dtype=torch.float32) / 4)
