"""Class activation maps at one or several layers: the methods behind `grad_cam`, and Guided Grad-CAM."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.capture import capture, captured_output
from lightning_viz.methods.model.find_layer import find_head, find_layer, linear_layers
from lightning_viz.methods.model.images import as_images
from lightning_viz.methods.model.layers import Reshape, resolve_layer
from lightning_viz.methods.model.modes import scoring
from lightning_viz.methods.model.outputs import Target, fixed_target, target_indices, target_scores
from lightning_viz.methods.model.token_order import placed_maps

from .saliency import Reduce, guided_backprop, reduce_channels

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
    def of(cls, model: nn.Module, images: Tensor, layer: str, reshape: Reshape | None, argument: str = "layer") -> Self:
        """The layer of this name, for images (B, C, H, W). Raises ValueError, naming `argument`, for an unknown layer."""
        name, _ = resolve_layer(model, layer, argument)
        to_maps = partial(placed_maps, model, name, images=images, argument=argument)
        return cls(name, reshape or to_maps, f"{argument}={layer!r}")


def gradient_cam(
    weights: Weights, model: nn.Module, images: Tensor, target: Target, layers: Sequence[CamLayer]
) -> list[Tensor]:
    """Maps (B, h, w) of each layer: its feature maps weighted by a function of activations and gradients.

    Feature maps are the layer's activation, after the activation function that directly follows it (see `capture`).
    Raises ValueError for a layer that does not run, or that the target score does not depend on.
    """
    with scoring(model):
        with capture(model, [layer.name for layer in layers]) as captured:
            # A clone: an inference tensor cannot be saved for the backward pass.
            scores = target_scores(model(images.clone()), target)  # y^c
        outputs = [captured_output(captured, layer.name, layer.described) for layer in layers]
        gradients = torch.autograd.grad(scores.sum(), outputs, allow_unused=True)
    maps = []
    for layer, output, gradient in zip(layers, outputs, gradients, strict=True):
        if gradient is None:
            raise ValueError(f"{layer.described} does not reach the target score; choose a layer that it depends on")
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
    sums = activations.sum(dim=(2, 3), keepdim=True)
    # alpha_ij^kc, eq. 19, divided by the squared gradient: an epsilon beside it would outweigh small gradients.
    alphas = 1 / (2 + sums * gradients + 1e-6)
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
    with scoring(model), capture(model, names) as captured, linear_layers(model) as linears:
        output = model(images.clone())
        found = find_head(output, linears, len(images))
        classes = None if callable(target) else target_indices(output, target)
    if found is None or classes is None:
        raise ValueError(unfit.format("it needs a linear head, and class indices as the target"))
    head, embedding = found.module, found.input.detach()
    weights = head.weight.detach().float()
    if classes.dtype == torch.bool:  # the sides of a single logit
        weights, classes = torch.cat([-weights, weights]), classes.long()
    weights = weights[classes, :, None, None]  # w_k^c
    maps = []
    for layer in layers:
        output = layer.to_maps(captured_output(captured, layer.name, layer.described).detach()).float()
        means = output.mean(dim=(2, 3))
        if means.shape != embedding.shape or not torch.allclose(means, embedding.float(), rtol=1e-2, atol=1e-4):
            raise ValueError(unfit.format(f"its head's input is not the mean of {layer.described} over positions"))
        maps.append(weighted_sum(weights, output))  # M_c, eq. 2
    return maps


def score_cam(
    model: nn.Module, images: Tensor, target: Target, layers: Sequence[CamLayer], *, batch_size: int = 32
) -> list[Tensor]:
    """Maps (B, h, w) of each layer: its feature maps weighted by the scores of the images they mask, without gradients.

    Wang et al. 2020, "Score-CAM". One forward pass, and one for each channel of each layer; at most `batch_size` masked
    images go through the model at once. Raises ValueError for a `batch_size` below 1, and for a layer that does not run.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} is too small; give 1 or more")
    with scoring(model), torch.no_grad():
        with capture(model, [layer.name for layer in layers]) as captured:
            target = fixed_target(model, images, target)
            if callable(target):  # then it has made no forward pass
                model(images.clone())
        maps = []
        for layer in layers:
            activations = layer.to_maps(captured_output(captured, layer.name, layer.described)).float()
            scores = _masked_scores(model, images, target, activations, batch_size)
            maps.append(weighted_sum(scores.softmax(dim=1)[:, :, None, None], activations))  # alpha_k^c
    return maps


def _masked_scores(model: nn.Module, images: Tensor, target: Target, activations: Tensor, batch_size: int) -> Tensor:
    """The target score of each image masked by each of its feature maps: (B, K)."""
    count, channels = activations.shape[:2]
    size, scores = images.shape[-2:], []
    for part in torch.split(torch.arange(count * channels, device=images.device), batch_size):
        maps = activations.flatten(0, 1)[part, None]
        resized = nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=True)
        low, high = resized.amin(dim=(2, 3), keepdim=True), resized.amax(dim=(2, 3), keepdim=True)
        masks = (resized - low) / (high - low + 1e-8)  # s(U(A_l^k))
        index = part // channels
        masked = images[index] * masks.to(images.dtype)
        one_each = target[index] if isinstance(target, Tensor) else target
        scores.append(target_scores(model(masked), one_each, checked=True).float())
    return torch.cat(scores).reshape(count, channels)


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

    Selvaraju et al. 2017, "Grad-CAM", section 3.3. `layer` and `reshape` as in `grad_cam`, `reduce` as in `saliency`;
    raises as these and `guided_backprop`.
    """
    images = as_images(model, images, differentiable=True)
    layer = find_layer(model, "last_spatial", images, target) if layer is None else layer
    guided = guided_backprop(model, images, target, reduce=None)
    (cam,) = gradient_cam(gradcam, model, images, target, [CamLayer.of(model, images, layer, reshape)])
    resized = nn.functional.interpolate(cam[:, None], size=images.shape[-2:], mode="bilinear")
    return reduce_channels(guided * resized, reduce)
