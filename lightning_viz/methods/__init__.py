"""Pure tensor functions: torch in, torch out; no Lightning, no TensorBoard, no pictures."""

from .filters import filters
from .find import find_layer
from .gradcam import grad_cam
from .occlusion import occlusion
from .outputs import Target
from .saliency import guided_backprop, integrated_gradients, saliency, smoothgrad

__all__ = [
    "Target",
    "filters",
    "find_layer",
    "grad_cam",
    "guided_backprop",
    "integrated_gradients",
    "occlusion",
    "saliency",
    "smoothgrad",
]
