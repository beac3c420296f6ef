"""The embedding of each image: the vector that the head of the model reads, or a layer's pooled output."""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.capture import capture, captured_output
from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.images import as_images
from lightning_viz.methods.model.layers import feature_maps, resolve_layer
from lightning_viz.methods.model.modes import evaluating, plain_tensor


class EmbeddingSource(NamedTuple):
    """Where an embedding is read: a layer's dotted name, and whether it is the layer's input or output."""

    layer: str
    side: Literal["input", "output"]


def embeddings(model: nn.Module, images: Tensor, layer: str | None = None) -> Tensor:
    """The embedding of each image: (B, C, H, W) -> (B, D), float32.

    By default it is the input of the head, the last `nn.Linear` to run; in a model without one, the output of the last
    spatial layer, and in one with a dense output that of the end of its encoder (see `find_layer`). `layer` is the dotted
    name of another layer, whose *activation* is the embedding (see `activations`). Feature maps and tokens are averaged, see `pool_embedding`.
    The model runs in evaluation mode and is left as it was.
    Raises ValueError for an unknown layer, one that does not run, or one that does not return one value per image.
    """
    images = as_images(model, images)
    source = find_embedding_source(model, images, layer)
    return read_embeddings(model, images, {source.layer: source}, "layer")[source.layer]


def find_embedding_source(model: nn.Module, images: Tensor | None = None, layer: str | None = None) -> EmbeddingSource:
    """Where `embeddings` reads, for `read_embeddings`, or a caller who records while the model runs anyway.

    `images` as in `find_layer`. Raises ValueError for an unknown layer, or a model without a suitable one.
    """
    if layer is not None:
        return EmbeddingSource(resolve_layer(model, layer)[0], "output")
    name, module = resolve_layer(model, find_layer(model, "embedding", images))
    return EmbeddingSource(name, "input" if isinstance(module, nn.Linear) else "output")


def read_embeddings(
    model: nn.Module, images: Tensor, sources: Mapping[str, EmbeddingSource], argument: str = "layers"
) -> dict[str, Tensor]:
    """The embeddings of images (B, C, H, W) by the names of their sources, (B, D) each, from one forward pass.

    Raises ValueError as `embeddings`; `argument` is where the caller gave the names.
    """
    recorded: dict[str, Tensor] = {}

    def record(name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            recorded[name] = plain_tensor(value).detach().clone()  # the model may overwrite it

    layers = {name: resolve_layer(model, source.layer) for name, source in sources.items()}
    with evaluating(model), torch.no_grad(), ExitStack() as hooks:
        outputs = [name for name, source in sources.items() if source.side == "output"]
        captured = hooks.enter_context(capture(model, [layers[name][0] for name in outputs])) if outputs else {}
        for name in sources.keys() - outputs:
            listener = lambda _m, inputs, name=name: record(name, *inputs[:1])  # noqa: E731
            hooks.enter_context(layers[name][1].register_forward_pre_hook(listener))
        model(images.clone())
    recorded |= {name: captured[layers[name][0]] for name in outputs if layers[name][0] in captured}
    return {name: pool_embedding(captured_output(recorded, name, f"{argument}={name!r}"), images) for name in sources}


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
