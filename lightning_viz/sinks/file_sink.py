"""Pictures as PNG files, for loggers whose log is files, such as Lightning's CSVLogger."""

from collections.abc import Callable

import fsspec

from .file_names import safe_name
from .sink import Picture, Sink, encode_png


class FileSink(Sink):
    """Writes `<folder>/pictures/<tag>/<step>.png` on any file system that fsspec supports, at once; scalars go to the logger."""

    def __init__(self, folder: Callable[[], str], log_metrics: Callable[[dict[str, float], int], None]) -> None:
        self._folder = folder
        self._log_metrics = log_metrics

    def image(self, tag: str, picture: Picture, step: int) -> None:
        system, folder = fsspec.url_to_fs(self._folder())
        folder = "/".join([folder, "pictures", *map(safe_name, tag.split("/"))])
        system.makedirs(folder, exist_ok=True)
        name = f"{folder}/{step:08d}.png"
        system.pipe_file(f"{name}.part", encode_png(picture))  # a crash leaves no half-written PNG
        system.mv(f"{name}.part", name)

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._log_metrics({tag: value}, step)
