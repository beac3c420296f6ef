"""Class activation maps: which places of a layer's feature maps speak for a class."""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.layers import Reshape, layer_maps, resolve_layer
from lightning_viz.methods.model.modes import capture, evaluating, linear_inputs
from lightning_viz.methods.model.outputs import Target, fixed_target, target_scores

CamMethod = Literal["gradcam", "cam", "gradcam++", "layercam", "hirescam"]


def grad_cam(
    model: nn.Module,
    images: Tensor,
    target: Target = None,
    *,
    layer: str | None = None,
    method: CamMethod = "gradcam",
    reshape: Reshape | None = None,
) -> Tensor:
    """Class activation map of the target score at a layer: (B, C, H, W) -> (B, h, w) at the layer's resolution.

    After the ReLU, unnormalised, float32. The methods differ in how feature maps are weighted:

    - "gradcam": by the mean gradient. Selvaraju et al. 2017, "Grad-CAM".
    - "cam": by the head's weights, for global average pooling and a linear head. Zhou et al. 2016, "Learning deep
      features for discriminative localization".
    - "gradcam++": by a weighted sum of the positive gradients. Chattopadhay et al. 2018, "Grad-CAM++".
    - "layercam": place by place, by the positive gradient. Jiang et al. 2021, "LayerCAM".
    - "hirescam": place by place, by the gradient. Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM".

    `layer` is a dotted module name, by default the last spatial one (`find_layer`). Layers that return tokens are folded
    to the image's grid; `reshape`, a callable from a layer's output to (B, C, h, w), is for the unusual. The model runs
    in evaluation mode and is left as it was; no `.grad` is touched.
    Raises ValueError for an unknown layer or method, a layer without height and width, one that the score does not
    depend on, or "cam" where there is no such head.
    """
    if method not in get_args(CamMethod):
        raise ValueError(f"method={method!r} is unknown; choose one of {', '.join(map(repr, get_args(CamMethod)))}")
    name, module = resolve_layer(model, find_layer(model, "last_spatial", images, target) if layer is None else layer)
    fold = partial(layer_maps, module, images=images) if reshape is None else reshape
    if method == "cam":
        return _cam(model, images, target, name, fold)
    with evaluating(model), capture(model, [name]) as outputs:
        # A clone: an inference tensor cannot be saved for the backward pass.
        scores = target_scores(model(images.clone()), target)  # y^c
        if name not in outputs:
            raise ValueError(
                f"layer={name!r} did not run, or returns no tensor; choose a layer that the model's forward calls"
            )
        (gradient,) = torch.autograd.grad(scores.sum(), outputs[name], allow_unused=True)
    if gradient is None:
        raise ValueError(f"layer={name!r} does not reach the target score; choose a layer on the way to it")
    activations, gradients = fold(outputs[name].detach()).float(), fold(gradient).float()
    return torch.relu((_weights(method, activations, gradients) * activations).sum(dim=1))  # L^c


def _weights(method: CamMethod, activations: Tensor, gradients: Tensor) -> Tensor:
    """What each feature map, or each place of it, counts: (B, C, 1, 1) or (B, C, h, w)."""
    if method == "gradcam":
        return gradients.mean(dim=(2, 3), keepdim=True)  # alpha_k^c, eq. 1
    if method == "layercam":
        return torch.relu(gradients)  # w_ij^kc, eq. 6
    if method == "hirescam":
        return gradients
    squares = gradients**2
    sums = activations.sum(dim=(2, 3), keepdim=True)
    alphas = squares / (2 * squares + sums * gradients**3 + 1e-6)  # alpha_ij^kc, eq. 19
    alphas = torch.where(gradients != 0, alphas, 0)
    return (alphas * torch.relu(gradients)).sum(dim=(2, 3), keepdim=True)  # w_k^c, eq. 10


def _cam(model: nn.Module, images: Tensor, target: Target, name: str, fold: Callable[[Tensor], Tensor]) -> Tensor:
    """The head's weights over the feature maps, where the head reads nothing but their means."""
    with evaluating(model), torch.no_grad(), capture(model, [name]) as outputs, linear_inputs(model) as inputs:
        classes = fixed_target(model, images, target)
        head, embedding = inputs[-1] if inputs else (None, None)
    if head is None or embedding is None or name not in outputs or not isinstance(classes, Tensor):
        raise ValueError(_no_cam(model, name, "there is no linear head with class indices to explain"))
    maps = fold(outputs[name]).float()
    # DenseNet puts a ReLU between its last layer and the pooling.
    for activations in (maps, torch.relu(maps)):
        means = activations.mean(dim=(2, 3))
        if means.shape == embedding.shape and torch.allclose(means, embedding.float(), rtol=1e-2, atol=1e-4):
            weights = head.weight.detach().float()[classes, :, None, None]  # w_k^c
            return torch.relu((weights * activations).sum(dim=1))  # M_c, eq. 2; autocast would round an einsum
    raise ValueError(_no_cam(model, name, "its head does not read the means of this layer's feature maps"))


def _no_cam(model: nn.Module, name: str, why: str) -> str:
    return f"method='cam' does not fit {type(model).__name__} at layer={name!r}: {why}; choose method='gradcam'"
