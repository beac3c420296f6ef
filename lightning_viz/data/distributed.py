"""Exchange between the processes of a run. Every process must join each call."""

from typing import Any

from torch import distributed


def world_size() -> int:
    """The number of processes."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather_to_first(value: Any) -> list[Any]:
    """In the first process the values of all processes, in the others an empty list."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size() if distributed.get_rank() == 0 else None
    distributed.gather_object(value, values)
    return values or []


def gather_to_all(value: Any) -> list[Any]:
    """In every process the values, a few bytes each, of all processes."""
    values = [value] * world_size()
    if len(values) > 1:
        distributed.all_gather_object(values, value)
    return values
