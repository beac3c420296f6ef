"""How far a map can be trusted: its faithfulness to the model, beyond simple maps, and a network with random weights."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.batching import AutoBatch, group_variants
from lightning_viz.methods.model.images import as_images, mean_color
from lightning_viz.methods.model.model_output import ModelOutput, OutputMeaning
from lightning_viz.methods.model.modes import scoring
from lightning_viz.methods.model.outputs import Target, fixed_target, repeat_target, slice_target, target_scores

from .occlusion import fill_color

STEPS = 8  # of each curve
BATCH = 32  # images at once, where memory allows

SANITY_DRAWS = 5  # of random weights: one alone says little

#: Forward passes of each image in `faithfulness_gain`: three maps, two curves each, and a forward to fix the target.
FAITHFULNESS_FORWARDS = 3 * (2 * (STEPS + 1) + 1)


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
    meaning: OutputMeaning | None = None,
) -> Faithfulness:
    """How the score rises as the most important pixels are added, and falls as they are removed, both float32.

    Petsiuk et al. 2018, "RISE", section 4.1. A faithful map has a large insertion and a small deletion area; for a map of
    noise the two are equal on average. `attribution` is (B, h, w), resized to the images; pixels of equal value come in a
    random order, the same each time. The score is the target's probability where the model returns classes (as `meaning`
    says; by default decided by the output's shape), otherwise the target score itself. `fill` replaces missing pixels, by
    default the mean colour of the finite images; `batch_size` as in `smoothgrad`. It costs 2 · (`steps` + 1) forward passes, and one
    more unless the target is a callable.
    An image with NaN or infinity changes no other's result. Raises ValueError for `steps` below 1, and for an attribution
    that does not fit the images, or is not finite where the image is.
    """
    images = as_images(model, images)
    if attribution.ndim != 3 or len(attribution) != len(images) or not _finite_where(images, attribution):
        raise ValueError(
            f"attribution of shape {tuple(attribution.shape)} does not fit {len(images)} images, or is not finite; give one "
            "map (h, w) for each"
        )
    if steps < 1:
        raise ValueError(f"steps={steps} is too small; give 1 or more")
    blank = fill_color(images, fill).expand_as(images[0])
    with scoring(model), torch.no_grad():
        target = fixed_target(model, images, target)
        ranks = _ranks(attribution, images)
        fractions = [step / steps for step in range(steps + 1)]
        added = (torch.where(ranks < fraction, images, blank) for fraction in fractions)
        removed = (torch.where(ranks < fraction, blank, images) for fraction in fractions)
        curves = _curves(model, chain(removed, added), target, batch_size, meaning)
    deletion, insertion = curves[:, : steps + 1], curves[:, steps + 1 :]
    areas = [torch.trapezoid(curve, dx=1 / steps, dim=1) for curve in (insertion, deletion)]
    return Faithfulness(insertion, deletion, *areas)


def _finite_where(images: Tensor, maps: Tensor) -> bool:
    """Whether the maps of all finite images are finite."""
    known = [one.isfinite().flatten(1).all(dim=1) for one in (maps, images)]
    return bool((known[0] | ~known[1]).all())


def _ranks(attribution: Tensor, images: Tensor) -> Tensor:
    """The rank of each pixel, from 0, the most important, to below 1: (B, 1, H, W)."""
    height, width = images.shape[-2:]
    maps = nn.functional.interpolate(attribution[:, None].float(), size=(height, width), mode="bilinear")
    shuffled = torch.randperm(height * width, generator=torch.Generator().manual_seed(0)).to(maps.device)
    order = shuffled[maps.flatten(1)[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).reshape(maps.shape) / (height * width)


def _curves(
    model: nn.Module, variants: Iterator[Tensor], target: Target, batch_size: int, meaning: OutputMeaning | None
) -> Tensor:
    """The score of each image in each variant of the batch: (B, variants). The first are the images themselves."""
    columns: list[Tensor] = []
    for group in group_variants(variants, batch_size):
        output = model(torch.cat(group))
        meaning = OutputMeaning.of(output) if meaning is None and not callable(target) else meaning
        probabilities = None if callable(target) else ModelOutput.of(output, meaning).probabilities
        fixed = repeat_target(target, len(group))
        if probabilities is not None and isinstance(fixed, Tensor):  # the sides of a single logit are classes 0 and 1
            scores = probabilities.gather(1, fixed.long()[:, None])[:, 0]
        else:
            scores = target_scores(output, fixed, checked=True)
        columns += scores.float().reshape(len(group), -1)
    return torch.stack(columns, dim=1)


def faithfulness_gain(
    network: nn.Module,
    images: Tensor,
    maps: Tensor,
    target: Target,
    batches: AutoBatch,
    meaning: OutputMeaning | None = None,
) -> dict[str, Tensor]:
    """Insertion minus deletion area of maps (B, h, w), beyond that of simple maps: (B,) each, 0 is no better.

    "over_random" is the gain over a map of noise, "over_blob" over a blob in the centre; "random" is the noise map's own
    area difference, which is 0 on average. Petsiuk et al. 2018, "RISE".
    Raises as `insertion_deletion`.
    """
    height, width = maps.shape[1:]
    noise = torch.rand(images[:, 0].shape, generator=torch.Generator().manual_seed(0)).to(maps)
    rows, columns = (torch.linspace(-1, 1, size, device=maps.device) for size in (height, width))
    blob = torch.exp(-2 * (rows[:, None] ** 2 + columns**2)).expand_as(maps)
    fill = mean_color(images)  # of all images, whatever the batches

    def area_difference(part: slice, attribution: Tensor) -> Tensor:
        limit, some = min(batches.limit or BATCH, BATCH), slice_target(target, part)
        measure = partial(insertion_deletion, steps=STEPS, fill=fill, batch_size=limit, meaning=meaning)
        areas = measure(network, images[part], attribution[part], some)
        return areas.insertion_area - areas.deletion_area

    own, random, centred = (
        batches.cat(partial(area_difference, attribution=attribution), len(images))
        for attribution in (maps, noise, blob)
    )
    return {"over_random": own - random, "over_blob": own - centred, "random": random}


@torch.no_grad()
def randomize_weights(network: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of the network with all parameters drawn again, for the sanity check of Adebayo et al. 2018.

    Every module with `reset_parameters()` is reset. A parameter that is as before, such as a class token, a position or a
    scale, is drawn from the normal distribution with the mean and standard deviation of its values. A generator seeded by
    `seed` draws: the global random state stays as it was.
    """
    before, network = dict(network.named_parameters()), copy.deepcopy(network)
    devices = {one.device.index or 0 for one in before.values() if one.is_cuda}
    with torch.random.fork_rng(sorted(devices) if torch.cuda.is_available() else []):
        torch.manual_seed(seed)
        for module in network.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                with suppress(Exception):  # one that needs arguments; its parameters are drawn below
                    reset()
        for name, parameter in network.named_parameters():
            if parameter.is_floating_point() and parameter.numel() > 1:
                mean, deviation = parameter.float().mean(), parameter.float().std()
                drawn = mean + deviation * torch.randn(parameter.shape, device=parameter.device)
                is_old = (parameter == before[name]).all()  # not read: that would wait for the device
                parameter.copy_(torch.where(is_old, drawn.to(parameter), parameter))
    return network
