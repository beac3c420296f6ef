"""The picture that a network imagines: activation maximisation."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.modes import evaluating

from .classic import Classic
from .fourier import Fourier
from .fourier_image import Colours, Commission, Scale
from .objectives import Goal, Objective, Position, class_objective, layer_objective, likeness
from .relu_gradients import LetThrough

#: How to paint: by name, or with parameters of one's own.
Recipe = Literal["fourier", "classic"] | Fourier | Classic

_RECIPES: dict[str, Fourier | Classic] = {"fourier": Fourier(), "classic": Classic()}


def synthesize(
    model: nn.Module,
    target: Goal = None,
    *,
    size: int | tuple[int, int],
    steps: int = 128,
    mean: float | Sequence[float] | Tensor | None = None,
    std: float | Sequence[float] | Tensor | None = None,
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
    """The pictures that a model scores highest: (N, C, H, W), float32, 0 to 1 as a person sees them.

    What is maximised is the score before the softmax of `target`: a class, several (N of them), or a callable from the
    model's raw output to scores (B,). Or, with the dotted name of a `layer`, what it answers: one or several channels
    (`unit=`), in the mean over all places or at a `position`, a row and a column or "middle"; without a unit all of it, the
    mean of its squares. In a layer that returns vectors (B, K) a unit is a neuron.

    `size` is the pictures', (height, width) or a side, in pixels, and that of every input that the model gets. `mean` and
    `std`, one number or one for each channel, are how it wants them: (picture - mean) / std; by default as they are.
    Colours begin and vary like those of `images` (B, C, H, W), a sample in the model's input space; without, like
    ImageNet's where there are three channels. `channels` is needed only where nothing else tells how many there are.

    `copies` pictures are painted for each target, one after the other; `diversity` is the weight of a term that pushes
    their features apart. `start` are pictures (N, C, H, W), 0 to 1, to go on from: those of the epoch before need a
    fraction of the steps. `recipe` is "fourier" (`Fourier`), whose pictures hold from many views and for other networks,
    or "classic" (`Classic`), the regularised ascent on pixels. `progress` shows a bar.

    All random numbers come from generators of their own, one for each picture, seeded by `seed`, its target and which copy
    it is: what is painted for one does not depend on the others, up to rounding. The model runs in evaluation mode, in the
    autocast that is on, and is left as it was; no gradient of its parameters is computed.
    A picture whose score or gradient is not finite, as where the network has diverged, is NaN.
    Raises ValueError for arguments that do not fit; TypeError where the output holds no logits.
    """
    settings, (height, width) = _recipe(recipe), _sides(size)
    _check(target, layer, unit, position, steps, copies, diversity)
    device, dtype = _place(model, start, images)
    channels = _channels(model, channels, start, images, mean, std)
    precise = torch.autocast(device.type, enabled=False)  # pictures are float32 in any case
    with evaluating(model):
        scale = Scale.of(mean, std, channels, device)
        if layer is not None:
            objective, numbers = layer_objective(model, layer, unit, position, copies)
        else:
            example = torch.zeros(1, channels, height, width, device=device, dtype=dtype) if copies > 1 else None
            objective, numbers = class_objective(model, target, copies, example if diversity else None)
        shape = len(numbers), channels, height, width
        beginning = None if start is None else _beginning(start, shape).to(device)
        colours = Colours.usual(channels) if images is None else Colours.of(scale.pictures(images.to(device)))
        with precise:
            painting = settings.begin(
                Commission(shape, steps, scale, colours, beginning, _seeds(seed, numbers, copies))
            )
        revive = settings.revive
        for step in _counted(steps, progress):
            with precise:
                inputs = painting.inputs().to(dtype)
            with LetThrough() if step < revive else nullcontext() as passage:
                gradient = _gradient(objective, inputs, painting.variables, copies, diversity)
            with precise:
                painting.ascend(gradient)
            if passage is not None and not passage.met:
                revive = 0  # all are alive; letting gradients through takes time
        with precise:
            return painting.pictures()


def _gradient(objective: Objective, inputs: Tensor, variables: Tensor, copies: int, diversity: float) -> Tensor:
    """Of the scores of all pictures, and what keeps copies apart, with respect to the variables that they come from."""
    scores, features = objective(inputs)
    if len(scores) != len(variables) or not scores.requires_grad:
        raise ValueError(
            f"{len(scores)} scores of {len(variables)} pictures cannot be raised; give a target= that returns one for each "
            "and can be differentiated"
        )
    total = scores.float().sum()
    if features is not None and copies > 1:
        total = total - diversity * likeness(features, copies).sum()
    with torch.autocast(inputs.device.type, enabled=False):  # as precise as the way there
        (gradient,) = torch.autograd.grad(total, variables)
    return gradient


def _recipe(recipe: Recipe) -> Fourier | Classic:
    if isinstance(recipe, Fourier | Classic):
        return recipe
    if recipe not in _RECIPES:
        raise ValueError(
            f"recipe={recipe!r} is not known; choose one of {', '.join(map(repr, _RECIPES))}, or give Fourier(...) or Classic(...)"
        )
    return _RECIPES[recipe]


def _check(
    target: Goal, layer: str | None, unit: object, position: Position, steps: int, copies: int, diversity: float
) -> None:
    """Raises ValueError for arguments that are wrong whatever the model is."""
    if (target is None) == (layer is None):
        raise ValueError(f"target={target!r} and layer={layer!r}: give one of them, and only one")
    if layer is None and (unit is not None or position is not None):
        raise ValueError(f"unit={unit!r}, position={position!r} are those of a layer; give its name as layer=")
    for name, value, least in (("steps", steps, 0), ("copies", copies, 1), ("diversity", diversity, 0)):
        if value < least:
            raise ValueError(f"{name}={value} is too few; give {least} or more")


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 2 for side in sides):
        raise ValueError(f"size={size!r} is no size in pixels; give one side or (height, width), each 2 or more")
    return sides[0], sides[1]


def _place(model: nn.Module, start: Tensor | None, images: Tensor | None) -> tuple[torch.device, torch.dtype]:
    """Where the model is, and what it takes."""
    known = (one for one in (*model.parameters(), *model.buffers(), start, images) if one is not None)
    first = next((one for one in known if one.is_floating_point()), torch.zeros(()))
    return first.device, first.dtype


def _channels(
    model: nn.Module, channels: int | None, start: Tensor | None, images: Tensor | None, *per_channel: object
) -> int:
    """How many channels the pictures have: what is given must agree; without, what the first convolution reads."""
    told = {} if channels is None else {"channels": channels}
    for name, pictures in (("start", start), ("images", images)):
        if pictures is not None and pictures.ndim != 4:
            raise ValueError(f"{name}= of the shape {tuple(pictures.shape)} are no pictures; give (N, C, H, W)")
        if pictures is not None:
            told[name] = pictures.shape[1]
    for name, values in zip(("mean", "std"), per_channel, strict=True):
        if values is not None and torch.as_tensor(values).numel() > 1:
            told[name] = torch.as_tensor(values).numel()
    if len(set(told.values())) > 1:
        raise ValueError(f"channels do not agree: {', '.join(f'{name}= has {n}' for name, n in told.items())}")
    convolutions = (module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))
    count = next(iter(told.values()), None) or next(convolutions, None)
    if count is None:
        raise ValueError(f"{type(model).__name__} has no convolution that tells how many channels; give channels=")
    return count


def _beginning(start: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    if tuple(start.shape) != shape:
        raise ValueError(f"start= has the shape {tuple(start.shape)}, not that of what is painted; give {shape}")
    if not start.isfinite().all() or start.min() < 0 or start.max() > 1:
        raise ValueError("start= goes beyond 0 to 1, as a person sees pictures; undo the normalisation")
    return start.detach().float()


def _seeds(seed: int, numbers: Sequence[int], copies: int) -> list[int]:
    """One for each picture, from its target's number and which copy it is, whatever is painted beside it."""
    return [(((seed << 20) + number << 10) + n % copies) % 2**63 for n, number in enumerate(numbers)]


def _counted(steps: int, progress: bool) -> Iterable[int]:
    if not progress:
        return range(steps)
    from tqdm import tqdm  # comes with Lightning

    bar: Iterable[int] = tqdm(range(steps), desc="synthesis")
    return bar
