"""Samples of the data where there is no loop to listen to: read by index, with a forward pass of their own."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_viz.data.batch import Unpack
from lightning_viz.data.class_balanced import copied, listed_labels
from lightning_viz.data.samplers import Places, batch_size_of, part_of
from lightning_viz.runtime.lightning_compat import pl
from lightning_viz.runtime.session import not_training

from .recorder import Collector, Harvest, Seen
from .samples import Keeper, Samples

READ = 32  # samples at a time, where the loader does not say


class UnreadableError(RuntimeError):
    """The data cannot be read by index in this process."""


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
    places = _choose(dataset, keeper, part_of(data)[:count])
    try:
        run_samples(trainer, network, data, keeper, unpack, places, keeper.loader)
    except UnreadableError:
        return None
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
    """Feed a collector with these samples of the loader's dataset, as if they were its `loader`-th loop.

    Raises UnreadableError for data that only workers can read, or that the loop combines with others'.
    """
    harvest = Harvest(network, [collector], unpack)
    try:
        for batch, images, part in read_batches(trainer, data, places, unpack):
            if part[0] == places[0]:
                harvest.open(images)
            harvest.start(batch)
            with torch.no_grad():
                network(images)
            harvest.end(batch, loader, None, part)
    finally:
        harvest.close()
    if harvest.error is not None:
        raise harvest.error


def read_batches(
    trainer: pl.Trainer, data: DataLoader[Any], places: Places, unpack: Unpack
) -> Iterator[tuple[Any, Tensor, Places]]:
    """Batches of these samples of the loader's dataset as the loop would get them, their images, and where they are."""
    dataset, size = copied(data.dataset), batch_size_of(data) or READ
    for start in range(0, len(places), size):
        part = places[start : start + size]
        try:
            batch = _batch(trainer, data, dataset, part)
            images = unpack(batch)[0]
        except Exception as error:
            raise UnreadableError(f"samples cannot be read by index: {error}") from error
        yield batch, images, part


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
