"""What is in a batch: images and labels, under the usual names and in the usual structures."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lightning_viz.methods.model.image_calls import IMAGE_NAMES
from lightning_viz.methods.model.layers import CHANNELS, are_channels_last
from lightning_viz.methods.model.model_output import KnownLabels, LabelKind
from lightning_viz.methods.model.modes import plain_tensor

#: A custom function from a batch to (images, labels); labels may be None.
Unpack = Callable[[Any], tuple[Tensor, Tensor | None]]

_LABELS = ("label", "labels", "target", "targets", "y", "class", "mask", "masks")
_REMEDY = "give unpack= a callable from a batch to (images, labels), or a probe="
_SLICES = (
    "give unpack= a callable to (images, labels) that takes slices or frames, and forward= for the network, or a probe="
)
_CHANNELS_LAST = (
    "give unpack=lambda batch: (batch[0].permute(0, 3, 1, 2), batch[1]) and, for a network that takes channels last, "
    "forward=lambda module, images: module(images.permute(0, 2, 3, 1))"
)


class BatchError(ValueError):
    """A batch that holds no images, or none that can be read."""


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """The images of a batch, as the network expects them."""

    images: Tensor  #: (N, C, H, W), floating point or uint8
    labels: Tensor | None  #: as `read_labels` gives them
    known: KnownLabels = field(default_factory=KnownLabels)  #: what the labels tell, whatever they are
    note: str = ""  #: which images these are, where the batch has several of a sample, or is of several loaders
    per_sample: int = 1  #: images of each sample, one after the other

    @property
    def is_plain(self) -> bool:
        """Whether the batch holds one image of each sample and no others, so that a loop runs these alone."""
        return not self.note

    @property
    def first_of_each(self) -> "ImageBatch":
        """One image of each sample."""
        labels = None if self.labels is None else self.labels[:: self.per_sample]
        return replace(self, images=self.images[:: self.per_sample], labels=labels, per_sample=1)


def unpack_batch(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Images (N, C, H, W) and their labels as `read_labels` gives them; None where the batch has no such labels.

    A batch is a tensor of images; a tuple or list that begins with images, and labels; a dict with the usual keys, also
    nested. Of several views of each sample the first is read; crops (B, V, C, H, W) are images of their own; a list of
    images (C, H, W) of one size is stacked; of batches that a loop combines the first is read.
    Raises BatchError, a ValueError, for any other.
    """
    found = read_batch(batch)
    return found.images, found.labels


def read_batch(batch: Any, unpack: Unpack = unpack_batch) -> ImageBatch:
    """The images of a batch, by `unpack`. Raises BatchError where there are none."""
    if unpack is unpack_batch:
        return _read(batch)
    found = unpack(batch)
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise BatchError(f"unpack= returned {type(found).__name__}; it must return (images, labels)")
    images = _checked_images(found[0], "unpack= returned", "return images (B, C, H, W)")
    return ImageBatch(images, read_labels(found[1], images), known_labels(found[1], images))


def _read(batch: Any, labels: Any = None) -> ImageBatch:
    """`labels` are those beside the batch, where it has none of its own."""
    if isinstance(batch, Mapping):
        return _read_mapping(batch, labels)
    if not isinstance(batch, tuple | list) or not batch:
        return _read_images(batch, labels)
    if _are_images(batch) and batch[0].shape[0] in CHANNELS:
        return _read_images(batch, labels)
    if (views := _count_views(batch)) > 1:
        return _read_images(batch[:views], [*batch[views:], labels][0])
    first, second = [*batch, labels][:2]
    if not _is_nested(first):
        return _read_images(first, second)
    found = _read(first, second)
    combined = isinstance(second, Mapping | tuple | list)
    return replace(found, note=f"the first of {len(batch)} batches that the loop combines") if combined else found


def _read_mapping(batch: Mapping[Any, Any], labels: Any) -> ImageBatch:
    labels = next((batch[key] for key in _LABELS if key in batch), labels)
    for key in (one for one in IMAGE_NAMES if one in batch):
        return (_read if _is_nested(batch[key]) else _read_images)(batch[key], labels)
    name, first = next(iter(batch.items()), ("", None))
    with suppress(BatchError):
        if isinstance(first, Mapping | tuple | list):
            return replace(_read(first), note=f"of {name!r}, the first of the batches that the loop combines")
    raise BatchError(
        f"the batch is a dict with the keys {sorted(map(str, batch))}, none of them of {IMAGE_NAMES}; {_REMEDY}"
    )


def _read_images(value: Any, labels: Any) -> ImageBatch:
    """Images, several views or crops of each, or a list of images."""
    note, per_sample = "", 1
    if isinstance(value, tuple | list) and value:
        if _are_images(value):
            value = _stacked(value)
        elif len(value) == _count_views(value):
            note = f"the first of {len(value)} images of each sample" if len(value) > 1 else ""
            value = value[0]
    if isinstance(value, Tensor) and value.ndim == 5 and _holds_crops(value):
        per_sample = value.shape[1]
        note, value = f"all {per_sample} images of each sample", value.flatten(0, 1)
    images = _checked_images(value, "the batch holds", _REMEDY)
    known, found = known_labels(labels, images[::per_sample]), read_labels(labels, images[::per_sample])
    if found is not None and per_sample > 1:
        found = found.repeat_interleave(per_sample, dim=0)
    return ImageBatch(images, found, known, note, per_sample)


def _holds_crops(values: Tensor) -> bool:
    """Whether these are images (B, V, C, H, W), and no videos (B, C, T, H, W) of four frames."""
    return values.shape[2] in CHANNELS and not (values.shape[2] == 4 and values.shape[1] in (1, 3))


def _is_nested(value: Any) -> bool:
    """Whether this is a batch of its own, rather than images."""
    if isinstance(value, tuple | list):
        return bool(value) and not _are_images(value) and len(value) != _count_views(value)
    return isinstance(value, Mapping)


def _are_images(values: Any) -> bool:
    """Whether these are images (C, H, W), one by one."""
    return all(isinstance(one, Tensor) and one.ndim == 3 and _is_of_images(one) for one in values)


def _count_views(values: Any) -> int:
    """How many of these, from the first, are images (B, C, H, W) of the same samples, and no masks."""
    count = 0
    for one in values:
        if not isinstance(one, Tensor) or one.ndim != 4 or not _is_of_images(one):
            break
        if count and (one.shape[:2] != values[0].shape[:2] or bool(((one == 0) | (one == 1)).all())):
            break
        count += 1
    return count


def _is_of_images(values: Tensor) -> bool:
    return values.is_floating_point() or values.dtype == torch.uint8


def _stacked(images: Any) -> Tensor:
    if len(sizes := {"×".join(map(str, one.shape)) for one in images}) > 1:
        found = ", ".join(sorted(sizes)[:3])
        raise BatchError(f"the batch is a list of images of several sizes ({found}); give unpack= a callable that resizes "
                         "them to one size, or a probe=")  # fmt: skip
    return torch.stack([plain_tensor(one) for one in images])


def _checked_images(given: Any, found: str, remedy: str) -> Tensor:
    if not isinstance(given, Tensor):
        raise BatchError(f"{found} {type(given).__name__} where images (B, C, H, W) are expected; {remedy}")
    images = plain_tensor(given)
    text = f"{found} {tuple(images.shape)} of {images.dtype}"
    if images.ndim == 5:
        raise BatchError(f"{text}, which are volumes or videos and no images (B, C, H, W); {_SLICES}")
    if images.ndim != 4 or not _is_of_images(images):
        raise BatchError(f"{text} where floating-point or uint8 images (B, C, H, W) are expected; {remedy}")
    if not images.numel():
        raise BatchError(f"{text}, which is empty; {remedy}")
    if are_channels_last(images):
        raise BatchError(f"{text}, whose channels are last; {_CHANNELS_LAST}")
    return images


def read_labels(labels: Any, images: Tensor) -> Tensor | None:
    """Labels of images (B, C, H, W) as class indices (B,), -1 for an unlabelled one, or as zeros and ones (B, K).

    Zeros and ones (B,) or (B, 1) of any type are class indices. None for anything else: masks, numbers, boxes.
    """
    if not isinstance(labels, Tensor) or labels.ndim not in (1, 2) or len(labels) != len(images) or labels.is_complex():
        return None
    labels = plain_tensor(labels)
    labels = labels.squeeze(1) if labels.shape[1:] == (1,) else labels
    binary = bool(((labels == 0) | (labels == 1)).all())
    if labels.ndim == 2 or labels.is_floating_point() or labels.dtype == torch.bool:
        return labels.long() if binary else None
    unlabelled = labels < 0  # such as -100
    return None if unlabelled.all() else labels.clamp(min=-1) if unlabelled.any() else labels


def known_labels(labels: Any, images: Tensor) -> KnownLabels:
    """What labels of images, as they are in a batch, tell about the meaning of the model's output."""
    if labels is None:
        return KnownLabels()
    if (found := read_labels(labels, images)) is not None:
        if found.ndim == 1:
            return KnownLabels(LabelKind.INDICES, int(found.max()))
        return KnownLabels(LabelKind.ONE_HOT if (found.sum(dim=1) == 1).all() else LabelKind.MULTI_HOT)
    masks = isinstance(labels, Tensor) and labels.ndim in (3, 4) and len(labels) == len(images)
    masks = masks and (not labels.is_floating_point() or bool(((labels == 0) | (labels == 1)).all()))
    if masks:
        channels = labels.shape[1] if labels.ndim == 4 else 1
        overlap = channels > 1 and bool((labels.sum(dim=1) != 1).any())
        return KnownLabels(LabelKind.OVERLAPPING_MASKS if overlap else LabelKind.MASKS)
    numbers = isinstance(labels, Tensor) and 1 <= labels.ndim <= 3 and len(labels) == len(images)
    return _known_numbers(plain_tensor(labels)) if numbers else KnownLabels(LabelKind.OTHER)


def _known_numbers(labels: Tensor) -> KnownLabels:
    """What labels (B, ...) tell that are not zeros and ones: some of them unknown, probabilities of classes, or numbers."""
    rows = labels.reshape(len(labels), -1)
    known = (rows == 0) | (rows == 1)
    if labels.ndim == 2 and rows.shape[1] > 1 and known.any() and (known | (rows < 0) | rows.isnan()).all():
        return KnownLabels(LabelKind.MULTI_HOT)  # -1 or NaN: it is not known whether the image has the label
    mixed = (rows >= 0) & ((rows.sum(dim=1, keepdim=True) - 1).abs() < 1e-3)  # classes, by mixup or by a teacher
    whole = rows.shape[1] == 1 and bool((rows == rows.round()).all())  # may be class indices
    if not labels.is_floating_point() or whole or bool(mixed.all()):
        return KnownLabels(LabelKind.OTHER)
    return KnownLabels(LabelKind.NUMBERS, width=rows.shape[1])
