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

    redirected: Tensor | bool = False  #: whether a backward pass has reached a dead ReLU

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in RELUS or not args or not args[0].requires_grad:
            return func(*args, **(kwargs or {}))
        inputs, copy = args[0], args[0].detach().clone()
        outputs = func(copy, *args[1:], **(kwargs or {}))
        low, high = _bounds(func, args, kwargs or {})
        if outputs is copy:  # in place
            return inputs.copy_(_RedirectedGradient.apply(inputs.clone(), outputs, low, high, self))
        return _RedirectedGradient.apply(inputs, outputs, low, high, self)


def _bounds(func: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> tuple[float, float]:
    """Between which a ReLU, ReLU6 or Hardtanh passes its input on."""
    if "hardtanh" in func.__name__:
        given = dict(zip(("min_val", "max_val"), args[1:], strict=False)) | options
        return float(given.get("min_val", -1.0)), float(given.get("max_val", 1.0))
    return 0.0, 6.0 if "relu6" in func.__name__ else torch.inf


class _RedirectedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, outputs: Tensor, low: float, high: float, mode: RedirectedReLU) -> Tensor:
        ctx.low, ctx.high, ctx.mode = low, high, mode
        # As the native function saves its output or input: checkpointing may give that back, computed again without us.
        ctx.save_for_backward(outputs)
        return outputs.view_as(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,), (values,) = gradients, ctx.saved_tensors
        below, above = values <= ctx.low, values >= ctx.high
        plain = torch.where(below | above, 0, gradient)
        alive = plain.flatten(1).any(dim=1)
        if alive.device.type == "cpu" and alive.all():  # elsewhere reading it would wait for the device
            return plain, None, None, None, None
        ctx.mode.redirected = ctx.mode.redirected | ~alive.all()
        activating = torch.where((below & (gradient > 0)) | (above & (gradient < 0)), gradient, plain)
        redirected = torch.where(alive.reshape(-1, *[1] * (gradient.ndim - 1)), plain, activating)
        return redirected, None, None, None, None
