"""Which pixels matter: what happens to the score when they are covered."""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.modes import evaluating
from lightning_viz.methods.model.outputs import Target, fixed_target, target_scores

from .saliency import Reduce

#: An image of the batch, and the top left corner of the window that covers it.
Place = tuple[int, int, int]


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
    hurts. `window` is the side of the square in pixels, by default a seventh of the shorter side, rounded up; `stride`
    its step, by default the window. `fill` is the colour of the cover in the model's input space, one number or one per
    channel, by default the mean colour of the batch. `refine` repeats this so many times with half the window where the
    drop is in the top quarter, from coarse to fine. At most `batch_size` images go through the model at once.
    `reduce=None` gives (B, C, H, W), alike in all channels since all are covered.
    """
    height, width = images.shape[-2:]
    window = -(-min(height, width) // 7) if window is None else window
    stride = window if stride is None else stride
    if not (1 <= window <= min(height, width) and stride >= 1 and refine >= 0 and batch_size >= 1):
        raise ValueError(
            f"window={window}, stride={stride}, refine={refine} and batch_size={batch_size} do not fit images of "
            f"{height}×{width}; give a window within the images, and a stride and a batch_size of 1 or more"
        )
    cover = (
        images.mean(dim=(0, 2, 3)) if fill is None else torch.as_tensor(fill, device=images.device, dtype=images.dtype)
    )
    maps = torch.zeros_like(images[:, 0], dtype=torch.float32)
    with evaluating(model), torch.no_grad():
        target = fixed_target(model, images, target)
        scores = target_scores(model(images.clone()), target).float()
        places = list(product(range(len(images)), _starts(height, window, stride), _starts(width, window, stride)))
        for level in range(refine + 1):
            if level:
                window, stride = -(-window // 2), -(-stride // 2)
                places = _strongest(maps, window, stride)
            covered = _covered_scores(model, images, target, places, window, cover, batch_size)
            drops = scores[[image for image, _, _ in places]] - covered
            maps = _mean_map(places, drops, window, maps)
    return maps if reduce == "abs_max" else maps[:, None].expand_as(images).clone()


def _covered_scores(
    model: nn.Module,
    images: Tensor,
    target: Target,
    places: Sequence[Place],
    window: int,
    cover: Tensor,
    batch_size: int,
) -> Tensor:
    """The target score with each place covered, (len(places),)."""
    found = [torch.zeros(0, device=images.device)]
    for start in range(0, len(places), batch_size):
        part = places[start : start + batch_size]
        index = torch.tensor([image for image, _, _ in part], device=images.device)
        covered = images[index]
        for one, (_, top, left) in zip(covered, part, strict=True):
            one[:, top : top + window, left : left + window] = cover.reshape(-1, 1, 1)
        found.append(target_scores(model(covered), target[index] if isinstance(target, Tensor) else target).float())
    return torch.cat(found)


def _strongest(maps: Tensor, window: int, stride: int) -> list[Place]:
    """Places of a grid that touch the top quarter of their image's map."""
    images, height, width = maps.shape
    thresholds = maps.flatten(1).quantile(0.75, dim=1).tolist()
    return [
        (image, top, left)
        for image, top, left in product(range(images), _starts(height, window, stride), _starts(width, window, stride))
        if maps[image, top : top + window, left : left + window].max() > thresholds[image]
    ]


def _starts(size: int, window: int, stride: int) -> range:
    """Where windows begin along one side: the last one reaches the edge, and may be cut there."""
    return range(0, size - window + stride, stride)


def _mean_map(places: Sequence[Place], drops: Tensor, window: int, before: Tensor) -> Tensor:
    """For each pixel the mean drop of the windows over it; where there is none, what was before."""
    total, count = torch.zeros_like(before), torch.zeros_like(before)
    for (image, top, left), drop in zip(places, drops, strict=True):
        here = (image, slice(top, top + window), slice(left, left + window))
        total[here] += drop
        count[here] += 1
    return torch.where(count > 0, total / count.clamp_min(1), before)
