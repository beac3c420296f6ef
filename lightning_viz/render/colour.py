"""Painters: raw values, (N, h, w) or (N, C, h, w), to coloured tiles, uint8 (N, H, W, 3)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Values = NDArray[np.floating]

NEGATIVE, POSITIVE = 30, 225  # indices into the 256 colours of RdBu_r, from blue to red
NOT_FINITE = (255, 0, 255)  # magenta, for NaN and infinity: no colormap here contains it


class Painter(ABC):
    """Colours raw values. `scale` is the value that gets the strongest colour; None scales each item by itself."""

    signed: bool = False  #: whether the colours range from -scale to scale, rather than from 0 to scale
    quantile: float = 1.0  #: of an item's magnitudes, gets the strongest colour

    @property
    @abstractmethod
    def bar(self) -> Pixels:
        """The colours of the colour bar from the lowest value to the highest, (n, 3); (0, 3) draws no bar."""

    @property
    def scale_name(self) -> str:
        """What `scales` takes of the values, such as "maximum" or "99% quantile"."""
        return "maximum" if self.quantile == 1 else f"{self.quantile:.0%} quantile"

    def scales(self, values: Values) -> Values:
        """The magnitude that gets the strongest colour if each item is scaled by itself, (N,)."""
        return max_magnitude(values if self.signed else np.maximum(values, 0), self.quantile)

    @abstractmethod
    def __call__(self, values: Values, scale: float | None = None) -> Pixels: ...

    def select(self, rows: Sequence[int]) -> "Painter":
        """The painter for these items only."""
        return self


@dataclass(frozen=True, eq=False)
class Overlay(Painter):
    """Heatmaps over dimmed grey pictures; the larger a value, the more its colour covers the picture."""

    pictures: Pixels  #: (N, H, W, 3); the maps are resized to their size
    quantile: float = 1.0  #: of a map, gets the strongest colour; below 1 if a few pixels are far above the others
    light: float = 0.55  #: brightness of the picture below the heatmap, 0 to 1
    signed: bool = False  #: red for positive and blue for negative values; otherwise negative values are drawn as 0

    @property
    def bar(self) -> Pixels:
        """A signed bar fades to black around 0, where the picture is seen instead."""
        if not self.signed:
            return _colormap("inferno")
        fade = np.abs(np.linspace(-1, 1, 256))[:, None]
        return (fade * np.repeat(_colormap("RdBu_r")[[NEGATIVE, POSITIVE]], 128, axis=0)).round().astype(np.uint8)

    def select(self, rows: Sequence[int]) -> "Overlay":
        return replace(self, pictures=self.pictures[list(rows)])

    def __call__(self, values: Values, scale: float | None = None) -> Pixels:
        """Maps (N, h, w) -> (N, H, W, 3), the size of the pictures."""
        tiles = np.empty_like(self.pictures)
        units = normalise(values, self.scales(values) if scale is None else scale)
        for tile, picture, unit in zip(tiles, self.pictures, units, strict=True):
            heat = resize(unit, picture.shape[0], picture.shape[1]).clip(-1 if self.signed else 0, 1)[..., None]
            finite = np.isfinite(heat)
            heat = np.where(finite, heat, 0)
            grey = picture.mean(axis=2, keepdims=True)
            if self.signed:
                strength = np.abs(heat)
                colour = np.where(heat < 0, _colormap("RdBu_r")[NEGATIVE], _colormap("RdBu_r")[POSITIVE])
            else:
                strength = np.sqrt(heat)  # brighter middle of the scale
                colour = _colormap("inferno")[(heat[..., 0] * 255).round().astype(np.uint8)]
            tile[:] = np.where(finite, (1 - strength) * self.light * grey + strength * colour, NOT_FINITE).round()
        return tiles


@dataclass(frozen=True)
class Heatmap(Painter):
    """Maps in colour, one pixel per position: black at 0 to bright; signed ones blue below 0, white at 0, red above."""

    signed: bool = False

    @property
    def bar(self) -> Pixels:
        if self.signed:
            return _colormap("RdBu_r")
        positions = np.sqrt(np.linspace(0, 1, 256))  # brighter middle of the scale
        return _colormap("inferno")[(positions * 255).round().astype(np.uint8)]

    def __call__(self, values: Values, scale: float | None = None) -> Pixels:
        """Maps (N, h, w) -> (N, h, w, 3)."""
        unit = normalise(values, self.scales(values) if scale is None else scale)
        position = (np.nan_to_num(unit) + 1) / 2 if self.signed else np.nan_to_num(unit).clip(0, 1)
        colours = self.bar[(position * 255).round().astype(np.uint8)]
        return np.where(np.isfinite(unit)[..., None], colours, NOT_FINITE).astype(np.uint8)


@dataclass(frozen=True)
class SignedPixels(Painter):
    """Weights as pixels: negative is dark, 0 is mid-grey, positive is bright. One channel is grey, three are RGB."""

    signed = True
    bar: ClassVar[Pixels] = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)

    def __call__(self, values: Values, scale: float | None = None) -> Pixels:
        """Values (N, C, h, w), C is 1 or 3 -> (N, h, w, 3)."""
        return _grey_or_rgb(127.5 + 127.5 * normalise(values, self.scales(values) if scale is None else scale))


@dataclass(frozen=True)
class Pictures(Painter):
    """Pictures in their own colours, whatever the scale: 0 is black, 1 is white. One channel is grey, three are RGB."""

    bar: ClassVar[Pixels] = np.empty((0, 3), np.uint8)
    scale_name: ClassVar[str] = "white"

    def scales(self, values: Values) -> Values:
        return np.ones(len(values), np.float32)

    def __call__(self, values: Values, scale: float | None = None) -> Pixels:
        """Values (N, C, h, w), C is 1 or 3 -> (N, h, w, 3)."""
        return _grey_or_rgb(255 * normalise(values, 1).clip(min=0))


def normalise(values: Values, scale: float | Values) -> Values:
    """`values` (N, ...) divided by `scale`, a number or one per item (N,), and clipped to [-1, 1].

    A scale of 0 leaves the values as they are; values that are not finite become NaN.
    """
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    scales = np.broadcast_to(np.where(np.asarray(scale) > 0, scale, 1), len(values)).astype(np.float32)
    units: Values = np.clip(values / scales.reshape(-1, *[1] * (values.ndim - 1)), -1, 1)
    return units


def max_magnitude(values: Values, quantile: float = 1.0) -> Values:
    """The largest finite magnitude of each item, or this quantile of its magnitudes, (N, ...) -> (N,); 0 if none is finite."""
    flat = np.abs(values.reshape(len(values), -1)).astype(np.float32)
    flat = np.where(np.isfinite(flat), flat, 0)
    return np.asarray(np.quantile(flat, quantile, axis=1) if quantile < 1 else flat.max(axis=1, initial=0))


def resize(values: Values, height: int, width: int) -> Values:
    """One map (h, w) -> (height, width), float32: bicubic when enlarged, area-averaged when shrunk."""
    if values.shape == (height, width):
        return values
    smooth = Image.Resampling.BICUBIC if height > values.shape[0] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((width, height), smooth))


def _grey_or_rgb(levels: Values) -> Pixels:
    """Levels from 0 to 255, (N, C, h, w), C is 1 or 3 -> (N, h, w, 3); magenta where one is NaN."""
    colours = np.broadcast_to(np.moveaxis(levels, 1, -1), (len(levels), *levels.shape[2:], 3))
    return np.where(np.isnan(colours).any(axis=-1, keepdims=True), NOT_FINITE, colours).round().astype(np.uint8)


@lru_cache(maxsize=4)
def _colormap(name: str) -> Pixels:
    import matplotlib

    return (matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
