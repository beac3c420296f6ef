"""Pictures by their Fourier coefficients in decorrelated colours: a parametrisation that gradient ascent paints well in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from .random_views import each_random


class Scale(NamedTuple):
    """Between pictures (N, C, H, W), 0 to 1 as a person sees them, and what a network wants: (picture - mean) / std."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(
        cls,
        mean: float | Sequence[float] | Tensor | None,
        std: float | Sequence[float] | Tensor | None,
        channels: int,
        device: torch.device,
    ) -> Self:
        """One number each, or one for each channel; by default 0 and 1. Raises ValueError for what does not fit."""
        scale = cls(_per_channel("mean", mean, 0.0, channels, device), _per_channel("std", std, 1.0, channels, device))
        if not (scale.std > 0).all():
            raise ValueError(f"std={std!r} cannot divide; give numbers above 0")
        return scale

    def inputs(self, pictures: Tensor) -> Tensor:
        return (pictures - self.mean) / self.std

    def pictures(self, inputs: Tensor) -> Tensor:
        return (inputs.to(self.mean) * self.std + self.mean).clamp(0, 1)


def _per_channel(
    name: str, values: float | Sequence[float] | Tensor | None, default: float, channels: int, device: torch.device
) -> Tensor:
    given = torch.as_tensor(default if values is None else values).detach().to(device, torch.float32).flatten()
    if len(given) not in (1, channels) or not given.isfinite().all():
        raise ValueError(f"{name}={values!r} does not fit {channels} channels; give one number, or one for each")
    return given.expand(channels)[:, None, None].clone()  # made in inference mode, it could not be in a graph


class Colours(NamedTuple):
    """The mean (C,) and a root (C, C) of the covariance, root @ root.T, of pixels as a person sees them, 0 to 1."""

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, pictures: Tensor) -> Self:
        """The colours of pictures (B, C, H, W), 0 to 1."""
        pixels = pictures.detach().cpu().double().transpose(0, 1).flatten(1)
        values, vectors = torch.linalg.eigh(torch.cov(pixels, correction=0).reshape(len(pixels), -1))
        # A colour that these pictures do without must still be there for others.
        values = values.clamp(min=1e-4 * max(float(values[-1]), 1e-4))
        return cls(pixels.mean(dim=1).float(), (vectors * values.sqrt()).flip(1).float())

    @classmethod
    def usual(cls, channels: int) -> Self:
        """Those of ImageNet for three channels; of others nothing is known: grey, and uncorrelated."""
        if channels == 3:
            return cls(
                torch.tensor(_IMAGENET_MEAN, dtype=torch.float32), torch.tensor(_IMAGENET_ROOT, dtype=torch.float32)
            )
        return cls(torch.full((channels,), 0.5, dtype=torch.float32), torch.eye(channels, dtype=torch.float32) / 4)


_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))  # as measured for Olah et al. 2017


@dataclass(frozen=True)
class Commission:
    """What pictures are asked for: their shape (N, C, H, W), in so many steps, and what to begin with."""

    shape: tuple[int, int, int, int]
    steps: int
    scale: Scale
    colours: Colours
    start: Tensor | None
    seeds: Sequence[int]


class Canvas:
    """Pictures (N, C, H, W), 0 to 1, as functions of their coefficients.

    The coefficients are those of the real Fourier transform, divided by a spectrum that falls as `frequency ** -decay`,
    as photographs' does: a step of one size moves what is large more than what is fine. Their colours are taken from
    decorrelated to true by the root of `colours`, and squashed to 0 to 1 by a sigmoid. Olah et al. 2017; Mordvintsev et
    al. 2018, "Differentiable image parameterizations".
    """

    def __init__(self, size: tuple[int, int], colours: Colours, decay: float, device: torch.device) -> None:
        self.size = size
        # A variance of 1 in the mean over the channels: the contrast is the optimisation's to choose.
        self.root = (colours.root / colours.root.square().sum(dim=1).mean().sqrt()).to(device)
        self.middle = torch.logit(colours.mean, eps=0.05)[:, None, None].to(device)
        frequencies = torch.hypot(
            torch.fft.fftfreq(size[0], dtype=torch.float32)[:, None],
            torch.fft.rfftfreq(size[1], dtype=torch.float32)[None],
        )
        self.spectrum = (frequencies.clamp(min=1 / max(size)) ** -decay / 4).to(device)

    def random(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Coefficients (N, C, H, W // 2 + 1, 2) of pictures that are almost of one colour, one of each generator."""
        return 0.01 * each_random(generators, (len(self.root), *self.spectrum.shape, 2))

    def paint(self, coefficients: Tensor) -> Tensor:
        """The pictures that coefficients give."""
        waves = torch.view_as_complex(coefficients) * self.spectrum
        plain = torch.fft.irfft2(waves, s=self.size, norm="ortho")
        return torch.sigmoid(_mixed(self.root, plain) + self.middle)

    def read(self, pictures: Tensor) -> Tensor:
        """The coefficients of these pictures, but for 1/1000 of full black and white, which no sigmoid reaches."""
        plain = _mixed(torch.linalg.inv(self.root), torch.logit(pictures, eps=1e-3) - self.middle)
        return torch.view_as_real(torch.fft.rfft2(plain, norm="ortho") / self.spectrum).clone()


def _mixed(matrix: Tensor, pictures: Tensor) -> Tensor:
    return torch.einsum("dc,nchw->ndhw", matrix, pictures)
