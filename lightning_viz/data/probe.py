"""The pinned pictures that every callback looks at."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_viz.methods.model.layers import are_channels_last
from lightning_viz.methods.model.model_output import class_indices
from lightning_viz.methods.model.modes import plain_tensor

from .arguments import as_plain, check_flag, describe_value
from .display import BlackAndWhite, as_bands, black_and_white, describe_bands, shown_channels

#: Pictures as a person sees them, (N, H, W, 3).
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Hardest:
    """The request for the validation pictures with the highest cross-entropy, see `Probe.hardest`."""

    refresh: bool = False

    def __post_init__(self) -> None:
        check_flag("refresh", self.refresh)


@dataclass(frozen=True, eq=False)
class Probe:
    """Pictures that stay the same throughout training, so that step 0 and step 10,000 show the same cat.

    Raises TypeError or ValueError where images, labels, class names or normalisation do not fit each other.
    """

    #: (B, C, H, W), as the model expects them, normalised; uint8 becomes floats of 0 to 255, see `in_bytes`.
    images: Tensor
    #: True class indices (B,), negative for an unlabelled picture; or, of several labels, zeros and ones (B, K).
    labels: Tensor | None = None
    class_names: Sequence[str] | None = None  #: a name per class
    mean: Sequence[float] | float | None = None  #: of the normalisation, per channel or one number for all; where
    std: Sequence[float] | float | None = None  #: None, colours are scaled from the range of the values
    origin: str = "probe given"  #: where the pictures come from, printed under each panel
    #: The channels shown as red, green and blue, or one shown in grey; by default the first three.
    bands: Sequence[int] | int | None = None
    in_bytes: bool = False  #: whether the model is given uint8 images, which it scales itself; found by itself

    def __post_init__(self) -> None:
        self._check_images()
        if self.class_names is not None:
            object.__setattr__(self, "class_names", _names(self.class_names))
        if self.labels is not None:
            labels = self._checked_labels(self.labels)
            object.__setattr__(self, "labels", None if (labels < 0).all() else labels.clamp(min=-1))
        if (self.mean is None) != (self.std is None):
            given = f"mean={describe_value(self.mean)} and std={describe_value(self.std)}"
            raise ValueError(f"{given} belong together; give both or neither")
        for name, value in (("mean", self.mean), ("std", self.std)):
            if value is not None:
                object.__setattr__(self, name, _as_normalisation(name, value, self.images.shape[1]))
        object.__setattr__(self, "bands", as_bands(self.bands, self.images.shape[1]))
        if not isinstance(self.origin, str):
            raise TypeError(f"origin={describe_value(self.origin)} is {type(self.origin).__name__}; give a short text")

    def _check_images(self) -> None:
        images = self.images
        if not isinstance(images, Tensor) or not (images.is_floating_point() or images.dtype == torch.uint8):
            kind = f"a tensor of {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
            remedy = "give a floating-point or uint8 tensor (B, C, H, W), as the model expects it"
            raise TypeError(f"probe images are {kind}; {remedy}")
        if images.ndim != 4 or 0 in images.shape:
            raise ValueError(f"probe images have the shape {tuple(images.shape)}; give (B, C, H, W)")
        if are_channels_last(images):
            raise ValueError(f"probe images have the shape {tuple(images.shape)}, channels last; give (B, C, H, W)")
        check_flag("in_bytes", self.in_bytes)
        images = plain_tensor(images)
        if images.dtype == torch.uint8:
            if self.mean is not None:
                raise ValueError(
                    f"mean={describe_value(self.mean)} is of normalised images, not of uint8; leave it out"
                )
            object.__setattr__(self, "in_bytes", True)
            images = images.float()
        object.__setattr__(self, "images", images)

    def _checked_labels(self, given: object) -> Tensor:
        count = len(self.images)
        text, remedy = (
            f"probe labels={describe_value(given)}",
            f"give {count} class indices, or zeros and ones ({count}, K)",
        )
        try:
            labels = plain_tensor(torch.as_tensor(given))
        except Exception as error:
            raise TypeError(f"{text} are {type(given).__name__}; {remedy}") from error
        several = labels.ndim == 2 and labels.shape[1] > 1 and bool(((labels == 0) | (labels == 1)).all())
        whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
        if labels.shape[:1] != self.images.shape[:1] or not (several or (whole and labels.ndim == 1)):
            raise ValueError(f"{text} are {labels.dtype} of shape {tuple(labels.shape)}; {remedy}")
        largest = labels.shape[1] - 1 if several else int(labels.max())
        if self.class_names is not None and len(self.class_names) <= largest:
            names = f"class_names has {len(self.class_names)} names"
            raise ValueError(f"{names}, and the labels go up to {largest}; give a name for each class")
        return labels.long()

    @staticmethod
    def hardest(refresh: bool = False) -> "Hardest":
        """Instead of a probe: the validation pictures with the highest loss, chosen after the first validation loop.

        They stay the same from then on. With `refresh=True` they are chosen again after each loop, and film strips, which
        follow a picture over time, are off.
        """
        return Hardest(refresh)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def given_images(self) -> Tensor:
        """The images as the network is given them."""
        return self.images.to(torch.uint8) if self.in_bytes else self.images

    @property
    def label_list(self) -> list[int]:
        """The true class index of each picture, -1 where it is unknown or has several labels."""
        return [-1] * len(self) if self.labels is None else class_indices(self.labels).tolist()

    def label_names(self, row: int) -> list[str]:
        """The names of the true class of a picture, or of its labels."""
        if self.labels is None:
            return []
        label = self.labels[row]
        found = [int(label)] if label.ndim == 0 else label.nonzero()[:, 0].tolist()
        return [self.class_name(one) for one in found if one >= 0]

    def head(self, count: int) -> "Probe":
        return self.subset(slice(count))

    def subset(self, rows: slice) -> "Probe":
        return replace(self, images=self.images[rows], labels=None if self.labels is None else self.labels[rows])

    def to(self, device: torch.device) -> "Probe":
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, images=self.images.to(device), labels=labels)

    def class_name(self, label: int) -> str:
        """The name of a class, or its index where it has none."""
        return self.class_names[label] if self.class_names and label < len(self.class_names) else str(label)

    def unique_names(self, labels: Sequence[int]) -> dict[int, str]:
        """The names of these classes, with the index added where two have the same name."""
        names = {label: self.class_name(label) for label in labels}
        unique = {name for name, count in Counter(names.values()).items() if name and count == 1}
        return {label: name if name in unique else f"{name} ({label})".strip() for label, name in names.items()}

    @cached_property
    def pictures(self) -> Pixels:
        """The images as a person sees them, (B, H, W, 3)."""
        return self.to_pixels(self.images)

    def to_pixels(self, images: Tensor | NDArray[np.float32]) -> Pixels:
        """Other images (N, C, h, w) of the same data as a person sees them, (N, h, w, 3): denormalised.

        Three channels in colour, one in grey, of two the mean, see `bands`. In NumPy: torch, called by the queue's thread,
        would start a second set of threads, which slows training down.
        """
        channels = self.images.shape[1]
        shown = shown_channels(self.bands, channels)
        mean, std = (np.broadcast_to(one.numpy(), (channels, 1, 1))[shown] for one in self.normalisation)
        given = images.detach().float().cpu().numpy() if isinstance(images, Tensor) else images
        values = np.nan_to_num(given[:, shown]) * std + mean
        values = values if len(shown) == 3 else values.mean(axis=1, keepdims=True)
        pixels = (values.clip(0, 1) * 255).round().astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(pixels, (len(pixels), 3, *pixels.shape[2:])).transpose(0, 2, 3, 1))

    def to_rgb(self, pictures: Tensor) -> Tensor:
        """The three channels shown of pictures with as many channels as the images: (N, C, h, w) -> (N, 3, h, w)."""
        shown = pictures[:, shown_channels(self.bands, pictures.shape[1])]
        return shown if shown.shape[1] == 3 else shown.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)

    @property
    def note(self) -> str:
        """Where the pictures come from, which channels are shown, and how their colours are scaled, in a line."""
        parts = self.origin, describe_bands(self.bands, self.images.shape[1]), self._black_and_white.note
        return "; ".join(filter(None, parts))

    @property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation with which `images * std + mean` is black at 0 and white at 1, (C or 1, 1, 1)."""
        return self._black_and_white[:2]

    @cached_property
    def _black_and_white(self) -> BlackAndWhite:
        if self.in_bytes:
            return BlackAndWhite(torch.zeros(1, 1, 1), torch.full((1, 1, 1), 1 / 255), "uint8 values shown as they are")
        return black_and_white(self.images, self.mean, self.std)


def _names(given: Any) -> tuple[str, ...]:
    listed = isinstance(given, Sequence) and not isinstance(given, str | bytes | bytearray)
    text, given = f"class_names={describe_value(given)}", as_plain("class_names", given)
    if not (listed or (isinstance(given, np.ndarray) and given.ndim == 1)) or not len(given):
        raise TypeError(f"{text} is {type(given).__name__}; give a list of names, one per class")
    if wrong := [name for name in given if not isinstance(name, str | int | np.integer)]:
        raise TypeError(f"{text} holds {type(wrong[0]).__name__}; give a name per class")
    return tuple(str(name).encode(errors="replace").decode() for name in given)  # a folder's may be no valid Unicode


def _as_normalisation(name: str, value: Any, channels: int) -> Any:
    plain, given = as_plain(name, value), f"{name}={describe_value(value)}"
    remedy = f"give one number or {channels}, one per channel" + (", above 0" if name == "std" else "")
    try:
        numbers = torch.as_tensor(plain)
    except Exception as error:
        raise TypeError(f"{given} is {type(value).__name__}; {remedy}") from error
    flags = isinstance(plain, list) and any(isinstance(one, bool) for one in plain)
    if flags or numbers.dtype == torch.bool or numbers.is_complex() or numbers.ndim > 1:
        raise TypeError(f"{given} is {type(value).__name__} of {numbers.dtype}; {remedy}")
    if numbers.numel() not in (1, channels):
        raise ValueError(f"{given} has {numbers.numel()} values, and the images {channels} channels; {remedy}")
    if not numbers.isfinite().all() or (name == "std" and not (numbers > 0).all()):
        raise ValueError(f"{given} is not finite{' and positive' if name == 'std' else ''}; {remedy}")
    return plain
