"""A module with one of everything that a forward pass may change, what each change is, and all that there is afterwards."""

import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn


@dataclass
class Config:
    window: int = 7
    sizes: list[int] = field(default_factory=lambda: [1, 2])


class Tracker:
    calls = 0

    def __init__(self):
        self.count = 0
        self.seen = []


class Changing(nn.Module):
    """One of everything that a forward pass may change."""

    shared_cache: dict = {}
    made = 0

    def __init__(self):
        super().__init__()
        self.window, self.name, self.nothing = 7, "one", None
        self.pairs, self.ordered, self.found = {"a": 1}, OrderedDict(a=1, b=2), defaultdict(list)
        self.entries, self.members, self.last = [1, [2, {"deep": 3}]], {1, 2}, deque([1, 2], maxlen=3)
        self.both = ([1], {"b": 2})
        self.config, self.space, self.tracker = Config(), SimpleNamespace(rate=0.5, steps=[1]), Tracker()
        self.steps, self.array = torch.zeros(3), np.zeros(3)
        self.generator, self.own = torch.Generator(), random.Random(0)
        self.draws, self.older = np.random.default_rng(0), np.random.RandomState(0)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.linear, self.unregistered = nn.Linear(2, 2), [nn.BatchNorm1d(2)]


#: What a forward pass does to a `Changing`, by what it changes.
CHANGES: dict[str, Callable[[Any], Any]] = {
    "an attribute": lambda one: setattr(one, "window", 3),
    "an attribute that is added": lambda one: setattr(one, "cached", torch.ones(2)),
    "an attribute that is deleted": lambda one: delattr(one, "nothing"),
    "an attribute that becomes a parameter": lambda one: setattr(one, "nothing", nn.Parameter(torch.ones(2))),
    "a dict": lambda one: one.pairs.update(a=2, c=3),
    "the order of a dict": lambda one: one.ordered.move_to_end("a"),
    "a dict that is emptied": lambda one: one.pairs.clear(),
    "a dict that was empty": lambda one: one.found["new"].append(1),
    "a list": lambda one: one.entries.append(3),
    "a list within a list": lambda one: one.entries[1].append(3),
    "a dict within these": lambda one: one.entries[1][1].update(deep=4),
    "a list in a tuple": lambda one: one.both[0].append(2),
    "a set": lambda one: one.members.add(3),
    "a deque": lambda one: one.last.extend([3, 4]),
    "a configuration": lambda one: setattr(one.config, "window", 3),
    "a list in a configuration": lambda one: one.config.sizes.append(3),
    "a namespace": lambda one: one.space.steps.append(3),
    "a helper object": lambda one: vars(one.tracker).update(count=one.tracker.count + 1, extra=1),
    "a list in a helper object": lambda one: one.tracker.seen.append(3),
    "a tensor in place": lambda one: one.steps.add_(1),
    "a tensor by .data": lambda one: setattr(one.steps, "data", torch.ones(5)),
    "an array in place": lambda one: np.add(one.array, 1, out=one.array),
    "a generator of torch": lambda one: torch.rand(3, generator=one.generator),
    "a generator of Python": lambda one: one.own.random(),
    "a generator of NumPy": lambda one: one.draws.random(),
    "an old generator of NumPy": lambda one: one.older.rand(),
    "a buffer in place": lambda one: one.calls.add_(1),
    "a buffer that is rebound": lambda one: setattr(one, "calls", one.calls + 1),
    "a buffer that is resized": lambda one: one.hidden.resize_(1).fill_(1),
    "a buffer that is added": lambda one: one.register_buffer("more", torch.ones(2), persistent=False),
    "a buffer that is deleted": lambda one: delattr(one, "hidden"),
    "a parameter that is rebound": lambda one: setattr(one.linear, "weight", nn.Parameter(torch.ones(2, 2))),
    "a parameter's .data": lambda one: setattr(one.linear.weight, "data", torch.ones(2, 2)),
    "a parameter that is frozen": lambda one: one.linear.weight.requires_grad_(False),
    "a parameter that is added": lambda one: one.register_parameter("scale", nn.Parameter(torch.ones(2))),
    "a submodule that is rebound": lambda one: setattr(one, "linear", nn.Identity()),
    "a submodule that is added": lambda one: one.add_module("another", nn.Linear(2, 2)),
    "a hook": lambda one: one.linear.register_forward_hook(lambda *_: None),
    "a module in a plain list": lambda one: one.unregistered[0](torch.rand(4, 2)),
    "an attribute of the class": lambda one: setattr(type(one), "made", 1),
    "a dict of the class": lambda one: one.shared_cache.update(a=1),
}


def value_of(value):
    """What can be compared of a value: what it is made of, and the same objects."""
    if isinstance(value, torch.Tensor):
        return id(value), value.data_ptr(), value.requires_grad, value.tolist()
    if isinstance(value, np.ndarray):
        return id(value), value.tolist()
    if isinstance(value, dict):
        return id(value), [(name, value_of(one)) for name, one in value.items()]
    if isinstance(value, list | tuple | deque):
        return id(value), [value_of(one) for one in value]
    if isinstance(value, set):
        return id(value), sorted(map(id, value))
    if isinstance(value, torch.Generator):
        return id(value), value.get_state().tolist()
    if isinstance(value, random.Random):
        return id(value), value.getstate()
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return id(value), str(value.__getstate__() if hasattr(value, "__getstate__") else value)
    if isinstance(value, Config | Tracker | SimpleNamespace | nn.Module):
        return id(value), [(name, value_of(one)) for name, one in sorted(vars(value).items())]
    return value


def everything(model):
    random_states = [str(one.draws.bit_generator.state) for one in model.modules() if isinstance(one, Changing)]
    older = [str(one.older.get_state()) for one in model.modules() if isinstance(one, Changing)]
    return value_of(model), random_states, older, Changing.made, dict(Changing.shared_cache)
