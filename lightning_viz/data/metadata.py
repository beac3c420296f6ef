"""What datasets, datamodules and modules know about the images: class names and normalisation."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .probe import Probe


def describe_probe(images: Tensor, labels: Tensor | None, origin: str, sources: Sequence[Any], module: Any) -> Probe:
    """A probe of these images, with what the sources (datasets, datamodule) and the module know of them."""
    is_raw = images.dtype == torch.uint8  # a Normalize that is found is applied by the model itself
    mean, std = (None if is_raw else find_normalisation(sources, images.shape[1])) or (None, None)
    names = find_class_names([*sources, module])  # no normalisation: the module's own may be part of its forward
    if names is not None and labels is not None and len(labels) and len(names) <= int(labels.max()):
        names = None  # they name other classes
    if mean is not None:
        origin += "; denormalised with the dataset's Normalize(mean, std)"
    return Probe(images, labels, names, mean, std, origin)


def dataset_chain(dataset: Any) -> Iterator[Any]:
    """The dataset and what it wraps (Subset, ConcatDataset and the like), outermost first."""
    while dataset is not None:
        yield dataset
        inner = getattr(dataset, "dataset", None)
        several = getattr(dataset, "datasets", None)
        dataset = inner if inner is not None else several[0] if isinstance(several, Sequence) and several else None


def find_class_names(sources: Sequence[Any]) -> list[str] | None:
    """Class names, from the first source that has `class_names` or `classes`."""
    for names in (getattr(source, attribute, None) for source in sources for attribute in ("class_names", "classes")):
        if isinstance(names, Sequence) and not isinstance(names, str) and names:
            # torchvision's ImageNet has a tuple of synonyms for a name
            return [str(name[0] if isinstance(name, tuple) and name else name) for name in names]
    return None


def find_normalisation(sources: Sequence[Any], channels: int) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation of the first Normalize (or its like) among the sources' attributes."""
    attributes = (one for source in sources if hasattr(source, "__dict__") for one in vars(source).values())
    return next(filter(None, (_normalisation_in(one, channels, depth=4) for one in attributes)), None)


def _normalisation_in(transform: Any, channels: int, depth: int) -> tuple[list[float], list[float]] | None:
    mean, std = getattr(transform, "mean", None), getattr(transform, "std", None)
    if isinstance(mean, Sequence | Tensor | np.ndarray) and isinstance(std, Sequence | Tensor | np.ndarray):
        means, stds = np.ravel(mean).tolist(), np.ravel(std).tolist()
        if len(means) == len(stds) and len(means) in (1, channels):
            return means, stds
    if depth == 0 or isinstance(transform, str | Tensor | np.ndarray):
        return None
    inner = getattr(transform, "transforms", None) or getattr(transform, "transform", None)
    steps: Any = list(transform) if isinstance(transform, nn.Sequential) else inner
    if not isinstance(steps, Sequence):
        steps = [steps] if callable(steps) else []
    return next(filter(None, (_normalisation_in(step, channels, depth - 1) for step in steps)), None)
