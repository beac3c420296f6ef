"""How much of a fit's time drawing takes, and how much it may take."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class Cost:
    """What drawing takes, of one callback."""

    passes: float = 0.0  #: image passes that a drawing after the first step is estimated to make
    extra: float = 0.0  #: those that one before the first step makes besides
    besides: float = 0.0  #: seconds that the first drawing is expected to take besides its passes
    priority: int = 0  #: the larger, the earlier its last drawing is kept free
    is_reserved: bool = False  #: the time of its last drawing is kept free
    seconds: float | None = None  #: of the last drawing
    drawn: float = -1.0  #: training images before the last drawing
    is_refused: bool = False  #: it was not allowed to draw since


@dataclass(eq=False)
class Budget:
    """The time of a fit, and what all callbacks of its trainer took of it together.

    The time of one more drawing of every callback with a budget is kept free until the end of training, so that the trained
    network is drawn; where not all fit, first that of the highest priority, then of the cheapest.
    """

    queue_seconds: Callable[[], float] = lambda: 0.0  #: seconds that the queue's work took from training
    started: float = field(default_factory=lambda: time.perf_counter())
    blocked: float = 0.0  #: seconds that training waited
    planned: float = math.inf  #: images that the fit will train on, counted in every epoch, where that is known
    trained: float = 0.0  #: of these so far
    loop: float = 0.0  #: seconds that recording took in the most expensive loop
    ended: bool = False  #: training is over, maybe earlier than planned
    pass_seconds: float | None = None  #: that an image takes forward and backward, once that is measured
    _start_passes: float = 0.0  #: image passes claimed before the first step
    _costs: dict[str, Cost] = field(default_factory=dict)  #: by callback, in order
    _drawings: int = 0
    _drawn_step: int = -1  #: of the last drawing
    _logged_step: int = -1  #: of the last share that was logged

    @property
    def spent(self) -> float:
        return self.blocked + self.queue_seconds()

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    @property
    def expected(self) -> float:
        """Seconds of the whole fit, with what was spent so far; those up to now where its end is not known."""
        if self.is_over or math.isinf(self.planned):
            return self.elapsed
        return max(self.elapsed, self._pace * self.planned + self.spent)

    @property
    def is_over(self) -> bool:
        """Whether the network is trained, and no later drawing is to come."""
        return self.ended or self.trained >= self.planned

    @property
    def is_last_call(self) -> bool:
        """Whether the network is trained, and who is refused now is asked again at the end of the fit."""
        return self.is_over and not self.ended

    @property
    def _pace(self) -> float:
        """Seconds of training for each image, with all that training does besides; before it, those of a pass alone."""
        return (self.elapsed - self.spent) / self.trained if self.trained else self.pass_seconds or 0.0

    @contextmanager
    def spending(self) -> Iterator[Callable[[], float]]:
        """Counts what is done inside. Gives a clock of its seconds so far."""
        start, queued = time.perf_counter(), self.queue_seconds()
        try:
            yield lambda: time.perf_counter() - start
        finally:
            # The queue's work makes this take longer, and is counted already.
            self.blocked += max(0.0, time.perf_counter() - start - (self.queue_seconds() - queued))

    def count_loop(self, seconds: float) -> None:
        """A loop was recorded. The time to record the last one is kept free."""
        self.blocked += seconds
        self.loop = max(self.loop, seconds)

    def reserve(self, name: str, passes: float, priority: int = 0, extra: float = 0.0, besides: float = 0.0) -> None:
        """Keep the time of a last drawing free for a callback, which is estimated to make so many image passes.

        A drawing before the first step makes `extra` ones more. The first takes `besides` seconds as well.
        """
        cost = self._costs.setdefault(name, Cost())
        cost.passes, cost.priority, cost.extra, cost.is_reserved = passes, priority, extra, True
        cost.besides = besides

    def allows(self, name: str, fraction: float | None, passes: float = 0.0) -> bool:
        """Whether all drawing stays within this fraction of the time, if this callback draws now.

        It is expected to cost what it did last time; before its first drawing, as many image passes as it is estimated to
        make, at the pace of training, and what it says or other drawings took beyond theirs. Before the first step training is
        expected to take as long as its image passes alone; at most half of the budget is spent then.
        """
        if fraction is None:
            return True
        if not self.trained:
            return self._allows_start(name, fraction, passes)
        own = self.seconds_of(self._costs.get(name, Cost(passes)))
        allowed = fraction * self.expected - self.spent - (0.0 if self.is_over else self.loop)
        kept = self._kept(name, allowed, self.seconds_of)
        if own + kept > allowed or (self.is_last_call and kept):  # what is more important comes first
            return False
        # Training may end at any time: then there is time for the most important.
        return self.spent + own + self._kept(name, allowed, self.seconds_of, 1) <= fraction * self.elapsed

    def _allows_start(self, name: str, fraction: float, passes: float) -> bool:
        """If there is time for the last drawings of all others that are not too large by themselves.

        In seconds, where a pass was timed; otherwise in passes, as if each took a second. Weights alone may be drawn.
        """
        if not passes:
            return True
        whole = fraction * self.planned * (self.pass_seconds or 1)
        spent = self.spent if self.pass_seconds else self._start_passes
        take = self.seconds_of if self.pass_seconds else lambda cost: cost.passes
        own = Cost(passes, besides=self._costs.get(name, Cost()).besides)
        kept = self._kept(name, math.inf, lambda cost: take(cost) if take(cost) <= whole else 0.0)
        return spent + take(own) <= min(0.5 * whole, whole - self.loop - kept)

    def seconds_of(self, cost: Cost) -> float:
        """What a drawing is expected to take."""
        rendering = self.queue_seconds() / self._drawings if self._drawings else 0.0
        if cost.seconds is not None:
            return rendering + max(0.0, cost.seconds - (0 if cost.drawn else cost.extra) * self._pace)
        drawn = [one for one in self._costs.values() if one.seconds is not None]
        beyond = [max(0.0, one.seconds - one.passes * self._pace) for one in drawn if one.seconds is not None]
        return rendering + cost.passes * self._pace + max(cost.besides, statistics.median(beyond) if beyond else 0.0)

    def _kept(self, name: str, free: float, take: Callable[[Cost], float], lowest: int = 0) -> float:
        """What is kept of `free` for the last drawings of the priority `lowest` and above.

        Of all callbacks; at the end, of those before this one.
        """
        kept = 0.0
        for other, cost in self._by_priority(take):
            if self.is_over and other == name:
                break
            is_done = self.is_over and cost.drawn == self.trained
            if cost.is_reserved and cost.priority >= lowest and not is_done and kept + take(cost) <= free:
                kept += take(cost)
        return kept

    def _by_priority(self, take: Callable[[Cost], float]) -> list[tuple[str, Cost]]:
        return sorted(self._costs.items(), key=lambda item: (-item[1].priority, take(item[1])))

    def too_large(self, fraction: float) -> dict[str, float]:
        """The callbacks whose last drawing does not fit, with its image passes, as far as is known before the first step."""
        free, found = fraction * self.planned, {}
        for name, cost in self._by_priority(lambda cost: cost.passes):
            if cost.passes <= free:
                free -= cost.passes
            else:
                found[name] = cost.passes
        return found

    def claim(self, passes: float) -> None:
        """A drawing is made now."""
        if not self.trained:
            self._start_passes += passes

    def refuse(self, name: str) -> None:
        self._costs.setdefault(name, Cost()).is_refused = True

    def record(self, name: str, step: int, seconds: float) -> None:
        cost = self._costs.setdefault(name, Cost())
        cost.seconds, cost.drawn, cost.is_refused = seconds, self.trained, False
        self._drawn_step, self._drawings = step, self._drawings + 1

    @property
    def waiting(self) -> list[str]:
        """The callbacks that were refused since their last drawing, in the order in which time is kept free for them."""
        return [name for name, cost in self._by_priority(self.seconds_of) if cost.is_refused]

    @property
    def has_drawn(self) -> bool:
        return any(cost.seconds is not None for cost in self._costs.values())

    @property
    def never_drawn(self) -> list[str]:
        return [name for name, cost in self._costs.items() if cost.is_refused and cost.seconds is None]

    def log_share(self, log: Callable[[int, float], None], step: float) -> bool:
        """Log the share spent up to the last drawing, once, when training is past its step. Returns whether it did."""
        is_new = self._logged_step < self._drawn_step < step
        if is_new:
            self._logged_step = self._drawn_step
            log(self._logged_step, self.spent / self.elapsed)
        return is_new

    def log_total(self, log: Callable[[int, float], None], step: int) -> None:
        """Log the share of the whole fit at its last step, once, if anything was done."""
        if self.spent or self.has_drawn:
            self._drawn_step = max(step, self._drawn_step)
            self.log_share(log, math.inf)
