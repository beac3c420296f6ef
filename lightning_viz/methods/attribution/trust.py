"""Numbers for how far a map can be trusted: its faithfulness beyond simple maps, and a network with random weights."""

import copy
from functools import partial

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.outputs import Target, slice_target

from .faithfulness import insertion_deletion

STEPS = 8  # of each curve
BATCH = 32  # images at once, where memory allows

#: Forward passes of each image in `faithfulness_gain`: three maps, two curves each, and a forward to fix the target.
FAITHFULNESS_FORWARDS = 3 * (2 * (STEPS + 1) + 1)


def faithfulness_gain(
    network: nn.Module, images: Tensor, maps: Tensor, target: Target, batches: AutoBatch | None = None
) -> dict[str, Tensor]:
    """Insertion minus deletion area of maps (B, h, w), beyond that of simple maps: (B,) each, 0 is no better.

    "over_random" is the gain over a map of noise, "over_blob" over a blob in the centre. Petsiuk et al. 2018, "RISE".
    Raises as `insertion_deletion`.
    """
    height, width = maps.shape[1:]
    noise = torch.rand(images[:, 0].shape, generator=torch.Generator().manual_seed(0)).to(maps)
    rows, columns = (torch.linspace(-1, 1, size, device=maps.device) for size in (height, width))
    blob = torch.exp(-2 * (rows[:, None] ** 2 + columns**2)).expand_as(maps)
    batches = batches or AutoBatch()
    fill = images.mean(dim=(0, 2, 3))  # of all images, whatever the batches

    def area_difference(part: slice, attribution: Tensor) -> Tensor:
        areas = insertion_deletion(
            network,
            images[part],
            attribution[part],
            slice_target(target, part),
            steps=STEPS,
            fill=fill,
            batch_size=min(batches.limit or BATCH, BATCH),
        )
        return areas.insertion_area - areas.deletion_area

    own, random, centred = (
        batches.cat(partial(area_difference, attribution=attribution), len(images))
        for attribution in (maps, noise, blob)
    )
    return {"over_random": own - random, "over_blob": own - centred}


def randomize_weights(network: nn.Module) -> nn.Module:
    """A copy of the network with its weights initialised again, for the sanity check of Adebayo et al. 2018.

    Every module with `reset_parameters()` is reset; parameters of other modules stay. It draws from torch's global
    random state.
    """
    network = copy.deepcopy(network)
    for module in network.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return network
