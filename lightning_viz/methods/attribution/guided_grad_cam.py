"""Guided Grad-CAM: the pixels of guided backpropagation within the region of Grad-CAM."""

from torch import Tensor, nn

from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.layers import Reshape
from lightning_viz.methods.model.outputs import Target

from .cam import CamLayer, gradcam, gradient_cam
from .saliency import Reduce, guided_backprop, reduce_channels


def guided_grad_cam(
    model: nn.Module,
    images: Tensor,
    target: Target = None,
    *,
    layer: str | None = None,
    reshape: Reshape | None = None,
    reduce: Reduce = "abs_max",
) -> Tensor:
    """Guided backpropagation times Grad-CAM resized to the images: (B, C, H, W) -> (B, H, W), float32.

    Selvaraju et al. 2017, "Grad-CAM", section 3.3. `layer` and `reshape` as in `grad_cam`, `reduce` as in `saliency`.
    Raises as `guided_backprop` and `grad_cam`.
    """
    layer = find_layer(model, "last_spatial", images, target) if layer is None else layer
    guided = guided_backprop(model, images, target, reduce=None)
    (cam,) = gradient_cam(gradcam, model, images, target, [CamLayer.of(model, images, layer, reshape)])
    resized = nn.functional.interpolate(cam[:, None], size=images.shape[-2:], mode="bilinear")
    return reduce_channels(guided * resized, reduce)
