"""What happens where drawing fails: one warning for all callbacks that share its cause, and the run goes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from lightning_viz.sinks.disk_space import DiskError

from .lightning_compat import rank_zero_warn


class ErrorReporter:
    """Warns once for each message, and once for each cause whichever callback meets it first."""

    def __init__(self, warn: Callable[[str], None] = rank_zero_warn) -> None:
        self._warn = warn
        self._seen: set[str] = set()
        self._causes: set[str] = set()  #: of failures in this run

    def begin_run(self) -> None:
        """What failed before may fail again, and is warned of again."""
        self._causes.clear()

    def warn(self, message: str, cause: str | None = None) -> None:
        """Warn, unless this message, or another one of the same cause, was given before."""
        if (key := cause or message) not in self._seen:
            self._seen.add(key)
            self._warn(message)

    def callback_failed(self, name: str, error: Exception) -> None:
        """A callback is disabled for the rest of the run: warn, unless another one had the same cause."""
        if isinstance(error, DiskError):
            return self.disk_failed(error)
        cause = f"{type(error).__name__}: {error}"
        key = "memory" if isinstance(error, torch.OutOfMemoryError) else cause  # whatever the number of pictures
        if key not in self._causes:
            self._causes.add(key)
            self._warn(
                f"{name} failed: it is disabled for the rest of this run, as is every callback of lightning_viz with the "
                f"same cause; training goes on. Cause: {cause} (on_error='raise' stops the run and shows where)"
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around what is written at once: a disk that is full or gone is warned of, and stops no run."""
        try:
            yield
        except Exception as error:
            self.disk_failed(error)

    def disk_failed(self, error: Exception) -> None:
        """Pictures cannot be written."""
        if isinstance(error, DiskError):
            self.warn(f"lightning_viz is disabled for the rest of this run; training goes on. Cause: {error}")
        else:
            self.warn(f"lightning_viz could not write all pictures: {type(error).__name__}: {error}")
