"""Gradient ascent on pixels, kept in check by regularisers, each of which can be turned off."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .fourier_image import Commission
from .random_views import each_random


@dataclass(frozen=True)
class Classic:
    """Gradient ascent from a random image with the regularisers of Simonyan et al. 2014 and Yosinski et al. 2015.

    The gradient of each picture is scaled to a root mean square of 1, so that no number here depends on the network.
    Pixels are counted from the mean colour, in the standard deviations that the network's input is scaled by. With 0 a
    regulariser is off.
    """

    #: How far a pixel goes in a step.
    learning_rate: float = 0.2
    #: Standard deviation of the random image.
    deviation: float = 0.1
    #: The L2 penalty: what share of itself a pixel loses, per unit of learning rate. Simonyan et al., equation 1.
    l2: float = 0.1
    #: Weight of the total variation. Mahendran and Vedaldi 2015.
    tv: float = 0.1
    #: Standard deviation in pixels of a Gaussian blur, ...
    blur: float = 1.0
    #: ... every so many steps.
    blur_every: int = 4
    #: The share of pixels, the smallest, that are set to the mean colour at each step.
    small_pixels: float = 0.1
    #: The share of gradients, the smallest, that are set to zero.
    small_gradients: float = 0.3
    #: For at most so many steps, and until none is met, gradients pass dead ReLUs, see `LetThrough`.
    revive: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"{name}={value} is below zero; give 0 or more")
            if name.startswith("small") and value >= 1:
                raise ValueError(f"{name}={value} leaves no pixel; give less than 1")
        if self.blur_every < 1:
            raise ValueError(f"blur_every={self.blur_every} is no number of steps; give 1 or more, or blur=0")

    def begin(self, commission: Commission) -> "ClassicPainting":
        return ClassicPainting(self, commission)


class ClassicPainting:
    """Pictures by their pixels in the network's input space, which are shown as they are."""

    def __init__(self, recipe: Classic, commission: Commission) -> None:
        self.recipe, self.scale, self.steps = recipe, commission.scale, 0
        if commission.start is None:
            generators = [torch.Generator(self.scale.mean.device).manual_seed(seed) for seed in commission.seeds]
            self.variables = recipe.deviation * each_random(generators, commission.shape[1:])
        else:
            self.variables = self.scale.inputs(commission.start)
        self.variables.requires_grad_()

    def inputs(self) -> Tensor:
        """What the network is to see at this step (N, C, H, W)."""
        return self.variables.clone()  # it may write into its input

    def ascend(self, gradient: Tensor) -> None:
        """A step of the variables uphill, less what the regularisers take."""
        recipe, pixels = self.recipe, self.variables.detach()
        height = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-30)
        uphill = without_small(gradient / height, recipe.small_gradients)
        downhill = recipe.l2 * pixels + recipe.tv * variation_gradient(pixels)
        pixels = pixels + recipe.learning_rate * (uphill - downhill)
        self.steps += 1
        if recipe.blur and self.steps % recipe.blur_every == 0:
            pixels = blurred(pixels, recipe.blur)
        pixels = without_small(pixels, recipe.small_pixels)
        # What no picture can show is no solution.
        self.variables = self.scale.inputs(self.scale.pictures(pixels)).requires_grad_()

    def pictures(self) -> Tensor:
        """As they are now, 0 to 1."""
        return self.scale.pictures(self.variables.detach())


def without_small(values: Tensor, share: float) -> Tensor:
    """The values (N, C, H, W), zero at that share of each picture's places where their norm over channels is smallest."""
    energies = values.square().sum(dim=1, keepdim=True)
    count = int(share * energies[0].numel())
    if count == 0:
        return values
    limit = energies.flatten(1).kthvalue(count, dim=1).values
    return torch.where(energies <= limit[:, None, None, None], 0, values)  # NaN stays


def total_variation(pixels: Tensor) -> Tensor:
    """The sum over pixels of the length of the colour gradient: (N, C, H, W) -> (N,)."""
    down = nn.functional.pad(pixels.diff(dim=2), (0, 0, 0, 1))
    across = nn.functional.pad(pixels.diff(dim=3), (0, 1))
    return (down.square() + across.square() + 1e-8).sqrt().sum(dim=(1, 2, 3))


def variation_gradient(pixels: Tensor) -> Tensor:
    """The gradient of the total variation (N, C, H, W)."""
    pixels = pixels.detach().requires_grad_()
    return torch.autograd.grad(total_variation(pixels).sum(), pixels)[0]


def blurred(pixels: Tensor, deviation: float) -> Tensor:
    """A Gaussian blur of pictures (N, C, H, W), by a standard deviation in pixels; mirrored at the border."""
    radius = min(max(1, round(3 * deviation)), *(side - 1 for side in pixels.shape[2:]))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).to(pixels) / deviation) ** 2)
    kernel = (kernel / kernel.sum()).expand(pixels.shape[1], 1, -1)
    padded = nn.functional.pad(pixels, (radius,) * 4, mode="reflect")
    rows = nn.functional.conv2d(padded, kernel[:, :, None], groups=len(kernel))
    return nn.functional.conv2d(rows, kernel[..., None], groups=len(kernel))
