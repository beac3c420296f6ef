"""Where a model puts its images: one vector for each."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.layers import feature_maps, resolve_layer
from lightning_viz.methods.model.modes import evaluating


class Place(NamedTuple):
    """Where an embedding is read: a layer's dotted name, and whether it is what goes in or what comes out."""

    layer: str
    side: Literal["input", "output"]


def embeddings(model: nn.Module, images: Tensor, layer: str | None = None) -> Tensor:
    """The embedding of each image: (B, C, H, W) -> (B, D), float32.

    By default it is what the head reads: the input of the last `nn.Linear` to run, tokens averaged; in a model without
    one, the last spatial layer's output (see `find_layer`). `layer` is the dotted name of another layer, whose *output*
    it is then. Feature maps and tokens are averaged over their places, see `pooled`. The model runs in evaluation mode
    and is left as it was.
    Raises ValueError for an unknown layer, one that does not run, or one that does not return one value per image.
    """
    place = find_embedding(model, images, layer)
    with evaluating(model), torch.no_grad(), tapped(model, place) as activations:
        model(images.clone())
    if not activations:
        raise ValueError(
            f"layer={place.layer!r} did not run, or returns no tensor; choose a layer that the model's forward calls"
        )
    return pooled(activations[-1], images)


def find_embedding(model: nn.Module, images: Tensor | None = None, layer: str | None = None) -> Place:
    """Where `embeddings` reads: for a caller who reads along while the model runs, with `tapped` and `pooled`.

    `images` as in `find_layer`. Raises ValueError for an unknown layer, or where the model has none that fits.
    """
    if layer is not None:
        return Place(resolve_layer(model, layer)[0], "output")
    name, module = resolve_layer(model, find_layer(model, "embedding", images))
    return Place(name, "input" if isinstance(module, nn.Linear) else "output")


@contextmanager
def tapped(model: nn.Module, place: Place) -> Iterator[list[Tensor]]:
    """Copies of what passes the place, one for each time that its layer runs inside the context; detached."""
    activations: list[Tensor] = []

    def keep(value: Any) -> None:
        if isinstance(value, Tensor):
            activations.append(value.detach().clone())  # the model may overwrite it

    _, module = resolve_layer(model, place.layer)
    if place.side == "input":
        hook = module.register_forward_pre_hook(lambda _module, inputs: keep(inputs[0] if inputs else None))
    else:
        hook = module.register_forward_hook(lambda _module, _inputs, output: keep(output))
    try:
        yield activations
    finally:
        hook.remove()


def pooled(activation: Tensor, images: Tensor) -> Tensor:
    """One vector for each image, of what a layer reads or returns for `images` (B, C, H, W): (B, D), float32.

    The mean over the places of feature maps, channels first or last, and of tokens on the images' grid, without class
    and register tokens; of tokens on no grid, the mean over all; anything else is flattened.
    Raises ValueError where the activation does not begin with the images.
    """
    if activation.shape[:1] != images.shape[:1]:
        raise ValueError(
            f"an activation of the shape {tuple(activation.shape)} does not hold one value for each of {len(images)} "
            "images; choose a layer= that keeps the images apart"
        )
    values = activation.detach().float()
    if values.ndim in (3, 4):
        return _maps(values, images).mean(dim=(2, 3))
    return values.reshape(len(values), -1)


def _maps(values: Tensor, images: Tensor) -> Tensor:
    """Feature maps or tokens as (B, D, h, w)."""
    with suppress(ValueError):
        maps = feature_maps(values, images)
        # Any few tokens fold to a grid if enough of them are left out: 3 to a single place, say.
        if values.ndim == 4 or 2 * maps.shape[2] * maps.shape[3] > values.shape[1]:
            return maps
    return values.transpose(1, 2)[..., None]
