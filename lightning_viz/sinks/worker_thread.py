"""The thread that renders, encodes and writes while the training goes on."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore, RLock

#: Held while a job runs, so that Python forks between jobs only. A forked child, such as a dataloader worker, inherits all
#: locks in their current state (those of imports, for example) but not the thread that would release them.
_JOB = RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_JOB.acquire, after_in_parent=_JOB.release, after_in_child=_JOB.release)


class WorkerThread:
    """One thread behind a bounded queue. If it is full, `submit` waits; no job is dropped, even when Python exits."""

    def __init__(self, capacity: int = 32) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lightning_viz")
        self._free_slots = BoundedSemaphore(capacity)
        self._last: Future[None] | None = None
        self.seconds = 0.0  #: CPU time of all jobs so far

    def submit(self, job: Callable[[], None]) -> None:
        """Queue `job`, which must not raise; waits while the queue is full."""
        self._free_slots.acquire()
        try:
            self._last = self._executor.submit(self._do, job)
        except RuntimeError:  # Python is shutting down and starts no job: do it in this thread
            self._free_slots.release()
            job()
            return
        self._last.add_done_callback(lambda _: self._free_slots.release())

    def _do(self, job: Callable[[], None]) -> None:
        start = time.thread_time()
        with _JOB:
            job()
        self.seconds += time.thread_time() - start

    def flush(self) -> None:
        """Wait until all queued jobs are done."""
        if self._last is not None:
            self._last.exception()
