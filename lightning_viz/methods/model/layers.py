"""Layers by name, and their outputs as feature maps."""

import difflib
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

#: A custom conversion from a layer's output to feature maps (B, C, h, w).
Reshape = Callable[[Tensor], Tensor]

CHANNELS = (1, 3, 4)  #: by which images are told from volumes, and from images with their channels last


def resolve_layer(model: nn.Module, name: str, argument: str = "layer") -> tuple[str, nn.Module]:
    """The full dotted name of a layer, and its module.

    An exact name comes first; otherwise the one module whose name ends in it ("layer4" finds "model.layer4"). The prefix
    that `torch.compile` adds may be left out. Raises ValueError with the closest name; it calls the option `argument`.
    """
    modules = {path: module for path, module in model.named_modules() if path}
    plain = {plain_name(path): path for path in modules}
    if name in modules:
        return name, modules[name]
    found = [name] if name in plain else [path for path in plain if path.endswith(f".{name}")]
    if len(found) == 1:
        return plain[found[0]], modules[plain[found[0]]]
    kind = type(model).__name__
    if found:
        candidates = ", ".join(map(repr, found[:5]))
        raise ValueError(f"{argument}={name!r} is ambiguous in {kind}: {candidates}; give the full name")
    by_ending = {path.rsplit(".", name.count(".") + 1)[-1]: path for path in reversed(plain)}
    close = difflib.get_close_matches(name, [*plain, *by_ending], n=1)
    hint = (
        f"closest: {by_ending.get(close[0], close[0])!r}" if close else f"it has {', '.join(map(repr, [*plain][:8]))}"
    )
    raise ValueError(f"{argument}={name!r} is not in {kind}; {hint}")


def are_channels_last(images: Tensor) -> bool:
    """Whether images are (B, H, W, C) rather than (B, C, H, W): 1, 3 or 4 channels last, after 8 rows and columns or more."""
    if images.ndim != 4:
        return False
    first, second, last = images.shape[1:]
    return last in CHANNELS and first not in CHANNELS and min(first, second) >= 8


def _channels_last_error(images: Tensor) -> ValueError:
    shape = tuple(images.shape)
    return ValueError(
        f"images of shape {shape} have their channels last; give images (B, C, H, W), and a model that takes them"
    )


def is_spatial(activation: Tensor, images: Tensor) -> bool:
    """Whether a layer's output looks like feature maps of these images: several positions, in the images' aspect ratio.

    The queries of an attention (B, heads, N, d) have four dimensions too, but rarely the aspect ratio of the images.
    """
    try:
        maps = feature_maps(activation, images)
    except ValueError:
        return False
    allowed = 0.0 if images.shape[-1] == images.shape[-2] else 0.3
    several = maps.shape[2] * maps.shape[3] > 1
    return len(maps) == len(images) and several and _distortion(maps.shape[2:], images) <= allowed


def plain_name(name: str) -> str:
    """A layer's name without the prefix that `torch.compile` adds."""
    return name.replace("_orig_mod.", "")


def uncompiled(module: nn.Module) -> nn.Module:
    """The original module of one that `torch.compile` has wrapped; any other module itself."""
    return getattr(module, "_orig_mod", module)


def is_from(module: nn.Module, *files: str) -> bool:
    """Whether the module's class is defined in one of these files of torch.nn.modules."""
    return type(uncompiled(module)).__module__ in {f"torch.nn.modules.{file}" for file in files}


def feature_maps(activation: Tensor, images: Tensor) -> Tensor:
    """A layer's output as feature maps (B, C, h, w).

    A 4-D output is channels first or channels last, whichever gives h : w closer to the images' aspect ratio. Tokens
    (B, N, C) are folded to the images' grid row by row, without leading class and register tokens.
    Raises ValueError for anything else, and for images with their channels last.
    """
    if are_channels_last(images):
        raise _channels_last_error(images)
    if activation.ndim == 4:
        is_first = _distortion(activation.shape[2:], images) <= _distortion(activation.shape[1:3], images)
        return activation if is_first else activation.permute(0, 3, 1, 2)
    if activation.ndim == 3:
        tokens, (height, width) = activation.shape[1], images.shape[-2:]
        for extra in range(min(tokens, 9)):
            rows = round(math.sqrt((tokens - extra) * height / width))
            if rows and rows * round(rows * width / height) == tokens - extra:
                grid = activation[:, extra:].reshape(len(activation), rows, -1, activation.shape[2])
                return grid.permute(0, 3, 1, 2)
    raise ValueError(
        f"an output of shape {tuple(activation.shape)} has no height and width; choose a layer that returns feature "
        "maps (B, C, h, w) or tokens (B, N, C)"
    )


def layer_maps(module: nn.Module, activation: Tensor, images: Tensor) -> Tensor:
    """The output of this module as feature maps (B, C, h, w): `feature_maps`, except for layers that are never ambiguous."""
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and activation.ndim == 4:
        return activation  # channels come first, whatever the aspect ratio
    return feature_maps(activation, images)


def channel_maps(module: nn.Module, activation: Tensor, images: Tensor) -> Tensor:
    """As `layer_maps`, but vectors (B, C) are accepted too, as maps of one position (B, C, 1, 1)."""
    return activation[:, :, None, None] if activation.ndim == 2 else layer_maps(module, activation, images)


def _distortion(size: torch.Size, images: Tensor) -> float:
    """How far h : w is from the images': the absolute logarithm of their ratio, 0 where they are equal."""
    height, width = images.shape[-2:]
    return abs(math.log(max(size[0], 1) / max(size[1], 1) * width / height))


def no_spatial_layer(model: nn.Module, images: Tensor) -> ValueError:
    """The error to raise where a model has no layer with feature maps."""
    if are_channels_last(images):
        return _channels_last_error(images)
    return ValueError(
        f"{type(model).__name__} has no layer with a height and a width for images of shape {tuple(images.shape)}; "
        "name the layer to use, or give larger images"
    )
