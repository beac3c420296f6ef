"""The embedding of each image: the vector that the head of the model reads, or a layer's pooled output."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.layers import feature_maps, resolve_layer
from lightning_viz.methods.model.modes import evaluating

from .activations import recorded_output


class EmbeddingSource(NamedTuple):
    """Where an embedding is read: a layer's dotted name, and whether it is the layer's input or output."""

    layer: str
    side: Literal["input", "output"]


def embeddings(model: nn.Module, images: Tensor, layer: str | None = None) -> Tensor:
    """The embedding of each image: (B, C, H, W) -> (B, D), float32.

    By default it is the input of the head, the last `nn.Linear` to run; in a model without one, the output of the last
    spatial layer, and in one with a dense output that of the end of its encoder (see `find_layer`). `layer` is the dotted name of another layer, whose *output* is the embedding. Feature
    maps and tokens are averaged, see `pool_embedding`. The model runs in evaluation mode and is left as it was.
    Raises ValueError for an unknown layer, one that does not run, or one that does not return one value per image.
    """
    source = find_embedding_source(model, images, layer)
    with evaluating(model), torch.no_grad(), record_embedding(model, source) as recorded:
        model(images.clone())
    return pool_embedding(recorded_output(recorded[-1] if recorded else None, source.layer), images)


def find_embedding_source(model: nn.Module, images: Tensor | None = None, layer: str | None = None) -> EmbeddingSource:
    """Where `embeddings` reads, for a caller who records with `record_embedding` while the model runs anyway.

    `images` as in `find_layer`. Raises ValueError for an unknown layer, or a model without a suitable one.
    """
    if layer is not None:
        return EmbeddingSource(resolve_layer(model, layer)[0], "output")
    name, module = resolve_layer(model, find_layer(model, "embedding", images))
    return EmbeddingSource(name, "input" if isinstance(module, nn.Linear) else "output")


@contextmanager
def record_embedding(model: nn.Module, source: EmbeddingSource) -> Iterator[list[Tensor]]:
    """Records the source's tensor each time that its layer runs inside the context: detached copies."""
    recorded: list[Tensor] = []

    def record(value: Any) -> None:
        if isinstance(value, Tensor):
            recorded.append(value.detach().clone())  # the model may overwrite it

    _, module = resolve_layer(model, source.layer)
    if source.side == "input":
        hook = module.register_forward_pre_hook(lambda _module, inputs: record(inputs[0] if inputs else None))
    else:
        hook = module.register_forward_hook(lambda _module, _inputs, output: record(output))
    with hook:
        yield recorded


def pool_embedding(activation: Tensor, images: Tensor) -> Tensor:
    """One vector per image from a layer's input or output for `images` (B, C, H, W): (B, D), float32.

    The mean over the positions of feature maps, channels first or last, and of tokens on the images' grid, without class
    and register tokens; over all tokens where they form no grid; other shapes are flattened.
    Raises ValueError where the activation's first dimension is not the images'.
    """
    if activation.shape[:1] != images.shape[:1]:
        raise ValueError(
            f"an activation of the shape {tuple(activation.shape)} does not hold one value for each of {len(images)} "
            "images; choose a layer that keeps the images apart"
        )
    values = activation.detach().float()
    if values.ndim not in (3, 4):
        return values.reshape(len(values), -1)
    if values.ndim == 4:
        return feature_maps(values, images).mean(dim=(2, 3))
    with suppress(ValueError):
        maps = feature_maps(values, images)
        # Almost any number of tokens forms a grid once enough are left out, e.g. 3 tokens one position: require half.
        if 2 * maps.shape[2] * maps.shape[3] > values.shape[1]:
            return maps.mean(dim=(2, 3))
    return values.transpose(1, 2)[..., None].mean(dim=(2, 3))
