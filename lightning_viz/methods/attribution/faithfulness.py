"""Whether a map is true: what happens to the score when the pixels that it names come or go."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.modes import evaluating
from lightning_viz.methods.model.outputs import Target, fixed_target, logits, repeat_target, target_scores


class Faithfulness(NamedTuple):
    """The score while pixels come, or go, in the order of a map: curves (B, steps + 1) and their mean heights (B,)."""

    insertion: Tensor
    deletion: Tensor
    insertion_area: Tensor
    deletion_area: Tensor


def insertion_deletion(
    model: nn.Module,
    images: Tensor,
    attribution: Tensor,
    target: Target = None,
    *,
    steps: int = 16,
    fill: Tensor | float | None = None,
    batch_size: int = 32,
) -> Faithfulness:
    """How the score rises as the most important pixels are put in, and falls as they are taken out, both float32.

    Petsiuk et al. 2018, "RISE", section 4.1. A true map has a high insertion and a low deletion area; a map of noise has
    two alike, in the mean. `attribution` is (B, h, w), stretched to the images; pixels of equal value go in a random
    order, the same each time. The score is the target's probability where the model returns logits of several classes,
    else the score itself. `fill` is what stands for a missing pixel in the model's input space, by default the mean
    colour of the batch. It costs 2 · (`steps` + 1) forward passes of the images, and one to settle a target that is no
    callable; at most `batch_size` images, or one copy of all, at once. Raises ValueError for an attribution that does not fit the images or is not finite.
    """
    if attribution.ndim != 3 or len(attribution) != len(images) or not torch.isfinite(attribution).all():
        raise ValueError(
            f"attribution of shape {tuple(attribution.shape)} does not fit {len(images)} images, or is not finite; give one "
            "map (h, w) for each"
        )
    if steps < 1:
        raise ValueError(f"steps={steps} make no curve; give 1 or more")
    cover = (
        images.mean(dim=(0, 2, 3)) if fill is None else torch.as_tensor(fill, device=images.device, dtype=images.dtype)
    )
    blank = cover.reshape(-1, 1, 1).expand_as(images[0])
    with evaluating(model), torch.no_grad():
        target = fixed_target(model, images, target)
        places = _order(attribution, images)
        shares = [step / steps for step in range(steps + 1)]
        present = (torch.where(places < share, images, blank) for share in shares)
        missing = (torch.where(places < share, blank, images) for share in shares)
        insertion = _curve(model, present, target, batch_size)
        deletion = _curve(model, missing, target, batch_size)
    return Faithfulness(insertion, deletion, _height(insertion), _height(deletion))


def _order(attribution: Tensor, images: Tensor) -> Tensor:
    """The place of each pixel in the order of its importance, from 0 to below 1: (B, 1, H, W)."""
    height, width = images.shape[-2:]
    maps = nn.functional.interpolate(attribution[:, None].float(), size=(height, width), mode="bilinear")
    shuffled = torch.randperm(height * width, generator=torch.Generator().manual_seed(0)).to(maps.device)
    order = shuffled[maps.flatten(1)[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    places = torch.empty_like(order).scatter_(
        1, order, torch.arange(height * width, device=order.device).expand_as(order)
    )
    return places.reshape(maps.shape) / (height * width)


def _curve(model: nn.Module, variants: Iterator[Tensor], target: Target, batch_size: int) -> Tensor:
    """The score of each image in each variant of the batch: (B, variants)."""
    columns: list[Tensor] = []
    for first in variants:
        group = [first, *islice(variants, max(1, batch_size // len(first)) - 1)]
        scores = _score(model(torch.cat(group)), repeat_target(target, len(group)))
        columns += scores.reshape(len(group), -1)
    return torch.stack(columns, dim=1)


def _score(output: Any, target: Target) -> Tensor:
    """The target's probability, where there are several classes."""
    if not callable(target):
        scores = logits(output).float()
        if scores.ndim == 2 and scores.shape[1] > 1:
            return target_scores(scores.softmax(dim=1), target)
    return target_scores(output, target).float()


def _height(curve: Tensor) -> Tensor:
    """The mean height of a curve, by trapezoids."""
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1)
