"""The order in which a dataloader returns the samples of its dataset."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import distributed
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from .distributed import world_size

#: Positions of samples, in the order of the data or of the dataset, (N,).
Positions = NDArray[np.int64]


def sampler_of(loader: DataLoader[Any]) -> Any:
    """The sampler that decides the order: of a custom batch sampler, the sampler inside it."""
    return getattr(loader.batch_sampler, "sampler", loader.sampler)


def dataset_indices(loader: DataLoader[Any]) -> Positions:
    """The indices of its dataset that a loader returns, in no order to rely on.

    A sampler of a part has them as `indices`, such as SubsetRandomSampler; the rest may be training data.
    """
    sampler = sampler_of(loader)
    while isinstance(sampler, DistributedSampler):  # Lightning has wrapped the user's sampler
        sampler = getattr(sampler.dataset, "_sampler", None)
    return np.asarray(getattr(sampler, "indices", range(len(loader.dataset))))  # type: ignore[arg-type]


def batch_size_of(loader: DataLoader[Any]) -> int | None:
    """Samples per batch; None where a custom batch sampler has no `batch_size`."""
    return getattr(loader.batch_sampler, "batch_size", None) or loader.batch_size


def sample_positions(loader: DataLoader[Any] | None, done: int, count: int) -> Positions:
    """Positions in the data's order of this process's next `count` samples after `done`; -1 for a repeated one."""
    own = np.arange(done, done + count)
    sampler = None if loader is None else sampler_of(loader)
    if isinstance(sampler, DistributedSampler):
        positions = own * sampler.num_replicas + sampler.rank
        return np.where(positions < len(sampler.dataset), positions, -1)  # type: ignore[arg-type]
    return own * world_size() + distributed.get_rank() if world_size() > 1 else own


def has_fixed_order(loader: DataLoader[Any] | None) -> bool:
    """Whether a position means the same sample in every loop.

    False for a shuffling or custom sampler, and where each of several processes has data of its own. A stream is taken
    to return its samples in one order.
    """
    if loader is None or isinstance(loader.dataset, IterableDataset):
        return True
    sampler = sampler_of(loader)
    in_order = isinstance(sampler, SequentialSampler) and world_size() == 1
    if isinstance(sampler, DistributedSampler):
        in_order = not sampler.shuffle and sampler.dataset is loader.dataset
    return in_order and (loader.batch_sampler is None or type(loader.batch_sampler) is BatchSampler)


def is_indexable(loader: DataLoader[Any]) -> bool:
    """Whether the n-th sample of the loop is `dataset[n]`."""
    stream = isinstance(loader.dataset, IterableDataset)
    return has_fixed_order(loader) and loader.batch_sampler is not None and not stream
