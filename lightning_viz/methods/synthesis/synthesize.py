"""Activation maximisation: the image synthesised for a class, a channel or a layer."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.modes import evaluating

from .classic import ClassicOptimizer
from .colours import ColourStatistics
from .fourier import FourierOptimizer
from .normalisation import ChannelValues, Normalisation
from .objectives import Objective, Position, SynthesisTarget, class_objective, gram_similarity, layer_objective
from .progress import progress_steps
from .recipes import Recipe as Recipe
from .recipes import resolve_recipe
from .redirected_relu import RedirectedReLU
from .synthesis_task import SynthesisTask, image_channels, image_seeds, image_size, initial_images


def synthesize(
    model: nn.Module,
    target: SynthesisTarget = None,
    *,
    size: int | tuple[int, int],
    steps: int = 128,
    mean: ChannelValues = None,
    std: ChannelValues = None,
    layer: str | None = None,
    unit: int | Sequence[int] | None = None,
    position: Position = None,
    copies: int = 1,
    diversity: float = 1.0,
    recipe: Recipe = "fourier",
    start: Tensor | None = None,
    images: Tensor | None = None,
    channels: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """Images that maximise a score of the model: (N, C, H, W), float32, in the display range 0 to 1.

    The score is that of `target` before the softmax: a class, several (one image each), or a callable from the model's raw
    output to scores (B,). Or, with the dotted name of a `layer`, the activation of one or several of its channels (`unit=`),
    averaged over all positions or at one `position`, (row, column) or "middle"; without a unit the mean square of the whole
    output. In a layer that returns vectors (B, K) a unit is a neuron.

    `size` is the images' (height, width) or side in pixels; the model's inputs have the same. `mean` and `std`, a number or
    one per channel, normalise images for the model: (image - mean) / std; by default they are not normalised. The colours
    are initialised and decorrelated by the statistics of `images` (B, C, H, W), a sample in the model's input space; by
    default by ImageNet's for three channels. `channels` is needed only where no other argument implies the number.

    Each target gets `copies` images in a row; `diversity` weights a term that pushes their features apart. `start` are
    images (N, C, H, W), 0 to 1, to warm-start from: those of the previous epoch need a fraction of the steps. `recipe` is
    "fourier" (`Fourier`), robust from many views and for other networks, or "classic" (`Classic`), regularised gradient
    ascent on pixels. `progress` shows a bar. The cost is that of `synthesis_passes`.

    Each image has its own random generator, seeded by `seed`, its target and its copy: up to rounding an image does not
    depend on the other targets. The model runs in evaluation mode, under the autocast that is on, and is left as it was; no
    gradient of its parameters is computed. An image is NaN where its score or gradient is not finite.
    Raises ValueError for arguments that do not fit; TypeError where the output holds no logits.
    """
    chosen, (height, width) = resolve_recipe(recipe), image_size(size)
    _check_arguments(target, layer, unit, position, steps, copies, diversity)
    device, dtype = _device_and_dtype(model, start, images)
    channels = image_channels(model, channels, start, images, mean, std)
    float32 = torch.autocast(device.type, enabled=False)  # images are optimised in float32 in any case
    with evaluating(model):
        normalisation = Normalisation.of(mean, std, channels, device)
        if layer is not None:
            objective, numbers = layer_objective(model, layer, unit, position, copies)
        else:
            compared = copies > 1 and diversity != 0
            example = torch.zeros(1, channels, height, width, device=device, dtype=dtype) if compared else None
            objective, numbers = class_objective(model, target, copies, example)
        shape = len(numbers), channels, height, width
        first, seeds = initial_images(start, shape, device), image_seeds(seed, numbers, copies)
        shown = None if images is None else normalisation.denormalise(images.to(device))
        colours = ColourStatistics.default(channels) if shown is None else ColourStatistics.of(shown)
        task = SynthesisTask(shape, steps, normalisation, colours, first, seeds)
        with float32:
            optimizer = chosen.start(task)
        gradient = partial(_score_gradient, objective, copies, diversity)
        _maximise(optimizer, gradient, dtype, chosen.revive, progress_steps(steps, "synthesis", progress))
        with float32:
            return optimizer.images()


def synthesis_passes(steps: int, copies: int, count: int) -> float:
    """The cost of `synthesize` for `count` targets: forward and backward passes of one image."""
    return float(steps * copies * count)


def _maximise(
    optimizer: FourierOptimizer | ClassicOptimizer,
    gradient: Callable[[Tensor, Tensor], Tensor],
    dtype: torch.dtype,
    revive: int,
    steps: Iterable[int],
) -> None:
    """Gradient ascent; in at most the first `revive` steps with redirected gradients of dead ReLUs."""
    float32 = torch.autocast(optimizer.variables.device.type, enabled=False)
    for step in steps:
        with float32:
            inputs = optimizer.inputs().to(dtype)
        with RedirectedReLU() if step < revive else nullcontext() as relus:
            uphill = gradient(inputs, optimizer.variables)
        with float32:
            optimizer.step(uphill)
        if relus is not None and not relus.redirected:
            revive = 0  # no ReLU is dead: redirecting only takes time


def _score_gradient(objective: Objective, copies: int, diversity: float, inputs: Tensor, variables: Tensor) -> Tensor:
    """The gradient of the images' scores, less the similarity of copies, with respect to the variables."""
    scores, features = objective(inputs)
    if len(scores) != len(variables) or not scores.requires_grad:
        raise ValueError(
            f"target= gives {len(scores)} scores for {len(variables)} images, or none that can be differentiated; return one "
            "differentiable score per image"
        )
    total = scores.float().sum()
    if features is not None and copies > 1:
        total = total - diversity * gram_similarity(features, copies).sum()
    with torch.autocast(inputs.device.type, enabled=False):  # the backward pass of float32 operations
        (gradient,) = torch.autograd.grad(total, variables)
    return gradient


def _check_arguments(
    target: SynthesisTarget,
    layer: str | None,
    unit: object,
    position: Position,
    steps: int,
    copies: int,
    diversity: float,
) -> None:
    """Raises ValueError for arguments that are wrong for every model."""
    if (target is None) == (layer is None):
        raise ValueError(f"target={target!r} and layer={layer!r}: give exactly one of them")
    if layer is None and (unit is not None or position is not None):
        raise ValueError(f"unit={unit!r} and position={position!r} need a layer; give its name as layer=")
    for name, value, least in (("steps", steps, 0), ("copies", copies, 1), ("diversity", diversity, 0)):
        if value < least:
            raise ValueError(f"{name}={value} is too small; give {least} or more")


def _device_and_dtype(model: nn.Module, *others: Tensor | None) -> tuple[torch.device, torch.dtype]:
    """Those of the first floating-point parameter or buffer; in a model without any, of these tensors."""
    known = (one for one in (*model.parameters(), *model.buffers(), *others) if one is not None)
    first = next((one for one in known if one.is_floating_point()), torch.zeros(()))
    return first.device, first.dtype
