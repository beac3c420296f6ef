"""How much of a fit's time drawing takes, and how much it may."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class Budget:
    """The time of a fit, and what the callbacks of its trainer took of it, all together."""

    behind: Callable[[], float] = lambda: 0.0  #: seconds that the queue's work took from training
    started: float = field(default_factory=lambda: time.perf_counter())
    blocked: float = 0.0  #: seconds that training waited
    _costs: dict[str, float] = field(default_factory=dict)  #: seconds of the last drawing, by callback
    _drawn: int | None = None  #: the step of the last drawing, until the share is logged

    @property
    def spent(self) -> float:
        """Seconds."""
        return self.blocked + self.behind()

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return time.perf_counter() - self.started

    @contextmanager
    def spending(self) -> Iterator[Callable[[], float]]:
        """What is done inside is paid for here. Gives a clock of its seconds so far."""
        start = time.perf_counter()
        try:
            yield lambda: time.perf_counter() - start
        finally:
            self.blocked += time.perf_counter() - start

    def allows(self, name: str, share: float | None) -> bool:
        """Whether all drawing stays within this share of the time, if that of this callback costs what it did the last time.

        The first one always may.
        """
        cost = self._costs.get(name)
        return share is None or cost is None or self.spent + cost <= share * self.elapsed

    def drew(self, name: str, step: int, seconds: float) -> None:
        """What a drawing of a callback took."""
        self._costs[name], self._drawn = seconds, step

    def tell(self, log: Callable[[int, float], None], step: float = float("inf")) -> None:
        """Log the step of the last drawing and the share that was spent by then, once, if that is over at this step."""
        if self._drawn is not None and self._drawn < step:
            drawn, self._drawn = self._drawn, None
            log(drawn, self.spent / self.elapsed)
