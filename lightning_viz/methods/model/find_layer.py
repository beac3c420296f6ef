"""The layer that a method needs by default, found by its role."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from .capture import LayerTracer, capture, differentiable
from .dense import dense_scores, feature_layers, mixed_sum
from .images import as_images
from .layer_depth import encoder_end
from .layers import feature_maps, is_from, is_spatial, no_spatial_layer, plain_name
from .modes import evaluating, plain_tensor
from .outputs import Target, has_logits, logits
from .token_order import is_placed

Kind = Literal["first_conv", "last_spatial", "embedding"]


def find_layer(model: nn.Module, kind: Kind, images: Tensor | None = None, target: Target = None) -> str:
    """The dotted name of a layer by its role.

    - "first_conv": the first 2-D convolution in order of definition.
    - "last_spatial": the last layer to run, except pooling, whose output still has a height and a width that the score
      depends on: feature maps (B, C, h, w), channels last too (Swin), or tokens (B, N, C) on the image's grid. The last
      block of a ViT uses the class token only, so there it is the norm before the last attention.
      Of a dense output (segmentation) it is the last layer of features: not one that returns the scores themselves, or
      what is only resized, added up or activated to become them (see `feature_layers`). Layers whose tokens cannot be
      placed on the image (see `token_order`) are passed over.
    - "embedding": the `nn.Linear` whose output is the logits, whose *input* is the embedding; without one the last
      spatial layer. Of a dense output, and of boxes, it is the end of the encoder, the last layer of the lowest
      resolution: its features say what the image holds, while those before the head say what each pixel is, and their
      mean is no more than the area of each class. An output that is no finer than that, with no fewer channels, is taken
      as features, and is the embedding itself.

    The last two are found by running one of `images` (B, C, H, W), by default zeros of 224×224 pixels. A callable
    `target` is for models whose output holds no logits.
    Raises ValueError for an unknown `kind`, and where the model has no such layer.
    """
    images = None if images is None else as_images(model, images)
    if kind not in get_args(Kind):
        raise ValueError(f"kind={kind!r} is unknown; choose one of {', '.join(map(repr, get_args(Kind)))}")
    if kind == "first_conv" or images is None:
        convs = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
        if not convs:
            raise ValueError(f"{type(model).__name__} has no nn.Conv2d; name the layer to use")
        name, conv = convs[0]
        if kind == "first_conv":
            return plain_name(name)
        images = torch.zeros(1, conv.in_channels, 224, 224, device=conv.weight.device, dtype=conv.weight.dtype)
    if kind == "embedding":
        with evaluating(model), linear_layers(model) as linears:
            output = model(images[:1].clone())
        if dense := dense_scores(output):
            end = encoder_end(model, images)
            returns_features = _are_features(model, dense[0], end, images)
            return plain_name(_last_spatial(model, images[:1], target, output_too=True) if returns_features else end)
        if head := find_head(output, linears, 1):
            return plain_name(next(name for name, module in model.named_modules() if module is head.module))
        if not has_logits(output):
            return plain_name(encoder_end(model, images))
    return plain_name(_last_spatial(model, images[:1], target))


class LinearRun(NamedTuple):
    """A linear layer with its input and output."""

    module: nn.Linear
    input: Tensor
    output: Tensor


@contextmanager
def linear_layers(model: nn.Module) -> Iterator[list[LinearRun]]:
    """The linear layers in the order they run."""
    runs: list[LinearRun] = []

    def start(_: nn.Module, inputs: Any) -> Any:
        return tuple(differentiable(plain_tensor(one)) if isinstance(one, Tensor) else one for one in inputs)

    def end(module: nn.Module, inputs: Any, output: Any) -> None:
        if inputs and isinstance(module, nn.Linear) and isinstance(output, Tensor):
            runs.append(LinearRun(module, plain_tensor(inputs[0]), output))

    with ExitStack() as hooks:
        for module in (one for one in model.modules() if isinstance(one, nn.Linear)):
            hooks.enter_context(module.register_forward_pre_hook(start))
            hooks.enter_context(module.register_forward_hook(end))
        yield runs


def find_head(output: Any, linears: Sequence[LinearRun], count: int) -> LinearRun | None:
    """The linear layer whose output becomes the logits in a model's output for `count` images, found along the graph.

    What lies between does not matter (views, a softmax, an average over heads, scaling), but a convolution: it is nearer to
    the logits than the linear layers of a squeeze-and-excitation. Of several, such as auxiliary ones, it is the nearest with
    as many outputs as there are logits. Without logits or their graph it is the last to run.
    """
    # Not those that read the regions of an image one by one, as in a detector.
    whole = [run for run in linears if len(run.input) == count]
    scores = logits(output) if has_logits(output) else None
    if scores is None or scores.grad_fn is None:
        return next(reversed(whole), None)
    found = [*_nearest(scores, whole)]
    return next((run for run in found if run.module.out_features == scores.shape[-1]), next(iter(found), None))


def _nearest(scores: Tensor, linears: Sequence[LinearRun]) -> Iterator[LinearRun]:
    """Those that are found before a convolution on the way back along the graph, breadth first."""
    ends = {run.output.grad_fn: run for run in linears if run.output.grad_fn is not None}
    nodes, seen = deque([scores.grad_fn]), {scores.grad_fn}
    while nodes:
        node = nodes.popleft()
        if node in ends:
            yield ends[node]
        elif node is None or "Convolution" in node.name():
            return
        else:
            new = [one for one in dict.fromkeys(inner for inner, _ in node.next_functions) if one and one not in seen]
            nodes.extend(new)
            seen.update(new)


def _are_features(model: nn.Module, output: Tensor, end: str, images: Tensor) -> bool:
    """Whether a dense output is that of a backbone: no finer than the encoder's end, and with no fewer channels."""
    with evaluating(model), torch.no_grad(), capture(model, [end]) as outputs:
        model(images[:1].clone())
    if not is_spatial(output, images[:1]):
        return False
    found, maps = feature_maps(output, images), feature_maps(outputs[end], images)
    return found.shape[1] >= maps.shape[1] and found.shape[2] <= maps.shape[2]


def _last_spatial(model: nn.Module, images: Tensor, target: Target, output_too: bool = False) -> str:
    # Not pooling, which only lowers the resolution, nor the linear layers that a transformer applies to its tokens.
    names = [name for name, module in model.named_modules() if name and not isinstance(module, nn.Linear)]
    with evaluating(model):
        with LayerTracer(model, names) as tracer, linear_layers(model) as linears:
            output = model(images.clone())  # an inference tensor cannot be saved for the backward pass
            scores = target(output) if callable(target) else logits(output)
        spatial = {
            name: run.activation
            for name, run in tracer.layers.items()
            if not run.pools and not run.is_matrix and is_spatial(run.activation, images)
        }
        if spatial and dense_scores(output) and not output_too:
            passes = {name for name in spatial if is_from(model.get_submodule(name), "dropout", "linear")}
            features = feature_layers(model, images, [*spatial])
            spatial = {name: spatial[name] for name in features if name not in passes}
        if not spatial:
            raise no_spatial_layer(model, images)
        # A head initialised to zero passes no gradient back: then differentiate its input instead of the scores.
        candidates = [[*spatial]]
        head = find_head(output, linears, 1)
        for end in [scores, *([head.input] if head else [])]:
            gradients = torch.autograd.grad(mixed_sum(end), [*spatial.values()], retain_graph=True, allow_unused=True)
            reached = {name: one for name, one in zip(spatial, gradients, strict=True) if one is not None}
            nonzero = [feature_maps(gradient, images).any() for gradient in reached.values()]
            flags = torch.stack(nonzero).tolist() if nonzero else []  # read at once: each reading waits for the device
            used = [name for name, flag in zip(reached, flags, strict=True) if flag]
            candidates = [used] if used else [[*reached], *candidates]
            if used:
                break
        for name in (name for names in candidates for name in reversed(names)):
            if spatial[name].ndim != 3 or is_placed(model, name, images):
                return name
    raise no_spatial_layer(model, images)
