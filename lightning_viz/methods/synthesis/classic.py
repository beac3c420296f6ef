"""Gradient ascent on pixels with regularisers, each of which can be turned off."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .synthesis_task import SynthesisTask, normal_noise


@dataclass(frozen=True)
class Classic:
    """Gradient ascent from a random image with the regularisers of Simonyan et al. 2014, Mahendran and Vedaldi 2015 and Yosinski
    et al. 2015.

    Each image's gradient is scaled to a root mean square of 1, so that no parameter depends on the network. Pixels are in
    the network's input space: 0 is the mean colour, 1 a standard deviation. A regulariser is off at 0.
    Raises ValueError for a parameter out of range.
    """

    learning_rate: float = 0.2  #: the root mean square change of a pixel in a step
    deviation: float = 0.1  #: standard deviation of the initial random image
    #: L2 penalty, the fraction of its value that a pixel loses per unit of learning rate. Simonyan et al., equation 1.
    l2: float = 0.1
    tv: float = 0.1  #: weight of the total variation. Mahendran and Vedaldi 2015; see `tv_beta`
    blur: float = 1.0  #: standard deviation in pixels of a Gaussian blur, ...
    blur_every: int = 4  #: ... applied every so many steps
    small_pixels: float = 0.1  #: the fraction of pixels, those of smallest norm, set to the mean colour at each step
    small_gradients: float = 0.3  #: the fraction of pixels, those of smallest gradient, whose gradient is set to zero
    #: The most steps, from the first, with redirected gradients of dead ReLUs; off once none is dead, see `RedirectedReLU`.
    revive: int = 0
    #: The exponent of the gradient's norm in the total variation, beta of Mahendran and Vedaldi 2015, section 3: 1 allows
    #: sharp edges; 2, as they use, spreads an edge over several pixels and leaves no single bright ones.
    tv_beta: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"{name}={value} is negative; give 0 or more")
            if name.startswith("small") and value >= 1:
                raise ValueError(f"{name}={value} is invalid; give a fraction below 1")
        if self.tv_beta == 0:
            raise ValueError("tv_beta=0 makes the total variation constant; give more than 0, such as 2, or tv=0")
        if self.blur_every < 1:
            raise ValueError(f"blur_every={self.blur_every} is invalid; give 1 or more steps, or blur=0")

    def start(self, task: SynthesisTask) -> "ClassicOptimizer":
        return ClassicOptimizer(self, task)


class ClassicOptimizer:
    """Images by their pixels in the network's input space, `variables`; the same methods as `FourierOptimizer`."""

    def __init__(self, recipe: Classic, task: SynthesisTask) -> None:
        self.recipe, self.normalisation, self.steps = recipe, task.normalisation, 0
        if task.start is None:
            device = self.normalisation.mean.device
            generators = [torch.Generator(device).manual_seed(seed) for seed in task.seeds]
            self.variables = recipe.deviation * normal_noise(generators, task.shape[1:])
        else:
            self.variables = self.normalisation.normalise(task.start)
        self.variables.requires_grad_()

    def inputs(self) -> Tensor:
        return self.variables.clone()  # the network may write into its input

    def step(self, gradient: Tensor) -> None:
        recipe, pixels = self.recipe, self.variables.detach()
        scale = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-30)
        ascent = zero_smallest(gradient / scale, recipe.small_gradients)
        penalty = recipe.l2 * pixels + recipe.tv * total_variation_gradient(pixels, recipe.tv_beta)
        pixels = pixels + recipe.learning_rate * (ascent - penalty)
        self.steps += 1
        if recipe.blur and self.steps % recipe.blur_every == 0:
            pixels = gaussian_blur(pixels, recipe.blur)
        pixels = zero_smallest(pixels, recipe.small_pixels)
        # Values that cannot be displayed are clamped.
        self.variables = self.normalisation.normalise(self.normalisation.denormalise(pixels)).requires_grad_()

    def images(self) -> Tensor:
        return self.normalisation.denormalise(self.variables.detach())


def zero_smallest(values: Tensor, fraction: float) -> Tensor:
    """The values (N, C, H, W), zero at this fraction of each image's positions: those of the smallest norm over channels."""
    energies = values.square().sum(dim=1, keepdim=True)
    count = int(fraction * energies[0].numel())
    if count == 0:
        return values
    limit = energies.flatten(1).kthvalue(count, dim=1).values
    return torch.where(energies <= limit[:, None, None, None], 0, values)  # NaN stays


def total_variation(pixels: Tensor, beta: float = 1.0) -> Tensor:
    """The sum over pixels of the norm of the spatial gradient to the power of `beta`: (N, C, H, W) -> (N,)."""
    down = nn.functional.pad(pixels.diff(dim=2), (0, 0, 0, 1))
    across = nn.functional.pad(pixels.diff(dim=3), (0, 1))
    return (down.square() + across.square() + 1e-8).pow(beta / 2).sum(dim=(1, 2, 3))


def total_variation_gradient(pixels: Tensor, beta: float = 1.0) -> Tensor:
    """The gradient of the total variation: (N, C, H, W) -> (N, C, H, W)."""
    pixels = pixels.detach().requires_grad_()
    return torch.autograd.grad(total_variation(pixels, beta).sum(), pixels)[0]


def gaussian_blur(pixels: Tensor, deviation: float) -> Tensor:
    """Images (N, C, H, W) blurred with a standard deviation of `deviation` pixels; mirrored at the border."""
    radius = min(max(1, round(3 * deviation)), *(side - 1 for side in pixels.shape[2:]))
    kernel = torch.exp(
        -0.5 * (torch.arange(-radius, radius + 1, device=pixels.device).to(pixels.dtype) / deviation) ** 2
    )
    kernel = (kernel / kernel.sum()).expand(pixels.shape[1], 1, -1)
    padded = nn.functional.pad(pixels, (radius,) * 4, mode="reflect")
    rows = nn.functional.conv2d(padded, kernel[:, :, None], groups=len(kernel))
    return nn.functional.conv2d(rows, kernel[..., None], groups=len(kernel))
