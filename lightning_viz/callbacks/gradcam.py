"""GradCAMLogger: which places of a layer speak for a class."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

from lightning_viz.methods import find_layer, grad_cam
from lightning_viz.methods.layers import feature_maps, resolve_layer
from lightning_viz.methods.modes import capture
from lightning_viz.render import Overlay

from .base import VizCallback
from .panel import Panel
from .probe import Probe
from .words import check_layers, explains, named


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
        check_layers(layers)
        self.layers = layers
        self.method = method

    def distinction(self) -> dict[str, Any]:
        return {"method": self.method, "layers": self.layers}

    def check(self, network: nn.Module) -> None:
        for layer in named(self.layers):
            resolve_layer(network, layer)

    def begin(self, network: nn.Module, probe: Probe) -> None:
        for layer in named(self.layers):
            with torch.no_grad(), capture(network, [layer]) as outputs:
                network(probe.images)
            for output in outputs.values():
                feature_maps(output, probe.images)

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Panel]:
        target = self.explained(probe)
        if self.layers is None and self._memory.layer is None:
            self._memory.layer = find_layer(network, "last_spatial", probe.images, target)
        for layer in named(self.layers or self._memory.layer):
            maps = grad_cam(network, probe.images, target, layer=layer)
            size = "×".join(map(str, maps.shape[1:]))
            notes = (f"Grad-CAM of {explains(self.target)} at {layer}, {size} places", probe.note)
            yield Panel(f"{self.method}/{layer}", maps, Overlay(probe.pictures), probe.pictures, notes=notes)
