"""What the processes of a run tell each other."""

from typing import Any

from torch import distributed

from lightning_viz.runtime.lightning_compat import pl

#: By name: each Lightning has classes of its own. DeepSpeed cuts the weights up in one of its stages, and is left alone in
#: all of them: none could be tried.
_SHARDING = {"FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy", "XLAFSDPStrategy"}


def is_sharded(trainer: pl.Trainer) -> bool:
    """Whether each process has a part of the weights only, so that a forward pass in one of them waits for the others."""
    return any(kind.__name__ in _SHARDING for kind in type(trainer.strategy).__mro__)


def processes() -> int:
    """How many there are."""
    started = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if started else 1


def gathered(share: Any) -> list[Any]:
    """The shares of all processes, in the first; none in the others. Every process joins."""
    if processes() == 1:
        return [share]
    shares = [None] * processes() if distributed.get_rank() == 0 else None
    distributed.gather_object(share, shares)
    return shares or []


def known_to_all(word: Any) -> list[Any]:
    """What each process says, a few bytes, in all of them. Every process joins."""
    words = [word] * processes()
    if len(words) > 1:
        distributed.all_gather_object(words, word)
    return words
