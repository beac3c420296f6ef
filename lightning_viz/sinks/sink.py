"""What a logger's sink can do."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: (H, W, 3)
Picture = NDArray[np.uint8]


class Sink(Protocol):
    """Writes to one logger. Pictures come from a thread of their own, all else from the training's."""

    def open(self) -> None:
        """Called before a picture is queued."""

    def image(self, tag: str, picture: Picture, step: int) -> None: ...

    def scalar(self, tag: str, value: float, step: int) -> None: ...

    def flush(self) -> None:
        """Return when all is on disk."""

    @property
    def projector(self) -> Path | None:
        """Where the Projector's runs go; None if it has no such place."""
