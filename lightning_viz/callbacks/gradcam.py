"""GradCAMLogger: which places of a layer speak for a class."""

from collections.abc import Iterator
from typing import Any, Literal

from torch import nn

from lightning_viz.methods import find_layer, grad_cam
from lightning_viz.methods.layers import resolve_layer
from lightning_viz.render import Overlay

from .base import VizCallback
from .panel import Panel
from .probe import Probe
from .words import explains, named


class GradCAMLogger(VizCallback):
    """Class activation maps of the probe, over its pictures: `gradcam/layer4` and `gradcam/layer4/history`.

    Args:
        layers: dotted names of the layers, one or several; by default the last one that has a height and a width.
        method: "gradcam" (Selvaraju et al. 2017).
        common: the options of every callback, see `VizCallback`.
    """

    def __init__(
        self, layers: str | list[str] | None = None, method: Literal["gradcam"] = "gradcam", **common: Any
    ) -> None:
        super().__init__(**common)
        if method != "gradcam":
            raise ValueError(f"method={method!r} is unknown; choose 'gradcam'")
        self.layers = layers
        self.method = method

    def distinction(self) -> dict[str, Any]:
        return {"method": self.method, "layers": self.layers}

    def check(self, network: nn.Module) -> None:
        for layer in named(self.layers):
            resolve_layer(network, layer)

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Panel]:
        for layer in named(self.layers) or [find_layer(network, "last_spatial", probe.images)]:
            maps = grad_cam(network, probe.images, self.explained(probe), layer=layer)
            size = "×".join(map(str, maps.shape[1:]))
            notes = (f"Grad-CAM of {explains(self.target)} at {layer}, {size} places", probe.note)
            yield Panel(f"{self.method}/{layer}", maps, Overlay(probe.pictures), probe.pictures, notes=notes)
