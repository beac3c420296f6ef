"""Class activation maps of several layers in one forward pass: what the methods of `grad_cam` are built from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.layers import Reshape, layer_maps, resolve_layer
from lightning_viz.methods.model.modes import capture, captured_output, evaluating, linear_inputs
from lightning_viz.methods.model.outputs import Target, fixed_target, target_scores

#: From activations and gradients (B, C, h, w) to weights (B, C, 1, 1) or (B, C, h, w): see `cam_weights`.
Weights = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class CamLayer:
    """A layer to make maps of."""

    name: str  #: full dotted name
    to_maps: Callable[[Tensor], Tensor]  #: from the layer's output to feature maps (B, C, h, w)
    described: str  #: in errors, such as "layer='layer4'"

    @classmethod
    def of(
        cls, model: nn.Module, images: Tensor, layer: str, reshape: Reshape | None = None, argument: str = "layer"
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


def class_activation_map(model: nn.Module, images: Tensor, target: Target, layers: Sequence[CamLayer]) -> list[Tensor]:
    """Maps (B, h, w) of each layer: its feature maps weighted by the head's weights. Zhou et al. 2016.

    "Learning deep features for discriminative localization", for models with a global average pooling and a linear head.
    One forward pass for all layers.
    Raises ValueError for other models, for a callable target, and for a layer that is not the one before the pooling.
    """
    names = [layer.name for layer in layers]
    with evaluating(model), torch.no_grad(), capture(model, names) as captured, linear_inputs(model) as inputs:
        classes = fixed_target(model, images, target)
    if not inputs or not isinstance(classes, Tensor):
        raise ValueError(_cam_error(model, "it needs a linear head, and class indices as the target"))
    head, embedding = inputs[-1]
    weights = head.weight.detach().float()[classes, :, None, None]  # w_k^c
    maps = []
    for layer in layers:
        output = captured_output(captured, layer.name, layer.described)
        activations = _pooled_maps(layer.to_maps(output).float(), embedding.float())
        if activations is None:
            raise ValueError(_cam_error(model, f"its head's input is not the mean of {layer.described} over positions"))
        maps.append(weighted_sum(weights, activations))  # M_c, eq. 2
    return maps


def weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """The positive part of the weighted sum of feature maps: (B, C, h, w) -> (B, h, w)."""
    return torch.relu((weights * activations).sum(dim=1))  # L^c, eq. 2; autocast would round an einsum


def _pooled_maps(maps: Tensor, embedding: Tensor) -> Tensor | None:
    """The feature maps whose means over positions are the embedding (B, C); None where they are not."""
    for activations in (maps, torch.relu(maps)):  # DenseNet has a ReLU between its last layer and the pooling
        means = activations.mean(dim=(2, 3))
        if means.shape == embedding.shape and torch.allclose(means, embedding, rtol=1e-2, atol=1e-4):
            return activations
    return None


def _cam_error(model: nn.Module, why: str) -> str:
    return f"method='cam' does not fit {type(model).__name__}: {why}; choose method='gradcam'"
