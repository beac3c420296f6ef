"""Thumbnails on one sheet, as TensorBoard's Projector wants them: a square grid of squares."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: The Projector refuses larger sprites, in pixels a side.
LARGEST_SPRITE = 8192

#: Larger thumbnails are shrunk, in pixels a side: the Projector draws them smaller than that.
LARGEST_THUMBNAIL = 64


def grid(count: int, height: int, width: int) -> tuple[int, int]:
    """Thumbnails in a row, which is also the number of rows, and the side of one in pixels."""
    columns = math.isqrt(count - 1) + 1
    return columns, min(LARGEST_THUMBNAIL, LARGEST_SPRITE // columns, max(height, width))


def sprite(thumbnails: NDArray[np.uint8]) -> bytes:
    """A PNG of all thumbnails (N, h, w, 3), row by row, each shrunk to fit its square; what is left is transparent."""
    count, height, width, _ = thumbnails.shape
    columns, side = grid(count, height, width)
    shrink = side / max(height, width)
    rows, across = max(1, round(height * shrink)), max(1, round(width * shrink))
    top, left = (side - rows) // 2, (side - across) // 2
    sheet = np.zeros((columns, side, columns, side, 4), np.uint8)
    for number, thumbnail in enumerate(thumbnails):
        if shrink < 1:
            thumbnail = np.asarray(Image.fromarray(thumbnail).resize((across, rows), Image.Resampling.LANCZOS))
        square = sheet[number // columns, :, number % columns]
        square[top : top + rows, left : left + across, :3] = thumbnail
        square[top : top + rows, left : left + across, 3] = 255
    encoded = io.BytesIO()
    picture = Image.fromarray(sheet.reshape(columns * side, columns * side, 4))
    picture.save(encoded, "png", compress_level=1)  # three times as fast as the default, a tenth larger
    return encoded.getvalue()
