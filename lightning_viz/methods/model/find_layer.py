"""The layers that a method needs by default: one found by its role, or several spread over the network's depth."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from .layers import feature_maps, is_spatial, plain_name, uncompiled
from .modes import capture, evaluating, linear_inputs
from .outputs import Target, logits

Kind = Literal["first_conv", "last_spatial", "embedding"]

#: Height and width of feature maps; None for a layer that pools, or ends in one that does.
Size = tuple[int, int] | None


def find_layer(model: nn.Module, kind: Kind, images: Tensor | None = None, target: Target = None) -> str:
    """The dotted name of a layer by its role.

    - "first_conv": the first 2-D convolution in order of definition.
    - "last_spatial": the last layer to run, except pooling, whose output still has a height and a width that the score
      depends on: feature maps (B, C, h, w), channels last too (Swin), or tokens (B, N, C) on the image's grid. The last
      block of a ViT uses the class token only, so there it is the norm before the last attention.
    - "embedding": the last `nn.Linear` to run, whose *input* is the embedding; without one the last spatial layer.

    The last two are found by running one of `images` (B, C, H, W), by default zeros of 224×224 pixels. A callable
    `target` is for models whose output holds no logits.
    Raises ValueError for an unknown `kind`, and where the model has no such layer.
    """
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
        with evaluating(model), torch.no_grad(), linear_inputs(model) as inputs:
            model(images[:1].clone())
        if inputs:
            return plain_name(next(name for name, module in model.named_modules() if module is inputs[-1][0]))
    return plain_name(_last_spatial(model, images[:1], target))


def _last_spatial(model: nn.Module, images: Tensor, target: Target) -> str:
    # Not pooling, which only lowers the resolution, nor the linear layers that a transformer applies to its tokens.
    names = [
        name
        for name, module in model.named_modules()
        if name and type(module).__module__ != "torch.nn.modules.pooling" and not isinstance(module, nn.Linear)
    ]
    with evaluating(model), capture(model, names) as outputs, linear_inputs(model) as inputs:
        output = model(images.clone())  # an inference tensor cannot be saved for the backward pass
        scores = target(output) if callable(target) else logits(output)
        spatial = {name: output for name, output in outputs.items() if is_spatial(output, images)}
        if not spatial:
            raise _no_layer(model, images)
        # A head initialised to zero passes no gradient back: then differentiate its input instead of the scores.
        for end in [scores, *(embedding for _, embedding in inputs[-1:])]:
            # Unequal weights: the plain sum over the output of a LayerNorm or a softmax is constant.
            weighted = (end * torch.arange(end.numel(), device=end.device).sin().reshape(end.shape)).sum()
            gradients = torch.autograd.grad(weighted, [*spatial.values()], retain_graph=True, allow_unused=True)
            reached = {name: one for name, one in zip(spatial, gradients, strict=True) if one is not None}
            if used := [name for name, gradient in reached.items() if feature_maps(gradient, images).any()]:
                return used[-1]
    return [*(reached or spatial)][-1]


def _no_layer(model: nn.Module, images: Tensor) -> ValueError:
    return ValueError(
        f"{type(model).__name__} has no layer with a height and a width for images of shape {tuple(images.shape)}; "
        "name the layer to use, or give larger images"
    )


def layers_over_depth(model: nn.Module, images: Tensor, count: int = 4) -> list[str]:
    """Names of at most `count` layers with feature maps for images (B, C, H, W), in the order they run.

    They are the last layers of the network's stages, a stage being a sequence of layers of one resolution; if there are
    more than `count`, evenly spread and without the stem: layer1 to layer4 of ResNet, the last ReLU before each of the
    later poolings of VGG. In a network of one resolution, such as ViT, they are evenly spread blocks. The last one is
    always that of the last stage or block; pooling layers are skipped. One image is run to find them.
    Raises ValueError for a `count` below 1, and where no layer has a height and a width.
    """
    if count < 1:
        raise ValueError(f"count={count} is too small; give 1 or more")
    sizes = _sizes(model, images)
    chain = {name: size for name, size in _chain(model, sizes) if size is not None}
    if not chain:
        raise _no_layer(model, images)
    blocks = [name for name in sizes if [*uncompiled(model.get_submodule(name)).children()]]
    stages = _stages([name for name in sizes if name in chain], chain)
    ends = [([name for name in stage if name in blocks] or stage)[-1] for stage in stages]  # not the norm after a block
    if len(ends) == 1:
        ends = _repeated(model, [name for name in blocks if sizes[name]]) or ends
    elif len(ends) > count:
        ends = ends[1:]
    count = min(count, len(ends))
    return [plain_name(ends[round((k + 1) * len(ends) / count) - 1]) for k in range(count)]


def _sizes(model: nn.Module, images: Tensor) -> dict[str, Size]:
    """The sizes of the last outputs of the layers with feature maps, in the order of these outputs."""
    images = images[:1].repeat(2, 1, 1, 1)  # two, so that outputs without a batch dimension (windows, tables) differ
    modules = {name: module for name, module in model.named_modules() if name}
    outputs: dict[str, Tensor] = {}

    def record(name: str, output: Any) -> None:
        outputs.pop(name, None)
        if isinstance(output, Tensor):
            outputs[name] = output

    with evaluating(model), torch.no_grad(), ExitStack() as hooks:
        for name, module in modules.items():
            hook = module.register_forward_hook(lambda _m, _i, output, name=name: record(name, output))
            hooks.enter_context(hook)
        model(images.clone())
    # A container returns the tensor of its last layer: VGG's "features" ends in a pooling, and so pools itself.
    pooled = {id(output) for name, output in outputs.items() if _is_from(modules[name], "pooling")}
    sizes: dict[str, Size] = {}
    for name, output in outputs.items():
        if is_spatial(output, images) and not _is_from(modules[name], "linear", "dropout"):
            height, width = feature_maps(output, images).shape[2:]
            sizes[name] = None if id(output) in pooled else (height, width)
    return sizes


def _is_from(module: nn.Module, *files: str) -> bool:
    """Whether the module's class is defined in one of these files of torch.nn.modules."""
    return type(uncompiled(module)).__module__ in {f"torch.nn.modules.{file}" for file in files}


def _chain(module: nn.Module, sizes: dict[str, Size], path: str = "") -> Iterator[tuple[str, Size]]:
    """The outermost layers with feature maps; a trunk, which holds several stages, is replaced by the layers inside it."""
    for name, child in module.named_children():
        full = f"{path}.{name}" if path else name
        inside = [size for inner, size in sizes.items() if inner.startswith(f"{full}.")]
        children = [sizes.get(f"{full}.{inner}") for inner, _ in child.named_children()]
        # A block may halve the resolution once, in one branch before the other.
        is_trunk = _resolutions(inside) > 2 or (isinstance(child, nn.Sequential) and _resolutions(children) > 1)
        if full in sizes and not is_trunk:
            yield full, sizes[full]
        else:
            yield from _chain(child, sizes, full)


def _resolutions(sizes: Iterable[Size]) -> int:
    """The number of resolutions; within a factor of two in positions is one, as unpadded convolutions lose a few."""
    positions = sorted(size[0] * size[1] for size in sizes if size)
    return sum(more >= 2 * fewer for fewer, more in pairwise(positions)) + 1 if positions else 0


def _stages(names: Sequence[str], sizes: dict[str, tuple[int, int]]) -> list[list[str]]:
    """Consecutive layers of one resolution."""
    stages: list[list[str]] = []
    for name in names:
        if not stages or _resolutions([sizes[stages[-1][0]], sizes[name]]) > 1:
            stages.append([])
        stages[-1].append(name)
    return stages


def _repeated(model: nn.Module, blocks: Sequence[str]) -> list[str]:
    """The blocks of the most frequent class, the outermost one of several; none within another."""
    kinds: dict[type[nn.Module], list[str]] = defaultdict(list)
    for name in sorted(blocks, key=lambda name: name.count(".")):
        kind = kinds[type(model.get_submodule(name))]
        if not any(name.startswith(f"{outer}.") for outer in kind):
            kind.append(name)
    most = max(kinds.values(), key=len, default=[])
    return [name for name in blocks if name in most]
