"""The interface of a sink, one class that implements it per kind of logger; and pictures as PNG bytes."""

import io
from abc import abstractmethod
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]  #: (H, W, 3)
LEVEL = 3  # of zlib compression: half the time of the default, 6, for an eighth more bytes


class Sink(Protocol):
    """Writes to one logger. `image` is called in the worker thread, all else in the thread of the training.

    A new sink inherits from this class and implements `image` and `scalar`; the other methods do nothing by default.
    """

    def open(self) -> None:
        """Open files that `image` needs; called before each picture is queued."""
        return

    @abstractmethod
    def image(self, tag: str, picture: Picture, step: int) -> None:
        """Write a picture. Raises OSError if it cannot be written."""

    @abstractmethod
    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write a number. Raises OSError if it cannot be written."""

    def flush(self) -> None:
        """Return when all is on disk."""
        return

    @property
    def projector(self) -> Path | None:
        """The folder for runs of TensorBoard's Projector; None if this logger shows none."""
        return None


def encode_png(picture: Picture, level: int = LEVEL) -> bytes:
    """A picture (H, W, 3), or (H, W, 4) with transparency, as the bytes of a PNG file."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "PNG", compress_level=level)
    return encoded.getvalue()
