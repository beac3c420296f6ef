"""Which pixels a place of a layer's feature maps can see."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.modes import evaluating

#: From a pixel to before another, along one side of the image.
Span = tuple[int, int]


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that each place of a layer's feature maps can depend on, for images of one size.

    `rows` holds the span of pixels, half-open, of each row of the maps, `columns` of each column, `image` the height and
    the width of the images.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    image: tuple[int, int]

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of what a place sees, in pixels, half-open.

        It reaches beyond the image, below 0 or past its side, where the place sees padding. Raises ValueError where the
        layer has no such place.
        """
        if not (0 <= row < len(self.rows) and 0 <= column < len(self.columns)):
            raise ValueError(
                f"row={row}, column={column} is outside a map of {len(self.rows)}×{len(self.columns)} places; "
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
        """Whether every place sees the whole image, be it through attention, pooling, or convolutions this large."""
        height, width = self.image
        return all(start <= 0 and end >= height for start, end in self.rows) and all(
            start <= 0 and end >= width for start, end in self.columns
        )


def receptive_field(model: nn.Module, layer: str, images: Tensor) -> ReceptiveField:
    """The theoretical receptive field of a layer at images of this size (B, C, H, W), of which one is used.

    Found by what NaN does: rows of it in the image come out wherever a place depends on them, whatever the weights are,
    through dead ReLUs and past pooling's winners. So it is exact for any network of which NaN finds its way through; its
    hull, where dilation leaves gaps. It takes some fifty passes up to the layer (four where all is seen), by bisection.
    Where places are evenly apart, as convolutions have them, the two farthest from each border tell where the others
    reach beyond it. Elsewhere (adaptive pooling, windows of attention), and where fewer than two see no border, boxes end
    at the image. Attention under a mask counts as seen where the mask is a large negative number (shifted windows).
    The model runs in evaluation mode and is left as it was.
    Raises ValueError for an unknown layer, one without feature maps, and for a model whose output is NaN for the image as
    it is, or is not for an image of nothing else.
    """
    network, image = FeatureMaps(model, layer), images[:1]
    height, width = image.shape[-2:]
    with evaluating(network), torch.no_grad(), _direct_convolutions():
        for part, expected, trouble in [
            (slice(0, 0), False, "returns NaN for this image; give images that the model can see"),
            (slice(None), True, "does not pass NaN on, by which its receptive field is found; choose another layer"),
        ]:
            if _sees(network, image, 2, part).any() != expected:
                raise ValueError(f"layer={network.layer!r} {trouble}")
        rows = _spans(lambda part: _sees(network, image, 2, part), height)
        columns = _spans(lambda part: _sees(network, image, 3, part), width)
    return ReceptiveField(rows, columns, (height, width))


def _sees(network: nn.Module, image: Tensor, dim: int, part: slice) -> Tensor:
    """Which rows (dim 2) or columns (dim 3) of the maps depend on a part of the image's: (h,) or (w,), bool."""
    probe = image.clone()
    probe.transpose(dim, -1)[..., part] = torch.nan
    maps: Tensor = network(probe)
    return maps.isnan().transpose(dim, -1).flatten(0, 2).any(dim=0)


@contextmanager
def _direct_convolutions() -> Iterator[None]:
    """Without libraries that may compute convolutions by tiles or spectra, which spread NaN beyond the kernel."""
    cudnn = torch.backends.cudnn.enabled
    try:
        torch.backends.cudnn.enabled = False  # its flags() would read and write the settings of TF32 as well
        with torch.backends.nnpack.flags(enabled=False):
            yield
    finally:
        torch.backends.cudnn.enabled = cudnn


def _spans(sees: Callable[[slice], Tensor], size: int) -> tuple[Span, ...]:
    """What each row (or column) of the maps sees of the image's `size` rows."""
    start = _Border(lambda depth: sees(slice(0, depth)), size)
    end = _Border(lambda depth: sees(slice(size - depth, size)).flip(0), size)
    steps = {step for border in (start, end) if (step := border.step())}
    step = steps.pop() if len(steps) == 1 else None
    tops, ends = start.line(step), end.line(step)
    if tops is None or ends is None:
        tops, ends = start.distances(), end.distances()
    return tuple((top, size - distance) for top, distance in zip(tops, reversed(ends), strict=True))


class _Border:
    """How many pixels lie between a border of the image and the first that each place sees; nearest place first.

    `sees` tells which places see one of the first so many pixels. What it told is kept as bounds on all distances.
    """

    def __init__(self, sees: Callable[[int], Tensor], size: int) -> None:
        self._sees = sees
        seen = sees(1)
        self.low = torch.where(seen, 0, 1)
        self.high = torch.where(seen, 0, size)
        self.last = len(seen) - 1

    def distance(self, place: int, guess: int | None = None) -> int:
        """A place's distance, found by bisection; a right guess spares it."""
        for depth in () if guess is None else (guess, guess + 1):
            if self.low[place] < depth <= self.high[place]:
                self._probe(depth)
        while (low := int(self.low[place])) < (high := int(self.high[place])):
            self._probe((low + high + 1) // 2)
        return low

    def distances(self) -> list[int]:
        return [self.distance(place) for place in range(self.last + 1)]

    def step(self) -> int | None:
        """How far apart the two farthest places see, if neither sees the border, which would cut them off."""
        if self.last < 1:
            return None
        last = self.distance(self.last)
        previous = self.distance(self.last - 1, last - round(last / self.last))
        return last - previous if 0 < previous < last else None

    def line(self, step: int | None) -> list[int] | None:
        """Distances on a line through the last, negative beyond the border; None where places are elsewhere."""
        last = self.distance(self.last)
        if step is None or last == 0:
            return None
        line = torch.arange(self.last, -1, -1).mul(-step).add(last).to(self.low)
        inside = (line >= 0).nonzero().flatten().tolist()  # beyond the border, dilation may leave gaps
        middle = inside[len(inside) // 2]
        self.distance(middle, int(line[middle]))
        fits = (self.low <= line) & (line <= self.high) | (line < 0)
        return [int(distance) for distance in line] if fits.all() else None

    def _probe(self, depth: int) -> None:
        seen = self._sees(depth)
        self.high = torch.where(seen, self.high.clamp(max=depth - 1), self.high)
        self.low = torch.where(seen, self.low, self.low.clamp(min=depth))
