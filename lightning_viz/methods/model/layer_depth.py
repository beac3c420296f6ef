"""Layers spread over a network's depth, from its first layers to its last."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .layers import feature_maps, is_spatial, plain_name, uncompiled
from .modes import evaluating

#: Height and width of feature maps; None for a layer that pools, or ends in one that does.
Size = tuple[int, int] | None


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
        raise ValueError(
            f"{type(model).__name__} has no layer with a height and a width for images of shape {tuple(images.shape)}; "
            "name the layers to use, or give larger images"
        )
    ends = []
    for stage in _stages([name for name in sizes if name in chain], chain):
        ends.append(([name for name in stage if _is_block(model, name)] or stage)[-1])  # not the norm after a block
    if len(ends) == 1:
        ends = _repeated(model, [name for name, size in sizes.items() if size]) or ends
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
    """The outermost layers with feature maps; a trunk is replaced by the layers inside it."""
    for name, child in module.named_children():
        full = f"{path}.{name}" if path else name
        if full in sizes and not _is_trunk(child, full, sizes):
            yield full, sizes[full]
        else:
            yield from _chain(child, sizes, full)


def _is_trunk(module: nn.Module, path: str, sizes: dict[str, Size]) -> bool:
    """Whether the module holds several stages; a block may halve the resolution once, in one branch before the other."""
    inside = [size for name, size in sizes.items() if name.startswith(f"{path}.")]
    children = [sizes.get(f"{path}.{name}") for name, _ in module.named_children()]
    return _resolutions(inside) > 2 or (isinstance(module, nn.Sequential) and _resolutions(children) > 1)


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


def _repeated(model: nn.Module, names: Sequence[str]) -> list[str]:
    """The blocks of the most frequent class, the outermost one of several; none within another."""
    kinds: dict[type[nn.Module], list[str]] = defaultdict(list)
    for name in sorted(filter(lambda name: _is_block(model, name), names), key=lambda name: name.count(".")):
        kind = kinds[type(model.get_submodule(name))]
        if not any(name.startswith(f"{outer}.") for outer in kind):
            kind.append(name)
    most = max(kinds.values(), key=lambda kind: len(kind), default=[])
    return [name for name in names if name in most]


def _is_block(model: nn.Module, name: str) -> bool:
    return next(uncompiled(model.get_submodule(name)).children(), None) is not None
