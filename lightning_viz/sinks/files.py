"""Pictures as files, for loggers that are files themselves."""

from collections.abc import Callable

import fsspec

from .names import plain_name
from .png import png
from .sink import Picture


class FileSink:
    """`<folder>/pictures/<tag>/<step>.png`, on any file system that fsspec knows; scalars as the logger logs its own."""

    projector = None

    def __init__(self, folder: Callable[[], str], log_metrics: Callable[[dict[str, float], int], None]) -> None:
        self._folder = folder
        self._log_metrics = log_metrics

    def open(self) -> None: ...

    def image(self, tag: str, picture: Picture, step: int) -> None:
        system, folder = fsspec.url_to_fs(self._folder())
        folder = "/".join([folder, "pictures", *map(plain_name, tag.split("/"))])
        system.makedirs(folder, exist_ok=True)
        name = f"{folder}/{step:08d}.png"
        system.pipe_file(f"{name}.part", png(picture))  # all of it or nothing
        system.mv(f"{name}.part", name)

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._log_metrics({tag: value}, step)

    def flush(self) -> None:
        """Files are there as soon as they are written."""
