"""An entry in a registry of methods."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

#: From a network, images (B, C, H, W) and options to a number of passes.
Passes = Callable[[nn.Module, Tensor, Mapping[str, Any]], float]

FORWARD = 1 / 3  # a forward pass alone, where a forward and a backward pass count 1

_SHARED = ("reduce", "reshape")  # keyword-only parameters that are no options of one method


@dataclass(frozen=True)
class Method:
    """A method that a callback offers, under its key in a registry."""

    function: Callable[..., Any]
    citation: str  #: authors and year
    url: str  #: of the paper
    passes: Passes = lambda network, images, options: 1.0  #: for `estimated_passes`; `options` holds the defaults too
    caption: str = ""  #: what the map shows, for the line under a panel: "<caption> of class 3"

    @property
    def options(self) -> dict[str, Any]:
        """The method's own options with their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY and one.name not in _SHARED}

    def estimated_passes(self, network: nn.Module, images: Tensor, options: Mapping[str, Any] | None = None) -> float:
        """How often each image goes through the network, forward and backward; a forward pass alone counts a third.

        `options` may hold the callback's `layers` beside the method's own options.
        """
        return self.passes(network, images, {**self.options, **(options or {})})


def choose(registry: Mapping[str, Method], method: str) -> Method:
    """The entry of a method. Raises ValueError with the choices for an unknown one."""
    if method not in registry:
        raise ValueError(f"method={method!r} is unknown; choose one of {', '.join(map(repr, registry))}")
    return registry[method]
