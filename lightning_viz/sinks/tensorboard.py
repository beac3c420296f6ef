"""TensorBoard's event file, through the writer that the logger already has."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .projector import ProjectorSink
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
                self._writer().add_image(tag, paint(), step, dataformats="HWC")
            except Exception as error:
                failed(error)

        # A closed writer is opened here: if the worker and training did it at once, each would open a file of its own.
        self._writer()._get_file_writer()  # type: ignore[no-untyped-call]
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
                ProjectorSink(self._writer().log_dir, name, max_snapshots).write(make())
            except Exception as error:
                failed(error)

        self._worker.submit(job)

    def scalar(self, tag: str, step: int, value: float) -> None:
        self._writer().add_scalar(tag, value, step)

    def flush(self) -> None:
        """Return when all that was queued is on disk."""
        self._worker.flush()
        self._writer().flush()
