"""Real images amplified through a layer: of what it finds in them, more."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.modes import evaluating, leaf

SMALLEST = 8  # pixels: the shorter side of the smallest octave
TINY = 1e-30  # of a gradient of nothing, such as a dead layer's

#: How images were normalised, per channel or one number for all.
Normalisation = Tensor | Sequence[float] | float | None


def deep_dream(
    model: nn.Module,
    images: Tensor,
    *,
    layer: str,
    channel: int | None = None,
    octaves: int = 3,
    octave_scale: float = 1.5,
    steps: int = 8,
    learning_rate: float = 0.015,
    jitter: float = 0.1,
    mean: Normalisation = None,
    std: Normalisation = None,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """The images, changed so that a layer answers more: (B, C, H, W) -> (B, C, H, W), in the model's input space.

    Mordvintsev et al. 2015, "Inceptionism: going deeper into neural networks". Gradient ascent on the L2 norm of the layer's
    output, or on the mean of one `channel`, see `response`; each step changes a pixel by `learning_rate` in the mean, as a
    share of the range of pictures, whatever the gradient's size.

    It begins with the images made smaller, and goes on in `octaves`, each `octave_scale` times larger, to their own size:
    what was dreamt is carried up and added to the image in its full detail. Left out are octaves of a side below 8 pixels,
    and those that the model does not take: a vision transformer of one size dreams in one octave. In each step the images
    are rolled by a random part of their sides, `jitter` at most, the same for all images, so that no dream depends on the
    images beside it. It comes from a generator of its own, seeded by `seed`: global random states stay as they are.

    `mean` and `std` are how the images were normalised: values stay between black and white. Without them each image stays
    between its own minimum and maximum. `progress` shows a bar for each octave. It costs a forward and a backward pass up to
    the layer for each of `steps` in each octave; the default is 24, which cost 13 at full size. Zero steps give the images.
    The model runs in evaluation mode and is left as it was; no `.grad` is touched; no gradient of weights is computed.

    Raises ValueError for an unknown layer, one that does not run or does not depend on the images, a channel that it has
    not, a normalisation that does not fit, or numbers that make no dream.
    """
    _check_numbers(octaves, octave_scale, steps, learning_rate, jitter)
    with evaluating(model):
        maps = FeatureMaps(model, layer)
        with torch.no_grad():
            response(maps, images[:1].clone(), channel)  # at full size first, for that what is wrong be said there
        pictures = images.detach().to(torch.promote_types(images.dtype, torch.float32), copy=True)
        low, high = _bounds(pictures, mean, std)
        generator = torch.Generator().manual_seed(seed)
        detail = torch.zeros_like(pictures)
        for size in _sizes(maps, images, octaves, octave_scale):
            base = _resized(pictures, size)
            dream = base + _resized(detail, size)
            for _ in _counted(steps, size, progress):
                shift = [_draw(int(jitter * side), generator) for side in size]
                rolled = dream.roll(shift, dims=(2, 3))
                gradient = _gradient(maps, rolled, channel, images.dtype).roll([-by for by in shift], dims=(2, 3))
                gradient = gradient * (high - low)  # that of the picture, black 0 and white 1
                unit = gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(TINY)
                dream = (dream + learning_rate * (high - low) * unit).clamp(low, high)
            detail = dream - base
    return dream.to(images.dtype)


def response(maps: FeatureMaps, images: Tensor, channel: int | None = None) -> Tensor:
    """What a dream makes more of: the L2 norm of a layer's output for each image, or the mean of a channel, (B,).

    Raises ValueError for a channel that the layer has not.
    """
    output: Tensor = maps(images)
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    if channel is None:
        norms: Tensor = torch.linalg.vector_norm(output, dim=(1, 2, 3))
        return norms
    if not 0 <= channel < output.shape[1]:
        raise ValueError(
            f"channel={channel} is outside the {output.shape[1]} channels of layer={maps.layer!r}; give one of 0 to "
            f"{output.shape[1] - 1}, or None for the whole layer"
        )
    return output[:, channel].mean(dim=(1, 2))


def _gradient(maps: FeatureMaps, images: Tensor, channel: int | None, dtype: torch.dtype) -> Tensor:
    """Of each image's response with respect to it; `dtype` is what the model takes."""
    pixels = leaf(images)
    (gradient,) = torch.autograd.grad(response(maps, pixels.to(dtype), channel).sum(), pixels, allow_unused=True)
    if gradient is None:
        raise ValueError(f"layer={maps.layer!r} does not depend on the images; choose a layer on their way")
    return gradient


def _sizes(maps: FeatureMaps, images: Tensor, octaves: int, scale: float) -> list[tuple[int, int]]:
    """Height and width of each octave, smallest first; the last is that of the images."""
    height, width = images.shape[2:]
    smaller = [(round(height / scale**power), round(width / scale**power)) for power in range(octaves - 1, 0, -1)]
    return [*(size for size in smaller if min(size) >= SMALLEST and _takes(maps, images, size)), (height, width)]


@torch.no_grad()
def _takes(maps: FeatureMaps, images: Tensor, size: tuple[int, int]) -> bool:
    """Whether the model goes through with images of this size, up to a layer that then has a place left."""
    try:
        output: Tensor = maps(_resized(images[:1].float(), size).to(images.dtype))
    except Exception:  # of whatever kind: the model's own way to refuse
        return False
    return output.numel() > 0


def _bounds(pictures: Tensor, mean: Normalisation, std: Normalisation) -> tuple[Tensor, Tensor]:
    """The values of black and white, (1, C, 1, 1); or the least and the largest of each image, (B, 1, 1, 1)."""
    if mean is None and std is None:
        return pictures.amin(dim=(1, 2, 3), keepdim=True), pictures.amax(dim=(1, 2, 3), keepdim=True)
    if mean is None or std is None:
        raise ValueError(f"mean={mean} and std={std} belong together; give both or neither")
    centre, spread = (torch.as_tensor(value).to(pictures).reshape(1, -1, 1, 1) for value in (mean, std))
    channels = pictures.shape[1]
    if not {centre.shape[1], spread.shape[1]} <= {1, channels} or not (spread > 0).all():
        raise ValueError(
            f"mean={mean} and std={std} do not fit images of {channels} channels; give one number or {channels} each, std "
            "above 0"
        )
    return (0 - centre) / spread, (1 - centre) / spread


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    if pictures.shape[2:] == size:
        return pictures
    return interpolate(pictures, size=size, mode="bilinear", antialias=True)


def _draw(most: int, generator: torch.Generator) -> int:
    """From -most to most."""
    return int(torch.randint(-most, most + 1, (), generator=generator))


def _counted(steps: int, size: tuple[int, int], progress: bool) -> Iterable[int]:
    if not progress:
        return range(steps)
    from tqdm.auto import tqdm  # here, as few want to see it

    bar: Iterable[int] = tqdm(range(steps), desc=f"dreaming at {size[0]}×{size[1]}")
    return bar


def _check_numbers(octaves: int, octave_scale: float, steps: int, learning_rate: float, jitter: float) -> None:
    for name, value, fits, remedy in (
        ("octaves", octaves, octaves >= 1, "1 or more"),
        ("octave_scale", octave_scale, octave_scale > 1, "more than 1, such as 1.5"),
        ("steps", steps, steps >= 0, "0 or more"),
        ("learning_rate", learning_rate, 0 < learning_rate < 1, "a share of the range of pictures, such as 0.015"),
        ("jitter", jitter, 0 <= jitter <= 1, "a share of the sides, 0 to 1"),
    ):
        if not fits:
            raise ValueError(f"{name}={value} makes no dream; give {remedy}")
