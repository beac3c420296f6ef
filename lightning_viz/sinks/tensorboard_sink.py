"""Pictures and scalars to TensorBoard's event file, through the writer that the logger already has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .disk_space import check_disk_space
from .file_names import local_path
from .sink import Picture, Sink, encode_png


class TensorBoardSink(Sink):
    """Writes pictures and scalars to a `SummaryWriter`; its folder takes the Projector's runs."""

    def __init__(self, writer: Callable[[], Any]) -> None:
        """`writer` returns the `SummaryWriter`, and is called each time: a logger that was closed opens a new one."""
        self._writer = writer

    def image(self, tag: str, picture: Picture, step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary  # imported late: TensorBoard loads slowly

        writer, encoded = self._writer(), encode_png(picture)
        check_disk_space(writer.log_dir, len(encoded))
        height, width, _ = picture.shape
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded)
        # Not `add_image`: it converts all pixels to floats and encodes them more slowly.
        writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def open(self) -> None:
        """Reopen a closed writer: if the worker and the training opened it at the same time, there would be two files."""
        self._writer()._get_file_writer()

    def scalar(self, tag: str, value: float, step: int) -> None:
        writer = self._writer()
        check_disk_space(writer.log_dir, 0)
        writer.add_scalar(tag, value, step)

    def flush(self) -> None:
        self._writer().flush()

    @property
    def projector(self) -> Path | None:
        """The writer's folder; None if it is remote, since object stores cannot rename a run."""
        return local_path(self._writer().log_dir)
