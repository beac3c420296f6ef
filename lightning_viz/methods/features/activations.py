"""The outputs of layers for a batch of images, and the channels with the largest activations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.capture import captured_output, trace
from lightning_viz.methods.model.images import as_images
from lightning_viz.methods.model.layers import resolve_layer
from lightning_viz.methods.model.token_order import placed_maps

Ranking = Literal["active", "varying"]  #: the measure by which channels are ranked, see `choose_channels`


def activations(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """The layer's activation for the images (B, C, H, W), detached; the last if it runs several times.

    It is the output of the layer after the activation function that directly follows it, if nothing else reads the output:
    the same whether a ReLU after a convolution is a module, a function or works in place.
    Raises ValueError for an unknown layer, or one that does not run or returns no tensor.
    """
    images, (name, _) = as_images(model, images), resolve_layer(model, layer)
    outputs = {name: run.activation for name, run in trace(model, images, [name]).items()}
    return captured_output(outputs, name, f"layer={name!r}")


@dataclass(frozen=True, eq=False)
class LayerActivation:
    """The activation of a layer as feature maps."""

    maps: Tensor  #: (B, C, h, w), detached; of the last call if the layer runs several times
    calls: int  #: how many times the layer runs in one forward pass


def layer_activations(model: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, LayerActivation]:
    """The feature maps of several layers for the images (B, C, H, W), from one forward pass, by the given names.

    Tokens are folded to the images' grid; a vector is a map of one position. The model is left as it was.
    Raises ValueError for an unknown layer, one that does not run or returns no tensor, and one whose output does not keep
    the images apart, or is neither maps nor tokens nor vectors.
    """
    names = {layer: resolve_layer(model, layer)[0] for layer in layers}
    runs = trace(model, images, [*names.values()])
    outputs, result = {name: run.activation for name, run in runs.items()}, {}
    for layer, name in names.items():
        output = captured_output(outputs, name, f"layers={layer!r}", images)
        result[layer] = LayerActivation(placed_maps(model, layer, output, images, "layers", True), runs[name].calls)
    return result


def choose_channels(maps: Tensor, count: int, by: Ranking = "active") -> Tensor:
    """The `count` channels of feature maps (B, C, h, w) that rank highest, highest first: (count,), int64.

    "active" ranks by the mean of the positive part over images and positions, how strongly a channel is activated; "varying"
    by the variance over the images of the mean over positions, how well it distinguishes these images. At most all channels
    are returned; channels that are not finite rank last, equal ones by index.
    Raises ValueError for another measure, a count below 1, or maps of another shape.
    """
    if by not in get_args(Ranking):
        raise ValueError(f"by={by!r} is unknown; choose one of {', '.join(map(repr, get_args(Ranking)))}")
    if count < 1:
        raise ValueError(f"count={count} is too small; give 1 or more")
    if maps.ndim != 4:
        raise ValueError(f"maps have the shape {tuple(maps.shape)}; give feature maps (B, C, h, w)")
    values = maps.detach().float()
    if by == "active":
        measure = torch.relu(values).mean(dim=(0, 2, 3))
    else:
        measure = values.mean(dim=(2, 3)).var(dim=0, correction=0)
    measure = torch.where(measure.isfinite(), measure, -torch.inf)
    return measure.argsort(descending=True, stable=True)[:count]
