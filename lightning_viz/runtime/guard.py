"""The guard around every drawing: training finds everything as it was before."""

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from lightning_viz.methods.model.modes import evaluating
from lightning_viz.methods.model.snapshot import preserved


@contextmanager
def guard(module: nn.Module, precision: Any = None) -> Iterator[None]:
    """Evaluation mode, gradients possible, autocast as in training; afterwards random states and module restored.

    `preserved` says what of the module is restored. `precision` is the trainer's precision plugin: its autocast is active
    inside the training step only.
    """
    autocast = nullcontext() if precision is None else precision.forward_context()
    with preserved_random_states(), preserved(module), muted_logging(module), evaluating(module), autocast:
        yield


@contextmanager
def preserved_random_states() -> Iterator[None]:
    """Restores the random states of Python, NumPy, torch on the CPU and on every CUDA device in use."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def muted_logging(module: nn.Module) -> Iterator[None]:
    """`self.log` in a user's forward does nothing: metrics are not about the probe."""
    own: dict[str, Any] = {name: module.__dict__[name] for name in ("log", "log_dict") if name in module.__dict__}
    module.__dict__["log"] = module.__dict__["log_dict"] = lambda *args, **options: None
    try:
        yield
    finally:
        del module.__dict__["log"], module.__dict__["log_dict"]
        module.__dict__.update(own)
