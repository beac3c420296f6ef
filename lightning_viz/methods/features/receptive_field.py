"""The receptive field: the pixels that each position of a layer's feature maps depends on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.images import as_images
from lightning_viz.methods.model.modes import evaluating

_LOW = torch.bfloat16, torch.float16

Span = tuple[int, int]  #: first pixel and one past the last, along one side of the image


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that each position of a layer's feature maps depends on, for images of one size."""

    rows: tuple[Span, ...]  #: of each row of the maps
    columns: tuple[Span, ...]
    image: tuple[int, int]  #: height and width in pixels

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of a position's receptive field, in pixels, half-open; padding is beyond the image.

        Raises ValueError for a position that the layer does not have.
        """
        if not (0 <= row < len(self.rows) and 0 <= column < len(self.columns)):
            raise ValueError(
                f"row={row}, column={column} is outside a map of {len(self.rows)}×{len(self.columns)} positions; "
                f"give a row of 0 to {len(self.rows) - 1} and a column of 0 to {len(self.columns) - 1}"
            )
        (top, bottom), (left, right) = self.rows[row], self.columns[column]
        return top, left, bottom, right

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the largest box."""
        return max(end - start for start, end in self.rows), max(end - start for start, end in self.columns)

    @property
    def is_global(self) -> bool:
        """Whether every position depends on the whole image, through attention, pooling or large convolutions."""
        sides = zip((self.rows, self.columns), self.image, strict=True)
        return all(start <= 0 and end >= side for spans, side in sides for start, end in spans)


def receptive_field(model: nn.Module, layer: str, images: Tensor) -> ReceptiveField:
    """The theoretical receptive field of a layer at images of this size (B, C, H, W), of which one is used.

    Found by propagating NaN: rows of NaN in the image reach every position that depends on them, whatever the weights,
    through dead ReLUs and max pooling. With gaps from dilation it is the hull. Bisection takes about fifty passes up to the
    layer (four where each position depends on the whole image). Where positions are evenly spaced, as in convolutions, the
    two farthest from each border determine how far the others extend beyond it. Elsewhere (adaptive pooling, windowed
    attention), and where fewer than two are clear of the border, the boxes end at the image.
    Raises ValueError for an unknown layer, one without feature maps, images that do not fit, and a model that does not propagate NaN or returns it
    for the given image.
    """
    maps, image = FeatureMaps(model, layer), as_images(model, images)[:1]
    height, width = image.shape[-2:]
    with evaluating(maps), torch.no_grad(), _direct_convolutions(), torch.autocast(image.device.type, enabled=False):
        network, image = _in_single_precision(maps), image.float() if image.dtype in _LOW else image
        for part, expected, problem in [
            (slice(0, 0), False, "returns NaN for this image; give images with finite outputs"),
            (slice(None), True, "does not propagate NaN, which its receptive field is found by; choose another layer"),
        ]:
            if _depends_on(network, image, 2, part).any() != expected:
                raise ValueError(f"layer={maps.layer!r} {problem}")
        rows = _spans(lambda part: _depends_on(network, image, 2, part), height)
        columns = _spans(lambda part: _depends_on(network, image, 3, part), width)
    return ReceptiveField(rows, columns, (height, width))


def _in_single_precision(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network with weights in float32: in bfloat16 a CPU's convolutions spread NaN beyond the kernel."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    floats = {name: one.float() for name, one in tensors if one.dtype in _LOW}
    return (lambda images: torch.func.functional_call(network, floats, (images,))) if floats else network


def _depends_on(network: Callable[[Tensor], Tensor], image: Tensor, dim: int, part: slice) -> Tensor:
    """Which rows (dim 2) or columns (dim 3) of the maps depend on this part of the image's: (h,) or (w,), bool, on the CPU.

    The bisection reads it there: one copy for each pass, where each number read from a device waits for it.
    """
    probe = image.clone()
    probe.transpose(dim, -1)[..., part] = torch.nan
    maps = network(probe)
    return maps.isnan().transpose(dim, -1).flatten(0, 2).any(dim=0).cpu()


@contextmanager
def _direct_convolutions() -> Iterator[None]:
    """Turns off libraries that may compute convolutions by tiles or FFT, which spread NaN beyond the kernel."""
    cudnn = torch.backends.cudnn.enabled
    try:
        torch.backends.cudnn.enabled = False  # its flags() would also read and write the TF32 settings
        with torch.backends.nnpack.flags(enabled=False):
            yield
    finally:
        torch.backends.cudnn.enabled = cudnn


def _spans(depends_on: Callable[[slice], Tensor], size: int) -> tuple[Span, ...]:
    """The span of each row (or column) of the maps in the image's `size` rows."""
    start = _BorderDistances(lambda depth: depends_on(slice(0, depth)), size)
    end = _BorderDistances(lambda depth: depends_on(slice(size - depth, size)).flip(0), size)
    steps = {step for border in (start, end) if (step := border.step())}
    step = steps.pop() if len(steps) == 1 else None
    tops, ends = start.line(step), end.line(step)
    if tops is None or ends is None:
        tops, ends = ([border.distance(position) for position in range(border.last + 1)] for border in (start, end))
    return tuple((top, size - distance) for top, distance in zip(tops, reversed(ends), strict=True))


class _BorderDistances:
    """The distance in pixels from a border of the image to the receptive field of each position; nearest position first.

    `depends_on(depth)` says which positions depend on the `depth` pixels next to the border. Each call tightens the bounds
    `low` and `high` on all distances.
    """

    def __init__(self, depends_on: Callable[[int], Tensor], size: int) -> None:
        self.depends_on, reached = depends_on, depends_on(1)
        self.low, self.high = torch.where(reached, 0, 1), torch.where(reached, 0, size)
        self.last = len(reached) - 1

    def distance(self, position: int, guess: int | None = None) -> int:
        """A position's distance, found by bisection, or without it if the guess is right."""
        for depth in () if guess is None else (guess, guess + 1):
            if self.low[position] < depth <= self.high[position]:
                self._probe(depth)
        while (low := int(self.low[position])) < (high := int(self.high[position])):
            self._probe((low + high + 1) // 2)
        return low

    def step(self) -> int | None:
        """The spacing of the two farthest positions, if neither reaches the border, which would cut them off."""
        if self.last < 1:
            return None
        last = self.distance(self.last)
        previous = self.distance(self.last - 1, last - round(last / self.last))
        return last - previous if 0 < previous < last else None

    def line(self, step: int | None) -> list[int] | None:
        """Distances evenly spaced from the last, negative beyond the border; None if positions are not on that line."""
        last = self.distance(self.last)
        if step is None or last == 0:
            return None
        line = torch.arange(self.last, -1, -1).mul(-step).add(last).to(self.low)
        inside = (line >= 0).nonzero().flatten().tolist()  # with dilation, a negative distance may not be exact
        middle = inside[len(inside) // 2]
        self.distance(middle, int(line[middle]))
        fits = (self.low <= line) & (line <= self.high) | (line < 0)
        return [int(distance) for distance in line] if fits.all() else None

    def _probe(self, depth: int) -> None:
        reached = self.depends_on(depth)
        self.high = torch.where(reached, self.high.clamp(max=depth - 1), self.high)
        self.low = torch.where(reached, self.low, self.low.clamp(min=depth))
