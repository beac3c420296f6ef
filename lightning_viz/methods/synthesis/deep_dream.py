"""DeepDream: images changed by gradient ascent so that the activation of a layer increases."""

import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lightning_viz.methods.features.unit import check_channel
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.images import as_images
from lightning_viz.methods.model.modes import evaluating, leaf

from .colours import ChannelValues, Normalisation
from .synthesis_task import progress_steps

Objective = Literal["norm", "sum"]  #: what is maximised of a layer, see `deep_dream_objective`

SMALLEST = 8  # pixels: the shorter side of the smallest octave


def deep_dream(
    model: nn.Module,
    images: Tensor,
    *,
    layer: str,
    channel: int | None = None,
    objective: Objective = "norm",
    octaves: int = 3,
    octave_scale: float = 1.5,
    steps: int = 8,
    learning_rate: float = 0.015,
    jitter: float = 0.1,
    mean: ChannelValues = None,
    std: ChannelValues = None,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """DeepDream images: (B, C, H, W) -> (B, C, H, W), in the model's input space.

    Mordvintsev et al. 2015, "Inceptionism: going deeper into neural networks". Gradient ascent on the L2 norm of
    the layer's output, which activates most what is active already, or with `objective="sum"` on the plain sum of its
    activations, which activates all of its channels alike; with a `channel` on the mean of it, or its sum: the same images.
    Each step changes a pixel by `learning_rate` on average, as a fraction of the range from black to white.

    The first of `octaves` sizes is the smallest, each next one is `octave_scale` times larger, and the last is the images'
    own. The change made in one octave is resized and added to the full detail of the image in the next. Octaves with a side
    below 8 pixels, and sizes that the model does not accept, are left out: a vision transformer of a fixed size has one
    octave. At each step all images are rolled by the same random part of their sides, at most `jitter`, from a generator
    seeded by `seed`: an image's result does not depend on the batch.

    `mean` and `std` say how the images were normalised: values stay between black and white, without them between each
    image's own minimum and maximum. `progress` shows a bar for each octave. The cost is that of `deep_dream_passes`, up
    to the layer only. The model runs in evaluation mode and is left as it was; no gradient of the weights is computed.
    Raises ValueError for an unknown layer, one that does not run or does not depend on the images, a channel that it does not
    have, a mean and std that do not fit, or numbers out of range.
    """
    if objective not in get_args(Objective):
        raise ValueError(f"objective={objective!r} is unknown; choose 'norm' or 'sum'")
    _check_numbers(octaves, octave_scale, steps, learning_rate, jitter)
    images = as_images(model, images, differentiable=True)
    with evaluating(model):
        maps = FeatureMaps(model, layer)
        with torch.no_grad():
            deep_dream_objective(
                maps, images[:1].clone(), channel, objective
            )  # raises what is wrong at the images' own size
        originals = images.detach().to(torch.promote_types(images.dtype, torch.float32), copy=True)
        low, high = _black_and_white(originals, mean, std)
        generator = torch.Generator().manual_seed(seed)
        change = torch.zeros_like(originals)
        for size in _octave_sizes(maps, images, octaves, octave_scale):
            reach = [int(jitter * side) for side in size]
            base = _resize(originals, size)
            dream = base + _resize(change, size)
            for _ in progress_steps(steps, f"DeepDream at {size[0]}×{size[1]}", progress):
                shift = [int(torch.randint(-most, most + 1, (), generator=generator)) for most in reach]
                gradient = _rolled_gradient(maps, dream, channel, objective, images.dtype, shift) * (
                    high - low
                )  # of 0 to 1
                unit = gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)  # 0 stays 0
                dream = (dream + learning_rate * (high - low) * unit).clamp(low, high)
            change = dream - base
    return dream.to(images.dtype)


#: The options of `deep_dream` that have nothing to do with the model or the data, with their defaults.
DEEP_DREAM_OPTIONS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(deep_dream).parameters.items()
    if name not in ("model", "images", "layer", "channel", "objective", "mean", "std")
}


def deep_dream_passes(options: Mapping[str, Any]) -> float:
    """The cost of `deep_dream` with these options for one image: forward and backward passes, smaller octaves by area."""
    full = {**DEEP_DREAM_OPTIONS, **options}
    areas = sum(full["octave_scale"] ** (-2 * octave) for octave in range(full["octaves"]))
    return float(full["steps"] * areas)


def deep_dream_objective(
    maps: FeatureMaps, images: Tensor, channel: int | None = None, objective: Objective = "norm"
) -> Tensor:
    """The L2 norm of a layer's output for each image, or the mean of a channel; or the sum of either: (B,).

    Raises ValueError for an unknown channel.
    """
    output: Tensor = maps(images)
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    if channel is not None:
        check_channel(channel, output, maps.layer)
        output = output[:, channel : channel + 1]
    if objective == "sum":
        return output.sum(dim=(1, 2, 3))
    norms: Tensor = torch.linalg.vector_norm(output, dim=(1, 2, 3))
    return norms if channel is None else output.mean(dim=(1, 2, 3))


def _rolled_gradient(
    maps: FeatureMaps,
    images: Tensor,
    channel: int | None,
    objective: Objective,
    dtype: torch.dtype,
    shift: list[int],
) -> Tensor:
    """The gradient of each image's objective, taken at the image rolled by `shift`; the model's input is of `dtype`."""
    pixels = leaf(images.roll(shift, dims=(2, 3)))
    values = deep_dream_objective(maps, pixels.to(dtype), channel, objective)
    (gradient,) = torch.autograd.grad(values.sum(), pixels, allow_unused=True)
    if gradient is None:
        raise ValueError(f"layer={maps.layer!r} does not depend on the images; choose one between input and output")
    return gradient.roll([-by for by in shift], dims=(2, 3))


@torch.no_grad()
def _octave_sizes(maps: FeatureMaps, images: Tensor, octaves: int, scale: float) -> list[tuple[int, int]]:
    """Height and width of each octave that the model accepts, smallest first; the last is that of the images."""
    height, width = images.shape[2:]
    sizes = []
    for power in range(octaves - 1, 0, -1):
        size = round(height / scale**power), round(width / scale**power)
        with suppress(Exception):  # models refuse a size in different ways
            if min(size) >= SMALLEST and maps(_resize(images[:1].float(), size).to(images.dtype)).numel():
                sizes.append(size)
    return [*sizes, (height, width)]


def _black_and_white(images: Tensor, mean: ChannelValues, std: ChannelValues) -> tuple[Tensor, Tensor]:
    """The values of black and white, (C, 1, 1); without mean and std each image's minimum and maximum, (B, 1, 1, 1)."""
    if mean is None and std is None:
        return images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
    if mean is None or std is None:
        raise ValueError(f"mean={mean} and std={std} belong together; give both or neither")
    centre, spread = (one.to(images) for one in Normalisation.of(mean, std, images.shape[1], images.device))
    return (0 - centre) / spread, (1 - centre) / spread


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    return images if images.shape[2:] == size else interpolate(images, size=size, mode="bilinear", antialias=True)


def _check_numbers(octaves: int, octave_scale: float, steps: int, learning_rate: float, jitter: float) -> None:
    for name, value, fits, remedy in (
        ("octaves", octaves, octaves >= 1, "1 or more"),
        ("octave_scale", octave_scale, octave_scale > 1, "more than 1, such as 1.5"),
        ("steps", steps, steps >= 0, "0 or more"),
        ("learning_rate", learning_rate, 0 < learning_rate < 1, "a fraction of the pixel range, such as 0.015"),
        ("jitter", jitter, 0 <= jitter <= 1, "a fraction of the sides, 0 to 1"),
    ):
        if not fits:
            raise ValueError(f"{name}={value} is out of range; give {remedy}")
