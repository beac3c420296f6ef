"""Pure tensor functions: torch in, torch out; no Lightning, no TensorBoard, no pictures."""

from .activations import activations, choose_channels
from .classic import Classic
from .depth import layers_over_depth
from .dream import deep_dream
from .embedding import embeddings
from .faithfulness import Faithfulness, insertion_deletion
from .filters import filters
from .find import find_layer
from .fourier import Fourier
from .gradcam import grad_cam
from .neighbours import leave_one_out, nearest, stability
from .occlusion import occlusion
from .outputs import Target
from .projection import PCA, aligned, effective_dimension, pca, procrustes
from .receptive import ReceptiveField, receptive_field
from .saliency import guided_backprop, integrated_gradients, saliency, smoothgrad
from .similarity import linear_cka
from .synthesis import Recipe, synthesize
from .units import Unit

__all__ = [
    "PCA",
    "Classic",
    "Faithfulness",
    "Fourier",
    "ReceptiveField",
    "Recipe",
    "Target",
    "Unit",
    "activations",
    "aligned",
    "choose_channels",
    "deep_dream",
    "effective_dimension",
    "embeddings",
    "filters",
    "find_layer",
    "grad_cam",
    "guided_backprop",
    "insertion_deletion",
    "integrated_gradients",
    "layers_over_depth",
    "leave_one_out",
    "linear_cka",
    "nearest",
    "occlusion",
    "pca",
    "procrustes",
    "receptive_field",
    "saliency",
    "smoothgrad",
    "stability",
    "synthesize",
]
