"""Occlusion: how much the score drops when a part of the image is covered."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.batching import images_at_once
from lightning_viz.methods.model.images import as_images, mean_color
from lightning_viz.methods.model.modes import scoring
from lightning_viz.methods.model.outputs import Target, fixed_target, target_scores

from .saliency import Reduce


def occlusion(
    model: nn.Module,
    images: Tensor,
    target: Target = None,
    *,
    window: int | None = None,
    stride: int | None = None,
    fill: Tensor | float | None = None,
    refine: int = 0,
    batch_size: int | None = None,
    reduce: Reduce = "abs_max",
) -> Tensor:
    """Drop of the target score when a window covers a pixel, mean over its windows: (B, C, H, W) -> (B, H, W), float32.

    Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2. `window` is the side of
    the square in pixels, by default a seventh of the shorter side, rounded up. `stride` is its step, by default half of it:
    windows overlap, or an object could be split between several, none of which covers it. That is 169 forward passes of
    an image of 224×224, 100 of 32×32, where `stride=window` takes 49 of both.

    `fill` is the colour of the cover, one number or one per channel, by default the mean colour of the batch's images,
    without those that are not finite. `refine` repeats the measurement this many times, with half the window and stride each
    time, where the drop is in the top quarter. At most `batch_size` images go through the model at once, by default 16 on
    a CPU, else 64. `reduce=None` gives (B, C, H, W), equal in all channels. An image with NaN or infinity has its own map
    NaN where the model passes it on. Raises ValueError for a window larger than the images, and for other options out of
    their range.
    """
    images = as_images(model, images)
    height, width = images.shape[-2:]
    fits = window is None or 1 <= window <= min(height, width)
    if not fits or (stride is not None and stride < 1) or refine < 0:
        raise ValueError(
            f"window={window}, stride={stride} and refine={refine} do not fit images of {height}×{width}; give a window "
            "within the images, a stride of 1 or more, a refine of 0 or more"
        )
    at_once, cover = images_at_once(batch_size, images), fill_color(images, fill)
    maps = torch.zeros_like(images[:, 0], dtype=torch.float32)
    with scoring(model), torch.no_grad():
        target = fixed_target(model, images, target)
        scores = target_scores(model(images.clone()), target, checked=True).float()
        for level, windows in enumerate(window_levels(images, window, stride, refine)):
            places = windows.above(maps).nonzero() if level else windows.everywhere(images)
            parts = torch.split(places, at_once) if len(places) else ()
            drops = [_drops(model, images, target, scores, windows, part, cover) for part in parts]
            maps = windows.mean_map(places, torch.cat([scores[:0], *drops]), maps)
    return maps if reduce == "abs_max" else maps[:, None].expand_as(images).clone()


def fill_color(images: Tensor, fill: Tensor | float | None) -> Tensor:
    """The colour that replaces removed pixels, (C, 1, 1) or (1, 1, 1): `fill`, by default `mean_color`."""
    color = mean_color(images) if fill is None else torch.as_tensor(fill, device=images.device)
    return color.to(images.dtype).reshape(-1, 1, 1)


@dataclass(frozen=True)
class Windows:
    """The grid of square windows of one measurement; the last ones may be cut at the edge of the images."""

    side: int
    stride: int
    image: tuple[int, int]  #: height and width in pixels

    @cached_property
    def corners(self) -> tuple[range, range]:
        """The first row and column of the windows."""
        rows, columns = (range(0, min(size, size - self.side + self.stride), self.stride) for size in self.image)
        return rows, columns

    @property
    def count(self) -> int:
        return len(self.corners[0]) * len(self.corners[1])

    def everywhere(self, images: Tensor) -> Tensor:
        """All windows of all images, image by image: (windows, 3), see `mask`."""
        rows, columns = self.corners
        every = product(range(len(images)), range(len(rows)), range(len(columns)))
        return torch.tensor([*every]).to(images.device)

    def above(self, maps: Tensor) -> Tensor:
        """Which windows have a mean in the top quarter of the image's map (B, H, W): (B, rows, columns), bool."""
        # In this mode the last windows are cut, as ours are.
        pool = nn.AvgPool2d(self.side, self.stride, ceil_mode=True, count_include_pad=False)
        means: Tensor = pool(maps)
        return means > maps.flatten(1).quantile(0.75, dim=1)[:, None, None]

    def mask(self, places: Tensor) -> Tensor:
        """The pixels of windows, (windows, 1, H, W), bool. A place is the index of an image, of a row and of a column."""
        inside = []
        for size, number in zip(self.image, places.T[1:], strict=True):
            distance = torch.arange(size, device=places.device) - number[:, None] * self.stride
            inside.append((distance >= 0) & (distance < self.side))
        rows, columns = inside
        covered: Tensor = (rows[:, :, None] & columns[:, None])[:, None]
        return covered

    def mean_map(self, places: Tensor, drops: Tensor, before: Tensor) -> Tensor:
        """For each pixel the mean of the drops (windows,) over it; where there is no window, the value before."""
        grid = before.new_zeros(2, len(before), *map(len, self.corners))
        index = tuple(places.T)
        grid[0][index], grid[1][index] = drops, 1.0  # ones, which count the windows
        total, count = self._spread(self._spread(grid, 3), 2)
        return torch.where(count > 0, total / count.clamp_min(1), before)

    def _spread(self, grid: Tensor, dim: int) -> Tensor:
        """The values of windows along one dimension, added up over the pixels of each."""
        size = [*grid.shape]
        size[dim] = self.image[dim - 2]
        pixels = grid.new_zeros(size)
        for number, first in enumerate(self.corners[dim - 2]):
            length = min(self.side, size[dim] - first)
            pixels.narrow(dim, first, length).add_(grid.narrow(dim, number, 1))
        return pixels


def window_levels(images: Tensor, window: int | None, stride: int | None, refine: int) -> Iterator[Windows]:
    """The windows of each measurement."""
    height, width = images.shape[-2:]
    side = -(-min(height, width) // 7) if window is None else window
    step = (side + 1) // 2 if stride is None else stride
    for _ in range(refine + 1):
        yield Windows(side, step, (height, width))
        side, step = (side + 1) // 2, (step + 1) // 2


def _drops(
    model: nn.Module, images: Tensor, target: Target, scores: Tensor, windows: Windows, places: Tensor, cover: Tensor
) -> Tensor:
    """How much the target score (B,) of its image drops when a window is covered: (windows,)."""
    index = places[:, 0]
    covered = torch.where(windows.mask(places), cover, images[index])
    one_each = target[index] if isinstance(target, Tensor) else target
    return scores[index] - target_scores(model(covered), one_each, checked=True).float()
