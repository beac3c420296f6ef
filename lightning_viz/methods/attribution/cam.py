"""Class activation maps of several layers in one forward pass: what the methods of `grad_cam` are built from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.layers import Reshape, layer_maps, resolve_layer
from lightning_viz.methods.model.modes import capture, captured_output, evaluating, linear_inputs
from lightning_viz.methods.model.outputs import Target, fixed_target, target_scores

#: From a layer's activations and gradients (B, C, h, w) to weights: (B, C, 1, 1), one for each channel, or (B, C, h, w),
#: one for each position of it.
Weights = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class CamLayer:
    """A layer to make maps of."""

    name: str  #: full dotted name
    to_maps: Callable[[Tensor], Tensor]  #: from the layer's output to feature maps (B, C, h, w)
    described: str  #: in errors, such as "layer='layer4'"

    @classmethod
    def of(
        cls, model: nn.Module, images: Tensor, layer: str, reshape: Reshape | None, argument: str = "layer"
    ) -> "CamLayer":
        """The layer of this name, for images (B, C, H, W). Raises ValueError, naming `argument`, for an unknown layer."""
        name, module = resolve_layer(model, layer, argument)
        return cls(name, reshape or partial(layer_maps, module, images=images), f"{argument}={layer!r}")


def gradient_cam(
    weights: Weights, model: nn.Module, images: Tensor, target: Target, layers: Sequence[CamLayer]
) -> list[Tensor]:
    """Maps (B, h, w) of each layer: its feature maps weighted by a function of activations and gradients.

    One forward and one backward pass for all layers.
    Raises ValueError for a layer that does not run, or that the target score does not depend on.
    """
    with evaluating(model), capture(model, [layer.name for layer in layers]) as captured:
        # A clone: an inference tensor cannot be saved for the backward pass.
        scores = target_scores(model(images.clone()), target)  # y^c
        outputs = [captured_output(captured, layer.name, layer.described) for layer in layers]
        gradients = torch.autograd.grad(scores.sum(), outputs, allow_unused=True)
    maps = []
    for layer, output, gradient in zip(layers, outputs, gradients, strict=True):
        if gradient is None:
            raise ValueError(
                f"{layer.described} does not reach the target score; choose a layer that the score depends on"
            )
        activations = layer.to_maps(output.detach()).float()
        maps.append(weighted_sum(weights(activations, layer.to_maps(gradient).float()), activations))
    return maps


def weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """The positive part of the weighted sum of feature maps: (B, C, h, w) -> (B, h, w)."""
    return torch.relu((weights * activations).sum(dim=1))  # L^c, eq. 2; autocast would round an einsum


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """The mean gradient. Selvaraju et al. 2017, "Grad-CAM"."""
    return gradients.mean(dim=(2, 3), keepdim=True)  # alpha_k^c, eq. 1


def gradcam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """A weighted sum of the positive gradients. Chattopadhay et al. 2018, "Grad-CAM++"."""
    squares, cubes = gradients**2, gradients**3
    sums = activations.sum(dim=(2, 3), keepdim=True)
    alphas = squares / (2 * squares + sums * cubes + 1e-6)  # alpha_ij^kc, eq. 19
    alphas = torch.where(gradients != 0, alphas, 0)
    return (alphas * torch.relu(gradients)).sum(dim=(2, 3), keepdim=True)  # w_k^c, eq. 10


def xgradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """The mean gradient weighted by the activation, which a ReLU should have passed. Fu et al. 2020, "Axiom-based Grad-CAM"."""
    sums = activations.sum(dim=(2, 3), keepdim=True)
    return (activations / (sums + 1e-7) * gradients).sum(dim=(2, 3), keepdim=True)  # w_k^c


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """The positive gradient at each position. Jiang et al. 2021, "LayerCAM"."""
    return torch.relu(gradients)  # w_ij^kc, eq. 6


def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """The gradient at each position. Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM"."""
    return gradients


def class_activation_map(model: nn.Module, images: Tensor, target: Target, layers: Sequence[CamLayer]) -> list[Tensor]:
    """Maps (B, h, w) of each layer: its feature maps weighted by the head's weights, with one forward pass for all layers.

    Zhou et al. 2016, "Learning deep features for discriminative localization". Raises ValueError for a model without
    global average pooling and a linear head, for a callable target, and for a layer that is not the one before the pooling.
    """
    unfit = f"method='cam' does not fit {type(model).__name__}: {{}}; choose method='gradcam'"
    names = [layer.name for layer in layers]
    with evaluating(model), torch.no_grad(), capture(model, names) as captured, linear_inputs(model) as inputs:
        classes = fixed_target(model, images, target)
    if not inputs or not isinstance(classes, Tensor):
        raise ValueError(unfit.format("it needs a linear head, and class indices as the target"))
    head, embedding = inputs[-1]
    weights = head.weight.detach().float()[classes, :, None, None]  # w_k^c
    maps = []
    for layer in layers:
        activations = layer.to_maps(captured_output(captured, layer.name, layer.described)).float()
        if not _are_pooled(activations, embedding):
            activations = torch.relu(activations)  # DenseNet has a ReLU between its last layer and the pooling
            if not _are_pooled(activations, embedding):
                raise ValueError(unfit.format(f"its head's input is not the mean of {layer.described} over positions"))
        maps.append(weighted_sum(weights, activations))  # M_c, eq. 2
    return maps


def _are_pooled(activations: Tensor, embedding: Tensor) -> bool:
    means = activations.mean(dim=(2, 3))
    return means.shape == embedding.shape and torch.allclose(means, embedding.float(), rtol=1e-2, atol=1e-4)
