"""Pictures and scalars to Weights & Biases, through Lightning's WandbLogger."""

from typing import Any

from PIL import Image

from .sink import Picture


class WandbSink:
    """Writes pictures and scalars as the logger writes its own, with the step as `trainer/global_step`."""

    projector = None

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def open(self) -> None:
        """Nothing to open."""

    def image(self, tag: str, picture: Picture, step: int) -> None:
        self._logger.log_image(tag, [Image.fromarray(picture)], step)

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._logger.log_metrics({tag: value}, step)

    def flush(self) -> None:
        """Nothing to flush: wandb's own process uploads, and finishes with the run."""
