"""The images that are given to a method: checked in one place."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .modes import evaluating


def as_images(
    model: nn.Module | None, images: Any, argument: str = "images", *, differentiable: bool = False
) -> Tensor:
    """Images (B, C, H, W) for a model, as a tensor; NumPy arrays are copied to the model's device, in its precision.

    Raises TypeError for another type, for a dtype that the model does not take, and with `differentiable` for one that has
    no gradient; ValueError for another shape and for no image. Without a model any dtype fits.
    `argument` is where the caller gave them.
    """
    if isinstance(images, np.ndarray):
        images = _from_numpy(model, images)
    if not isinstance(images, Tensor):
        given = type(images).__name__
        raise TypeError(f"{argument}= is {given}; give a tensor (B, C, H, W), such as torch.stack of a list of images")
    shape = tuple(images.shape)
    if images.ndim != 4:
        one = f"; {argument}[None] is a batch of one" if images.ndim == 3 else ""
        raise ValueError(f"{argument}= of shape {shape} has {images.ndim} dimensions; give images (B, C, H, W){one}")
    if 0 in shape:
        raise ValueError(f"{argument}= of shape {shape} holds no pixels; give one image or more")
    if differentiable and not images.is_floating_point():
        raise TypeError(f"{argument}= of {images.dtype} has no gradient; give floats, scaled as in training: {_FLOATS}")
    if model is not None:
        _check_dtype(model, images, argument)
    return images


_FLOATS = "images.float() / 255 where they are 0 to 255, and normalised"


def _from_numpy(model: nn.Module | None, images: NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    weight = None if model is None else next(_floats(model), None)
    if weight is None:
        return tensor.to(torch.float32) if tensor.is_floating_point() else tensor
    return tensor.to(weight.device, weight.dtype if tensor.is_floating_point() else None)


def _check_dtype(model: nn.Module, images: Tensor, argument: str) -> None:
    """One image is run, only where no weight has the images' type: a model may convert them itself."""
    weights = {one.dtype for one in _floats(model)}
    if not weights or images.dtype in weights or torch.is_autocast_enabled(images.device.type):
        return
    try:
        with evaluating(model), torch.no_grad():
            model(images[:1].clone())
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        kinds = " and ".join(sorted(map(str, weights)))
        remedy = f"images.to({kinds})" if images.is_floating_point() else _FLOATS
        raise TypeError(
            f"{argument}= of {images.dtype} does not fit {type(model).__name__}, whose weights are {kinds}; give {remedy}"
        ) from error


def _floats(model: nn.Module) -> Iterator[Tensor]:
    return (one for one in (*model.parameters(), *model.buffers()) if one.is_floating_point())


def mean_color(images: Tensor) -> Tensor:
    """The mean colour (C,) of images (B, C, H, W), without those that hold NaN or infinity; zero where all do."""
    values = images if images.dtype == torch.float64 else images.float()
    finite = values.isfinite().flatten(1).all(dim=1)
    total = torch.where(finite[:, None, None, None], values, 0).sum(dim=(0, 2, 3))
    return total / (finite.sum() * images[0, 0].numel()).clamp_min(1)
