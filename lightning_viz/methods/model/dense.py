"""Dense outputs, such as those of segmentation, and the layers that return such an output rather than features."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from .capture import capture
from .modes import evaluating, tensors_in
from .outputs import logits


def dense_scores(output: Any) -> list[Tensor]:
    """The scores (B, K, ...) of a model's output if it has them at several positions; else none.

    They are its logits, or all its tensors where it names no logits (Mask2Former's queries and masks).
    """
    try:
        scores = [logits(output)]
    except TypeError:
        scores = [one for one in tensors_in(output) if one.is_floating_point()]
    return scores if all(one.ndim > 2 for one in scores) else []


def mixed_sum(scores: Tensor) -> Tensor:
    """Scores as one number that depends on each: the plain sum over the output of a LayerNorm or a softmax is constant."""
    return (scores * torch.arange(1, scores.numel() + 1, device=scores.device).sin().reshape(scores.shape)).sum()


def feature_layers(model: nn.Module, images: Tensor, layers: Sequence[str]) -> list[str]:
    """Those of the layers (full names, in their order) whose outputs are features that a dense output is computed from.

    Left out are layers that it does not depend on (auxiliary heads), and those that return the scores, or what no further
    layer of weights makes scores of: before they are resized, permuted, activated or added up (LRASPP). A convolution
    from K channels to K, the number of classes, is taken as resizing scores (FCN-8s), unless that leaves no other layer.
    """
    if not layers:
        return []
    scores, reached = _reached(model, images, layers, lambda _module, _inputs, _output: None)
    classes = {one.shape[1] for one in scores}

    def cut(_: nn.Module, inputs: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return None
        return output.detach().requires_grad_().clone()  # a copy, since what follows may work in place

    def cut_unless_resized(module: nn.Module, inputs: Any, output: Any) -> Any:
        keeps = isinstance(output, Tensor) and output.ndim == 4 and output.shape[1] in classes
        return None if keeps and inputs and inputs[0].shape[1] == output.shape[1] else cut(module, inputs, output)

    for hook in (cut_unless_resized, cut):
        returned = _reached(model, images, layers, hook)[1]
        if features := [name for name in layers if name in reached - returned]:
            break
    return features


def _reached(
    model: nn.Module, images: Tensor, layers: Sequence[str], hook: Callable[..., Any]
) -> tuple[list[Tensor], set[str]]:
    """The dense scores, and the layers they depend on; the hook is attached to all layers of weights."""
    with evaluating(model), ExitStack() as hooks:
        for module in model.modules():
            if _has_weights(module):
                hooks.enter_context(module.register_forward_hook(hook))
        captured = hooks.enter_context(capture(model, layers))
        scores = dense_scores(model(images[:1].clone()))
        ends = [mixed_sum(one) for one in scores if one.requires_grad]
        if not ends:
            return scores, set()
        gradients = torch.autograd.grad(torch.stack(ends).sum(), [*captured.values()], allow_unused=True)
    return scores, {name for name, one in zip(captured, gradients, strict=True) if one is not None}


def _has_weights(module: nn.Module) -> bool:
    """Whether the module itself mixes channels or positions: a convolution, a linear layer, but no normalisation."""
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        return True
    own = [parameter for parameter in module.parameters(recurse=False) if parameter.ndim > 1]
    return bool(own) and not any(True for _ in module.children())
