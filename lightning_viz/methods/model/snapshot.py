"""What a forward pass may change in a model, saved and put back: attributes, caches, counters, buffers."""

import random
import sys
from argparse import Namespace
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .restore import (
    RESTORE_ITEMS,
    dict_type,
    memory_of,
    restore_class,
    restore_dict,
    restore_lazy,
    restore_parameter,
    restore_tensor,
    restore_type,
)

SMALL = 2**20  # elements of a tensor or an array that is copied, unless it is a buffer
MANY = 1000  # items of a container that are looked into
DEPTH = 3  # containers and objects within each other

_CONSTANT = {type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, type, property}
_CONSTANT |= {FunctionType, MethodType, BuiltinFunctionType, staticmethod, classmethod}
_DICTS = {dict, OrderedDict}
#: Objects of these packages hold the rest of the process (trainers, writers, threads, files), or have no plain attributes.
_FOREIGN = {*sys.stdlib_module_names, "torch", "numpy", "lightning_viz", "pytorch_lightning", "lightning"}
_FOREIGN |= {
    "lightning_fabric",
    "tensorboard",
    "tensorboardX",
    "wandb",
    "mlflow",
    "neptune",
    "comet_ml",
    "clearml",
    "aim",
}
_NEUTRAL = {"builtins", "abc", "typing", "collections"}  # base classes that say nothing

_GENERATORS: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], None]]] = {
    torch.Generator: (lambda one: one.get_state(), lambda one, state: one.set_state(state)),
    random.Random: (lambda one: one.getstate(), lambda one, state: one.setstate(state)),
    np.random.RandomState: (lambda one: one.get_state(), lambda one, state: one.set_state(state)),
    np.random.Generator: (
        lambda one: one.bit_generator.state,
        lambda one, state: setattr(one.bit_generator, "state", state),
    ),
}


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Afterwards the model is as it was, the same objects with the same values, whatever its forward passes change.

    Restored are, of every module, also of one that is held in a plain list:

    - its attributes: rebound, added and deleted ones; its parameters, submodules, buffers and hooks by identity;
    - the content of lists, dicts, sets and deques, and the attributes of other objects (a configuration, a counter), to a
      depth of three; the attributes of its class;
    - the values of buffers, and of other tensors and arrays of at most 2**20 elements; random generators; the `.data` and
      `requires_grad` of parameters; lazy parameters become uninitialised again.

    Not restored are weights and larger tensors that are changed in place, the items of containers with more than a thousand,
    objects with slots, global variables, and objects of Lightning, the loggers and the standard library.
    """
    snapshot = ModelSnapshot(model)
    try:
        yield
    finally:
        snapshot.restore()


class ModelSnapshot:
    """What is saved: the objects themselves, shallow copies of containers, and copies of buffers and small tensors."""

    def __init__(self, model: nn.Module) -> None:
        self._saved: list[tuple[Callable[[Any, Any], None], Any, Any]] = []
        self._empty: list[dict[Any, Any]] = []  # dicts, among them most that hold a module's hooks
        self._seen: set[int] = set()  # ids; what was saved keeps the objects alive
        self._add_modules(model)

    def restore(self) -> None:
        """Put everything back. What fails does not keep the rest from it; the first error is raised at the end."""
        errors = []
        for emptied in self._empty:
            if emptied:
                dict_type(emptied).clear(emptied)
        with torch.no_grad():
            for put_back, target, saved in self._saved:
                try:
                    put_back(target, saved)
                except Exception as error:
                    errors.append(error)
        if errors:
            raise errors[0]

    def _save(self, put_back: Callable[[Any, Any], None], target: Any, saved: Any) -> None:
        self._saved.append((put_back, target, saved))

    def _add_modules(self, model: nn.Module) -> None:
        modules = [module for module in model.modules() if id(module) not in self._seen or module is model]
        self._seen.update(map(id, modules))
        for module in modules:
            self._save(restore_type, module, type(module))
            for parameter in module._parameters.values():
                self._add(parameter, self._add_parameter)
            for buffer in module._buffers.values():
                self._add(buffer, self._add_tensor)
            self._add_attributes(vars(module), 0)
        for kind in {base for module in modules for base in type(module).__mro__ if _is_followed(base)}:
            self._add_class(kind)

    def _add(self, value: Any, add: Callable[[Any], None]) -> None:
        """Save this value once; leave what cannot be saved as it is."""
        if type(value) in _CONSTANT or id(value) in self._seen:
            return
        self._seen.add(id(value))
        with suppress(Exception):  # whatever object it is
            add(value)

    def _add_parameter(self, parameter: Tensor) -> None:
        if is_lazy(parameter):
            self._save(restore_lazy, parameter, type(parameter))
        else:
            data = parameter.detach()
            self._save(restore_parameter, parameter, (data, memory_of(data), parameter.requires_grad))

    def _add_tensor(self, tensor: Tensor) -> None:
        if is_lazy(tensor):
            self._save(restore_lazy, tensor, type(tensor))
        elif tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_nested:
            data = tensor.detach()
            self._save(restore_tensor, tensor, (data, memory_of(data), data.clone()))

    def _add_attributes(self, attributes: dict[str, Any], depth: int) -> None:
        self._save(restore_dict, attributes, attributes.copy())
        self._add_items(attributes.values(), depth)

    def _add_class(self, kind: type) -> None:
        if id(kind) in self._seen:
            return
        self._seen.add(id(kind))
        self._save(restore_class, kind, dict(vars(kind)))
        self._add_items(vars(kind).values(), 0)

    def _add_items(self, values: Iterable[Any], depth: int) -> None:
        for value in list(values):
            kind = type(value)
            if kind in _DICTS and not value:
                self._empty.append(value)
            elif kind not in _CONSTANT:
                self._add(value, lambda one: self._look_into(one, depth))

    def _look_into(self, value: Any, depth: int) -> None:
        if isinstance(value, nn.Module):
            self._add_modules(value)
        elif isinstance(value, Tensor):
            if value.numel() <= SMALL:
                self._add_tensor(value)
        elif type(value) is np.ndarray:
            if value.size <= SMALL and value.flags.writeable and not value.dtype.hasobject:
                self._save(np.copyto, value, value.copy())
        elif type(value) in _GENERATORS:
            get_state, set_state = _GENERATORS[type(value)]
            self._save(set_state, value, get_state(value))
        elif depth < DEPTH:
            self._add_content(value, depth)

    def _add_content(self, value: Any, depth: int) -> None:
        kind: Any = type(value)
        items: Collection[Any] = ()
        if isinstance(value, dict):
            base = dict_type(value)
            saved = dict(base.items(value))
            items = saved.values()
            self._save(restore_dict, value, saved)
        elif isinstance(value, list | set | deque):
            base = next(one for one in RESTORE_ITEMS if isinstance(value, one))
            items = list(base.__iter__(value))
            self._save(RESTORE_ITEMS[base], value, items)
        elif isinstance(value, tuple):
            items = value
        if len(items) <= MANY:
            self._add_items(items, depth + 1)
        if _is_followed(kind) and hasattr(value, "__dict__"):
            self._add_attributes(vars(value), depth + 1)


@lru_cache(1000)
def _is_followed(kind: Any) -> bool:
    """Whether the attributes of objects of this type are saved."""
    if kind in (SimpleNamespace, Namespace):
        return True
    own, *bases = (str(one.__module__).partition(".")[0] for one in kind.__mro__)
    if issubclass(kind, nn.Module):  # a module's class, for the attributes of the class
        return own not in _FOREIGN
    return own not in _FOREIGN and not (_FOREIGN - _NEUTRAL).intersection(bases) and not issubclass(kind, type)
