"""Random crops and rotations of images, so that a synthesised image maximises the score in all of them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def normal_noise(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Normal random numbers (N, *shape), one generator per image: an image's do not depend on the rest of the batch."""
    return torch.stack(
        [torch.randn(*shape, generator=one, device=one.device, dtype=torch.float32) for one in generators]
    )


def random_views(generators: Sequence[torch.Generator], crop: tuple[float, float], turn: float) -> Tensor:
    """One random view per generator, (N, 4), as `view_matrices` describes them.

    Each covers a fraction between those of `crop` of the image's area, lies inside the image, and is rotated by up to
    `turn` degrees.
    """
    numbers = torch.stack([torch.rand(4, generator=one, device=one.device, dtype=torch.float32) for one in generators])
    size, angle, x, y = numbers.unbind(dim=1)
    side = (crop[0] + (crop[1] - crop[0]) * size).sqrt()
    free = 1 - side
    return torch.stack([side, (2 * angle - 1) * torch.pi * turn / 180, (2 * x - 1) * free, (2 * y - 1) * free], dim=1)


def view_matrices(views: Tensor, size: tuple[int, int]) -> Tensor:
    """Views (B, 4) of images of `size` (H, W) as matrices (B, 2, 3) for `nn.functional.affine_grid`.

    A view is its side as a fraction of the image's, its angle in radians, and the offset (x, y) of its centre from the
    image's centre, in halves of the image's sides: (1, 0, 0, 0) is the whole image.
    """
    side, angle, x, y = views.unbind(dim=1)
    height, width = size
    cosine, sine = side * angle.cos(), side * angle.sin()
    first = torch.stack([cosine, -sine * height / width, x], dim=1)
    second = torch.stack([sine * width / height, cosine, y], dim=1)
    return torch.stack([first, second], dim=1)


def sample_views(images: Tensor, views: Tensor) -> Tensor:
    """Views (B, 4) or (1, 4) of images (B, C, H, W), resized to the same size; mirrored beyond the border."""
    height, width = images.shape[2:]
    matrices = view_matrices(views.to(images), (height, width)).expand(len(images), 2, 3)
    grid = nn.functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
