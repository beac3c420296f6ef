"""The layer that a method needs by default, found by its role."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .layers import feature_maps, is_spatial, plain_name
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
    if kind not in get_args(Kind):
        raise ValueError(f"kind={kind!r} is unknown; choose one of {', '.join(map(repr, get_args(Kind)))}")
    if kind == "first_conv" or images is None:
        name, conv = next(
            ((n, module) for n, module in model.named_modules() if isinstance(module, nn.Conv2d)), ("", None)
        )
        if conv is None:
            raise ValueError(f"{type(model).__name__} has no nn.Conv2d; name the layer to use")
        if kind == "first_conv":
            return plain_name(name)
        images = torch.zeros(1, conv.in_channels, 224, 224, device=conv.weight.device, dtype=conv.weight.dtype)
    if kind == "embedding":
        with evaluating(model), torch.no_grad(), linear_inputs(model) as inputs:
            model(images[:1].clone())
        if inputs:
            return plain_name(next(name for name, module in model.named_modules() if module is inputs[-1][0]))
    return plain_name(_last_spatial(model, images[:1], target))


def _last_spatial(model: nn.Module, images: Tensor, target: Target) -> str:
    # Not pooling, which only lowers the resolution, nor the linear layers that a transformer applies to its tokens.
    names = [
        name
        for name, module in model.named_modules()
        if name and type(module).__module__ != "torch.nn.modules.pooling" and not isinstance(module, nn.Linear)
    ]
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
            # Unequal weights: the plain sum over the output of a LayerNorm or a softmax is constant.
            weighted = (end * torch.arange(end.numel(), device=end.device).sin().reshape(end.shape)).sum()
            gradients = torch.autograd.grad(weighted, [*spatial.values()], retain_graph=True, allow_unused=True)
            reached = {name: one for name, one in zip(spatial, gradients, strict=True) if one is not None}
            if used := [name for name, gradient in reached.items() if feature_maps(gradient, images).any()]:
                return used[-1]
    return [*(reached or spatial)][-1]
