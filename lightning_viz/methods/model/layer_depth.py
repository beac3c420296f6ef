"""Layers spread over the depth of a network, and the end of its encoder."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, takewhile

from torch import Tensor, nn

from .capture import LayerRun, trace
from .dense import feature_layers
from .images import as_images
from .layers import feature_maps, is_from, is_spatial, no_spatial_layer, plain_name, uncompiled
from .token_order import is_placed

#: Height and width of feature maps; None for a layer that pools, or ends in one that does.
Size = tuple[int, int] | None

_ADAPTIVE = nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d


def layers_over_depth(model: nn.Module, images: Tensor, count: int = 4) -> list[str]:
    """Names of at most `count` layers with feature maps for images (B, C, H, W), in the order they run.

    They are the last layers of the network's stages, a stage being a sequence of layers of one resolution; if there are
    more than `count`, evenly spread and without the stem: layer1 to layer4 of ResNet, the last convolution before each of
    the later poolings of VGG. In a network of one resolution, such as ViT, they are evenly spread blocks. The last one is
    always that of the last stage or block, or a norm after it that an activation function follows. Pooling layers, activation
    modules and attention matrices are skipped. One image is run to find them.
    Raises ValueError for a `count` below 1, and where no layer has a height and a width.
    """
    if count < 1:
        raise ValueError(f"count={count} is too small; give 1 or more")
    images = as_images(model, images)
    runs = _spatial_runs(model, images)
    sizes = {name: size for name, (_, size) in runs.items()}
    chain = {name: size for name, size in _chain(model, sizes) if size is not None}
    if not chain:
        raise no_spatial_layer(model, images)
    modules = {name: uncompiled(model.get_submodule(name)) for name in sizes}
    blocks = [name for name, one in modules.items() if [*one.children()] and not isinstance(one, nn.Conv2d)]
    repeated = _repeated(model, [name for name in blocks if sizes[name]])
    stages = _without_stem(_stages([name for name in sizes if name in chain], chain), [*sizes], repeated)
    # Not the norm after a block, unless an activation function follows it.
    activated = {name for name, (run, _) in runs.items() if run.function.function is not None}
    ending = {*blocks, *(name for name in activated if not isinstance(modules[name], nn.Conv2d))}
    ends = [([name for name in stage if name in ending] or stage)[-1] for stage in stages]
    if len(ends) == 1:
        ends = repeated or ends
    elif len(ends) > count:
        ends = ends[1:]
    count = min(count, len(ends))
    return [plain_name(ends[round((k + 1) * len(ends) / count) - 1]) for k in range(count)]


def encoder_end(model: nn.Module, images: Tensor) -> str:
    """The last layer before the resolution of feature maps grows again, or before they are pooled to a fixed size.

    For models with a dense output, or boxes; where it never grows, the last layer of features. Raises ValueError as `layers_over_depth`.
    """
    sizes = {name: size for name, (_, size) in _spatial_runs(model, images).items()}
    features = {*feature_layers(model, images, [*sizes])} or {*sizes}  # none are known where the output has no scores
    before = takewhile(lambda name: not isinstance(model.get_submodule(name), _ADAPTIVE), sizes)
    sizes = {name: sizes[name] for name in before if name in features}
    chain = {name: size for name, size in _chain(model, sizes) if size is not None}
    stages = _stages([name for name in sizes if name in chain], chain)
    if not stages:
        raise no_spatial_layer(model, images)
    areas = [chain[stage[0]][0] * chain[stage[0]][1] for stage in stages]
    end = next((k for k, (area, later) in enumerate(pairwise(areas)) if later > area), len(areas) - 1)
    return stages[end][-1]


def _without_stem(stages: list[list[str]], order: Sequence[str], repeated: Sequence[str]) -> list[list[str]]:
    """The stages without those of a stem: layers before the repeated blocks that come down to the blocks' resolution.

    Of a network whose blocks have a single resolution, all stages before are a stem.
    """
    if len(repeated) < 2:
        return stages
    first = order.index(repeated[0])
    before = [k for k, stage in enumerate(stages) if order.index(stage[-1]) < first]
    start = len(before)
    if start == len(stages) or not start:
        return stages
    comes_down = order.index(stages[start][0]) < first
    return stages[start:] if comes_down or start == len(stages) - 1 else stages


def _spatial_runs(model: nn.Module, images: Tensor) -> dict[str, tuple[LayerRun, Size]]:
    """The last runs of the layers with feature maps, with the sizes of these, in the order they ran."""
    images = images[:1].repeat(2, 1, 1, 1)  # two, so that outputs without a batch dimension (windows, tables) differ
    found: dict[str, tuple[LayerRun, Size]] = {}
    for name, run in trace(model, images).items():
        output, module = run.output, model.get_submodule(name)
        if run.is_matrix or not is_spatial(output, images) or is_from(module, "linear", "dropout"):
            continue
        if output.ndim != 3 or is_placed(model, name, images):
            height, width = feature_maps(output, images).shape[2:]
            found[name] = run, None if run.pools else (height, width)
    return found


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
