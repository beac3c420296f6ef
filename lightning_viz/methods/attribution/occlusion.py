"""Occlusion: how much the score drops when a part of the image is covered."""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.modes import evaluating
from lightning_viz.methods.model.outputs import Target, fixed_target, target_scores

from .saliency import Reduce

#: The index of an image in the batch, and the top left corner of a window in it.
Window = tuple[int, int, int]


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

    Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2. Positive where covering
    lowers the score. `window` is the side of the square in pixels, by default a seventh of the shorter side, rounded up;
    `stride` its step, by default `window`. `fill` is the colour of the cover in the model's input space, one number or
    one per channel, by default the batch's mean colour. `refine` repeats the measurement this many times, with half the
    window each time, where the drop is in the top quarter. At most `batch_size` images go through the model at once.
    `reduce=None` gives (B, C, H, W), equal in all channels, as all are covered together.
    Raises ValueError for a window larger than the images, and for other options out of their range.
    """
    height, width = images.shape[-2:]
    window, stride = default_window(height, width, window, stride)
    if not (1 <= window <= min(height, width) and stride >= 1 and refine >= 0 and batch_size >= 1):
        raise ValueError(
            f"window={window}, stride={stride}, refine={refine} and batch_size={batch_size} do not fit images of "
            f"{height}×{width}; give a window within the images, a stride and a batch_size of 1 or more, a refine of 0 or more"
        )
    cover = fill_color(images, fill)
    maps = torch.zeros_like(images[:, 0], dtype=torch.float32)
    with evaluating(model), torch.no_grad():
        target = fixed_target(model, images, target)
        scores = target_scores(model(images.clone()), target).float()
        windows = _grid(images.shape, window, stride)
        for level in range(refine + 1):
            if level:
                window, stride = halved(window), halved(stride)
                windows = _strongest(maps, _grid(images.shape, window, stride), window)
            covered = _covered_scores(model, images, target, windows, window, cover, batch_size)
            drops = scores[[image for image, _, _ in windows]] - covered
            maps = _mean_map(windows, drops, window, maps)
    return maps if reduce == "abs_max" else maps[:, None].expand_as(images).clone()


def fill_color(images: Tensor, fill: Tensor | float | None) -> Tensor:
    """The colour that replaces removed pixels, (C, 1, 1) or (1, 1, 1): `fill`, by default the batch's mean colour."""
    color = images.mean(dim=(0, 2, 3)) if fill is None else torch.as_tensor(fill, device=images.device)
    return color.to(images.dtype).reshape(-1, 1, 1)


def default_window(height: int, width: int, window: int | None, stride: int | None) -> tuple[int, int]:
    """The side and the step of the window in pixels, with the defaults filled in."""
    window = -(-min(height, width) // 7) if window is None else window
    return window, window if stride is None else stride


def halved(length: int) -> int:
    """Half of a length in pixels, rounded up."""
    return -(-length // 2)


def window_starts(size: int, window: int, stride: int) -> range:
    """Where windows begin along a side of `size` pixels: the last one reaches the edge, and may be cut there."""
    return range(0, size - window + stride, stride)


def _grid(shape: Sequence[int], window: int, stride: int) -> list[Window]:
    """All windows of images (B, C, H, W)."""
    images, _, height, width = shape
    return [*product(range(images), window_starts(height, window, stride), window_starts(width, window, stride))]


def _covered_scores(
    model: nn.Module,
    images: Tensor,
    target: Target,
    windows: Sequence[Window],
    window: int,
    cover: Tensor,
    batch_size: int,
) -> Tensor:
    """The target score with each window covered, (len(windows),)."""
    scores = [torch.zeros(0, device=images.device)]
    for start in range(0, len(windows), batch_size):
        part = windows[start : start + batch_size]
        index = torch.tensor([image for image, _, _ in part], device=images.device)
        covered = images[index]
        for one, (_, top, left) in zip(covered, part, strict=True):
            one[:, top : top + window, left : left + window] = cover
        scores.append(target_scores(model(covered), target[index] if isinstance(target, Tensor) else target).float())
    return torch.cat(scores)


def _strongest(maps: Tensor, windows: Sequence[Window], side: int) -> list[Window]:
    """The windows that touch the top quarter of their image's map."""
    thresholds = maps.flatten(1).quantile(0.75, dim=1).tolist()
    return [
        (image, top, left)
        for image, top, left in windows
        if maps[image, top : top + side, left : left + side].max() > thresholds[image]
    ]


def _mean_map(windows: Sequence[Window], drops: Tensor, side: int, before: Tensor) -> Tensor:
    """For each pixel the mean drop of the windows over it; where there is none, the value before."""
    total, count = torch.zeros_like(before), torch.zeros_like(before)
    for (image, top, left), drop in zip(windows, drops, strict=True):
        covered = (image, slice(top, top + side), slice(left, left + side))
        total[covered] += drop
        count[covered] += 1
    return torch.where(count > 0, total / count.clamp_min(1), before)
