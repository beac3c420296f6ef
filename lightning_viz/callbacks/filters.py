"""FilterLogger: the filters of a convolution, and what training changes in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Unpack

from torch import Tensor, nn

from lightning_viz.data.arguments import as_list, as_names, check_count
from lightning_viz.methods import filters, find_layer
from lightning_viz.methods.features.filters import layer_filters
from lightning_viz.render.colour import SignedPixels
from lightning_viz.render.text import Caption, Line
from lightning_viz.runtime.artifacts import Panel, Scalar
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.state import CallbackState

from ._options import CommonOptions, full_names
from .base import VizCallback

FILM_ROWS = 8  # filters that the film strip follows: those with the largest norm at the start
SLICES = 8  # channels shown of a filter that has many


@dataclass
class FilterState(CallbackState):
    """The filters that changes are measured from."""

    start: dict[str, Tensor] = field(default_factory=dict)  #: by layer, (N, C, h, w)

    def start_of(self, network: nn.Module, layer: str) -> Tensor:
        """The filters before the first step, or when the callback was first used in the run."""
        if layer not in self.start:
            self.start[layer] = filters(network, layer).float().cpu()
        return self.start[layer]


class FilterLogger(VizCallback):
    """Filters as pictures: `filters/conv1`, and their change since the start of training, `filters/conv1/change`, both
    with `.../history`. As a scalar `filters/conv1/relative_change`, the norm of the change over that of the filters at the
    start.

    Filters with three channels are colour pictures, zero in mid-grey; with one channel they are grey. Filters with more
    channels are shown channel by channel, in grey; single weights (1×1) share one scale.

    Args:
        layers: dotted names of convolutions, one or several; by default the first.
        max_filters: how many tiles to show of a layer.
        common: the options of every callback, see `VizCallback`.
    """

    NEEDS_IMAGES = False
    State = FilterState
    CHEAPER = "fewer filters (max_filters=)"
    TAG_FIELDS = ("layers",)

    def __init__(
        self, layers: str | Sequence[str] | None = None, max_filters: int = 64, **common: Unpack[CommonOptions]
    ) -> None:
        super().__init__(**common)
        self.layers = as_names("layers", layers)
        self.max_filters = check_count("max_filters", max_filters, 1)

    def check(self, network: nn.Module) -> None:
        for layer in as_list(self.layers):
            layer_filters(network, layer, "layers")

    def estimated_passes(self, network: nn.Module, images: Tensor) -> float:
        return 0.0  # it reads weights only

    def check_images(self, ctx: DrawContext) -> None:
        if self.layers is None and not any(isinstance(module, nn.Conv2d) for module in ctx.network.modules()):
            return  # reported when it is drawn
        for layer in self._layers(ctx.network) if ctx.has_history else []:
            ctx.state(FilterState).start_of(ctx.network, layer)

    def draw(self, ctx: DrawContext) -> Iterator[Panel | Scalar]:
        state = ctx.state(FilterState)
        for layer in self._layers(ctx.network):
            weights = filters(ctx.network, layer).float().cpu()
            knows_start = ctx.has_history or layer in state.start  # a test run alone has none
            start = state.start_of(ctx.network, layer) if knows_start else weights
            shape, single = "×".join(map(str, weights.shape)), weights[0, 0].numel() == 1
            # A single weight on its own scale is black or white.
            yield self._panel(f"filters/{layer}", weights, start, f"weights {shape}, zero in mid-grey", single)
            if knows_start:
                yield from self._change(layer, weights - start, start)

    def _change(self, layer: str, change: Tensor, start: Tensor) -> Iterator[Panel | Scalar]:
        largest = start.abs().max()
        note = f"weights now minus weights at the start, whose largest magnitude was {largest:.3g}"
        yield self._panel(f"filters/{layer}/change", change, start, note, True)
        yield Scalar(f"filters/{layer}/relative_change", float(change.norm() / start.norm().clamp_min(1e-12)))

    def _layers(self, network: nn.Module) -> list[str]:
        return full_names(network, self.layers) or [find_layer(network, "first_conv")]

    def _panel(self, tag: str, values: Tensor, start: Tensor, note: str, common_scale: bool) -> Panel:
        tiles, labels = self._tiles(values)
        film = self._tiles(start)[0].flatten(1).norm(dim=1).argsort(descending=True).tolist()[:FILM_ROWS]
        captions: list[Caption] = [()] * len(labels)
        options = {"labels": labels, "captions": captions, "common_scale": common_scale, "film": film, "size": 96}
        return Panel(tag, tiles, SignedPixels(), notes=(note,), **options)

    def _tiles(self, weights: Tensor) -> tuple[Tensor, list[Caption]]:
        """Tiles (N, 1 or 3, h, w) of filters (N, C, h, w), and what each is."""
        count, channels = weights.shape[:2]
        if channels in (1, 3):
            return weights[: self.max_filters], [(Line(f"filter {i}"),) for i in range(min(count, self.max_filters))]
        across = min(channels, SLICES)
        shown = min(count, max(1, self.max_filters // across))
        slices = weights[:shown, :across].flatten(0, 1).unsqueeze(1)
        return slices, [(Line(f"{i}, channel {j}"),) for i in range(shown) for j in range(across)]
