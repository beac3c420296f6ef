"""GradCAMLogger: which places of a layer speak for a class."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods import Target, find_layer, grad_cam
from lightning_viz.methods.attribution.grad_cam import CamMethod
from lightning_viz.methods.model.layers import Reshape, feature_maps, resolve_layer
from lightning_viz.methods.model.modes import capture
from lightning_viz.methods.model.outputs import logits, target_of
from lightning_viz.render import Overlay
from lightning_viz.runtime.artifacts import Panel, Scalar
from lightning_viz.runtime.validation import check_callable, check_choice
from lightning_viz.runtime.words import check_layers, explains, named

from .attribution import AttributionLogger, in_words


class GradCAMLogger(AttributionLogger):
    """Class activation maps of the probe, over its pictures: `gradcam/layer4` and `gradcam/layer4/history`.

    Several layers are shown side by side as well, under `gradcam/layers`. Other methods have their own first part:
    `cam/layer4`, `gradcam++/layer4`, `layercam/layer4`, `hirescam/layer4`.

    Args:
        layers: dotted names of the layers, one or several; by default the last one that has a height and a width.
        method: "gradcam" (Selvaraju et al. 2017), "cam" (Zhou et al. 2016), "gradcam++" (Chattopadhay et al. 2018),
            "layercam" (Jiang et al. 2021) or "hirescam" (Draelos and Carin 2020).
        compare: "predicted" shows, of the pictures that are misclassified, the map of the true class beside that of the
            predicted one, under `gradcam/layer4/true_and_predicted`.
        reshape: a callable from a layer's output to feature maps (B, C, h, w), for transformers whose tokens are not on
            the image's grid row by row.
        common: `trust`, see `AttributionLogger`, and the options of every callback, see `VizCallback`.
    """

    def __init__(
        self,
        layers: str | list[str] | None = None,
        method: CamMethod = "gradcam",
        compare: Literal["predicted"] | None = None,
        reshape: Reshape | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        check_choice("method", method, get_args(CamMethod))
        check_choice("compare", compare, ("predicted", None))
        check_callable("reshape", reshape)
        check_layers(layers)
        self.layers = layers
        self.method = method
        self.compare = compare
        self.reshape = reshape

    def distinction(self) -> dict[str, Any]:
        return {"method": self.method, "layers": self.layers}

    def check(self, network: nn.Module) -> None:
        for layer in named(self.layers):
            resolve_layer(network, layer)

    def begin(self, network: nn.Module, probe: Probe) -> None:
        for layer in named(self.layers) if self.reshape is None else []:
            self._memory.portions.each(partial(_check_places, network, probe.images, layer), len(probe))

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Panel | Scalar]:
        target = self.settled(network, probe)
        if self.layers is None and self._memory.layer is None:
            self._memory.layer = find_layer(network, "last_spatial", probe.images, target)
        layers = named(self.layers or self._memory.layer)
        maps = {layer: self._cam(network, probe.images, target, layer) for layer in layers}
        painter, what = Overlay(probe.pictures), f"{self.method} of {explains(self.target)}"
        for layer, cams in maps.items():
            tag, again = f"{self.method}/{layer}", partial(self._cam, images=probe.images, target=target, layer=layer)
            scalars = self.checked(tag, network, probe, cams, again)
            trust = [in_words(scalars)] if scalars else []
            notes = [f"{what} at {layer}, {'×'.join(map(str, cams.shape[1:]))} places", *trust, probe.note]
            yield Panel(tag, cams, painter, beside=probe.pictures, notes=notes)
            yield from scalars
            if self.compare and probe.labels is not None:
                yield from self._compared(network, probe, layer)
        if len(maps) > 1:
            tag, every = f"{self.method}/layers", [*maps.values()]
            yield Panel(tag, every, painter, columns=layers, beside=probe.pictures, notes=(what, probe.note))

    def _cam(self, network: nn.Module, images: Tensor, target: Target, layer: str) -> Tensor:
        def work(part: slice) -> Tensor:
            some, fitting = images[part], target_of(target, part)
            return grad_cam(network, some, fitting, layer=layer, method=self.method, reshape=self.reshape)

        return self._memory.portions(work, len(images))

    def _compared(self, network: nn.Module, probe: Probe, layer: str) -> Iterator[Panel]:
        """True against predicted class, of the pictures where they differ; nothing where there is none."""
        assert probe.labels is not None
        with torch.no_grad():
            predicted = self._memory.portions(lambda part: logits(network(probe.images[part])), len(probe)).argmax(
                dim=1
            )
        wrong = (predicted != probe.labels).nonzero()[:, 0]
        if not len(wrong):
            return
        maps = [self._cam(network, probe.images[wrong], classes[wrong], layer) for classes in (probe.labels, predicted)]
        items = wrong.tolist()
        pictures = probe.pictures[items]
        yield Panel(
            f"{self.method}/{layer}/true_and_predicted",
            maps,
            Overlay(pictures),
            columns=("the true class", "the predicted class"),
            items=items,
            beside=pictures,
            notes=(f"{self.method} at {layer} of the misclassified", probe.note),
        )


def _check_places(network: nn.Module, images: Tensor, layer: str, part: slice) -> None:
    """Raise ValueError for a layer whose output for these images has no height and width."""
    with torch.no_grad(), capture(network, [layer]) as outputs:
        network(images[part])
    for output in outputs.values():
        feature_maps(output, images[part])
