"""The loaders that a trainer has, and how much they show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from lightning_viz.runtime.lightning_compat import pl

from .samplers import batch_size_of


@dataclass(frozen=True)
class Data:
    """The loaders that a callback looks at."""

    name: str
    loaders: list[DataLoader[Any]]
    counts: list[int | None]  #: how many samples of each a loop sees, over all processes; None where that is not known

    @classmethod
    def of(cls, trainer: pl.Trainer, stage: str) -> "Data":
        """Of a stage, "fit" or "test": the validation data, or the training data where there are none."""
        if stage == "test":
            name, found, batches = stage, loaders(trainer.test_dataloaders), trainer.num_test_batches
        else:
            name, found, batches = "validation", loaders(trainer.val_dataloaders), trainer.num_val_batches
        if not found:
            name, found, batches = "training", loaders(trainer.train_dataloader), [trainer.num_training_batches]
        counts = [_count(loader, most, trainer.world_size) for loader, most in zip(found, batches, strict=False)]
        return cls(name, found, [*counts, *[None] * (len(found) - len(counts))])


def _count(loader: DataLoader[Any], batches: float, processes: int) -> int | None:
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        return None
    return int(min(len(loader.dataset), batches * processes * (batch_size_of(loader) or float("inf"))))


def loaders(given: Any) -> list[DataLoader[Any]]:
    """The DataLoaders of what a user may return: one, a list, a dict, a CombinedLoader, or none."""
    if isinstance(given, DataLoader):
        return [given]
    given = getattr(given, "iterables", given)
    if isinstance(given, Mapping):
        given = list(given.values())
    return [loader for one in given for loader in loaders(one)] if isinstance(given, list | tuple) else []


def first(found: list[DataLoader[Any]]) -> DataLoader[Any] | None:
    """The first loader, if there is any."""
    return found[0] if found else None
