"""How much of a fit's time drawing takes, and how much it may."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class Budget:
    """The time of a fit, and what the callbacks of its trainer took of it, all together.

    A moment is a step at which something is due. All of it is drawn, or nothing is: so pictures of different callbacks
    stay comparable, and a dear one does not wait for ever behind cheap ones.
    """

    behind: Callable[[], float] = lambda: 0.0  #: seconds that the queue's work took from training
    started: float = field(default_factory=lambda: time.perf_counter())
    blocked: float = 0.0  #: seconds that training waited
    _moment: int = -1  #: the latest
    _before: float = 0.0  #: what was spent before it
    _cost: float = 0.0  #: of the last moment that was drawn
    _drawn: bool = False  #: whether this one is
    _told: bool = True  #: whether the share after it was logged

    @property
    def spent(self) -> float:
        """Seconds."""
        return self.blocked + self.behind()

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return time.perf_counter() - self.started

    @contextmanager
    def spending(self) -> Iterator[None]:
        """What is done inside is paid for here."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.blocked += time.perf_counter() - start

    def allows(self, step: int, share: float | None) -> bool:
        """Whether to draw at this step, so that no more than `share` is spent if it costs what the last moment did.

        The first moment is always drawn.
        """
        if step != self._moment:
            if self._drawn:
                self._cost = self.spent - self._before
            self._moment, self._before, self._drawn = step, self.spent, False
        allowed = share is None or self._cost == 0 or self._before + self._cost <= share * self.elapsed
        self._drawn, self._told = self._drawn or allowed, self._told and not allowed
        return allowed

    def tell(self, log: Callable[[int, float], None], step: float = float("inf")) -> None:
        """Log the step of the last moment and the share that was spent until its end, once, if it is over at this step."""
        if not self._told and self._moment < step:
            self._told = True
            log(self._moment, self.spent / self.elapsed)
