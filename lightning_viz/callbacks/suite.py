"""The whole suite in one call."""

from typing import Any

from .activations import ActivationLogger
from .base import VizCallback
from .class_synthesis import ClassSynthesisLogger
from .deep_dream import DeepDreamLogger
from .embedding_projector import EmbeddingProjectorLogger
from .filters import FilterLogger
from .grad_cam import GradCAMLogger
from .saliency import SaliencyLogger
from .top_patches import TopPatchesLogger


def viz_callbacks(*, max_overhead: float | None = 0.05, **common: Any) -> list[VizCallback]:
    """Every callback at its defaults, with these common options (see `VizCallback`), ready for `Trainer(callbacks=...)`.

    So much is drawn that it has a budget, by default a twentieth of the fit's time: in short runs the dear callbacks draw
    seldom or never, which is said. `max_overhead=None` draws all.
    """
    common["max_overhead"] = max_overhead
    return [
        FilterLogger(**common),
        ActivationLogger(**common),
        SaliencyLogger(**common),
        GradCAMLogger(**common),
        EmbeddingProjectorLogger(**common),
        TopPatchesLogger(**common),
        ClassSynthesisLogger(**common),
        DeepDreamLogger(**common),
    ]
