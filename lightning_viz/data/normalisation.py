"""The normalisation of images, found in the transforms of datasets, dataloaders and datamodules."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from types import FunctionType
from typing import Any

import numpy as np
from torch import Tensor, nn

from .display import is_unit_range, white_after

#: Mean and standard deviation, per channel or one for all.
Normalisation = tuple[list[float], list[float]]

#: What transforms call their mean and standard deviation: torchvision and its like, Hugging Face, MONAI.
_NAMES = ("mean", "std"), ("image_mean", "image_std"), ("subtrahend", "divisor")
#: Where transforms have others within: torchvision, albumentations, MONAI, torchgeo, Hugging Face.
_WITHIN = "transforms", "transform", "augs", "normalizer", "image_processor"
_MOST_STEPS = 64  # a longer list is of samples
_MOST_HOLDERS = 5000
_DEPTH = 5


def find_normalisation(sources: Sequence[Any], channels: int, images: Tensor | None = None) -> Normalisation | None:
    """Mean and standard deviation of the first Normalize (or its like) in the sources that is true of the images, if given.

    The images must come to values from black to white when it is undone. What is no transform but has a mean and a std, such
    as a dataset or a configuration, counts after the transforms, and only if the images do not lie from 0 to 1 as they are.
    """
    applied: list[Normalisation] = []
    known: list[Normalisation] = []
    for holder in islice((one for source in sources for one in _holders(source)), _MOST_HOLDERS):
        if (found := _own(holder, channels)) is not None:
            (applied if callable(holder) else known).append(found)
    if images is not None and not is_unit_range(images):
        applied += known
    return next((one for one in applied if images is None or white_after(images, *one) is not None), None)


def _holders(source: Any) -> Iterator[Any]:
    """What may have a mean and a standard deviation: the source, its attributes, and the transforms within these."""
    attributes = [] if isinstance(source, FunctionType | partial) else list(getattr(source, "__dict__", {}).values())
    yield from _within(source, _DEPTH)
    for one in attributes:
        yield from _within(one, _DEPTH)


def _within(transform: Any, depth: int) -> Iterator[Any]:
    """A transform and those within it, as deep as `depth`."""
    if transform is None or isinstance(transform, str | bytes | int | float | Tensor | np.ndarray | type):
        return
    yield transform
    steps = []
    with suppress(Exception):  # a configuration with a value missing
        steps = _steps(transform) if depth else []
    for step in steps:
        yield from _within(step, depth - 1)


def _steps(transform: Any) -> list[Any]:
    """The transforms within one; those that a function was made with."""
    if isinstance(transform, Mapping):
        steps = list(transform.values())
    elif isinstance(transform, list | tuple | nn.ModuleList | nn.Sequential):
        steps = list(transform)
    elif isinstance(transform, partial):
        steps = [transform.func, *transform.args, *transform.keywords.values()]
    elif isinstance(transform, FunctionType):
        steps = [attribute_of(cell, "cell_contents") for cell in transform.__closure__ or ()]
    else:
        steps = [*(attribute_of(transform, name) for name in _WITHIN)]
        steps += transform.children() if isinstance(transform, nn.Module) else []
    return steps if len(steps) <= _MOST_STEPS else []


def _own(transform: Any, channels: int) -> Normalisation | None:
    """What a transform subtracts and divides by; None for one that does something else with such numbers."""
    name = getattr(transform, "__name__", type(transform).__name__).lower()
    if attribute_of(transform, "do_normalize") is False or attribute_of(transform, "nonzero") is True:
        return None  # Hugging Face's is switched off; MONAI's is of a part of the pixels
    if attribute_of(transform, "normalization") not in (None, "standard"):
        return None  # albumentations' is by the image's own statistics
    if "noise" in name or "denormal" in name:
        return None
    # kornia has flags; a partial of torchvision.transforms.functional.normalize, keywords
    holders = [transform, attribute_of(transform, "flags"), attribute_of(transform, "keywords")]
    for holder in (one for one in holders if one is not None):
        for pair in _NAMES:
            mean, std = (attribute_of(holder, one) for one in pair)
            means, stds = _numbers(mean), _numbers(std)
            scalar = isinstance(mean, int | float) and "normal" not in name
            if means and len(means) == len(stds) and len(means) in (1, channels) and min(stds) > 0 and not scalar:
                return means, stds
    return None


def _numbers(value: Any) -> list[float]:
    """Finite numbers as a list; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | Sequence | Tensor | np.ndarray):
        return []
    with suppress(Exception):  # a sequence of anything
        found = np.ravel(value.detach().cpu() if isinstance(value, Tensor) else value).astype(float)
        return [] if isinstance(value, str) or not np.isfinite(found).all() else found.tolist()
    return []


def attribute_of(holder: Any, name: str) -> Any:
    """An attribute, or the value of a mapping; None where there is none, or reading it fails."""
    with suppress(Exception):
        return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
    return None
