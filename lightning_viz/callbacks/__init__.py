"""The Lightning callbacks: the base, one file for each, and the suite."""

from lightning_viz.data.probe import Probe
from lightning_viz.runtime.artifacts import Panel, Scalar
from lightning_viz.runtime.context import DrawContext

from .activations import ActivationLogger
from .base import VizCallback
from .class_synthesis import ClassSynthesisLogger
from .deep_dream import DeepDreamLogger
from .embedding_projector import EmbeddingProjectorLogger
from .filters import FilterLogger
from .grad_cam import GradCAMLogger
from .saliency import SaliencyLogger
from .suite import viz_callbacks
from .top_patches import TopPatchesLogger

__all__ = [
    "ActivationLogger", "ClassSynthesisLogger", "DeepDreamLogger", "DrawContext", "EmbeddingProjectorLogger",
    "FilterLogger", "GradCAMLogger", "Panel", "Probe", "SaliencyLogger", "Scalar", "TopPatchesLogger", "VizCallback",
    "viz_callbacks",
]  # fmt: skip
