"""Images made small, for thumbnails and for comparisons pixel by pixel."""

from torch import Tensor, nn


def downscale(images: Tensor, side: int) -> Tensor:
    """Images (N, C, H, W), or maps (N, H, W), resized to fit into `side` × `side` pixels, float32, antialiased.

    The aspect ratio stays. Images that fit already are returned unchanged.
    """
    factor = side / max(images.shape[-2:])
    if factor >= 1:
        return images
    size = [max(1, round(length * factor)) for length in images.shape[-2:]]
    planes = images.float().reshape(len(images), -1, *images.shape[-2:])
    smaller = nn.functional.interpolate(planes, size, mode="bilinear", antialias=True, align_corners=False)
    return smaller.reshape(*images.shape[:-2], *size)
