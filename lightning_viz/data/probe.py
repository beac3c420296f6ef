"""The pinned set of pictures that every callback looks at."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_viz.render import Pixels
from lightning_viz.runtime.words import shown


@dataclass(frozen=True)
class Hardest:
    """The wish for the validation pictures with the highest cross-entropy, see `Probe.hardest`."""

    refresh: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.refresh, bool):
            raise TypeError(f"refresh={shown(self.refresh)} is {type(self.refresh).__name__}; give True or False")


@dataclass(frozen=True, eq=False)
class Probe:
    """Pictures to look at all through training, so that step 0 and step 10,000 show the same cat.

    Args:
        images: (B, C, H, W), floating point, as the model wants them, normalisation included.
        labels: true class indices, (B,), where there are any.
        class_names: a name per class.
        mean, std: how the images were normalised, per channel or one number for all, to show them in their own
            colours. Where None, the colours are estimated from the range of the images.
        origin: where pictures and colours come from, printed under each panel.

    Raises TypeError or ValueError for images that are none, labels that do not fit them, or too few class names.
    """

    images: Tensor
    labels: Tensor | None = None
    class_names: Sequence[str] | None = None
    mean: Sequence[float] | float | None = None
    std: Sequence[float] | float | None = None
    origin: str = "probe given"

    def __post_init__(self) -> None:
        self._check_images()
        if self.class_names is not None:
            object.__setattr__(self, "class_names", _names(self.class_names))
        if self.labels is not None:
            object.__setattr__(self, "labels", self._checked_labels(self.labels))
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"mean={shown(self.mean)} and std={shown(self.std)} belong together; give both or neither")
        for name, value in (("mean", self.mean), ("std", self.std)):
            if value is not None:
                _check_normalisation(name, value, self.images.shape[1])
        if not isinstance(self.origin, str):
            raise TypeError(f"origin={shown(self.origin)} is {type(self.origin).__name__}; give a few words")

    def _check_images(self) -> None:
        images = self.images
        if not isinstance(images, Tensor) or not images.is_floating_point():
            kind = f"a tensor of {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(
                f"probe images are {kind}; they must be a floating-point tensor (B, C, H, W), as the model wants it"
            )
        if images.ndim != 4 or 0 in images.shape:
            raise ValueError(f"probe images have the shape {tuple(images.shape)}; they must be pictures (B, C, H, W)")

    def _checked_labels(self, given: object) -> Tensor:
        remedy = f"they must be {len(self.images)} class indices of 0 and more, one per image"
        try:
            labels = torch.as_tensor(given)
        except Exception as error:
            raise TypeError(f"probe labels={shown(given)} are {type(given).__name__}; {remedy}") from error
        whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
        if labels.shape != self.images.shape[:1] or not whole or (labels < 0).any():
            what = f"{labels.dtype} of shape {tuple(labels.shape)}"
            raise ValueError(f"probe labels={shown(given)} are {what}; {remedy}")
        if self.class_names is not None and len(self.class_names) <= int(labels.max()):
            raise ValueError(
                f"class_names has {len(self.class_names)} names, and the labels go up to {int(labels.max())}; give a "
                "name for each class"
            )
        return labels.long()

    @staticmethod
    def hardest(refresh: bool = False) -> "Hardest":
        """Instead of a probe: the validation pictures with the highest loss, known after the first validation loop.

        They are kept from then on; with `refresh` they are those of the last loop each time, and film strips, which
        follow a picture over time, are turned off.
        """
        return Hardest(refresh)

    def __len__(self) -> int:
        return len(self.images)

    def head(self, count: int) -> "Probe":
        """The first `count` pictures."""
        return self.part(slice(count))

    def part(self, places: slice) -> "Probe":
        """Some of the pictures."""
        labels = None if self.labels is None else self.labels[places]
        return replace(self, images=self.images[places], labels=labels)

    def to(self, device: torch.device) -> "Probe":
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, images=self.images.to(device), labels=labels)

    def name(self, label: int) -> str:
        """The class's name, or its index where it has none."""
        return self.class_names[label] if self.class_names and label < len(self.class_names) else str(label)

    @cached_property
    def pictures(self) -> Pixels:
        """The images as a person sees them, (B, H, W, 3): normalisation undone, one channel shown in grey.

        Of four and more channels the first three are shown; of two, their mean.
        """
        return self.shown(self.images)

    def shown(self, images: Tensor | NDArray[np.float32]) -> Pixels:
        """Other images (N, C, h, w) of the same data, as a person sees them, (N, h, w, 3).

        By NumPy: torch, called by the queue's thread, would keep a second set of threads there, which slows training down.
        """
        mean, std, brightest = self._normalisation
        given = images.detach().float().cpu().numpy() if isinstance(images, Tensor) else images
        values = (np.nan_to_num(given) * std.numpy() + mean.numpy()) / np.float32(brightest)
        values = values[:, :3] if values.shape[1] >= 3 else values.mean(axis=1, keepdims=True)
        pixels = (values.clip(0, 1) * 255).round().astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(pixels, (len(pixels), 3, *pixels.shape[2:])).transpose(0, 2, 3, 1))

    @staticmethod
    def visible(pictures: Tensor) -> Tensor:
        """What is shown of pictures of any number of channels, (N, C, h, w) to (N, 3, h, w)."""
        return pictures[:, :3] if pictures.shape[1] >= 3 else pictures.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)

    @property
    def note(self) -> str:
        """Where pictures and colours come from, in a line."""
        if self.mean is not None:
            return self.origin
        return f"{self.origin}; colours {'as they are' if self._in_unit_range(self.images) else 'estimated from the range'}"

    @property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation with which `images * std + mean` is black at 0 and white at 1, (C or 1, 1, 1)."""
        mean, std, brightest = self._normalisation
        return mean / brightest, std / brightest

    @cached_property
    def _normalisation(self) -> tuple[Tensor, Tensor, float]:
        """Mean, standard deviation, and what is brightest then: some normalise the values 0 to 255."""
        images = torch.nan_to_num(self.images.detach().float().cpu())
        if self.mean is not None and self.std is not None:
            mean, std = (torch.as_tensor(value, dtype=torch.float32) for value in (self.mean, self.std))
        elif self._in_unit_range(images):
            mean, std = torch.zeros(1), torch.ones(1)
        else:
            std = 1 / (images.max() - images.min()).clamp_min(1e-12).reshape(1)
            mean = -images.min() * std
        mean, std = mean.reshape(-1, 1, 1), std.reshape(-1, 1, 1)
        return mean, std, 255 if float((images * std + mean).max()) > 2 else 1

    @staticmethod
    def _in_unit_range(images: Tensor) -> bool:
        return bool(images.min() >= -0.001 and images.max() <= 1.001)


def _names(given: object) -> tuple[str, ...]:
    """Class names as texts that a file takes: a folder's name may hold bytes that are none."""
    listed = isinstance(given, Sequence) and not isinstance(given, str | bytes | bytearray)
    if not (listed or (isinstance(given, np.ndarray) and given.ndim == 1)) or not len(given):  # type: ignore[arg-type]
        raise TypeError(f"class_names={shown(given)} is {type(given).__name__}; give a list of names, one per class")
    names: list[object] = list(given)  # type: ignore[call-overload]
    if wrong := [name for name in names if not isinstance(name, str | int | np.integer)]:
        raise TypeError(f"class_names={shown(given)} holds {type(wrong[0]).__name__}; give a name per class")
    return tuple(str(name).encode(errors="replace").decode() for name in names)


def _check_normalisation(name: str, value: object, channels: int) -> None:
    """Raise for a mean or a standard deviation that does not fit images of so many channels."""
    remedy = f"give one number or {channels}, one per channel" + (", above 0" if name == "std" else "")
    try:
        numbers = torch.as_tensor(value)
    except Exception as error:
        raise TypeError(f"{name}={shown(value)} is {type(value).__name__}; {remedy}") from error
    flags = isinstance(value, list | tuple) and any(isinstance(one, bool) for one in value)
    if flags or numbers.dtype == torch.bool or numbers.is_complex() or numbers.ndim > 1:
        raise TypeError(f"{name}={shown(value)} is {type(value).__name__} of {numbers.dtype}; {remedy}")
    if numbers.numel() not in (1, channels):
        raise ValueError(
            f"{name}={shown(value)} has {numbers.numel()} values, and the images {channels} channels; {remedy}"
        )
    if not numbers.isfinite().all() or (name == "std" and not (numbers > 0).all()):
        raise ValueError(f"{name}={shown(value)} is no {'scale' if name == 'std' else 'colour'}; {remedy}")
