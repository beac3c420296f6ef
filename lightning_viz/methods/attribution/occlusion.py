"""Occlusion: how much the score drops when a part of the image is covered."""

from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.modes import scoring
from lightning_viz.methods.model.outputs import Target, fixed_target, target_scores

from .saliency import Reduce

#: The index of an image in the batch, and the rows and columns of a window in it.
Window = tuple[int, slice, slice]


def occlusion(
    model: nn.Module,
    images: Tensor,
    target: Target = None,
    *,
    window: int | None = None,
    stride: int | None = None,
    fill: Tensor | float | None = None,
    refine: int = 0,
    batch_size: int = 16,
    reduce: Reduce = "abs_max",
) -> Tensor:
    """Drop of the target score when a window covers a pixel, mean over its windows: (B, C, H, W) -> (B, H, W), float32.

    Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2. `window` is the side of
    the square in pixels, by default a seventh of the shorter side, rounded up; `stride` its step, by default `window`.
    `fill` is the colour of the cover, one number or one per channel, by default the batch's mean colour. `refine` repeats
    the measurement this many times, with half the window each time, where the drop is in the top quarter. At most
    `batch_size` images go through the model at once. `reduce=None` gives (B, C, H, W), equal in all channels.
    Raises ValueError for a window larger than the images, and for other options out of their range.
    """
    height, width = images.shape[-2:]
    fits = window is None or 1 <= window <= min(height, width)
    if not fits or (stride is not None and stride < 1) or refine < 0 or batch_size < 1:
        raise ValueError(
            f"window={window}, stride={stride}, refine={refine} and batch_size={batch_size} do not fit images of "
            f"{height}×{width}; give a window within the images, a stride and a batch_size of 1 or more, a refine of 0 or more"
        )
    cover = fill_color(images, fill)
    maps = torch.zeros_like(images[:, 0], dtype=torch.float32)
    with scoring(model), torch.no_grad():
        target = fixed_target(model, images, target)
        scores = target_scores(model(images.clone()), target).float()
        for level, (side, corners) in enumerate(window_levels(images, window, stride, refine)):
            every = product(range(len(images)), corners)
            windows = [(image, slice(top, top + side), slice(left, left + side)) for image, (top, left) in every]
            if level:
                thresholds = maps.flatten(1).quantile(0.75, dim=1).tolist()
                windows = [place for place in windows if maps[place].max() > thresholds[place[0]]]
            batches = [windows[first : first + batch_size] for first in range(0, len(windows), batch_size)]
            drops = [drop for batch in batches for drop in _drops(model, images, target, scores, batch, cover)]
            maps = _mean_map(windows, drops, maps)
    return maps if reduce == "abs_max" else maps[:, None].expand_as(images).clone()


def fill_color(images: Tensor, fill: Tensor | float | None) -> Tensor:
    """The colour that replaces removed pixels, (C, 1, 1) or (1, 1, 1): `fill`, by default the batch's mean colour."""
    color = images.mean(dim=(0, 2, 3)) if fill is None else torch.as_tensor(fill, device=images.device)
    return color.to(images.dtype).reshape(-1, 1, 1)


def window_levels(
    images: Tensor, window: int | None, stride: int | None, refine: int
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The side of the windows and all top left corners, for each measurement; the last windows may be cut at the edge."""
    height, width = images.shape[-2:]
    side = -(-min(height, width) // 7) if window is None else window
    step = side if stride is None else stride
    for _ in range(refine + 1):
        yield side, [*product(range(0, height - side + step, step), range(0, width - side + step, step))]
        side, step = (side + 1) // 2, (step + 1) // 2


def _drops(
    model: nn.Module, images: Tensor, target: Target, scores: Tensor, windows: Sequence[Window], cover: Tensor
) -> Tensor:
    """How much the target score (B,) of its image drops when a window is covered: (len(windows),)."""
    index = torch.tensor([image for image, _, _ in windows], device=images.device)
    covered = images[index]
    for one, (_, rows, columns) in zip(covered, windows, strict=True):
        one[:, rows, columns] = cover
    return (
        scores[index] - target_scores(model(covered), target[index] if isinstance(target, Tensor) else target).float()
    )


def _mean_map(windows: Sequence[Window], drops: Sequence[Tensor], before: Tensor) -> Tensor:
    """For each pixel the mean drop of the windows over it; where there is none, the value before."""
    total, count = torch.zeros_like(before), torch.zeros_like(before)
    for window, drop in zip(windows, drops, strict=True):
        total[window] += drop
        count[window] += 1
    return torch.where(count > 0, total / count.clamp_min(1), before)
