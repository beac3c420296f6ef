"""The suite: every callback, in the order in which they are attached."""

import inspect
from typing import Unpack

from ._options import CommonOptions
from .activations import ActivationLogger
from .base import VizCallback
from .class_synthesis import ClassSynthesisLogger
from .deep_dream import DeepDreamLogger
from .embedding_projector import EmbeddingProjectorLogger
from .filters import FilterLogger
from .grad_cam import GradCAMLogger
from .saliency import SaliencyLogger
from .top_patches import TopPatchesLogger

#: The registry of callbacks: the suite, the contract tests and the fuzz tests read it.
CALLBACKS: tuple[type[VizCallback], ...] = (
    FilterLogger,
    ActivationLogger,
    SaliencyLogger,
    GradCAMLogger,
    EmbeddingProjectorLogger,
    TopPatchesLogger,
    ClassSynthesisLogger,
    DeepDreamLogger,
)

BUDGET = 0.05  # of the fit's time


def viz_callbacks(**common: Unpack[CommonOptions]) -> list[VizCallback]:
    """Every callback at its defaults, with these common options (see `VizCallback`), ready for `Trainer(callbacks=...)`.

    The suite draws much, so it has a budget: `max_overhead` is 0.05 here unless given. In short runs the expensive callbacks
    draw rarely or never, and a warning says so; `max_overhead=None` draws everything.
    """
    options: CommonOptions = {"max_overhead": BUDGET, **common}
    return [callback(**options) for callback in CALLBACKS]


viz_callbacks.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        one.replace(default=BUDGET) if one.name == "max_overhead" else one
        for one in inspect.signature(VizCallback).parameters.values()
        if one.kind is one.KEYWORD_ONLY
    ]
)
