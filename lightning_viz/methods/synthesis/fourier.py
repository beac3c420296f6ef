"""Gradient ascent on Fourier coefficients, seen from random views: robust images, also for other networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .colours import ColourStatistics
from .synthesis_task import SynthesisTask, normal_noise


@dataclass(frozen=True)
class Fourier:
    """Adam on Fourier coefficients in decorrelated colours, with a new random view at each step. Olah et al. 2017."""

    #: Adam's at the first step; it falls to zero along half a cosine. Times 128 / sqrt(H * W) for images below 128×128.
    learning_rate: float = 0.02
    decay: float = 1.2  #: how fast the spectrum falls with the frequency; 0 is white noise
    #: A view is a random crop of a fraction of the image's area between these, resized to the image's size, ...
    crop: tuple[float, float] = (0.3, 1.0)
    turn: float = 15.0  #: ... rotated by up to so many degrees, ...
    noise: float = 0.3  #: ... with noise of this standard deviation, in the units of the network's input.
    #: The most steps, from the first, with redirected gradients of dead ReLUs; off once none is dead, see `RedirectedReLU`.
    revive: int = 64

    def __post_init__(self) -> None:
        if len(self.crop) != 2 or not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop={self.crop} is invalid; give two rising fractions in (0, 1]")
        for name, value in vars(self).items():
            if name != "crop" and value < 0:
                raise ValueError(f"{name}={value} is negative; give 0 or more")

    def start(self, task: SynthesisTask) -> "FourierOptimizer":
        return FourierOptimizer(self, task)


class FourierImage:
    """Images (N, C, H, W), 0 to 1, as functions of their coefficients (N, C, H, W // 2 + 1, 2).

    Those of the real Fourier transform, divided by a spectrum that falls as `frequency ** -decay`, as that of photographs
    does: a step of one size changes low frequencies more than high ones. A root of the covariance maps decorrelated channels
    to colours, and a sigmoid maps these to 0 to 1. Olah et al. 2017; Mordvintsev et al. 2018.
    """

    def __init__(self, size: tuple[int, int], colours: ColourStatistics, decay: float, device: torch.device) -> None:
        self.size = size
        # A variance of 1, averaged over the channels: the optimisation chooses the contrast.
        self.root = (colours.root / colours.root.square().sum(dim=1).mean().sqrt()).to(device)
        self.mean = torch.logit(colours.mean, eps=0.05)[:, None, None].to(device)
        down = torch.fft.fftfreq(size[0], dtype=torch.float32)
        frequencies = torch.hypot(down[:, None], torch.fft.rfftfreq(size[1], dtype=torch.float32))
        self.spectrum = (frequencies.clamp(min=1 / max(size)) ** -decay / 4).to(device)

    def random(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Random coefficients, one generator per image; the images are almost uniform in the mean colour."""
        return 0.01 * normal_noise(generators, (len(self.root), *self.spectrum.shape, 2))

    def decode(self, coefficients: Tensor) -> Tensor:
        scaled = torch.view_as_complex(coefficients) * self.spectrum
        decorrelated = torch.fft.irfft2(scaled, s=self.size, norm="ortho")
        return torch.sigmoid(torch.einsum("dc,nchw->ndhw", self.root, decorrelated) + self.mean)

    def encode(self, images: Tensor) -> Tensor:
        """The coefficients of these images, clamped to 0.001 to 0.999: a sigmoid does not reach black and white."""
        colours = torch.logit(images, eps=1e-3) - self.mean
        decorrelated = torch.einsum("dc,nchw->ndhw", torch.linalg.inv(self.root), colours)
        return torch.view_as_real(torch.fft.rfft2(decorrelated, norm="ortho") / self.spectrum).clone()


class FourierOptimizer:
    """Images by their Fourier coefficients, `variables`, which Adam optimises."""

    def __init__(self, recipe: Fourier, task: SynthesisTask) -> None:
        height, width = task.shape[2:]
        device = task.normalisation.mean.device
        self.recipe, self.normalisation = recipe, task.normalisation
        self.image = FourierImage((height, width), task.colours, recipe.decay, device)
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in task.seeds]
        self.variables = self.image.random(self.generators) if task.start is None else self.image.encode(task.start)
        self.variables.requires_grad_()
        rate = recipe.learning_rate * max(1.0, 128 / math.sqrt(height * width))
        self.adam = torch.optim.Adam([self.variables], rate, maximize=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.adam, task.steps)

    def inputs(self) -> Tensor:
        """The network's inputs at this step (N, C, H, W), random views of the images, differentiable."""
        views = random_views(self.generators, self.recipe.crop, self.recipe.turn)
        inputs = self.normalisation.normalise(sample_views(self.image.decode(self.variables), views))
        return inputs + self.recipe.noise * normal_noise(self.generators, inputs.shape[1:])

    def step(self, gradient: Tensor) -> None:
        self.variables.grad = gradient
        self.adam.step()
        self.schedule.step()

    def images(self) -> Tensor:
        """The current images (N, C, H, W), 0 to 1."""
        return self.image.decode(self.variables.detach())


def random_views(generators: Sequence[torch.Generator], crop: tuple[float, float], turn: float) -> Tensor:
    """One random view per generator, (N, 4), inside the image, with `crop` and `turn` of `Fourier`: see `view_matrices`."""
    numbers = torch.stack([torch.rand(4, generator=one, device=one.device, dtype=torch.float32) for one in generators])
    size, angle, x, y = numbers.unbind(dim=1)
    side = (crop[0] + (crop[1] - crop[0]) * size).sqrt()
    free = 1 - side
    return torch.stack([side, (2 * angle - 1) * torch.pi * turn / 180, (2 * x - 1) * free, (2 * y - 1) * free], dim=1)


def view_matrices(views: Tensor, size: tuple[int, int]) -> Tensor:
    """Views (B, 4) of images of `size` (H, W) as matrices (B, 2, 3) for `nn.functional.affine_grid`.

    A view is its side as a fraction of the image's, its angle in radians, and the offset (x, y) of its centre from the
    image's centre, in halves of the image's sides: (1, 0, 0, 0) is the whole image.
    """
    side, angle, x, y = views.unbind(dim=1)
    (height, width), cosine, sine = size, side * angle.cos(), side * angle.sin()
    entries = [cosine, -sine * height / width, x, sine * width / height, cosine, y]
    return torch.stack(entries, dim=1).reshape(-1, 2, 3)


def sample_views(images: Tensor, views: Tensor) -> Tensor:
    """Views (B, 4) or (1, 4) of images (B, C, H, W), resized to the same size; mirrored beyond the border."""
    height, width = images.shape[2:]
    matrices = view_matrices(views.to(images), (height, width)).expand(len(images), 2, 3)
    grid = nn.functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
