"""The queue of pictures and embeddings from the training to the sinks."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .disk_space import check_disk_space
from .logger_sinks import sinks_of
from .projector_sink import ProjectorSink
from .sink import Picture, Sink
from .snapshot import Snapshot
from .worker_thread import WorkerThread


class SinkQueue:
    """Renders each picture once, in the worker thread, and writes it to all sinks, in the order of the calls."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._worker = WorkerThread()

    def image(self, tag: str, step: int, render: Callable[[], Picture], failed: Callable[[Exception], None]) -> None:
        """Queue the picture that `render` returns, (H, W, 3). `failed` gets an error of it, in the worker thread."""

        def write() -> None:
            picture = render()
            for sink in self._sinks:
                sink.image(tag, picture, step)

        for sink in self._sinks:
            sink.open()
        self._submit(write, failed)

    def embedding(
        self, name: str, make: Callable[[], Snapshot], max_snapshots: int, failed: Callable[[Exception], None]
    ) -> None:
        """Queue the snapshot that `make` returns, for the Projector's run `name`, as `image` does.

        It is written for the first sink that has a folder for it.
        """

        def write() -> None:
            if (folder := self.projector) is not None:
                snapshot = make()
                check_disk_space(folder, snapshot.nbytes)
                ProjectorSink(folder, name, max_snapshots).write(snapshot)

        self._submit(write, failed)

    def _submit(self, write: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        def job() -> None:
            try:
                write()
            except Exception as error:
                failed(error)

        self._worker.submit(job)

    def scalar(self, tag: str, step: int, value: float) -> None:
        """Write a number to all sinks, at once: numbers are not queued."""
        for sink in self._sinks:
            sink.scalar(tag, value, step)

    @property
    def projector(self) -> Path | None:
        """The folder for the Projector's runs, of the first sink that has one."""
        return next((folder for sink in self._sinks if (folder := sink.projector) is not None), None)

    @property
    def seconds(self) -> float:
        """CPU time of the worker thread so far."""
        return self._worker.seconds

    def flush(self) -> None:
        """Return when all that was queued is on disk."""
        self._worker.flush()
        for sink in self._sinks:
            sink.flush()


class SinkQueues:
    """One queue for each set of loggers: a learning-rate finder swaps in a logger that takes nothing."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[SinkQueue | None, list[Any]]] = {}

    def of(self, loggers: Sequence[Any]) -> SinkQueue | None:
        """The queue to these loggers, always the same one; None where none of them shows pictures."""
        key = tuple(map(id, loggers))
        if key not in self._known:
            sinks = sinks_of(loggers)
            self._known[key] = (SinkQueue(sinks) if sinks else None), list(loggers)  # which keep their ids
        return self._known[key][0]

    def __iter__(self) -> Iterator[SinkQueue]:
        return (queue for queue, _ in self._known.values() if queue is not None)

    @property
    def seconds(self) -> float:
        """Seconds that their work so far takes from a training that keeps all processors busy."""
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return sum(queue.seconds for queue in self) / processors
