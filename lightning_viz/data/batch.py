"""What is in a batch: images and labels, under the usual names."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_viz.methods.model.model_output import KnownLabels, LabelKind

#: A custom function from a batch to (images, labels); labels may be None.
Unpack = Callable[[Any], tuple[Tensor, Tensor | None]]

_IMAGES = ("image", "images", "pixel_values", "img", "x", "input", "inputs")
_LABELS = ("label", "labels", "target", "targets", "y", "class", "mask", "masks")


def unpack_batch(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Images (B, C, H, W) and their labels as `read_labels` gives them; None where the batch has no such labels.

    A batch is a tensor of images, a tuple or list that begins with images and labels, or a dict with the usual keys.
    Raises ValueError for any other, or where the images are not (B, C, H, W).
    """
    images, labels = _parts(batch)
    images = _checked_images(images)
    return images, read_labels(labels, images)


def labels_in(batch: Any, unpack: Unpack = unpack_batch) -> Any:
    """The labels of a batch as they are, such as masks. Raises as `unpack`."""
    return _parts(batch)[1] if unpack is unpack_batch else unpack(batch)[1]


def _parts(batch: Any) -> tuple[Any, Any]:
    """Images and labels of a batch, as they are."""
    if not isinstance(batch, Mapping):
        images, labels, *_ = [*batch, None] if isinstance(batch, tuple | list) and batch else [batch, None]
        return images, labels
    if (images := next((batch[key] for key in _IMAGES if key in batch), None)) is None:
        raise ValueError(
            f"the batch is a dict with the keys {sorted(map(str, batch))}, none of them of {_IMAGES}; "
            "give unpack= a callable from a batch to (images, labels)"
        )
    return images, next((batch[key] for key in _LABELS if key in batch), None)


def _checked_images(images: Any) -> Tensor:
    if isinstance(images, Tensor) and images.dtype == torch.uint8:
        images = images.float()  # the model normalises by itself
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        found = f"{tuple(images.shape)} of {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"the batch holds {found} where floating-point images (B, C, H, W) are expected; "
            "give unpack= a callable from a batch to (images, labels), or a probe="
        )
    return images


def read_labels(labels: Any, images: Tensor) -> Tensor | None:
    """Labels of images (B, C, H, W) as class indices (B,), -1 for an unlabelled one, or as zeros and ones (B, K).

    Zeros and ones (B,) or (B, 1) of any type are class indices. None for anything else: masks, numbers, boxes.
    """
    if not isinstance(labels, Tensor) or labels.ndim not in (1, 2) or len(labels) != len(images) or labels.is_complex():
        return None
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
    return KnownLabels(LabelKind.MASKS if masks else LabelKind.OTHER)
