"""How much of a fit's time drawing takes, and how much it may take."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class Budget:
    """The time of a fit, and what all callbacks of its trainer took of it together."""

    queue_seconds: Callable[[], float] = lambda: 0.0  #: seconds that the queue's work took from training
    started: float = field(default_factory=lambda: time.perf_counter())
    blocked: float = 0.0  #: seconds that training waited
    planned: float = math.inf  #: images that the fit will train on, counted in every epoch, where that is known
    trained: float = 0.0  #: of these so far
    pass_seconds: float | None = None  #: that an image takes forward and backward, once that is measured
    _start_passes: float = 0.0  #: image passes claimed before the first step
    _refused: dict[str, None] = field(default_factory=dict)  #: callbacks that were once refused, in order
    _costs: dict[str, float] = field(default_factory=dict)  #: seconds of the last drawing, by callback
    _drawn_step: int = -1  #: of the last drawing
    _logged_step: int = -1  #: of the last share that was logged

    @property
    def spent(self) -> float:
        return self.blocked + self.queue_seconds()

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    @contextmanager
    def spending(self) -> Iterator[Callable[[], float]]:
        """Counts what is done inside. Gives a clock of its seconds so far."""
        start, queued = time.perf_counter(), self.queue_seconds()
        try:
            yield lambda: time.perf_counter() - start
        finally:
            # The queue's work makes this take longer, and is counted already.
            self.blocked += max(0.0, time.perf_counter() - start - (self.queue_seconds() - queued))

    def allows(self, name: str, fraction: float | None, passes: float = 0.0) -> bool:
        """Whether all drawing stays within this fraction of the time, if this callback draws now.

        It is expected to cost what it did last time. Before its first drawing, `passes` counts: image passes through the
        network, against those of training; before the first step, against those that training will make.
        """
        if fraction is None:
            return True
        if not self.trained:
            return self._start_passes + passes <= 0.5 * fraction * self.planned  # at most half before the first step
        cost = self._costs.get(name, passes * (self.elapsed - self.spent) / self.trained)
        return self.spent + cost <= fraction * self.elapsed

    def claim(self, passes: float) -> None:
        """A drawing is made now."""
        if not self.trained:
            self._start_passes += passes

    def refuse(self, name: str) -> None:
        self._refused[name] = None

    def record(self, name: str, step: int, seconds: float) -> None:
        self._costs[name], self._drawn_step = seconds, step

    @property
    def never_drawn(self) -> list[str]:
        return [name for name in self._refused if name not in self._costs]

    def log_share(self, log: Callable[[int, float], None], step: float) -> None:
        """Log the share spent up to the last drawing, once, when training is past its step."""
        if self._logged_step < self._drawn_step < step:
            self._logged_step = self._drawn_step
            log(self._logged_step, self.spent / self.elapsed)

    def log_total(self, log: Callable[[int, float], None], step: int) -> None:
        """Log the share of the whole fit at its last step, once, if anything was drawn."""
        if self._costs:
            self._drawn_step = max(step, self._drawn_step)
            self.log_share(log, math.inf)
