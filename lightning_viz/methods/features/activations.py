"""What a layer answers to images, and which of its channels answer most."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.layers import resolve_layer
from lightning_viz.methods.model.modes import capture, evaluating

#: By what channels are chosen, see `choose_channels`.
Ranking = Literal["active", "varying"]


def activations(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """The layer's output for the images (B, C, H, W), as the layer returns it; the last where it runs several times.

    `layer` is a dotted module name. What a later in-place ReLU would make of it is not seen. The model runs in
    evaluation mode and is left as it was; the result is detached.
    Raises ValueError for an unknown layer, or one that does not run or returns no tensor.
    """
    name, _ = resolve_layer(model, layer)
    with evaluating(model), torch.no_grad(), capture(model, [name]) as outputs:
        model(images.clone())
    if name not in outputs:
        raise ValueError(
            f"layer={name!r} did not run, or returns no tensor; choose a layer that the model's forward calls"
        )
    return outputs[name].detach()


def choose_channels(maps: Tensor, count: int, by: Ranking = "active") -> Tensor:
    """The `count` channels of feature maps (B, C, h, w) that answer most, strongest first: (count,), int64.

    "active": by the mean of the positive part, over images and places; how loud a channel is. "varying": by the variance
    over the images of the mean over places; how well a channel tells these images apart. All are returned where there
    are fewer; channels that are not finite come last, equal ones in their order.
    Raises ValueError for another measure, a count below 1, or maps of another shape.
    """
    if by not in get_args(Ranking):
        raise ValueError(
            f"by={by!r} is no measure of channels; choose one of {', '.join(map(repr, get_args(Ranking)))}"
        )
    if count < 1:
        raise ValueError(f"count={count} chooses no channel; give 1 or more")
    if maps.ndim != 4:
        raise ValueError(f"maps of the shape {tuple(maps.shape)} are no feature maps; give (B, C, h, w)")
    values = maps.detach().float()
    if by == "active":
        measure = torch.relu(values).mean(dim=(0, 2, 3))
    else:
        measure = values.mean(dim=(2, 3)).var(dim=0, correction=0)
    measure = torch.where(measure.isfinite(), measure, -torch.inf)
    return measure.argsort(descending=True, stable=True)[:count]
