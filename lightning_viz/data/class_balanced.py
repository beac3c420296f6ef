"""Class-balanced and random choices of samples that are the same each time, made without opening a dataloader."""

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from .samplers import Positions, dataset_indices


def read_balanced_batch(loader: DataLoader[Any], count: int, labels_of: Callable[[Any], Tensor | None]) -> Any | None:
    """A collated batch of `count` class-balanced samples of the loader's dataset, on the CPU.

    Reads the dataset by index: opening the loader's iterator would draw from the run's random states and start its
    workers. None where the dataset cannot be read by index: a stream, or one that batches by itself. `labels_of` finds
    the labels in a batch, for datasets that do not list them.
    """
    dataset = shallow_copy(loader.dataset)
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__") or loader.batch_sampler is None:
        return None
    order = np.random.default_rng(0).permutation(dataset_indices(loader))
    labels = listed_labels(dataset)
    if labels is None:
        samples = [dataset[int(index)] for index in order[: count * 4]]  # four candidates per picture wanted
        found, rows = labels_of(loader.collate_fn(samples)), list(range(min(count, len(samples))))
        if found is not None and found.ndim == 1:  # several labels are not balanced
            rows = balanced_rows(found.cpu().numpy(), count)
        return loader.collate_fn([samples[row] for row in rows])
    return loader.collate_fn([dataset[int(order[row])] for row in balanced_rows(labels[order], count)])


def shallow_copy(dataset: Any) -> Any:
    """A copy of a dataset and of what it wraps: a file it opens at its first sample is not inherited by workers."""
    with suppress(Exception):
        dataset = copy.copy(dataset)
        if hasattr(dataset, "dataset"):
            dataset.dataset = shallow_copy(dataset.dataset)
    return dataset


def balanced_rows(labels: NDArray[Any], count: int) -> list[int]:
    """Rows of `count` labels (N,), in rounds: one of each class, then a second of each; unlabelled ones last."""
    turns: dict[Any, int] = {}
    rounds = np.empty(len(labels), dtype=np.int64)
    for row, label in enumerate(labels.tolist()):
        rounds[row] = turns[label] = turns.get(label, -1) + 1
    rounds[np.asarray(labels) < 0] += len(labels)
    return [int(row) for row in np.argsort(rounds, kind="stable")[:count]]


def listed_labels(dataset: Any) -> NDArray[Any] | None:
    """The class indices (N,) that a dataset lists without loading a sample, also through Subset; None if it does not."""
    if not hasattr(dataset, "__len__"):
        return None
    if hasattr(dataset, "indices") and hasattr(dataset, "dataset"):
        inner = listed_labels(dataset.dataset)
        return None if inner is None else inner[np.asarray(dataset.indices)]
    listed = (getattr(dataset, name, None) for name in ("targets", "labels", "_labels", "y"))
    found = next((one for one in listed if one is not None), None)
    tensors: Any = getattr(dataset, "tensors", ())
    found = tensors[1] if found is None and len(tensors) > 1 else found
    try:
        labels = np.asarray(found)
    except (ValueError, TypeError, RuntimeError):
        return None
    return labels if labels.shape == (len(dataset),) and labels.dtype.kind in "iu" else None


def hash_uniform(positions: Positions, seed: int) -> NDArray[np.float64]:
    """A hash of each position (N,), uniform in [0, 1): a random choice that is the same each time (splitmix64)."""
    bits = (positions.astype(np.uint64) + np.uint64(1 + (seed << 32))) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((bits ^ (bits >> np.uint64(31))) / 2.0**64)


def choose_classes(
    keys: NDArray[Any], positions: Positions, labels: NDArray[Any], count: int, each: int, seed: int
) -> NDArray[np.intp]:
    """Rows of `count` labelled samples, smallest keys first, of so few classes that there are `each` or more of a class.

    The classes are a random choice that is the same each time; those of fewer samples are left out.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    classes = classes[(classes >= 0) & (sizes >= each)]
    chosen = classes[np.argsort(hash_uniform(classes, seed))][: count // each]
    rows = np.isin(labels, chosen).nonzero()[0]
    return rows[choose_rows(keys[rows], positions[rows], labels[rows], count)]


def choose_rows(keys: NDArray[Any], positions: Positions, labels: NDArray[Any] | None, count: int) -> NDArray[np.intp]:
    """Rows of the `count` smallest keys, smallest first; with `labels`, as many of each class as there are."""
    order: NDArray[np.intp] = np.lexsort((positions, keys))
    return order[:count] if labels is None else order[balanced_rows(labels[order], count)]
