"""The filters of a convolution: its weights."""

from torch import Tensor, nn

from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.layers import resolve_layer


def filters(model: nn.Module, layer: str | None = None) -> Tensor:
    """The filters of a 2-D convolution, (N, C, h, w); by default of the model's first. Krizhevsky et al. 2012, fig. 3.

    C is the number of input channels of one filter: 1 in a depthwise convolution. The result is a copy.
    Raises ValueError for a layer that is unknown or not a 2-D convolution.
    """
    name, module = resolve_layer(model, find_layer(model, "first_conv") if layer is None else layer)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 4:
        raise ValueError(
            f"layer={name!r} is {type(module).__name__}, which has no 2-D filters; choose an nn.Conv2d, "
            f"such as {find_layer(model, 'first_conv')!r}"
        )
    return weight.detach().clone()
