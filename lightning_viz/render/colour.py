"""Numbers to colours. Arrays are (N, h, w) or (N, C, h, w) in, uint8 (N, H, W, 3) out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Values = NDArray[np.floating]

NOT_FINITE = (255, 0, 255)  # NaN and infinity: a colour that no colormap has


class Painter(Protocol):
    """How values become tiles. `scale` is the value of the strongest colour; None means each tile's own maximum."""

    @property
    def bar(self) -> Pixels:
        """The colours from the weakest value to the strongest, (n, 3)."""

    @property
    def signed(self) -> bool:
        """Whether the colours go from -scale to scale, rather than from 0."""

    def __call__(self, values: Values, scale: float | None = None) -> Pixels: ...

    def of(self, rows: Sequence[int]) -> "Painter":
        """The painter of these items alone."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """Heatmaps over their pictures: the picture greyed and dimmed, the colour the stronger the value."""

    pictures: Pixels  #: (N, H, W, 3), to whose size the maps are stretched
    signed: ClassVar[bool] = False

    @property
    def bar(self) -> Pixels:
        return _colormap()

    def of(self, rows: Sequence[int]) -> "Overlay":
        return Overlay(self.pictures[list(rows)])

    def __call__(self, values: Values, scale: float | None = None) -> Pixels:
        """Maps (N, h, w), none negative, at their pictures' size."""
        tiles = np.empty_like(self.pictures)
        for tile, picture, unit in zip(tiles, self.pictures, normalise(values, scale), strict=True):
            heat = resize(unit, picture.shape[0], picture.shape[1])[..., None]
            grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
            colour = _colormap()[(np.nan_to_num(heat[..., 0]) * 255).round().clip(0, 255).astype(np.uint8)]
            strength = np.sqrt(heat)  # so that the middle of the scale is seen as well
            mix = (1 - strength) * 0.55 * grey + strength * colour
            tile[:] = np.where(np.isfinite(heat), np.nan_to_num(mix), NOT_FINITE).round()
        return tiles


@dataclass(frozen=True)
class SignedPixels:
    """Weights as pictures: zero is mid-grey, the sign is kept. One channel is grey, three are red, green and blue."""

    signed: ClassVar[bool] = True

    @property
    def bar(self) -> Pixels:
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)

    def of(self, rows: Sequence[int]) -> "SignedPixels":
        return self

    def __call__(self, values: Values, scale: float | None = None) -> Pixels:
        """Values (N, C, h, w) with C of 1 or 3."""
        unit = np.moveaxis(normalise(values, scale), 1, -1)
        colours = np.broadcast_to(127.5 + 127.5 * np.nan_to_num(unit), (*unit.shape[:3], 3))
        finite = np.isfinite(unit).all(axis=-1, keepdims=True)
        return np.where(finite, colours, NOT_FINITE).round().clip(0, 255).astype(np.uint8)


def normalise(values: Values, scale: float | None = None) -> Values:
    """`values` divided by `scale`, by default by each item's own largest magnitude, and clipped to -1 to 1.

    All-zero items stay zero; what is not finite becomes NaN and does not count for the maximum.
    """
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    peaks = peak(values) if scale is None else np.full(len(values), scale, np.float32)
    peaks = np.where(peaks > 0, peaks, 1)
    return np.clip(values / peaks.reshape(-1, *[1] * (values.ndim - 1)), -1, 1)


def peak(values: Values) -> Values:
    """Each item's largest finite magnitude, (N,); 0 where it has none."""
    flat = np.abs(values.reshape(len(values), -1)).astype(np.float32)
    return np.where(np.isfinite(flat), flat, 0).max(axis=1, initial=0)


def resize(values: Values, height: int, width: int) -> Values:
    """One map (h, w), float32, stretched or shrunk: bilinear up, area-averaged down."""
    if values.shape == (height, width):
        return values
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))


@lru_cache(maxsize=1)
def _colormap() -> Pixels:
    import matplotlib

    return (matplotlib.colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
