"""Gradients through dead ReLUs, so that an optimisation can leave a region where a unit's activation is zero."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_viz.methods.model.activation_functions import RELUS


class RedirectedReLU(TorchFunctionMode):
    """A context in which a ReLU whose gradient is zero for all of an image passes the gradient that would activate it.

    For ReLU, ReLU6 and Hardtanh, as modules, functions and in place; as Lucid's redirected ReLU gradient (Olah et al.
    2017), of a score that is maximised. The gradient that would push a unit further below its threshold stays zero.
    """

    redirected = False  #: whether a backward pass has reached a dead ReLU

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in RELUS or not args or not args[0].requires_grad:
            return func(*args, **(kwargs or {}))
        inputs, copy = args[0], args[0].detach().clone()
        outputs = func(copy, *args[1:], **(kwargs or {}))
        if outputs is copy:  # in place
            return inputs.copy_(_RedirectedGradient.apply(inputs.clone(), outputs, self))
        return _RedirectedGradient.apply(inputs, outputs, self)


class _RedirectedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, outputs: Tensor, mode: RedirectedReLU) -> Tensor:
        ctx.mode = mode
        ctx.save_for_backward(outputs - inputs)
        return outputs.view_as(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (clamped_by,) = gradients, ctx.saved_tensors  # how far the ReLU has moved its input
        plain = torch.where(clamped_by == 0, gradient, 0)
        alive = plain.flatten(1).any(dim=1)
        if alive.all():
            return plain, None, None
        ctx.mode.redirected = True
        activating = torch.where(clamped_by * gradient > 0, gradient, plain)
        return torch.where(alive.reshape(-1, *[1] * (gradient.ndim - 1)), plain, activating), None, None
