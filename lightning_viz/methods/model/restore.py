"""Putting back the saved state of an object, by its kind. What has not changed is left alone."""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from operator import is_
from typing import Any

import torch
from torch import Tensor


def memory_of(tensor: Tensor) -> tuple[Any, ...]:
    """Where the values of a tensor are, and how they are read."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def dict_type(value: dict[Any, Any]) -> Any:
    """Whose methods change the dict, and do nothing else that a subclass may do."""
    return OrderedDict if isinstance(value, OrderedDict) else dict


def _same(some: Collection[Any], others: Collection[Any]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


def restore_type(target: Any, kind: type) -> None:
    """Its class, which a lazy module changes in its first forward pass."""
    if type(target) is not kind:
        target.__class__ = kind


def restore_class(target: type, saved: dict[str, Any]) -> None:
    """The attributes of a class."""
    for name in [name for name in vars(target) if name not in saved]:
        delattr(target, name)
    for name, value in saved.items():
        if vars(target).get(name) is not value:
            setattr(target, name, value)


def restore_dict(target: dict[Any, Any], saved: dict[Any, Any]) -> None:
    """The items of a dict, in their order."""
    base = dict_type(target)
    if _same(base.keys(target), saved) and _same(base.values(target), saved.values()):
        return
    for key in [key for key in base.keys(target) if key not in saved]:
        base.__delitem__(target, key)
    in_order = list(base.keys(target)) == list(saved)
    for key, value in saved.items():
        if not in_order:
            base.pop(target, key, None)
        base.__setitem__(target, key, value)


def _restore_list(target: list[Any], saved: list[Any]) -> None:
    if not _same(list(list.__iter__(target)), saved):
        list.__setitem__(target, slice(None), saved)


def _restore_set(target: set[Any], saved: list[Any]) -> None:
    if set(map(id, set.__iter__(target))) != set(map(id, saved)):
        set.clear(target)
        set.update(target, saved)


def _restore_deque(target: deque[Any], saved: list[Any]) -> None:
    if not _same(list(deque.__iter__(target)), saved):
        deque.clear(target)
        deque.extend(target, saved)


def restore_lazy(target: Tensor, kind: type) -> None:
    """A lazy parameter or buffer becomes uninitialised again."""
    if type(target) is not kind:
        target.data = target.data.new_empty(0)
        target.__class__ = kind


def restore_parameter(target: Tensor, saved: tuple[Tensor, Any, bool]) -> None:
    """`.data` and `requires_grad`, not the values. Saved are the data, `memory_of` them, and the flag."""
    data, memory, requires_grad = saved
    if memory_of(target) != memory:
        target.data = data
    if target.requires_grad != requires_grad:
        target.requires_grad_(requires_grad)


def restore_tensor(target: Tensor, saved: tuple[Tensor, Any, Tensor]) -> None:
    """`.data` and the values. Saved are the data, `memory_of` them, and a copy."""
    data, memory, value = saved
    if memory_of(target) != memory:
        target.data = data
    if not torch.equal(data, value):
        with torch.inference_mode(data.is_inference()):
            data.copy_(value)


#: By the kind of container, the function that puts its items back, given as a list.
RESTORE_ITEMS: dict[Any, Callable[[Any, Any], None]] = {list: _restore_list, set: _restore_set, deque: _restore_deque}
