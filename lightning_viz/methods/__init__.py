"""Pure tensor functions: torch in, torch out; no Lightning, no TensorBoard, no pictures."""

from .attribution.cam import guided_grad_cam
from .attribution.grad_cam import grad_cam
from .attribution.occlusion import occlusion
from .attribution.saliency import guided_backprop, integrated_gradients, saliency, smoothgrad
from .attribution.trust import Faithfulness, insertion_deletion
from .features.activations import activations, choose_channels
from .features.embeddings import embeddings
from .features.filters import filters
from .features.neighbours import leave_one_out, nearest, stability
from .features.projection import PCA, aligned, effective_dimension, pca, procrustes
from .features.receptive_field import ReceptiveField, receptive_field
from .features.similarity import linear_cka
from .features.unit import Unit
from .model.find_layer import find_layer
from .model.layer_depth import layers_over_depth
from .model.outputs import Target
from .synthesis.classic import Classic
from .synthesis.deep_dream import deep_dream
from .synthesis.fourier import Fourier
from .synthesis.synthesize import Recipe, synthesize

__all__ = [
    "PCA", "Classic", "Faithfulness", "Fourier", "ReceptiveField", "Recipe", "Target", "Unit", "activations", "aligned",
    "choose_channels", "deep_dream", "effective_dimension", "embeddings", "filters", "find_layer", "grad_cam",
    "guided_backprop", "guided_grad_cam", "insertion_deletion", "integrated_gradients", "layers_over_depth",
    "leave_one_out", "linear_cka", "nearest", "occlusion", "pca", "procrustes", "receptive_field", "saliency",
    "smoothgrad", "stability", "synthesize",
]  # fmt: skip
