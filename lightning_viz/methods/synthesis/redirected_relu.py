"""Gradients through ReLUs that are dead, for a search that must leave a place where nothing answers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_RELUS: set[Callable[..., Any]] = {
    nn.functional.relu, nn.functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_,
    nn.functional.hardtanh, nn.functional.hardtanh_, nn.functional.relu6,
}  # fmt: skip


class LetThrough(TorchFunctionMode):
    """Within it, a ReLU whose gradient is zero for all of an image lets through what would bring it back to life.

    ReLU, ReLU6 and Hardtanh, as modules, functions and in place. As in Lucid, of Olah et al. 2017: the gradient that
    would push a unit further beyond its kink stays zero. It is that of a score, which is to rise.
    """

    def __init__(self) -> None:
        super().__init__()
        #: Whether a gradient has met a dead one.
        self.met = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in _RELUS or not args or not args[0].requires_grad:
            return func(*args, **(kwargs or {}))
        inputs, copy = args[0], args[0].detach().clone()
        outputs = func(copy, *args[1:], **(kwargs or {}))
        if outputs is copy:  # in place
            return inputs.copy_(_LetThrough.apply(inputs.clone(), outputs, self))
        return _LetThrough.apply(inputs, outputs, self)


class _LetThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, outputs: Tensor, mode: LetThrough) -> Tensor:
        ctx.mode = mode
        ctx.save_for_backward(outputs - inputs)
        return outputs.view_as(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (lifted,) = ctx.saved_tensors  # by how much the kink has moved the input
        (gradient,) = gradients
        plain = torch.where(lifted == 0, gradient, 0)
        alive = plain.flatten(1).any(dim=1)
        if alive.all():
            return plain, None, None
        ctx.mode.met = True
        helpful = torch.where(lifted * gradient > 0, gradient, plain)
        return torch.where(alive.reshape(-1, *[1] * (gradient.ndim - 1)), plain, helpful), None, None
