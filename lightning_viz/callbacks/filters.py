"""FilterLogger: the filters of a convolution, and what training changed in them."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods import filters, find_layer
from lightning_viz.render import Caption, Line, SignedPixels
from lightning_viz.runtime.artifacts import Panel, Scalar
from lightning_viz.runtime.validation import check_count
from lightning_viz.runtime.words import check_layers, named

from .base import VizCallback

FILM_ROWS = 8  # filters that the film strip follows: the strongest at the start
SLICES = 8  # channels shown of a filter that sees many


class FilterLogger(VizCallback):
    """Filters as pictures: `filters/conv1`, their change since the start of training, `filters/conv1/change`, both with
    `.../history`, and as a scalar the size of the change against that of the filters at the start,
    `filters/conv1/relative_change`.

    Filters that see three channels are colour pictures, zero in mid-grey; those that see one are grey; those that see
    more, or several groups, are shown slice by slice, one channel a tile, in grey; single weights (1×1) on one scale for all.

    Args:
        layers: dotted names of convolutions, one or several; by default the first.
        max_filters: how many tiles to show of a layer.
        common: the options of every callback, see `VizCallback`.
    """

    def __init__(self, layers: str | list[str] | None = None, max_filters: int = 64, **common: Any) -> None:
        super().__init__(**common)
        check_count("max_filters", max_filters, 1)
        check_layers(layers)
        self.layers = layers
        self.max_filters = max_filters

    def distinction(self) -> dict[str, Any]:
        return {"layers": self.layers}

    def check(self, network: nn.Module) -> None:
        for layer in named(self.layers):
            filters(network, layer)

    def begin(self, network: nn.Module, probe: Probe) -> None:
        if self.layers is None and not any(isinstance(module, nn.Conv2d) for module in network.modules()):
            return  # said when it is to be drawn
        for layer in self._layers(network):
            self._start(network, layer)

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Panel | Scalar]:
        for layer in self._layers(network):
            start = self._start(network, layer)
            weights = filters(network, layer).float().cpu()
            change = weights - start
            tiles, labels = self._tiles(weights)
            strongest = self._tiles(start)[0].flatten(1).norm(dim=1).argsort(descending=True).tolist()[:FILM_ROWS]
            shape = "×".join(map(str, weights.shape))
            common = {
                "painter": SignedPixels(),
                "labels": labels,
                "captions": [()] * len(labels),
                "film": strongest,
                "size": 96,
            }
            alone = tiles[0, 0].numel() == 1  # a single weight on its own scale is black or white
            yield Panel(
                f"filters/{layer}", tiles, common_scale=alone, notes=(f"weights {shape}, zero in mid-grey",), **common
            )
            notes = (f"weights now minus at the start; the strongest filter then had {start.abs().max():.3g}",)
            yield Panel(f"filters/{layer}/change", self._tiles(change)[0], common_scale=True, notes=notes, **common)
            yield Scalar(f"filters/{layer}/relative_change", float(change.norm() / start.norm().clamp_min(1e-12)))

    def _layers(self, network: nn.Module) -> list[str]:
        return named(self.layers) or [find_layer(network, "first_conv")]

    def _start(self, network: nn.Module, layer: str) -> Tensor:
        """The filters before the first step, or as they were when this callback came to the run."""
        if layer not in self._memory.kept:
            self._memory.kept[layer] = filters(network, layer).float().cpu()
        return self._memory.kept[layer]

    def _tiles(self, weights: Tensor) -> tuple[Tensor, list[Caption]]:
        """Tiles (N, 1 or 3, h, w) of filters (N, C, h, w), and what each is."""
        count, channels = weights.shape[:2]
        if channels in (1, 3):
            return weights[: self.max_filters], [(Line(f"filter {i}"),) for i in range(min(count, self.max_filters))]
        across = min(channels, SLICES)
        shown = min(count, max(1, self.max_filters // across))
        slices = weights[:shown, :across].flatten(0, 1).unsqueeze(1)
        return slices, [(Line(f"{i}, channel {j}"),) for i in range(shown) for j in range(across)]
