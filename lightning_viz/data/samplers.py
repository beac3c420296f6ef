"""The order in which a loader shows its samples."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import distributed
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from .distributed import processes

Places = NDArray[np.int64]


def order_of(loader: DataLoader[Any]) -> Any:
    """What decides the order of a loader's samples: of a batch sampler of one's own, the sampler in that."""
    return getattr(loader.batch_sampler, "sampler", loader.sampler)


def part_of(loader: DataLoader[Any]) -> NDArray[np.int64]:
    """Which samples of its dataset a loader shows: a sampler of a part says so, such as SubsetRandomSampler, and the rest
    may be training data. In no order to rely on."""
    sampler = order_of(loader)
    while isinstance(sampler, DistributedSampler):  # Lightning has wrapped the user's own
        sampler = getattr(sampler.dataset, "_sampler", None)
    return np.asarray(getattr(sampler, "indices", range(len(loader.dataset))))  # type: ignore[arg-type]


def batch_size_of(loader: DataLoader[Any]) -> int | None:
    """How many samples a batch has; None where a batch sampler of one's own does not say."""
    return getattr(loader.batch_sampler, "batch_size", None) or loader.batch_size


def positions(data: DataLoader[Any] | None, done: int, count: int) -> Places:
    """Where in the data's order this process's next `count` samples are, after `done` of them; -1 for a repeated one."""
    own = np.arange(done, done + count)
    sampler = None if data is None else order_of(data)
    if isinstance(sampler, DistributedSampler):
        places = own * sampler.num_replicas + sampler.rank
        return np.where(places < len(sampler.dataset), places, -1)  # type: ignore[arg-type]
    if processes() > 1:
        return own * processes() + distributed.get_rank()
    return own


def is_steady(data: DataLoader[Any] | None) -> bool:
    """Whether a position is a sample's index in the dataset, hence the same sample each time: not in an order that a
    sampler of one's own makes, nor where several processes have each its own data. Of a stream nothing else is known than
    that it comes."""
    if data is None or isinstance(data.dataset, IterableDataset):
        return True
    sampler = order_of(data)
    if isinstance(sampler, DistributedSampler):
        in_order = not sampler.shuffle and sampler.dataset is data.dataset
    else:
        in_order = isinstance(sampler, SequentialSampler) and processes() == 1
    return in_order and (data.batch_sampler is None or type(data.batch_sampler) is BatchSampler)


def is_indexed(data: DataLoader[Any]) -> bool:
    """Whether the loop's n-th sample is the dataset's n-th."""
    return is_steady(data) and data.batch_sampler is not None and not isinstance(data.dataset, IterableDataset)
