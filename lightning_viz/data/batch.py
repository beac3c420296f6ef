"""What is in a batch: images and labels, under the usual names."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

#: A custom function from a batch to (images, labels); labels may be None.
Unpack = Callable[[Any], tuple[Tensor, Tensor | None]]

_IMAGES = ("image", "images", "pixel_values", "img", "x", "input", "inputs")
_LABELS = ("label", "labels", "target", "targets", "y", "class")


def unpack_batch(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Images (B, C, H, W) and class indices (B,), -1 for an unlabelled sample; None where the batch has no such labels.

    A batch is a tensor of images, a tuple or list that begins with images and labels, or a dict with the usual keys.
    Raises ValueError for any other, or where the images are not (B, C, H, W).
    """
    if not isinstance(batch, Mapping):
        images, labels, *_ = [*batch, None] if isinstance(batch, tuple | list) and batch else [batch, None]
    elif (images := next((batch[key] for key in _IMAGES if key in batch), None)) is not None:
        labels = next((batch[key] for key in _LABELS if key in batch), None)
    else:
        raise ValueError(
            f"the batch is a dict with the keys {sorted(map(str, batch))}, none of them of {_IMAGES}; "
            "give unpack= a callable from a batch to (images, labels)"
        )
    images = _checked_images(images)
    return images, _class_indices(labels, images)


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


def _class_indices(labels: Any, images: Tensor) -> Tensor | None:
    if not isinstance(labels, Tensor) or labels.shape != images.shape[:1] or labels.is_floating_point():
        return None  # masks, multi-hot labels, regression
    unlabelled = labels < 0  # such as -100
    return None if unlabelled.all() else labels.clamp(min=-1) if unlabelled.any() else labels
