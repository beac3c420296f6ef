"""Where the tokens of a layer lie on the image: a check that changes parts of the image, and their order if it is another."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .layers import channel_maps, feature_maps, layer_maps, resolve_layer
from .modes import evaluating

SMALLEST = 16  # positions; of fewer a correlation says too little
SPREAD = 0.05  # standard deviation of responses, at least; below 0.03 where every token attends to all alike
LOCAL = (
    0.4  # that of tokens which clearly respond to their own part; above 0.6 where they are not mixed by attention alone
)
CORRELATION = 0.5  # of responses with those expected, at least; above 0.7 for tokens row by row, below 0.3 for others

Grid = tuple[int, int]  #: height and width of feature maps


@dataclass(frozen=True, eq=False)
class _Tokens:
    """How the tokens of a layer respond to noise in the lower rather than the upper half, and the right rather than left."""

    grid: Grid
    responses: Tensor  #: (2, h*w), from -1 to 1

    @property
    def is_dead(self) -> bool:
        return not (self.responses.isfinite().all() and self.responses.any())

    def is_local(self, spread: float = SPREAD) -> bool:
        """Whether different tokens respond to different parts of the image."""
        return bool((self.responses.std(dim=1) > spread).all())

    def fits(self, order: Tensor | None = None) -> bool:
        """Whether the tokens in this order respond as those of a grid row by row."""
        responses = self.responses if order is None else self.responses[:, order]
        rows, columns = (torch.linspace(-1, 1, side).sign() for side in self.grid)
        expected = torch.stack([rows[:, None].expand(self.grid), columns.expand(self.grid)]).flatten(1)
        return bool((_standardize(responses) * _standardize(expected)).mean(dim=1).min() > CORRELATION)


@dataclass(eq=False)
class _Measured:
    """The token layers of a model, for images of one size."""

    tokens: dict[str, _Tokens]  #: in the order they run
    orders: dict[Grid, list[Tensor]] = field(default_factory=dict)  #: other than row by row, found when they are needed


#: By model and size of the images; the order of tokens does not depend on the weights.
_MEASURED: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], _Measured]] = WeakKeyDictionary()


def token_order(model: nn.Module, layer: str, images: Tensor, argument: str = "layer") -> Tensor | None:
    """The order that puts the tokens (B, N, C) of a layer, as `feature_maps` folds them, row by row: (h*w,).

    None where they are in it already, and for a layer that returns no tokens. Found by running one image with noise in
    one half and in the other, above and below, left and right: a token must respond more to the half that it lies in.
    These five forward passes are run once for a model and a size of images; a layer whose tokens all respond alike, such
    as attention that is still uniform, has the order of the nearest layer before it on its grid, else after it. Another
    order is found, with two more passes for each binary digit of a row and a column, if it is a reshape and permutation of
    the grid, such as units or windows one after another. Fewer than 16 tokens, and layers that do not respond, cannot be
    checked and are taken as row by row.
    Raises ValueError, naming `argument`, for tokens in any other order, or not on the image at all (learned queries).
    """
    measured, name = _measure(model, images), resolve_layer(model, layer, argument)[0]
    if name not in measured.tokens or measured.tokens[name].is_dead:
        return None
    if (tokens := _nearest_local(measured, name)) is not None:
        if tokens.fits():
            return None
        if tokens.grid not in measured.orders:
            measured.orders[tokens.grid] = _find_orders(model, measured, tokens.grid, images)
        for order in measured.orders[tokens.grid]:
            if tokens.fits(order):
                return order.to(images.device)
    raise ValueError(
        f"{argument}={layer!r} returns tokens that cannot be placed on the image: they do not respond to its parts row by "
        "row; choose another layer (Grad-CAM also takes reshape=, a callable from the output to feature maps)"
    )


def _nearest_local(measured: _Measured, name: str) -> _Tokens | None:
    """This layer's tokens if they are clearly local, else those of the last such layer before it on its grid, or the next
    after; where there is none, the same with those that are somewhat local."""
    names = [one for one, tokens in measured.tokens.items() if tokens.grid == measured.tokens[name].grid]
    index = names.index(name)
    nearest = [measured.tokens[one] for one in [*reversed(names[: index + 1]), *names[index + 1 :]]]
    return next((one for spread in (LOCAL, SPREAD) for one in nearest if one.is_local(spread)), None)


def is_placed(model: nn.Module, layer: str, images: Tensor) -> bool:
    """Whether the layer's output can be placed on the image, see `token_order`."""
    try:
        token_order(model, layer, images)
    except ValueError:
        return False
    return True


def placed_maps(
    model: nn.Module, layer: str, activation: Tensor, images: Tensor, argument: str = "layer", vectors: bool = False
) -> Tensor:
    """The output of a layer as feature maps (B, C, h, w), see `layer_maps`, with its tokens row by row.

    With `vectors` (B, C) are accepted too, see `channel_maps`. Raises ValueError, naming `argument`, for an output without
    height and width, and as `token_order`.
    """
    _, module = resolve_layer(model, layer, argument)
    try:
        maps = (channel_maps if vectors else layer_maps)(module, activation, images)
    except ValueError as error:
        raise ValueError(f"{argument}={layer!r}: {error}") from error
    return reorder(maps, token_order(model, layer, images, argument)) if activation.ndim == 3 else maps


def reorder(maps: Tensor, order: Tensor | None) -> Tensor:
    """Feature maps (B, C, h, w) with their positions in the order that `token_order` found."""
    return maps if order is None else maps.flatten(2)[:, :, order].reshape(maps.shape)


def _measure(model: nn.Module, images: Tensor) -> _Measured:
    known, size = _MEASURED.setdefault(model, {}), tuple(images.shape[1:])
    if size not in known:
        height, width = images.shape[2:]
        halves = [torch.arange(height)[:, None] >= height / 2, torch.arange(width)[None] >= width / 2]
        responses = _responses(model, [name for name, _ in model.named_modules() if name], images, halves)
        tokens = {name: _Tokens(*one) for name, one in responses.items()}
        large = [name for name, one in tokens.items() if min(one.grid) > 1 and one.responses.shape[1] >= SMALLEST]
        known[size] = _Measured({name: tokens[name] for name in large})
    return known[size]


def _responses(
    model: nn.Module, layers: Sequence[str], images: Tensor, regions: Sequence[Tensor]
) -> dict[str, tuple[Grid, Tensor]]:
    """How much more each token changes with noise in a region than outside it: (regions, h*w), -1 to 1, by layer."""
    image = images[:1].detach()
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image.device)  # no global state
    low, high = image.min(), torch.maximum(image.max(), image.min() + 1)  # an image of one colour changes too
    noisy = (image.float() + noise * (high - low) / 2).clamp(low, high).to(image.dtype)
    clean, changes = _tokens(model, layers, image), dict[str, list[Tensor]]()
    for region in regions if clean else []:
        for part in (region, ~region):
            mixed = torch.where(part.to(image.device), noisy, image)
            for name, maps in _tokens(model, layers, mixed).items():
                if name in clean and maps.shape == clean[name].shape:
                    changes.setdefault(name, []).append((maps - clean[name]).norm(dim=0).flatten().cpu())
    result = {}
    for name, sizes in changes.items():
        inside, outside = torch.stack(sizes[::2]), torch.stack(sizes[1::2])
        height, width = clean[name].shape[1:]
        result[name] = (height, width), (inside - outside) / (inside + outside).clamp(min=1e-12)
    return result


def _tokens(model: nn.Module, layers: Sequence[str], image: Tensor) -> dict[str, Tensor]:
    """The outputs (1, N, C) of layers as maps (C, h, w), in the order they run."""
    found: dict[str, Tensor] = {}

    def record(name: str, output: Any) -> None:
        found.pop(name, None)
        if isinstance(output, Tensor) and output.ndim == 3 and len(output) == 1 and output.is_floating_point():
            with suppress(ValueError):
                found[name] = feature_maps(output.float(), image)[0].clone()  # the model may overwrite it

    with evaluating(model), torch.no_grad(), ExitStack() as hooks:
        for name in layers:
            hook = model.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: record(name, out))
            hooks.enter_context(hook)
        model(image.clone())
    return found


def _find_orders(model: nn.Module, measured: _Measured, grid: Grid, images: Tensor) -> list[Tensor]:
    """The different orders of the layers on this grid that are not row by row."""
    layers = [name for name, one in measured.tokens.items() if one.grid == grid and one.is_local() and not one.fits()]
    codes, regions = [_gray_code(side) for side in grid], []
    for dim, code in enumerate(codes):
        pixels = images.shape[2 + dim]
        stripes = code[:, torch.arange(pixels) * grid[dim] // pixels]
        regions += [stripe[:, None] if dim == 0 else stripe[None] for stripe in stripes]
    orders: list[Tensor] = []
    for name, (_, responses) in _responses(model, layers, images, regions).items():
        if any(measured.tokens[name].fits(order) for order in orders):
            continue
        parts = torch.split(_standardize(responses), [len(code) for code in codes])
        rows, columns = ((part.T @ (2.0 * code - 1)).argmax(dim=1) for part, code in zip(parts, codes, strict=True))
        if (order := _exact_order(rows, columns, grid)) is not None:
            orders.append(order)
    return orders


def _gray_code(count: int) -> Tensor:
    """The binary digits of 0 to count - 1, (digits, count), bool; neighbours differ in one, so that an error is small."""
    numbers = torch.arange(count)
    return torch.stack([(numbers ^ numbers >> 1) >> digit & 1 for digit in range((count - 1).bit_length())]).bool()


def _exact_order(rows: Tensor, columns: Tensor, grid: Grid) -> Tensor | None:
    """The order of tokens whose rows and columns are known but for a few errors; None where it is no reshape of the grid.

    In a reshape and permutation, row and column are sums of one number for each index of the reshaped tokens.
    """
    tokens = torch.arange(len(rows))
    for shape in _arrangements(_prime_factors(len(rows))):
        parts = zip((rows, columns), grid, strict=True)
        row, column = (_sum_of_means(one.double().reshape(shape), side) for one, side in parts)
        positions = row * grid[1] + column
        if torch.equal(positions.sort().values, tokens):
            return positions.argsort()
    return None


def _sum_of_means(values: Tensor, count: int) -> Tensor:
    """Whole numbers from 0 to count - 1, flat: the best sum of one term for each index of the values."""
    total = torch.zeros_like(values)
    for dim in range(values.ndim):
        others = [other for other in range(values.ndim) if other != dim]
        total = total + (values.mean(dim=others, keepdim=True) if others else values)
    low, high = total.min(), total.max()
    return ((total - low) / (high - low).clamp(min=1e-12) * (count - 1)).round().long().flatten()


def _prime_factors(number: int) -> list[int]:
    first = next((one for one in range(2, number + 1) if number % one == 0), None)
    return [] if first is None else [first, *_prime_factors(number // first)]


def _arrangements(numbers: Sequence[int]) -> Iterator[list[int]]:
    """The different orders of some numbers."""
    if not numbers:
        yield []
    for first in sorted(set(numbers)):
        rest = [*numbers]
        rest.remove(first)
        yield from ([first, *others] for others in _arrangements(rest))


def _standardize(responses: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the last dimension."""
    centred = responses - responses.mean(dim=-1, keepdim=True)
    return centred / centred.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=1e-12)
