"""Whether a map is faithful to the model: how the score changes as the pixels it ranks highest are added or removed."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.batching import group_variants
from lightning_viz.methods.model.model_output import ModelOutput
from lightning_viz.methods.model.modes import evaluating
from lightning_viz.methods.model.outputs import Target, fixed_target, repeat_target, target_scores

from .occlusion import fill_color


class Faithfulness(NamedTuple):
    """The score as pixels are added or removed in the order of a map: curves (B, steps + 1), and the areas under them (B,)."""

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
    """How the score rises as the most important pixels are added, and falls as they are removed, both float32.

    Petsiuk et al. 2018, "RISE", section 4.1. A faithful map has a large insertion and a small deletion area; on average
    the two are equal for a map of noise. `attribution` is (B, h, w), resized to the images; pixels of equal value come in
    a random order, the same each time. The score is the target's probability where the model returns classes, otherwise
    the target score itself. `fill` replaces missing pixels, in the model's input space, by default the batch's mean
    colour. It costs 2 · (`steps` + 1) forward passes of the images, and one more unless the target is a callable; at
    most `batch_size` images, or one copy of the batch, go through the model at once.
    Raises ValueError for `steps` below 1, and for an attribution that does not fit the images or is not finite.
    """
    if attribution.ndim != 3 or len(attribution) != len(images) or not torch.isfinite(attribution).all():
        raise ValueError(
            f"attribution of shape {tuple(attribution.shape)} does not fit {len(images)} images, or is not finite; give one "
            "map (h, w) for each"
        )
    if steps < 1:
        raise ValueError(f"steps={steps} is too small; give 1 or more")
    blank = fill_color(images, fill).expand_as(images[0])
    with evaluating(model), torch.no_grad():
        target = fixed_target(model, images, target)
        ranks = _ranks(attribution, images)
        fractions = [step / steps for step in range(steps + 1)]
        added = (torch.where(ranks < fraction, images, blank) for fraction in fractions)
        removed = (torch.where(ranks < fraction, blank, images) for fraction in fractions)
        insertion = _curve(model, added, target, batch_size)
        deletion = _curve(model, removed, target, batch_size)
    areas = [torch.trapezoid(curve, dx=1 / steps, dim=1) for curve in (insertion, deletion)]
    return Faithfulness(insertion, deletion, *areas)


def _ranks(attribution: Tensor, images: Tensor) -> Tensor:
    """The rank of each pixel, from 0, the most important, to below 1: (B, 1, H, W)."""
    height, width = images.shape[-2:]
    maps = nn.functional.interpolate(attribution[:, None].float(), size=(height, width), mode="bilinear")
    shuffled = torch.randperm(height * width, generator=torch.Generator().manual_seed(0)).to(maps.device)
    order = shuffled[maps.flatten(1)[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).reshape(maps.shape) / (height * width)


def _curve(model: nn.Module, variants: Iterator[Tensor], target: Target, batch_size: int) -> Tensor:
    """The score of each image in each variant of the batch: (B, variants)."""
    columns: list[Tensor] = []
    for group in group_variants(variants, batch_size):
        output = model(torch.cat(group))
        probabilities = None if callable(target) else ModelOutput.of(output).probabilities
        scores = target_scores(output if probabilities is None else probabilities, repeat_target(target, len(group)))
        columns += scores.float().reshape(len(group), -1)
    return torch.stack(columns, dim=1)
