"""Interleaved timings in one process: medians, quartiles, and ratios per round."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Times:
    """Seconds of each round, and on a GPU the peak memory of a round beyond what was already allocated."""

    seconds: list[float]
    mebibytes: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def over(self, other: "Times") -> "Times":
        """The ratio in each round: what slows a round down slows both of them."""
        return Times([one / base for one, base in zip(self.seconds, other.seconds, strict=True)])

    @property
    def spread(self) -> tuple[float, float]:
        """The first and the third quartile."""
        first, _, third = statistics.quantiles(self.seconds, n=4)
        return first, third


def by_turns(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    device: str = "cpu",
    settle: Callable[[], object] = lambda: None,
) -> dict[str, Times]:
    """Time the runs in alternating order, after a warm-up round; `settle` is called after each run and is not timed."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    memory = dict.fromkeys(runs, 0.0)
    names = list(runs)
    for turn in range(rounds + 1):
        for name in names if turn % 2 else reversed(names):
            spent, taken = _time(runs[name], device)
            settle()
            if turn:
                seconds[name].append(spent)
                memory[name] = max(memory[name], taken)
    return {name: Times(found, None if device == "cpu" else memory[name]) for name, found in seconds.items()}


def _time(run: Callable[[], object], device: str) -> tuple[float, float]:
    """The seconds, and the MiB of CUDA memory."""
    if device == "cpu":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start, 0.0
    before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    there = torch.cuda.memory_allocated()
    before.record()
    run()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after) / 1000, (torch.cuda.max_memory_allocated() - there) / 2**20
