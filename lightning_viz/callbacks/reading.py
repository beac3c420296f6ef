"""Samples of the data where there is no loop to listen to: read by index, with a forward pass of their own."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from .batches import Unpack
from .harvest import Harvest, Places, Seen
from .samples import Keeper, Samples
from .sampling import copied, listed_labels
from .session import not_training


def read_samples(
    trainer: pl.Trainer, network: nn.Module, data: DataLoader[Any], keeper: Keeper, unpack: Unpack, count: int | None
) -> Samples | None:
    """The samples that `keeper` would keep of a loop of `count` samples, read from the loader's dataset.

    None where the dataset cannot be read so: a stream, or one that batches by itself.
    """
    dataset = copied(data.dataset)
    if isinstance(dataset, IterableDataset) or count is None or data.batch_sampler is None:
        return None
    chosen = _choose(dataset, keeper, count)
    harvest = Harvest(network, [keeper], unpack)
    size = data.batch_size or 1
    try:
        for start in range(0, len(chosen), size):
            places = chosen[start : start + size]
            batch = _batch(trainer, data, dataset, places)
            if start == 0:
                harvest.open(unpack(batch)[0])
            harvest.start(batch)
            with torch.no_grad():
                network(unpack(batch)[0])
            harvest.end(batch, keeper.loader, None, places)
    finally:
        harvest.close()
    if harvest.error is not None:
        raise harvest.error
    return keeper.samples


def _choose(dataset: Any, keeper: Keeper, count: int) -> Places:
    """Where the samples with the smallest keys are, in the order of the data."""
    everything = np.arange(count)
    keys = keeper.key(Seen(torch.empty(count, 0), None, None, {}, everything))
    labels = listed_labels(dataset) if keeper.class_balanced else None
    return np.sort(keeper.choose(keys, everything, None if labels is None else labels[:count], keeper.size))


def _batch(trainer: pl.Trainer, data: DataLoader[Any], dataset: Any, places: Places) -> Any:
    """A batch as the loop would get it."""
    batch = trainer.precision_plugin.convert_input(data.collate_fn([dataset[int(place)] for place in places]))
    with not_training(trainer):
        return trainer.strategy.batch_to_device(batch)
