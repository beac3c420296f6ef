"""Class activation maps: which regions of the image support a class, at the resolution of a layer."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.images import as_images
from lightning_viz.methods.model.layers import Reshape
from lightning_viz.methods.model.outputs import Target

from .cam import CamLayer
from .registry import CAM_METHODS, CamMethod, choose


def grad_cam(
    model: nn.Module,
    images: Tensor,
    target: Target = None,
    *,
    layer: str | None = None,
    method: CamMethod = "gradcam",
    reshape: Reshape | None = None,
    **options: Any,
) -> Tensor:
    """Class activation map of the target score at a layer: (B, C, H, W) -> (B, h, w), after the ReLU, float32.

    `CAM_METHODS` lists the methods, their papers and their `options`. `layer` is a dotted module name, by default the
    last spatial layer (`find_layer`). Tokens are folded to the image's grid; `reshape`, a callable from a layer's output
    to (B, C, h, w), is for unusual ones. The model is run in evaluation mode and not changed, nor `.grad`.
    Raises ValueError for an unknown layer or method, a layer without height and width, one that the score does not
    depend on, or "cam" where the model has no global average pooling and linear head; TypeError for an unknown option.
    """
    images = as_images(model, images)
    layer = find_layer(model, "last_spatial", images, target) if layer is None else layer
    cam_layers = [CamLayer.of(model, images, layer, reshape)]
    cams: list[Tensor] = choose(CAM_METHODS, method, options)(model, images, target, cam_layers, **options)
    return cams[0]


def grad_cams(
    model: nn.Module,
    images: Tensor,
    target: Target = None,
    *,
    layers: Sequence[str],
    method: CamMethod = "gradcam",
    reshape: Reshape | None = None,
    **options: Any,
) -> dict[str, Tensor]:
    """The maps of `grad_cam` for several layers with one forward pass, by the names in `layers`. Raises as `grad_cam`."""
    cam_layers = [CamLayer.of(model, images, layer, reshape, "layers") for layer in layers]
    cams = choose(CAM_METHODS, method, options)(model, images, target, cam_layers, **options)
    return dict(zip(layers, cams, strict=True))
