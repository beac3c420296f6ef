"""How much of a fit's time drawing takes, and how much it may."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

START = 0.5  # of what drawing may take of a fit: what it may take at the start


@dataclass(eq=False)
class Budget:
    """The time of a fit, and what the callbacks of its trainer took of it, all together."""

    behind: Callable[[], float] = lambda: 0.0  #: seconds that the queue's work took from training
    started: float = field(default_factory=lambda: time.perf_counter())
    blocked: float = 0.0  #: seconds that training waited
    planned: float = math.inf  #: pictures that the fit will train on, each time anew, where that is known
    trained: float = 0.0  #: of them so far
    _begun: float = 0.0  #: pictures that went through the network for the drawings before the first step
    _refused: dict[str, None] = field(default_factory=dict)  #: callbacks that were not allowed to draw, in order
    _costs: dict[str, float] = field(default_factory=dict)  #: seconds of the last drawing, by callback
    _drawn: int = -1  #: the step of the last drawing
    _told: int = -1  #: the step of the last share that was logged

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
        start, behind = time.perf_counter(), self.behind()
        try:
            yield lambda: time.perf_counter() - start
        finally:
            # What the queue does meanwhile makes this take longer, and is paid for so.
            self.blocked += max(0.0, time.perf_counter() - start - (self.behind() - behind))

    def allows(self, name: str, share: float | None, passes: float = 0.0) -> bool:
        """Whether all drawing stays within this share of the time, if that of this callback costs what it did the last time.

        Of the first one is known how many pictures go through the network for it; and before the first step, when no time
        has passed, how many will in training.
        """
        if share is None:
            return True
        if not self.trained:
            room = self._begun + passes <= START * share * self.planned
            self._begun += passes * room
        else:
            cost = self._costs.get(name, passes * (self.elapsed - self.spent) / self.trained)
            room = self.spent + cost <= share * self.elapsed
        if not room:
            self._refused[name] = None
        return room

    def drew(self, name: str, step: int, seconds: float) -> None:
        """What a drawing of a callback took."""
        self._costs[name], self._drawn = seconds, step

    @property
    def left_out(self) -> list[str]:
        """The callbacks that were never allowed to draw."""
        return [name for name in self._refused if name not in self._costs]

    def tell(self, log: Callable[[int, float], None], step: float) -> None:
        """Log the step of the last drawing and the share that was spent by then, once, if that is over at this step."""
        if self._told < self._drawn < step:
            self._told = self._drawn
            log(self._told, self.spent / self.elapsed)

    def tell_all(self, log: Callable[[int, float], None], step: int) -> None:
        """Log the last step and the share of the whole fit, once, if anything was drawn in it."""
        if self._costs:
            self._drawn = max(step, self._drawn)
            self.tell(log, math.inf)
