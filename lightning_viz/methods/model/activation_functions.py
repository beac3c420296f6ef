"""Activation functions: which functions and modules are some, and the one that follows a layer."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .layers import is_from, uncompiled

#: The functions that ReLU, ReLU6 and Hardtanh are, however a model calls them.
RELUS: set[Callable[..., Any]] = {
    nn.functional.relu, nn.functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_,
    nn.functional.hardtanh, nn.functional.hardtanh_, nn.functional.relu6,
}  # fmt: skip

#: Functions of torch by name, without the underscore of those in place.
ACTIVATIONS = frozenset((
    "celu", "clamp", "clamp_min", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
    "log_sigmoid", "logsigmoid", "mish", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softplus",
    "softshrink", "softsign", "tanh", "tanhshrink", "threshold",
))  # fmt: skip

_OTHER_MODULES = nn.GLU | nn.LogSoftmax | nn.MultiheadAttention | nn.Softmax | nn.Softmax2d | nn.Softmin


@dataclass(frozen=True, eq=False)
class ActivationFunction:
    """The function from a layer's output to its activation: the activation function that directly follows, or none."""

    function: Callable[..., Tensor] | None = None
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    in_place: bool = False
    is_linear: bool = True  #: the activation is the result of no activation function, neither this nor one in the layer

    def __call__(self, output: Tensor) -> Tensor:
        if self.function is None:
            return output
        return self.function(output.clone() if self.in_place else output, *self.arguments, **self.options)


NO_FUNCTION = ActivationFunction()


def is_activation(module: nn.Module) -> bool:
    """Whether it is an activation module of torch, such as nn.ReLU."""
    return is_from(module, "activation") and not isinstance(uncompiled(module), _OTHER_MODULES)


def may_be_activation(module: nn.Module) -> bool:
    """Whether it is a custom module without layers, and without more than single numbers as weights."""
    own = type(uncompiled(module)).__module__.startswith("torch.nn.modules.")
    weights = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    is_leaf = not any(True for _ in module.children()) and all(one.numel() == 1 for one in weights)
    return is_leaf and not own and not isinstance(module, torch.jit.ScriptModule)


@torch.no_grad()
def is_elementwise(function: Callable[[Tensor], Tensor], values: Tensor) -> bool:
    """Whether a function treats each value by itself, and all alike, and is not linear: an activation function."""
    count, dims = values.numel(), [*range(values.ndim)]
    if count < 8 or not values.is_floating_point():
        return False
    order = torch.arange(count, device=values.device)
    ramp = ((order * 7919 % count / (count - 1) - 0.5) * 8).to(values.dtype).reshape(values.shape)
    changed = (order % 2 == 0).reshape(values.shape)
    mixed = torch.where(changed, ramp, values)
    with suppress(Exception):  # of a function that does more than that
        alone, together, flipped = (function(one.clone()) for one in (values, mixed, mixed.flip(dims)))
        close = partial(torch.allclose, rtol=1e-2, atol=1e-3)
        local = close(alone[~changed], together[~changed])
        alike = close(flipped, together.flip(dims))
        inputs, outputs = (one[changed].float() - one[changed].float().mean() for one in (ramp, together))
        rest = outputs - inputs * (inputs * outputs).mean() / inputs.square().mean()
        return local and alike and bool(rest.norm() > 0.01 * outputs.norm())
    return False
