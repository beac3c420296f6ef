"""Random looks at pictures, so that what is painted holds from everywhere."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def each_random(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Normal random numbers (N, *shape), each of a generator of its own: no picture's depend on those beside it."""
    return torch.stack(
        [torch.randn(*shape, generator=one, device=one.device, dtype=torch.float32) for one in generators]
    )


def random_windows(generators: Sequence[torch.Generator], crop: tuple[float, float], turn: float) -> Tensor:
    """A window (N, 4) of each generator, for `look`: share of the side, angle in radians, and place across and down.

    Each is of a share of the picture's area between those of `crop`, somewhere within it, turned by up to `turn` degrees.
    """
    numbers = torch.stack([torch.rand(4, generator=one, device=one.device, dtype=torch.float32) for one in generators])
    size, angle, across, down = numbers.unbind(dim=1)
    side = (crop[0] + (crop[1] - crop[0]) * size).sqrt()
    free = 1 - side
    return torch.stack(
        [side, (2 * angle - 1) * torch.pi * turn / 180, (2 * across - 1) * free, (2 * down - 1) * free], dim=1
    )


def window_matrices(windows: Tensor, size: tuple[int, int]) -> Tensor:
    """Windows (B, 4) of pictures of `size` (H, W) as matrices (B, 2, 3) for `nn.functional.affine_grid`.

    A window is a share of the picture's sides, an angle in radians, and where its middle is, across and down, in halves of
    the picture from the picture's middle: (1, 0, 0, 0) is all of it.
    """
    side, angle, across, down = windows.unbind(dim=1)
    height, width = size
    cosine, sine = side * angle.cos(), side * angle.sin()
    first = torch.stack([cosine, -sine * height / width, across], dim=1)
    second = torch.stack([sine * width / height, cosine, down], dim=1)
    return torch.stack([first, second], dim=1)


def look(pictures: Tensor, windows: Tensor) -> Tensor:
    """What windows (B, 4) or (1, 4) show of pictures (B, C, H, W), at the same size; mirrored beyond the border."""
    height, width = pictures.shape[2:]
    matrices = window_matrices(windows.to(pictures), (height, width)).expand(len(pictures), 2, 3)
    grid = nn.functional.affine_grid(matrices, list(pictures.shape), align_corners=False)
    return nn.functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
