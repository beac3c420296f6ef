"""MLflow, through Lightning's MLFlowLogger."""

import re
from typing import Any

from PIL import Image

from .sink import Picture

#: What MLflow takes in no name.
_UNKNOWN = re.compile(r"[^\w\-./ ]", re.ASCII)


class MLFlowSink:
    """Pictures with their steps, and scalars, in the logger's run."""

    projector = None

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def open(self) -> None: ...

    def image(self, tag: str, picture: Picture, step: int) -> None:
        client, run = self._logger.experiment, self._logger.run_id
        client.log_image(run, Image.fromarray(picture), key=_UNKNOWN.sub("_", tag), step=step, synchronous=True)

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._logger.log_metrics({_UNKNOWN.sub("_", tag): value}, step)

    def flush(self) -> None:
        """MLflow's client returns when it has written."""
