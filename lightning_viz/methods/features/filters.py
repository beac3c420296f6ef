"""The filters of a convolution: its weights."""

from torch import Tensor, nn

from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.layers import plain_name, resolve_layer


def filters(model: nn.Module, layer: str | None = None) -> Tensor:
    """The filters of a 2-D convolution, (N, C, h, w); by default of the model's first. Krizhevsky et al. 2012, fig. 3.

    C is the number of input channels of one filter: 1 in a depthwise convolution. The result is a copy.
    Raises ValueError for a layer that is unknown or not a 2-D convolution.
    """
    return layer_filters(model, find_layer(model, "first_conv") if layer is None else layer)


def layer_filters(model: nn.Module, layer: str, argument: str = "layer") -> Tensor:
    """As `filters`, of a named layer; `argument` is where the caller gave its name."""
    name, module = resolve_layer(model, layer, argument)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 4:
        convs = [path for path, one in model.named_modules() if isinstance(one, nn.Conv2d)]
        known = f"such as {plain_name(convs[0])!r}" if convs else f"of which {type(model).__name__} has none"
        raise ValueError(
            f"{argument}={name!r} is {type(module).__name__}, which has no 2-D filters; choose an nn.Conv2d, {known}"
        )
    return weight.detach().clone()
