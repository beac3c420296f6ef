"""Samples of the data where there is no loop to listen to: read by index, with a forward pass of their own."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from .batches import Unpack
from .harvest import Collector, Harvest, Places, Seen
from .samples import Keeper, Samples
from .sampling import batch_size_of, copied, listed_labels, part_of
from .session import not_training

AT_ONCE = 32  # samples of a batch, where the loader does not say


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
    try:
        for batch, _ in read_batches(trainer, data, chosen[:1]):
            unpack(batch)
    except Exception:
        return None
    run_samples(trainer, network, data, keeper, unpack, chosen, keeper.loader)
    return keeper.samples


def run_samples(
    trainer: pl.Trainer,
    network: nn.Module,
    data: DataLoader[Any],
    collector: Collector,
    unpack: Unpack,
    places: Places,
    loader: int = 0,
) -> None:
    """Feed a collector with these samples of the loader's dataset, as if they were its `loader`-th loop."""
    harvest = Harvest(network, [collector], unpack)
    try:
        for batch, part in read_batches(trainer, data, places):
            if part[0] == places[0]:
                harvest.open(unpack(batch)[0])
            harvest.start(batch)
            with torch.no_grad():
                network(unpack(batch)[0])
            harvest.end(batch, loader, None, part)
    finally:
        harvest.close()
    if harvest.error is not None:
        raise harvest.error


def read_batches(trainer: pl.Trainer, data: DataLoader[Any], places: Places) -> Iterator[tuple[Any, Places]]:
    """Batches of these samples of the loader's dataset as the loop would get them, and where they are."""
    dataset, size = copied(data.dataset), batch_size_of(data) or AT_ONCE
    for start in range(0, len(places), size):
        part = places[start : start + size]
        yield _batch(trainer, data, dataset, part), part


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
