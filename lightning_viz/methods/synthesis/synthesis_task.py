"""What images are to be synthesised: their number, size, channels and initial values, checked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .colours import ChannelValues, ColourStatistics, Normalisation


@dataclass(frozen=True, eq=False)
class SynthesisTask:
    """What an optimiser of images starts from."""

    shape: tuple[int, int, int, int]  #: of the images, (N, C, H, W)
    steps: int
    normalisation: Normalisation
    colours: ColourStatistics
    start: Tensor | None  #: initial images (N, C, H, W), 0 to 1, or None for random ones
    seeds: Sequence[int]  #: one per image


def image_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels. Raises ValueError for anything but one side or two, each 2 or more."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 2 for side in sides):
        raise ValueError(f"size={size!r} is invalid; give one side or (height, width) in pixels, each 2 or more")
    return sides[0], sides[1]


def image_channels(
    model: nn.Module, channels: int | None, batches: Mapping[str, Tensor | None], values: Mapping[str, ChannelValues]
) -> int:
    """The number of channels that these arguments imply; without any, that of the first convolution's input."""
    implied = {} if channels is None else {"channels": channels}
    for name, batch in batches.items():
        if batch is not None:
            implied[name] = batch.shape[1]
    numbers = {name: torch.as_tensor(value).numel() for name, value in values.items() if value is not None}
    implied |= {name: number for name, number in numbers.items() if number > 1}
    if len(set(implied.values())) > 1:
        counts = ", ".join(f"{name}= has {count}" for name, count in implied.items())
        raise ValueError(f"the numbers of channels differ: {counts}; give the same number in each")
    convolutions = (module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))
    count = next(iter(implied.values()), None) or next(convolutions, None)
    if count is None:
        raise ValueError(f"{type(model).__name__} has no nn.Conv2d to read the number of channels from; give channels=")
    return count


def initial_images(start: Tensor | None, shape: tuple[int, int, int, int], device: torch.device) -> Tensor | None:
    """`start` as float32 on the device. Raises ValueError for another shape, or values outside 0 to 1."""
    if start is None:
        return None
    if tuple(start.shape) != shape:
        raise ValueError(f"start= has the shape {tuple(start.shape)}; give {shape}, an image for each target and copy")
    if not start.isfinite().all() or start.min() < 0 or start.max() > 1:
        raise ValueError("start= has values outside 0 to 1; denormalise the images first")
    return start.detach().float().to(device)


def normal_noise(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Normal random numbers (N, *shape), one generator per image: an image's do not depend on the rest of the batch."""
    return torch.stack(
        [torch.randn(*shape, generator=one, device=one.device, dtype=torch.float32) for one in generators]
    )


def progress_steps(steps: int, description: str, progress: bool) -> Iterable[int]:
    """The numbers 0 to `steps` - 1, with a bar of tqdm on stderr if `progress`."""
    if not progress:
        return range(steps)
    from tqdm.auto import tqdm  # imported only where a bar is shown; installed with Lightning

    bar: Iterable[int] = tqdm(range(steps), desc=description)
    return bar
