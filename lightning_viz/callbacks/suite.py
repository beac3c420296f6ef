"""The whole suite in one call."""

from typing import Any

from .activations import ActivationLogger
from .base import VizCallback
from .dream import DeepDreamLogger
from .embedding import EmbeddingProjectorLogger
from .filters import FilterLogger
from .gradcam import GradCAMLogger
from .patches import TopPatchesLogger
from .saliency import SaliencyLogger
from .synthesis import ClassSynthesisLogger


def viz_callbacks(**common: Any) -> list[VizCallback]:
    """Every callback at its defaults, with these common options (see `VizCallback`), ready for `Trainer(callbacks=...)`."""
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
