"""Pictures and scalars to MLflow, through Lightning's MLFlowLogger."""

import re
from typing import Any

from PIL import Image

from .sink import Picture, Sink

_FORBIDDEN = re.compile(r"[^\w\-./ ]", re.ASCII)  #: characters that MLflow allows in no name


class MLFlowSink(Sink):
    """Writes pictures with their steps, and scalars, to the logger's run; the client returns after it has written."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def image(self, tag: str, picture: Picture, step: int) -> None:
        client, run = self._logger.experiment, self._logger.run_id
        client.log_image(run, Image.fromarray(picture), key=_FORBIDDEN.sub("_", tag), step=step, synchronous=True)

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._logger.log_metrics({_FORBIDDEN.sub("_", tag): value}, step)
