"""How images become pictures: which channels are shown, and which values are black and white."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .arguments import as_plain, describe_value

TOLERANCE = 0.1  # beyond black and white, as after resampling; of the range from one to the other
OUTLIERS = 0.05  # the share of values that may lie further out
FEW = 0.001  # a share of values that says nothing of the others
BRIGHTEST = 300  # of images, of any normalisation; measurements such as reflectances have larger values
DIM = 0.5  # several bands from 0 to 1 that hardly exceed it are reflectances
QUANTILES = 0.02, 0.98  # black and white of measurements, which have outliers such as clouds


class BlackAndWhite(NamedTuple):
    """`images * std + mean` is black at 0 and white at 1."""

    mean: Tensor  #: (C or 1, 1, 1)
    std: Tensor  #: (C or 1, 1, 1)
    note: str  #: how they were chosen, in a few words; empty where they are those of the normalisation


def as_bands(given: Any, channels: int) -> list[int] | None:
    """`bands=` as a list: one channel, or three; None stays None. Raises ValueError or TypeError for any other."""
    if given is None:
        return None
    read = given.tolist() if isinstance(given, Tensor | np.ndarray | np.generic) else as_plain("bands", given)
    bands: list[Any] = read if isinstance(read, list) else [read]
    text, remedy = f"bands={describe_value(given)}", "give the channels of red, green and blue, or one to show in grey"
    if not bands or any(not isinstance(one, int) or isinstance(one, bool) for one in bands):
        raise TypeError(f"{text} is {type(given).__name__}; {remedy}")
    if len(bands) not in (1, 3):
        raise ValueError(f"{text} has {len(bands)} channels; {remedy}")
    if not 0 <= min(bands) <= max(bands) < channels:
        raise ValueError(f"{text}: the images have the channels 0 to {channels - 1}; {remedy}")
    return bands


def shown_channels(bands: Any, channels: int) -> list[int]:
    """The channels of the picture: by default the first three; of two both, whose mean is shown."""
    return list(range(min(3, channels))) if bands is None else list(bands)


def describe_bands(bands: Any, channels: int) -> str:
    """Which channels are shown, where there is a choice; else empty."""
    shown = shown_channels(bands, channels)
    if shown == list(range(channels)):
        return ""
    if len(shown) == 1:
        return f"channel {shown[0]} of {channels} shown in grey"
    return f"channels {', '.join(map(str, shown))} of {channels} shown as RGB"


def white_after(images: Tensor, mean: Any, std: Any) -> int | None:
    """The value of white once `images * std + mean` has undone a normalisation: 1 or 255; None where neither can be."""
    values = images.detach().float().cpu() * _per_channel(std) + _per_channel(mean)
    values = values[values.isfinite()]
    white = 1 if _share(values > 2) <= FEW else 255
    beyond = (values < -TOLERANCE * white) | (values > (1 + TOLERANCE) * white)
    is_dark = white == 255 and _share(values > TOLERANCE * white) <= FEW  # -3 to 5 are no bytes
    return None if is_dark or _share(beyond) > OUTLIERS else white


def is_unit_range(values: Tensor) -> bool:
    """Whether all values lie from 0 to 1."""
    return bool(values.min() >= -0.001 and values.max() <= 1.001)


def black_and_white(images: Tensor, mean: Any = None, std: Any = None) -> BlackAndWhite:
    """Of images (B, C, H, W) with this normalisation, if it is known and true of them; else from their values."""
    if mean is not None and (white := white_after(images, mean, std)) is not None:
        return BlackAndWhite(_per_channel(mean) / white, _per_channel(std) / white, "")
    images = torch.nan_to_num(images.detach().float().cpu(), posinf=0, neginf=0)
    low, high = np.quantile(images.transpose(0, 1).flatten(1).numpy(), QUANTILES, axis=1)  # of each channel
    several = images.shape[1] > 3
    if is_unit_range(images) and not (several and high.max() < DIM):
        return BlackAndWhite(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), "values 0 to 1 shown as they are")
    if several or images.abs().max() > BRIGHTEST:
        note = f"each channel scaled from its {QUANTILES[0]:.0%} to its {QUANTILES[1]:.0%} quantile"
    else:
        low, high, note = images.min().reshape(1), images.max().reshape(1), "colours scaled from the value range"
    std = 1 / (_per_channel(high) - _per_channel(low)).clamp_min(1e-12)
    return BlackAndWhite(-_per_channel(low) * std, std, note)


def _per_channel(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).reshape(-1, 1, 1)


def _share(found: Tensor) -> float:
    return float(found.float().mean()) if found.numel() else 0.0
