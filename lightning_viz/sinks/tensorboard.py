"""TensorBoard's event file, through the writer that the logger already has."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .names import local
from .png import png
from .room import check_room
from .sink import Picture

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardSink:
    """Pictures and scalars to a `SummaryWriter`, the Projector's runs to its folder."""

    def __init__(self, writer: Callable[[], "SummaryWriter"]) -> None:
        """`writer` is asked each time: a logger that was closed opens a new one."""
        self._writer = writer

    def image(self, tag: str, picture: Picture, step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary  # here, as TensorBoard takes its time to load

        writer, encoded = self._writer(), png(picture)
        check_room(writer.log_dir, len(encoded))
        height, width, _ = picture.shape
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded)
        # As `add_image` does, which would make floats of all pixels first, and take its time to encode them.
        writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)  # type: ignore[no-untyped-call]

    def open(self) -> None:
        # A writer that was closed: if the worker and training opened it at once, each would open a file of its own.
        self._writer()._get_file_writer()  # type: ignore[no-untyped-call]

    def scalar(self, tag: str, value: float, step: int) -> None:
        writer = self._writer()
        check_room(writer.log_dir, 0)
        writer.add_scalar(tag, value, step)

    def flush(self) -> None:
        self._writer().flush()

    @property
    def projector(self) -> Path | None:
        """The writer's folder, if it is on this machine: a run is renamed there, which object stores cannot do."""
        return local(self._writer().log_dir)
