"""The interface of a sink: one class that implements it per kind of logger."""

from abc import abstractmethod
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  #: (H, W, 3)


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
