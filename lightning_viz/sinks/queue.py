"""The queue between training and the loggers."""

from collections.abc import Callable, Sequence
from pathlib import Path

from .projector import ProjectorSink
from .room import check_room
from .sink import Picture, Sink
from .snapshot import Snapshot
from .worker import Worker


class Queue:
    """Pictures and embeddings for some sinks: painted once, encoded and written, behind training's back, in order."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._worker = Worker()

    def image(self, tag: str, step: int, paint: Callable[[], Picture], failed: Callable[[Exception], None]) -> None:
        """Queue the picture that `paint` returns, (H, W, 3). An error in it goes to `failed`, in the worker's thread."""

        def job() -> None:
            try:
                picture = paint()
                for sink in self._sinks:
                    sink.image(tag, picture, step)
            except Exception as error:
                failed(error)

        for sink in self._sinks:
            sink.open()
        self._worker.submit(job)

    def embedding(
        self,
        name: str,
        make: Callable[[], Snapshot],
        max_snapshots: int,
        failed: Callable[[Exception], None],
    ) -> None:
        """Queue the snapshot that `make` returns, for the Projector's run of this name in the first such place."""

        def job() -> None:
            try:
                if (folder := self.projector) is not None:
                    snapshot = make()
                    check_room(folder, snapshot.nbytes)
                    ProjectorSink(folder, name, max_snapshots).write(snapshot)
            except Exception as error:
                failed(error)

        self._worker.submit(job)

    def scalar(self, tag: str, step: int, value: float) -> None:
        for sink in self._sinks:
            sink.scalar(tag, value, step)

    @property
    def seconds(self) -> float:
        """Seconds of the processor that painting, encoding and writing took so far."""
        return self._worker.seconds

    @property
    def projector(self) -> Path | None:
        """Where embeddings go; None if they go nowhere."""
        return next((folder for sink in self._sinks if (folder := sink.projector) is not None), None)

    def flush(self) -> None:
        """Return when all that was queued is on disk."""
        self._worker.flush()
        for sink in self._sinks:
            sink.flush()
