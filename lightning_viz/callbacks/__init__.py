"""The Lightning callbacks: the base, one file for each, and the suite."""

from lightning_viz.data.probe import Probe as Probe
from lightning_viz.runtime.artifacts import Panel as Panel
from lightning_viz.runtime.artifacts import Scalar as Scalar
from lightning_viz.runtime.context import DrawContext as DrawContext

from .activations import ActivationLogger as ActivationLogger
from .base import VizCallback as VizCallback
from .class_synthesis import ClassSynthesisLogger as ClassSynthesisLogger
from .deep_dream import DeepDreamLogger as DeepDreamLogger
from .embedding_projector import EmbeddingProjectorLogger as EmbeddingProjectorLogger
from .filters import FilterLogger as FilterLogger
from .grad_cam import GradCAMLogger as GradCAMLogger
from .saliency import SaliencyLogger as SaliencyLogger
from .suite import viz_callbacks as viz_callbacks
from .top_patches import TopPatchesLogger as TopPatchesLogger
