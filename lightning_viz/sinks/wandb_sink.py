"""Pictures and scalars to Weights & Biases, through Lightning's WandbLogger."""

from typing import Any

from PIL import Image

from .sink import Picture, Sink


class WandbSink(Sink):
    """Writes pictures and scalars as the logger writes its own, with the step as `trainer/global_step`; wandb's own process uploads."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def image(self, tag: str, picture: Picture, step: int) -> None:
        self._logger.log_image(tag, [Image.fromarray(picture)], step)

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._logger.log_metrics({tag: value}, step)
