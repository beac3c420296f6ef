"""A probe from the user's own data: class-balanced, the same each time, no dataloader opened."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from .probe import Probe
from .samplers import part_of

SCAN = 4  # candidates looked at per picture wanted, where the labels are not known beforehand


def sample_batch(loader: DataLoader[Any], count: int, labels_of: Callable[[Any], Tensor | None]) -> Any | None:
    """A collated batch of `count` class-balanced samples of the loader's dataset, on the CPU.

    Reads the dataset by index: opening the loader's iterator would draw from the run's random numbers and start its
    workers. None where the dataset cannot be read so: a stream, or one that batches by itself.
    `labels_of` finds the labels in a batch, for datasets that do not list them.
    """
    dataset = copied(loader.dataset)
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__") or loader.batch_sampler is None:
        return None
    order = np.random.default_rng(0).permutation(part_of(loader))
    labels = listed_labels(dataset)
    if labels is None:
        samples = [dataset[int(index)] for index in order[: count * SCAN]]
        found = labels_of(loader.collate_fn(samples))
        chosen = list(range(min(count, len(samples)))) if found is None else balanced(found.cpu().numpy(), count)
        return loader.collate_fn([samples[index] for index in chosen])
    chosen = [int(order[place]) for place in balanced(labels[order], count)]
    return loader.collate_fn([dataset[index] for index in chosen])


def copied(dataset: Any) -> Any:
    """A shallow copy, of what it wraps too: a file that it opens at the first sample is not inherited by workers."""
    try:
        dataset = copy.copy(dataset)
        if hasattr(dataset, "dataset"):
            dataset.dataset = copied(dataset.dataset)
    except Exception:
        pass
    return dataset


def balanced(labels: NDArray[Any], count: int) -> list[int]:
    """Places of `count` labels, in rounds: one of each class, then a second of each, in their order."""
    turns: dict[Any, int] = {}
    rounds = np.empty(len(labels), dtype=np.int64)
    for place, label in enumerate(labels.tolist()):
        rounds[place] = turns[label] = turns.get(label, -1) + 1
    return [int(place) for place in np.argsort(rounds, kind="stable")[:count]]


def listed_labels(dataset: Any) -> NDArray[Any] | None:
    """The class indices that a dataset lists without loading a sample; seen through Subset."""
    if hasattr(dataset, "indices") and hasattr(dataset, "dataset"):
        inner = listed_labels(dataset.dataset)
        return None if inner is None else inner[np.asarray(dataset.indices)]
    for name in ("targets", "labels", "_labels", "y"):
        if (found := getattr(dataset, name, None)) is not None:
            break
    else:
        tensors: Sequence[Any] = getattr(dataset, "tensors", ())
        found = tensors[1] if len(tensors) > 1 else None
    try:
        labels = np.asarray(found)
    except (ValueError, TypeError, RuntimeError):
        return None
    return labels if labels.shape == (len(dataset),) and labels.dtype.kind in "iu" else None


def chain(dataset: Any) -> Iterator[Any]:
    """The dataset and what it wraps (Subset, ConcatDataset and their like), outermost first."""
    while dataset is not None:
        yield dataset
        inner = getattr(dataset, "dataset", None)
        several = getattr(dataset, "datasets", None)
        dataset = inner if inner is not None else several[0] if isinstance(several, Sequence) and several else None


def find_class_names(places: Sequence[Any]) -> list[str] | None:
    """Class names, from the first place that has `class_names` or `classes`."""
    for place in places:
        for attribute in ("class_names", "classes"):
            names = getattr(place, attribute, None)
            if isinstance(names, Sequence) and not isinstance(names, str) and names:
                return [_one_name(name) for name in names]
    return None


def _one_name(name: Any) -> str:
    """torchvision's ImageNet has a tuple of synonyms for a name: the first will do."""
    return str(name[0] if isinstance(name, tuple) and name else name)


def find_normalisation(places: Sequence[Any], channels: int) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation of the first Normalize (or its like) in the places' transforms."""
    for place in places:
        values = list(vars(place).values()) if hasattr(place, "__dict__") else []
        for candidate in values:
            if found := _normalise_in(candidate, channels, depth=4):
                return found
    return None


def _normalise_in(transform: Any, channels: int, depth: int) -> tuple[list[float], list[float]] | None:
    mean, std = getattr(transform, "mean", None), getattr(transform, "std", None)
    if isinstance(mean, Sequence | Tensor | np.ndarray) and isinstance(std, Sequence | Tensor | np.ndarray):
        means, stds = np.ravel(mean).tolist(), np.ravel(std).tolist()
        if len(means) == len(stds) and len(means) in (1, channels):
            return means, stds
    if depth == 0 or isinstance(transform, str | Tensor | np.ndarray):
        return None
    inner = getattr(transform, "transforms", None) or getattr(transform, "transform", None)
    if callable(inner) and not isinstance(inner, Sequence):
        inner = [inner]
    if isinstance(transform, nn.Sequential):
        inner = list(transform)
    for step in inner if isinstance(inner, Sequence) else []:
        if found := _normalise_in(step, channels, depth - 1):
            return found
    return None


def describe(images: Tensor, labels: Tensor | None, origin: str, data: Sequence[Any], module: Any) -> Probe:
    """A probe of these images, with what the data (datasets, datamodule) and the module know of them.

    The module is asked for class names only: a normalisation in it may well be part of its forward.
    """
    mean, std = find_normalisation(data, images.shape[1]) or (None, None)
    names = find_class_names([*data, module])
    if names is not None and labels is not None and len(labels) and len(names) <= int(labels.max()):
        names = None  # not these classes' names
    if mean is not None:
        origin += "; colours by its transforms"
    return Probe(images, labels, names, mean, std, origin)
