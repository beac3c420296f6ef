"""Around every drawing: whatever it does, training finds everything as it left it."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from lightning_viz.methods.model.modes import evaluating


@contextmanager
def guard(module: nn.Module, precision: Any = None) -> Iterator[None]:
    """Evaluation mode, gradients possible, the precision plugin's autocast; then random states, buffers and flags restored.

    `precision` is the trainer's precision plugin: outside the training step its context is not active by itself.
    """
    with ExitStack() as stack:
        stack.enter_context(same_random_numbers())
        stack.enter_context(same_buffers(module))
        stack.enter_context(nothing_logged(module))
        stack.enter_context(evaluating(module))
        if precision is not None:
            stack.enter_context(precision.forward_context())
        yield


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """The random states of Python, NumPy, torch on the CPU and on every CUDA device in use come back."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def same_buffers(module: nn.Module) -> Iterator[None]:
    """Buffers come back, the same tensors with the same values: a forward pass may count its calls or track statistics,
    in place or by assignment, in evaluation mode too."""
    saved = [
        (part, name, buffer, buffer.detach().clone())
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for part, name, buffer, value in saved:
                part._buffers[name] = buffer
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


@contextmanager
def nothing_logged(module: nn.Module) -> Iterator[None]:
    """`self.log` in a user's forward does nothing: the probe is none of the data that the metrics are about."""
    own: dict[str, Any] = {name: module.__dict__[name] for name in ("log", "log_dict") if name in module.__dict__}
    module.__dict__["log"] = module.__dict__["log_dict"] = lambda *args, **options: None
    try:
        yield
    finally:
        del module.__dict__["log"], module.__dict__["log_dict"]
        module.__dict__.update(own)
