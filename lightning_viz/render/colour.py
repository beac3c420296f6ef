"""Numbers to colours. Arrays are (N, h, w) or (N, C, h, w) in, uint8 (N, H, W, 3) out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Values = NDArray[np.floating]

AGAINST, FOR = 30, 225  # of the 256 colours from blue to red
NOT_FINITE = (255, 0, 255)  # NaN and infinity: a colour that no colormap has


class Painter(Protocol):
    """How values become tiles. `scale` is the value of the strongest colour; None means each tile's own peak."""

    @property
    def bar(self) -> Pixels:
        """The colours from the weakest value to the strongest, (n, 3); none where they are a picture's own."""

    @property
    def signed(self) -> bool:
        """Whether the colours go from -scale to scale, rather than from 0."""

    @property
    def top(self) -> str:
        """What has the strongest colour, in words."""

    def peaks(self, values: Values) -> Values:
        """The magnitude that gets the strongest colour, for each item, (N,)."""

    def __call__(self, values: Values, scale: float | None = None) -> Pixels: ...

    def of(self, rows: Sequence[int]) -> "Painter":
        """The painter of these items alone."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """Heatmaps over their pictures: the picture greyed and dimmed, the colour the stronger the value.

    Args:
        pictures: (N, H, W, 3), to whose size the maps are stretched.
        quantile: the share of a map's values below its strongest colour; less than 1 where single pixels stand out.
        light: how bright the picture shines through, 0 to 1.
        signed: red for what is positive, blue for what is negative; otherwise what is negative is left out.
    """

    pictures: Pixels
    quantile: float = 1.0
    light: float = 0.55
    signed: bool = False

    @property
    def bar(self) -> Pixels:
        """Signed ones fade to black in the middle, where the picture is seen instead."""
        if not self.signed:
            return _colormap("inferno")
        fade = np.abs(np.linspace(-1, 1, 256))[:, None]
        return (fade * np.repeat(_colormap("RdBu_r")[[AGAINST, FOR]], 128, axis=0)).round().astype(np.uint8)

    @property
    def top(self) -> str:
        return "maximum" if self.quantile == 1 else f"{self.quantile:.0%} quantile"

    def of(self, rows: Sequence[int]) -> "Overlay":
        return replace(self, pictures=self.pictures[list(rows)])

    def peaks(self, values: Values) -> Values:
        return peak(values if self.signed else np.maximum(values, 0), self.quantile)

    def __call__(self, values: Values, scale: float | None = None) -> Pixels:
        """Maps (N, h, w) at their pictures' size."""
        tiles = np.empty_like(self.pictures)
        units = normalise(values, self.peaks(values) if scale is None else scale)
        for tile, picture, unit in zip(tiles, self.pictures, units, strict=True):
            heat = resize(unit, picture.shape[0], picture.shape[1]).clip(-1 if self.signed else 0, 1)[..., None]
            finite = np.isfinite(heat)
            heat = np.where(finite, heat, 0)
            grey = picture.mean(axis=2, keepdims=True)
            if self.signed:
                strength = np.abs(heat)
                colour = np.where(heat < 0, _colormap("RdBu_r")[AGAINST], _colormap("RdBu_r")[FOR])
            else:
                strength = np.sqrt(heat)  # so that the middle of the scale is seen as well
                colour = _colormap("inferno")[(heat[..., 0] * 255).round().astype(np.uint8)]
            tile[:] = np.where(finite, (1 - strength) * self.light * grey + strength * colour, NOT_FINITE).round()
        return tiles


@dataclass(frozen=True)
class SignedPixels:
    """Weights as pictures: zero is mid-grey, the sign is kept. One channel is grey, three are red, green and blue."""

    signed: ClassVar[bool] = True
    top: ClassVar[str] = "maximum"

    @property
    def bar(self) -> Pixels:
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)

    def of(self, rows: Sequence[int]) -> "SignedPixels":
        return self

    def peaks(self, values: Values) -> Values:
        return peak(values)

    def __call__(self, values: Values, scale: float | None = None) -> Pixels:
        """Values (N, C, h, w) with C of 1 or 3."""
        unit = np.moveaxis(normalise(values, self.peaks(values) if scale is None else scale), 1, -1)
        colours = np.broadcast_to(127.5 + 127.5 * np.nan_to_num(unit), (*unit.shape[:3], 3))
        finite = np.isfinite(unit).all(axis=-1, keepdims=True)
        return np.where(finite, colours, NOT_FINITE).round().astype(np.uint8)


@dataclass(frozen=True)
class Heatmap:
    """Maps in colour, one pixel a place: from black for zero to bright; signed ones red above zero, white at it, blue below."""

    signed: bool = False
    top: ClassVar[str] = "maximum"

    @property
    def bar(self) -> Pixels:
        if self.signed:
            return _colormap("RdBu_r")
        shares = np.sqrt(np.linspace(0, 1, 256))  # so that the middle of the scale is seen as well
        return _colormap("inferno")[(shares * 255).round().astype(np.uint8)]

    def of(self, rows: Sequence[int]) -> "Heatmap":
        return self

    def peaks(self, values: Values) -> Values:
        return peak(values if self.signed else np.maximum(values, 0))

    def __call__(self, values: Values, scale: float | None = None) -> Pixels:
        """Maps (N, h, w)."""
        unit = normalise(values, self.peaks(values) if scale is None else scale)
        share = (np.nan_to_num(unit) + 1) / 2 if self.signed else np.nan_to_num(unit).clip(0, 1)
        colours = self.bar[(share * 255).round().astype(np.uint8)]
        return np.where(np.isfinite(unit)[..., None], colours, NOT_FINITE).astype(np.uint8)


@dataclass(frozen=True)
class Pictures:
    """Pictures in their own colours, whatever the scale: 0 is black, 1 is white. One channel is grey, three are red, green
    and blue."""

    signed: ClassVar[bool] = False
    top: ClassVar[str] = "white"

    @property
    def bar(self) -> Pixels:
        return np.empty((0, 3), np.uint8)

    def of(self, rows: Sequence[int]) -> "Pictures":
        return self

    def peaks(self, values: Values) -> Values:
        return np.ones(len(values), np.float32)

    def __call__(self, values: Values, scale: float | None = None) -> Pixels:
        """Values (N, C, h, w) with C of 1 or 3."""
        unit = np.moveaxis(values, 1, -1)
        finite = np.isfinite(unit).all(axis=-1, keepdims=True)
        colours = np.broadcast_to(255 * np.nan_to_num(unit).clip(0, 1), (*unit.shape[:3], 3))
        return np.where(finite, colours, NOT_FINITE).round().astype(np.uint8)


def normalise(values: Values, scale: float | Values) -> Values:
    """`values` divided by `scale`, one for all or one per item, and clipped to -1 to 1.

    A scale of zero divides by nothing; what is not finite becomes NaN.
    """
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    scales = np.broadcast_to(np.where(np.asarray(scale) > 0, scale, 1), len(values)).astype(np.float32)
    units: Values = np.clip(values / scales.reshape(-1, *[1] * (values.ndim - 1)), -1, 1)
    return units


def peak(values: Values, quantile: float = 1.0) -> Values:
    """Each item's largest finite magnitude, or this quantile of them, (N,); 0 where it has none."""
    flat = np.abs(values.reshape(len(values), -1)).astype(np.float32)
    flat = np.where(np.isfinite(flat), flat, 0)
    return np.asarray(np.quantile(flat, quantile, axis=1) if quantile < 1 else flat.max(axis=1, initial=0))


def resize(values: Values, height: int, width: int) -> Values:
    """One map (h, w), float32, at another size: smooth when stretched, area-averaged when shrunk."""
    if values.shape == (height, width):
        return values
    smooth = Image.Resampling.BICUBIC if height > values.shape[0] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((width, height), smooth))


@lru_cache(maxsize=4)
def _colormap(name: str) -> Pixels:
    import matplotlib

    return (matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
