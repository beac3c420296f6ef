"""The kinds of batch that a training may have: how a sample is stored, packed, collated, and read by the module."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor, nn
from torch.utils.data import default_collate
from torchvision.transforms import v2
from torchvision.tv_tensors import Image


def pair(image: Tensor, target: Any) -> Any:
    return image, target


def first(batch: Any) -> Any:
    return batch[0]


def same(images: Tensor) -> Tensor:
    return images


def in_lists(samples: Sequence[tuple[Tensor, Any]]) -> tuple[list[Tensor], Any]:
    """A list of images; targets that are dicts, as those of a detector, stay a list too."""
    images, targets = zip(*samples, strict=True)
    return [*images], [*targets] if isinstance(targets[0], dict) else default_collate(targets)


@dataclass(frozen=True)
class BatchKind:
    """One kind of batch.

    Args:
        shape: of an image.
        stored: an image as the dataset has it.
        pack: a sample of an image and its target.
        collate: makes a batch of samples.
        images_of: what the module gives to its network.
        scaling: what the network does before all else.
        said: what the notes below the pictures say of the batch.
    """

    shape: tuple[int, int, int] = (3, 16, 16)
    stored: Callable[[Tensor], Tensor] = same
    pack: Callable[[Tensor, Any], Any] = pair
    collate: Callable[[Any], Any] = default_collate
    images_of: Callable[[Any], Any] = first
    scaling: nn.Module | None = None
    said: str = ""


BATCHES = {
    "tuple": BatchKind(),
    "dict": BatchKind(
        pack=lambda image, target: {"image": image, "label": target}, images_of=lambda batch: batch["image"]
    ),
    "nested dict": BatchKind(
        pack=lambda image, target: {"inputs": {"pixel_values": image}, "labels": target},
        images_of=lambda batch: batch["inputs"]["pixel_values"],
    ),
    "several views": BatchKind(
        pack=lambda image, target: ([image, image.flip(-1)], target, "file.png"),
        images_of=lambda batch: batch[0][0],
        said="the first of 2 images of each sample",
    ),
    "uint8": BatchKind(
        stored=lambda image: (255 * image).clamp(0, 255).to(torch.uint8),
        scaling=v2.ToDtype(torch.float32, scale=True),
    ),
    "tv_tensors": BatchKind(stored=Image),
    "MetaTensor": BatchKind(
        stored=MetaTensor,
        pack=lambda image, target: {"image": image, "label": target},
        images_of=lambda batch: batch["image"],
    ),
    "13 bands": BatchKind((13, 16, 16), said="channels"),
    "grey": BatchKind((1, 16, 16)),
    "not square": BatchKind((3, 12, 20)),
    "list of images": BatchKind(collate=in_lists, images_of=lambda batch: torch.stack(batch[0])),
    "lists": BatchKind(collate=in_lists),
    "dict of lists": BatchKind(
        collate=lambda samples: dict(zip(("images", "targets"), in_lists(samples), strict=True)),
        images_of=lambda batch: batch["images"],
    ),
    "lists, not square": BatchKind((3, 12, 20), collate=in_lists),
}
