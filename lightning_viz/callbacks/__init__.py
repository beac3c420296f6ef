"""The Lightning callbacks: the base, and one thin file for each."""

from .activations import ActivationLogger
from .base import VizCallback
from .dream import DeepDreamLogger
from .embedding import EmbeddingProjectorLogger
from .filters import FilterLogger
from .gradcam import GradCAMLogger
from .panel import Panel, Scalar
from .patches import TopPatchesLogger
from .probe import Probe
from .saliency import SaliencyLogger
from .suite import viz_callbacks
from .synthesis import ClassSynthesisLogger

__all__ = [
    "ActivationLogger",
    "ClassSynthesisLogger",
    "DeepDreamLogger",
    "EmbeddingProjectorLogger",
    "FilterLogger",
    "GradCAMLogger",
    "Panel",
    "Probe",
    "SaliencyLogger",
    "Scalar",
    "TopPatchesLogger",
    "VizCallback",
    "viz_callbacks",
]
