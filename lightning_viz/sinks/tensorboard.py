"""TensorBoard's event file, through the writer that the logger already has."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .projector import ProjectorSink
from .room import check_room
from .snapshot import Snapshot
from .worker import Worker

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardSink:
    """Pictures and scalars to a `SummaryWriter`, painted, encoded and written by a worker thread."""

    def __init__(self, writer: Callable[[], "SummaryWriter"]) -> None:
        """`writer` is asked each time: a logger that was closed opens a new one."""
        self._writer = writer
        self._worker = Worker()

    def image(
        self, tag: str, step: int, paint: Callable[[], NDArray[np.uint8]], failed: Callable[[Exception], None]
    ) -> None:
        """Queue the picture that `paint` returns, (H, W, 3). An error in it goes to `failed`, in the worker's thread."""

        def job() -> None:
            try:
                picture, writer = paint(), self._writer()
                check_room(writer.log_dir, picture.nbytes)  # more than the PNG
                writer.add_image(tag, picture, step, dataformats="HWC")
            except Exception as error:
                failed(error)

        self._worker.submit(job)

    def embedding(
        self,
        name: str,
        make: Callable[[], Snapshot],
        max_snapshots: int,
        failed: Callable[[Exception], None],
    ) -> None:
        """Queue the snapshot that `make` returns, for the Projector's run of this name in the writer's folder."""

        def job() -> None:
            try:
                snapshot, folder = make(), self._writer().log_dir
                check_room(folder, snapshot.nbytes)
                ProjectorSink(folder, name, max_snapshots).write(snapshot)
            except Exception as error:
                failed(error)

        self._worker.submit(job)

    def scalar(self, tag: str, step: int, value: float) -> None:
        writer = self._writer()
        check_room(writer.log_dir, 0)
        writer.add_scalar(tag, value, step)

    def flush(self) -> None:
        """Return when all that was queued is on disk."""
        self._worker.flush()
        self._writer().flush()
