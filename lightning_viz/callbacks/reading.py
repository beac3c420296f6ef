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
from .sampling import batch_size_of, copied, listed_labels, part_of
from .session import not_training

READ = 32  # samples at a time, where the loader does not say


def read_samples(
    trainer: pl.Trainer, network: nn.Module, data: DataLoader[Any], keeper: Keeper, unpack: Unpack, count: int | None
) -> Samples | None:
    """The samples that `keeper` would keep of a loop of `count` samples, read from the loader's dataset.

    None where the dataset cannot be read so: a stream, one that batches by itself or that only its workers can read, or
    one whose samples the loop combines with others'.
    """
    dataset = copied(data.dataset)
    if isinstance(dataset, IterableDataset) or count is None or data.batch_sampler is None:
        return None
    chosen = _choose(dataset, keeper, part_of(data)[:count])
    harvest = Harvest(network, [keeper], unpack)
    size = batch_size_of(data) or READ
    try:
        for start in range(0, len(chosen), size):
            places = chosen[start : start + size]
            try:
                batch = _batch(trainer, data, dataset, places)
                images = unpack(batch)[0]
            except Exception:
                return None
            if start == 0:
                harvest.open(images)
            harvest.start(batch)
            with torch.no_grad():
                network(images)
            harvest.end(batch, keeper.loader, None, places)
    finally:
        harvest.close()
    if harvest.error is not None:
        raise harvest.error
    return keeper.samples


def _choose(dataset: Any, keeper: Keeper, part: Places) -> Places:
    """Which samples of this part of the data have the smallest keys, in the order of the data."""
    keys = keeper.key(Seen(torch.empty(len(part), 0), None, None, {}, part))
    labels = listed_labels(dataset) if keeper.class_balanced else None
    return np.sort(part[keeper.choose(keys, part, None if labels is None else labels[part], keeper.size)])


def _batch(trainer: pl.Trainer, data: DataLoader[Any], dataset: Any, places: Places) -> Any:
    """A batch as the loop would get it."""
    batch = trainer.precision_plugin.convert_input(data.collate_fn([dataset[int(place)] for place in places]))
    with not_training(trainer):
        return trainer.strategy.batch_to_device(batch)
