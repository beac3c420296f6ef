"""Pictures as PNG bytes."""

import io

from PIL import Image

from .sink import Picture

LEVEL = 3  # of zlib compression: half the time of the default, 6, for an eighth more bytes


def encode_png(picture: Picture, level: int = LEVEL) -> bytes:
    """A picture (H, W, 3), or (H, W, 4) with transparency, as the bytes of a PNG file."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "PNG", compress_level=level)
    return encoded.getvalue()
