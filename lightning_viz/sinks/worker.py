"""Work done behind training's back, in order, none of it lost."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore, RLock

#: Held while a job runs. Python forks between jobs only: a child, such as a worker of a dataloader, inherits all locks as
#: they are, of imports for example, and not the thread that would let them go.
_JOB = RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_JOB.acquire, after_in_parent=_JOB.release, after_in_child=_JOB.release)


class Worker:
    """One thread behind a bounded queue. A full queue waits; nothing is dropped, also not when Python exits."""

    def __init__(self, capacity: int = 32) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lightning_viz")
        self._room = BoundedSemaphore(capacity)
        self._last: Future[None] | None = None
        self.seconds = 0.0  #: of the processor, for all jobs so far

    def submit(self, job: Callable[[], None]) -> None:
        """Queue `job`, which must not raise; waits while the queue is full."""
        self._room.acquire()
        try:
            self._last = self._thread.submit(self._do, job)
        except RuntimeError:  # Python is shutting down: do it here
            self._room.release()
            job()
            return
        self._last.add_done_callback(lambda _: self._room.release())

    def _do(self, job: Callable[[], None]) -> None:
        start = time.thread_time()
        with _JOB:
            job()
        self.seconds += time.thread_time() - start

    def flush(self) -> None:
        """Wait until all that was queued is done."""
        if self._last is not None:
            self._last.exception()
