"""Images as functions of Fourier coefficients in decorrelated colours: a parametrisation that suits gradient ascent."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .colours import ColourStatistics
from .random_views import normal_noise


class FourierImage:
    """Images (N, C, H, W), 0 to 1, as functions of their coefficients (N, C, H, W // 2 + 1, 2).

    The coefficients are those of the real Fourier transform, divided by a spectrum that falls as `frequency ** -decay`, as
    that of photographs does: a step of one size changes low frequencies more than high ones. A root of the covariance in
    `colours` maps decorrelated channels to colours, and a sigmoid maps these to 0 to 1. Olah et al. 2017; Mordvintsev et
    al. 2018, "Differentiable image parameterizations".
    """

    def __init__(self, size: tuple[int, int], colours: ColourStatistics, decay: float, device: torch.device) -> None:
        self.size = size
        # A variance of 1, averaged over the channels: the optimisation chooses the contrast.
        self.root = (colours.root / colours.root.square().sum(dim=1).mean().sqrt()).to(device)
        self.mean = torch.logit(colours.mean, eps=0.05)[:, None, None].to(device)
        frequencies = torch.hypot(
            torch.fft.fftfreq(size[0], dtype=torch.float32)[:, None],
            torch.fft.rfftfreq(size[1], dtype=torch.float32)[None],
        )
        self.spectrum = (frequencies.clamp(min=1 / max(size)) ** -decay / 4).to(device)

    def random(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Random coefficients, one generator per image; the images are almost uniform in the mean colour."""
        return 0.01 * normal_noise(generators, (len(self.root), *self.spectrum.shape, 2))

    def decode(self, coefficients: Tensor) -> Tensor:
        """The images of these coefficients."""
        scaled = torch.view_as_complex(coefficients) * self.spectrum
        decorrelated = torch.fft.irfft2(scaled, s=self.size, norm="ortho")
        return torch.sigmoid(_mix_channels(self.root, decorrelated) + self.mean)

    def encode(self, images: Tensor) -> Tensor:
        """The coefficients of these images, clamped to 0.001 to 0.999: a sigmoid does not reach black and white."""
        decorrelated = _mix_channels(torch.linalg.inv(self.root), torch.logit(images, eps=1e-3) - self.mean)
        return torch.view_as_real(torch.fft.rfft2(decorrelated, norm="ortho") / self.spectrum).clone()


def _mix_channels(matrix: Tensor, images: Tensor) -> Tensor:
    return torch.einsum("dc,nchw->ndhw", matrix, images)
