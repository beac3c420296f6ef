"""Pictures painted in Fourier coefficients, from random views: they hold from everywhere, and for other networks."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .fourier_image import Canvas, Commission
from .random_views import each_random, look, random_windows


@dataclass(frozen=True)
class Fourier:
    """Adam on Fourier coefficients in decorrelated colours, at each step from another view. Olah et al. 2017."""

    #: Adam's, at the first step; it falls to zero along half a cosine, so that no late step's chance stays. Pictures smaller
    #: than 128 pixels have fewer coefficients to make a contrast with: theirs is larger in proportion.
    learning_rate: float = 0.02
    #: How fast the spectrum falls with the frequency; 0 is that of noise.
    decay: float = 1.2
    #: A view is a random crop of a share of the picture's area between these, resized to the picture's size, ...
    crop: tuple[float, float] = (0.3, 1.0)
    #: ... turned by up to so many degrees, ...
    turn: float = 15.0
    #: ... with noise of this standard deviation in the units of the network's input.
    noise: float = 0.3
    #: For at most so many steps, and until none is met, gradients pass dead ReLUs, see `LetThrough`.
    revive: int = 64

    def __post_init__(self) -> None:
        if len(self.crop) != 2 or not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop={self.crop} are no shares of a picture; give two, rising, above 0 and up to 1")
        for name in ("learning_rate", "decay", "turn", "noise", "revive"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is below zero; give 0 or more")

    def begin(self, commission: Commission) -> "FourierPainting":
        return FourierPainting(self, commission)


class FourierPainting:
    """Pictures by their coefficients, which Adam moves."""

    def __init__(self, recipe: Fourier, commission: Commission) -> None:
        height, width = commission.shape[2:]
        self.recipe, self.scale = recipe, commission.scale
        device = self.scale.mean.device
        self.canvas = Canvas((height, width), commission.colours, recipe.decay, device)
        generators = [torch.Generator(device).manual_seed(seed) for seed in commission.seeds]
        if commission.start is None:
            self.variables = self.canvas.random(generators)
        else:
            self.variables = self.canvas.read(commission.start)
        self.variables.requires_grad_()
        rate = recipe.learning_rate * max(1.0, 128 / math.sqrt(height * width))
        self.optimizer = torch.optim.Adam([self.variables], rate, maximize=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, commission.steps)
        self.generators = generators

    def inputs(self) -> Tensor:
        """What the network is to see at this step (N, C, H, W), as a function of the variables."""
        windows = random_windows(self.generators, self.recipe.crop, self.recipe.turn)
        inputs = self.scale.inputs(look(self.canvas.paint(self.variables), windows))
        return inputs + self.recipe.noise * each_random(self.generators, inputs.shape[1:])

    def ascend(self, gradient: Tensor) -> None:
        """A step of the variables uphill."""
        self.variables.grad = gradient
        self.optimizer.step()
        self.schedule.step()

    def pictures(self) -> Tensor:
        """As they are now, 0 to 1."""
        return self.canvas.paint(self.variables.detach())
