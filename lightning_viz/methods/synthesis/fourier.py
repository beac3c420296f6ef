"""Gradient ascent on Fourier coefficients, seen from random views: robust images, also for other networks."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .fourier_image import FourierImage
from .random_views import normal_noise, random_views, sample_views
from .synthesis_task import SynthesisTask


@dataclass(frozen=True)
class Fourier:
    """Adam on Fourier coefficients in decorrelated colours, with a new random view at each step. Olah et al. 2017.

    Raises ValueError for a parameter out of range.
    """

    #: Adam's learning rate at the first step; it falls to zero along half a cosine, so that the noise of late steps fades.
    #: Images smaller than 128×128 have fewer coefficients: their rate is larger by 128 / sqrt(H * W).
    learning_rate: float = 0.02
    #: How fast the spectrum falls with the frequency; 0 is white noise.
    decay: float = 1.2
    #: A view is a random crop of a fraction of the image's area between these, resized to the image's size, ...
    crop: tuple[float, float] = (0.3, 1.0)
    #: ... rotated by up to so many degrees, ...
    turn: float = 15.0
    #: ... with noise of this standard deviation, in the units of the network's input.
    noise: float = 0.3
    #: The most steps, from the first, with redirected gradients of dead ReLUs; off once none is dead, see `RedirectedReLU`.
    revive: int = 64

    def __post_init__(self) -> None:
        if len(self.crop) != 2 or not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop={self.crop} is invalid; give two rising fractions in (0, 1]")
        for name in ("learning_rate", "decay", "turn", "noise", "revive"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative; give 0 or more")

    def start(self, task: SynthesisTask) -> "FourierOptimizer":
        """The optimiser of the task's images."""
        return FourierOptimizer(self, task)


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
        """One step of the variables up the gradient."""
        self.variables.grad = gradient
        self.adam.step()
        self.schedule.step()

    def images(self) -> Tensor:
        """The current images (N, C, H, W), 0 to 1."""
        return self.image.decode(self.variables.detach())
