"""The layer that a method needs by default, found by its role."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .layers import feature_maps, is_spatial, plain_name, resolve_layer
from .modes import capture, evaluating, linear_inputs
from .outputs import Target, logits

Kind = Literal["first_conv", "last_spatial", "embedding"]


def find_layer(model: nn.Module, kind: Kind, images: Tensor | None = None, target: Target = None) -> str:
    """The dotted name of a layer by its role.

    - "first_conv": the first 2-D convolution in order of definition.
    - "last_spatial": the last layer to run, except pooling, whose output still has a height and a width that the score
      depends on: feature maps (B, C, h, w), channels last too (Swin), or tokens (B, N, C) on the image's grid. The last
      block of a ViT uses the class token only, so there it is the norm before the last attention.
    - "embedding": the last `nn.Linear` to run, whose *input* is the embedding; without one (SqueezeNet) the last spatial
      layer, whose pooled output is: see `embeddings`.

    The last two are found by running one of `images` (B, C, H, W), by default a single one of zeros, 224×224 pixels.
    A callable `target` is for models whose output holds no logits.
    Raises ValueError for an unknown `kind`, and where the model has no such layer.
    """
    if kind == "first_conv":
        names = [str(name) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
        if names:
            return plain_name(names[0])
        raise ValueError(f"{type(model).__name__} has no nn.Conv2d; name the layer to use")
    if kind not in get_args(Kind):
        raise ValueError(f"kind={kind!r} is unknown; choose one of {', '.join(map(repr, get_args(Kind)))}")
    images = _default_images(model) if images is None else images[:1]
    name = _last_linear(model, images) if kind == "embedding" else None
    return plain_name(name or _last_spatial(model, images, target))


def _default_images(model: nn.Module) -> Tensor:
    _, conv = resolve_layer(model, find_layer(model, "first_conv"))
    assert isinstance(conv, nn.Conv2d)
    return torch.zeros(1, conv.in_channels, 224, 224, device=conv.weight.device, dtype=conv.weight.dtype)


def _last_linear(model: nn.Module, images: Tensor) -> str | None:
    with evaluating(model), torch.no_grad(), linear_inputs(model) as inputs:
        model(images.clone())
    names = {module: name for name, module in model.named_modules()}
    return names[inputs[-1][0]] if inputs else None


def _last_spatial(model: nn.Module, images: Tensor, target: Target) -> str:
    names = [name for name, module in model.named_modules() if name and not _is_skipped(module)]
    with evaluating(model), capture(model, names) as outputs, linear_inputs(model) as inputs:
        output = model(images.clone())  # an inference tensor cannot be saved for the backward pass
        scores = target(output) if callable(target) else logits(output)
        spatial = {name: output for name, output in outputs.items() if is_spatial(output, images)}
        if not spatial:
            raise ValueError(
                f"{type(model).__name__} has no layer with a height and a width for images of shape "
                f"{tuple(images.shape)}; name the layer to use, or give larger images"
            )
        # A head initialised to zero passes no gradient back: then differentiate its input instead of the scores.
        for end in [scores, *(embedding for _, embedding in inputs[-1:])]:
            gradients = _gradients(end, spatial)
            used = [name for name, gradient in gradients.items() if feature_maps(gradient, images).any()]
            if used:
                return used[-1]
    return list(gradients or spatial)[-1]


def _gradients(end: Tensor, layers: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gradient at each layer that `end` depends on."""
    # Unequal weights: the plain sum over the output of a LayerNorm or a softmax is constant.
    weights = torch.arange(end.numel(), device=end.device).sin().reshape(end.shape)
    gradients = torch.autograd.grad((end * weights).sum(), list(layers.values()), retain_graph=True, allow_unused=True)
    return {name: gradient for name, gradient in zip(layers, gradients, strict=True) if gradient is not None}


def _is_skipped(module: nn.Module) -> bool:
    """Pooling, which only lowers the resolution, and the linear layers that a transformer applies to its tokens."""
    return type(module).__module__ == "torch.nn.modules.pooling" or isinstance(module, nn.Linear)
