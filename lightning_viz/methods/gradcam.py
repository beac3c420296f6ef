"""Class activation maps: which places of a layer's feature maps speak for a class."""

from typing import Literal

import torch
from torch import Tensor, nn

from .find import find_layer
from .layers import feature_maps, resolve_layer
from .modes import capture, evaluating
from .outputs import Target, target_scores

CamMethod = Literal["gradcam"]


def grad_cam(
    model: nn.Module, images: Tensor, target: Target = None, *, layer: str | None = None, method: CamMethod = "gradcam"
) -> Tensor:
    """Class activation map of the target score at a layer: (B, C, H, W) -> (B, h, w) at the layer's resolution.

    Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2: after the ReLU, unnormalised, float32. `layer` is a dotted
    module name, by default the last spatial one (`find_layer`); layers that return tokens are folded to the image's
    grid. The model runs in evaluation mode and is left as it was; no `.grad` is touched.
    Raises ValueError for an unknown layer or method, a layer without height and width, or one that the score does not
    depend on.
    """
    if method != "gradcam":
        raise ValueError(f"method={method!r} is unknown; choose 'gradcam'")
    name = resolve_layer(model, find_layer(model, "last_spatial", images) if layer is None else layer)[0]
    with evaluating(model), capture(model, [name]) as outputs:
        scores = target_scores(
            model(images.clone()), target
        )  # y^c; a clone: inference tensors cannot be differentiated
        if name not in outputs:
            raise ValueError(
                f"layer={name!r} did not run, or returns no tensor; choose a layer that the model's forward calls"
            )
        (gradient,) = torch.autograd.grad(scores.sum(), outputs[name], allow_unused=True)
    if gradient is None:
        raise ValueError(f"layer={name!r} does not reach the target score; choose a layer on the way to it")
    activations = feature_maps(outputs[name].detach(), images).float()
    gradients = feature_maps(gradient, images).float()
    weights = gradients.mean(dim=(2, 3), keepdim=True)  # alpha_k^c, eq. 1
    return torch.relu((weights * activations).sum(dim=1))  # L^c, eq. 2
