"""Pure tensor functions: torch in, torch out; no Lightning, no TensorBoard, no pictures."""

from .filters import filters
from .find import find_layer
from .gradcam import grad_cam
from .outputs import Target
from .saliency import saliency

__all__ = ["Target", "filters", "find_layer", "grad_cam", "saliency"]
