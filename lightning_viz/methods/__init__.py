"""Pure tensor functions: torch in, torch out; no Lightning, no TensorBoard, no pictures."""

from .embedding import embeddings
from .faithfulness import Faithfulness, insertion_deletion
from .filters import filters
from .find import find_layer
from .gradcam import grad_cam
from .neighbours import leave_one_out, nearest, stability
from .occlusion import occlusion
from .outputs import Target
from .projection import PCA, aligned, pca, procrustes
from .saliency import guided_backprop, integrated_gradients, saliency, smoothgrad
from .similarity import linear_cka

__all__ = [
    "PCA",
    "Faithfulness",
    "Target",
    "aligned",
    "embeddings",
    "filters",
    "find_layer",
    "grad_cam",
    "guided_backprop",
    "insertion_deletion",
    "integrated_gradients",
    "leave_one_out",
    "linear_cka",
    "nearest",
    "occlusion",
    "pca",
    "procrustes",
    "saliency",
    "smoothgrad",
    "stability",
]
