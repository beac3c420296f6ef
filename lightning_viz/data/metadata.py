"""What datasets, datamodules and modules know about the images: class names, normalisation and bands."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from .normalisation import attribute_of, find_normalisation
from .probe import Probe


def describe_probe(images: Tensor, labels: Tensor | None, origin: str, sources: Sequence[Any], module: Any) -> Probe:
    """A probe of these images, with what the sources (datasets, datamodule) and the module know of them."""
    # Not the module's normalisation: it may be part of its forward.
    is_raw = images.dtype == torch.uint8  # a Normalize that is found is applied by the model itself
    mean, std = (None if is_raw else find_normalisation(sources, images.shape[1], images)) or (None, None)
    names = find_class_names([*sources, module], labels)
    if mean is not None:
        origin += "; denormalised with the dataset's Normalize(mean, std)"
    return Probe(images, labels, names, mean, std, origin, find_bands(sources, images.shape[1]))


def dataset_chain(dataset: Any) -> Iterator[Any]:
    """The dataset and what it wraps (Subset, ConcatDataset and the like), outermost first."""
    while dataset is not None:
        yield dataset
        inner = getattr(dataset, "dataset", None)
        several = getattr(dataset, "datasets", None)
        dataset = inner if inner is not None else several[0] if isinstance(several, Sequence) and several else None


def find_class_names(sources: Sequence[Any], labels: Tensor | None = None) -> list[str] | None:
    """The class names of the first source that has as many as the labels need."""
    found = (names for source in sources for names in _class_names_of(source))
    return next((names for names in found if _fit(names, labels)), None)


def _class_names_of(source: Any) -> Iterator[list[str]]:
    """In the attributes of torchvision's, torchgeo's and others' datasets, in the features of Hugging Face's, in a config."""
    for names in (attribute_of(source, name) for name in ("class_names", "classes", "categories")):
        if isinstance(names, Sequence) and not isinstance(names, str) and names:
            # torchvision's ImageNet has a tuple of synonyms for a name
            yield [str(name[0] if isinstance(name, tuple) and name else name) for name in names]
    if isinstance(indices := attribute_of(source, "class_to_idx"), Mapping):
        yield from _in_order({index: name for name, index in indices.items()})
    if isinstance(features := attribute_of(source, "features"), Mapping):
        kinds = (attribute_of(feature, "names") for feature in features.values())
        yield from (list(map(str, names)) for names in kinds if isinstance(names, list) and names)
    if isinstance(source, nn.Module):
        yield from _names_in_configs(source)


def _names_in_configs(module: nn.Module) -> Iterator[list[str]]:
    """`config.id2label` of Hugging Face's models, if the last layer has as many outputs: a backbone's may be of other classes."""
    sizes = [getattr(one, "out_features", getattr(one, "out_channels", None)) for one in module.modules()]
    outputs = next((size for size in reversed(sizes) if size is not None), None)
    for one in module.modules():
        labels = attribute_of(attribute_of(one, "config"), "id2label")
        for names in _in_order(labels) if isinstance(labels, Mapping) else []:
            generic = all(name == f"LABEL_{index}" for index, name in enumerate(names))
            if len(names) == outputs and not generic:
                yield names


def _in_order(names: Mapping[Any, Any]) -> Iterator[list[str]]:
    """Names by class index as a list, if there is one for each index from 0."""
    by_index = {int(index): str(name) for index, name in names.items() if str(index).isdecimal()}
    if names and sorted(by_index) == list(range(len(names))):
        yield [by_index[index] for index in range(len(names))]


def _fit(names: Sequence[str], labels: Tensor | None) -> bool:
    """Whether there is a name for each class; others are the names of other classes."""
    if labels is None or not len(labels):
        return True
    return len(names) > int(labels.max()) if labels.ndim == 1 else len(names) == labels.shape[1]


def find_bands(sources: Sequence[Any], channels: int) -> list[int] | None:
    """The channels of red, green and blue of images with more than three, from torchgeo's `rgb_bands` and names of bands."""
    for source in sources if channels > 3 else []:
        shown = _listed(attribute_of(source, "rgb_bands")) or _listed(attribute_of(source, "rgb_indices"))
        for attribute in ("bands", "all_bands", "all_band_names", "band_names"):
            names = _listed(attribute_of(source, attribute))
            found = [names.index(one) if one in names else one for one in shown]
            usable = all(isinstance(one, int) and 0 <= one < channels for one in found)
            if len(found) in (1, 3) and usable and len(names) <= channels:
                return found
    return None


def declared_class_counts(module: Any) -> frozenset[int]:
    """The numbers of classes that a module, its hyperparameters or its parts (metrics, a config) say they have."""
    parts = list(module.modules()) if isinstance(module, nn.Module) else [module]
    sources = [getattr(module, "hparams", None), *parts, *(getattr(one, "config", None) for one in parts)]
    found = set()
    for source in sources:
        for name in ("num_classes", "n_classes", "num_labels"):
            with suppress(Exception):  # of a property
                count = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
                found |= {count} if isinstance(count, int) and not isinstance(count, bool) else set()
    return frozenset(found)


def has_binary_loss(module: nn.Module) -> bool:
    """Whether a part of the module is a loss of independent labels."""
    losses = nn.BCEWithLogitsLoss, nn.BCELoss, nn.MultiLabelSoftMarginLoss
    return any(isinstance(one, losses) for one in module.modules())


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
