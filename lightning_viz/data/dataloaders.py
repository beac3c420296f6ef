"""The dataloaders of a run, in whatever structure they were returned, and how many samples a loop sees."""

from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from .samplers import batch_size_of


def loaders_in(given: Any) -> list[DataLoader[Any]]:
    """The DataLoaders in what a user may return: one, a list, a dict, a CombinedLoader, or None."""
    if isinstance(given, DataLoader):
        return [given]
    given = getattr(given, "iterables", given)
    if isinstance(given, Mapping):
        given = list(given.values())
    return [loader for one in given for loader in loaders_in(one)] if isinstance(given, list | tuple) else []


def first_loader(given: Any) -> DataLoader[Any] | None:
    """The first of `loaders_in`, None where there is none."""
    return next(iter(loaders_in(given)), None)


def count_samples(loader: DataLoader[Any], batches: float, world_size: int) -> int | None:
    """How many samples a loop of at most `batches` batches per process sees, over all processes; None if unknown."""
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        return None
    return int(min(len(loader.dataset), batches * world_size * (batch_size_of(loader) or float("inf"))))
