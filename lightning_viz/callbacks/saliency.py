"""SaliencyLogger: which pixels matter."""

from collections.abc import Iterator
from typing import Any, Literal

from torch import nn

from lightning_viz.methods import saliency
from lightning_viz.render import Overlay

from .base import VizCallback
from .panel import Panel
from .probe import Probe
from .words import explains

QUANTILE = 0.99  # a few pixels have many times the gradient of all others


class SaliencyLogger(VizCallback):
    """Pixel attributions of the probe, over its pictures: `saliency/gradient` and `saliency/gradient/history`.

    Args:
        method: "gradient", the absolute gradient of the score (Simonyan et al. 2014).
        common: the options of every callback, see `VizCallback`.
    """

    def __init__(self, method: Literal["gradient"] = "gradient", **common: Any) -> None:
        super().__init__(**common)
        if method != "gradient":
            raise ValueError(f"method={method!r} is unknown; choose 'gradient'")
        self.method = method

    def distinction(self) -> dict[str, Any]:
        return {"method": self.method}

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Panel]:
        maps = saliency(network, probe.images, self.explained(probe))
        painter = Overlay(probe.pictures, quantile=QUANTILE, light=0.3)
        words = f"absolute gradient of {explains(self.target)}, maximum over channels"
        yield Panel(f"saliency/{self.method}", maps, painter, probe.pictures, notes=(words, probe.note))
