"""Activation maximisation: the image synthesised for a class, a channel or a layer."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.images import as_images
from lightning_viz.methods.model.modes import scoring

from .classic import ClassicOptimizer
from .colours import ChannelValues, ColourStatistics, Normalisation
from .fourier import FourierOptimizer
from .goal import Objective, Position, SynthesisTarget, class_objective, gram_similarity, layer_objective
from .recipes import Recipe as Recipe
from .recipes import resolve_recipe
from .redirected_relu import RedirectedReLU
from .synthesis_task import SynthesisTask, image_channels, image_size, initial_images, progress_steps

Optimizer = FourierOptimizer | ClassicOptimizer


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
    output to scores (B,). Or, with the dotted name of a `layer`, the activation of one or several of its channels (`unit=`;
    neurons where it returns vectors), averaged over all positions or at one `position`, (row, column) or "middle"; without
    a unit the mean square of the whole output.

    `size` is the height and width, or side, in pixels of images and inputs. `mean` and `std`, a number or one per channel,
    normalise images for the model: (image - mean) / std; by default they are not normalised. Colours are initialised and
    decorrelated by the statistics of `images` (B, C, H, W), a sample in the model's input space; by default by ImageNet's
    for three channels. `channels` is needed only where no other argument implies the number.

    Each target gets `copies` images in a row; `diversity` weights a term that pushes their features apart. `start` are
    images (N, C, H, W), 0 to 1, to warm-start from: those of the previous epoch need a fraction of the steps. `recipe` is
    "fourier" (`Fourier`), robust from many views and for other networks, or "classic" (`Classic`), regularised gradient
    ascent on pixels. `progress` shows a bar. The cost is that of `synthesis_passes`.

    Each image has its own random generator, seeded by `seed`, its target and its copy: up to rounding it does not depend on
    the other targets. The model runs in evaluation mode, under the autocast that is on, and is left as it was; no gradient
    of its parameters is computed. An image is NaN where its score or gradient is not finite.
    Raises ValueError for arguments that do not fit; TypeError where the output holds no logits.
    """
    chosen, (height, width) = resolve_recipe(recipe), image_size(size)
    start = None if start is None else as_images(None, start, "start")
    images = None if images is None else as_images(None, images)
    _check_arguments(target, layer, unit, position, steps, copies, diversity)
    known = (*model.parameters(), *model.buffers(), start, images, torch.zeros(()))
    device, dtype = next((x.device, x.dtype) for x in known if x is not None and x.is_floating_point())
    channels = image_channels(model, channels, {"start": start, "images": images}, {"mean": mean, "std": std})
    float32 = torch.autocast(device.type, enabled=False)  # images are optimised in float32 in any case
    with scoring(model):
        normalisation = Normalisation.of(mean, std, channels, device)
        if layer is not None:
            objective, numbers = layer_objective(model, layer, unit, position, copies)
        else:
            compared = copies > 1 and diversity != 0
            example = torch.zeros(1, channels, height, width, device=device, dtype=dtype) if compared else None
            objective, numbers = class_objective(model, target, copies, example)
        shape = len(numbers), channels, height, width
        seeds = [(((seed << 20) + number << 10) + n % copies) % 2**63 for n, number in enumerate(numbers)]
        colours = ColourStatistics.default(channels)
        if images is not None:
            colours = ColourStatistics.of(normalisation.denormalise(images.to(device)))
        task = SynthesisTask(shape, steps, normalisation, colours, initial_images(start, shape, device), seeds)
        with float32:
            optimizer = chosen.start(task)
        _maximise(optimizer, objective, copies, diversity, dtype, progress_steps(steps, "synthesis", progress))
        with float32:
            return optimizer.images()


def synthesis_passes(steps: int, copies: int, count: int) -> float:
    """The cost of `synthesize` for `count` targets: forward and backward passes of one image."""
    return float(steps * copies * count)


def _maximise(
    optimizer: Optimizer, objective: Objective, copies: int, diversity: float, dtype: torch.dtype, steps: Iterable[int]
) -> None:
    """Ascends the scores, less the similarity of copies; in at most the first `revive` steps through dead ReLUs."""
    revive = optimizer.recipe.revive
    float32 = torch.autocast(optimizer.variables.device.type, enabled=False)
    for step in steps:
        with float32:
            inputs = optimizer.inputs().to(dtype)
        with RedirectedReLU() if step < revive else nullcontext() as relus:
            scores, features = objective(inputs)
            if len(scores) != len(inputs) or not scores.requires_grad:
                raise ValueError(
                    f"target= gives {len(scores)} scores for {len(inputs)} images, or none that can be differentiated; "
                    "return one differentiable score per image"
                )
            total = scores.float().sum()
            if features is not None and copies > 1:
                total = total - diversity * gram_similarity(features, copies).sum()
            with float32:  # the backward pass of float32 operations
                (gradient,) = torch.autograd.grad(total, optimizer.variables)
        with float32:
            optimizer.step(gradient)
        if relus is not None and not bool(relus.redirected):
            revive = 0  # no ReLU is dead: redirecting only takes time


def _check_arguments(
    target: object, layer: str | None, unit: object, position: Position, steps: int, copies: int, diversity: float
) -> None:
    if (target is None) == (layer is None):
        raise ValueError(f"target={target!r} and layer={layer!r}: give exactly one of them")
    if layer is None and (unit is not None or position is not None):
        raise ValueError(f"unit={unit!r} and position={position!r} need a layer; give its name as layer=")
    for name, value, least in (("steps", steps, 0), ("copies", copies, 1), ("diversity", diversity, 0)):
        if value < least:
            raise ValueError(f"{name}={value} is too small; give {least} or more")
