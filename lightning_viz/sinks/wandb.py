"""Weights & Biases, through Lightning's WandbLogger."""

from typing import Any

from PIL import Image

from .sink import Picture


class WandbSink:
    """Pictures and scalars where the logger logs its own, with the step as `trainer/global_step`."""

    projector = None

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def open(self) -> None: ...

    def image(self, tag: str, picture: Picture, step: int) -> None:
        self._logger.log_image(tag, [Image.fromarray(picture)], step)

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._logger.log_metrics({tag: value}, step)

    def flush(self) -> None:
        """wandb has a process of its own, which finishes when the run does."""
