"""GradCAMLogger: which image regions support a class, at the resolution of a layer."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from lightning_viz.data.arguments import as_list, as_names, as_options, check_callable, check_choice
from lightning_viz.methods import Target, find_layer
from lightning_viz.methods.attribution.grad_cam import grad_cams
from lightning_viz.methods.attribution.registry import CAM_METHODS, CamMethod
from lightning_viz.methods.model.capture import capture, captured_output
from lightning_viz.methods.model.layers import Reshape, resolve_layer
from lightning_viz.methods.model.model_output import OutputKind
from lightning_viz.methods.model.outputs import slice_target
from lightning_viz.methods.model.token_order import placed_maps
from lightning_viz.render.colour import Overlay
from lightning_viz.runtime.artifacts import Panel, Scalar
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.output_meaning import describe_target
from lightning_viz.runtime.state import CallbackState

from ._options import full_names
from .attribution import AttributionLogger, AttributionOptions, describe_checks


class GradCAMLogger(AttributionLogger):
    """Class activation maps of the probe, over its pictures: `gradcam/layer4` and `gradcam/layer4/history`.

    Several layers are shown side by side as well, under `gradcam/layers`; together they cost one forward pass. The tag begins
    with the name of the method: `layercam/layer4`.

    Args:
        layers: dotted names of the layers, one or several; by default the last one that has a height and a width.
        method: "gradcam" (Selvaraju et al. 2017), "cam" (Zhou et al. 2016), "gradcam++" (Chattopadhay et al. 2018),
            "xgradcam" (Fu et al. 2020), "layercam" (Jiang et al. 2021), "hirescam" (Draelos and Carin 2020) or "scorecam"
            (Wang et al. 2020), which takes a forward pass for each channel.
        compare: "predicted" shows, of the misclassified pictures, the map of the true class beside that of the predicted
            class, under `gradcam/layer4/true_and_predicted`.
        reshape: a callable from a layer's output to feature maps (B, C, h, w), for transformers whose tokens are not on
            the image's grid row by row.
        method_options: options of the method, such as {"batch_size": 16} of scorecam; the others have none.
        common: `trust`, see `AttributionLogger`, and the options of every callback, see `VizCallback`.
    """

    PRIORITY = 3
    TAG_FIELDS = ("method", "layers")

    def __init__(
        self,
        layers: str | Sequence[str] | None = None,
        method: CamMethod = "gradcam",
        compare: Literal["predicted"] | None = None,
        reshape: Reshape | None = None,
        method_options: Mapping[str, Any] | None = None,
        **common: Unpack[AttributionOptions],
    ) -> None:
        super().__init__(**common)
        self.layers = as_names("layers", layers)
        self.method = check_choice("method", method, tuple(CAM_METHODS))
        self.compare = check_choice("compare", compare, ("predicted", None))
        self.reshape = check_callable("reshape", reshape)
        self.method_options = as_options("method_options", method_options, method, CAM_METHODS[method].options)

    def estimated_passes(self, network: nn.Module, images: Tensor) -> float:
        method = CAM_METHODS[self.method]
        options = {**(self.method_options or {}), "layers": as_list(self.layers)}
        each = method.estimated_passes(network, images, options)
        return len(images) * each + self.trust_passes(len(images), each * (len(as_list(self.layers)) or 1))

    def check_images(self, ctx: DrawContext) -> None:
        if self.layers is None or self.reshape is not None:
            return
        layers, images = as_list(self.layers), ctx.probe.images[:1]
        with torch.no_grad(), capture(ctx.network, layers) as outputs:
            ctx.network(images)
        for layer in layers:
            described = f"layers={layer!r}"
            output = captured_output(outputs, resolve_layer(ctx.network, layer)[0], described)
            placed_maps(ctx.network, layer, output, images, "layers")

    def draw(self, ctx: DrawContext) -> Iterator[Panel | Scalar]:
        target, images = self.fixed_target_of(ctx), ctx.probe.images
        layers = self._layers(ctx, target)
        maps = self._maps(ctx, ctx.network, images, target, layers)
        what = f"{self.method} of {describe_target(self.target, ctx.predictions.meaning)}"
        for layer, cams in maps.items():
            tag = f"{self.method}/{layer}"
            scalars = self.checks(ctx, tag, cams, partial(self._map, ctx, images, target, layer))
            size = "×".join(map(str, cams.shape[1:]))
            notes = [f"{what} at {layer}, {size} positions", *describe_checks(scalars), ctx.note]
            yield Panel(tag, cams, Overlay(ctx.probe.pictures), beside=ctx.probe.pictures, notes=notes)
            yield from scalars
            yield from self._comparison(ctx, layer)
        if len(maps) > 1:
            overlay, notes = Overlay(ctx.probe.pictures), [what, ctx.note]
            tag, every = f"{self.method}/layers", [*maps.values()]
            yield Panel(tag, every, overlay, columns=layers, beside=ctx.probe.pictures, notes=notes)

    def _layers(self, ctx: DrawContext, target: Target) -> list[str]:
        state = ctx.state(CallbackState)
        if self.layers is None and state.layer is None:
            state.layer = find_layer(ctx.network, "last_spatial", ctx.probe.images, target)
        return full_names(ctx.network, self.layers or state.layer)

    def _maps(
        self, ctx: DrawContext, network: nn.Module, images: Tensor, target: Target, layers: Sequence[str]
    ) -> dict[str, Tensor]:
        """The maps (B, h, w) of each layer, with one forward pass."""

        def work(part: slice) -> dict[str, Tensor]:
            some, options = slice_target(target, part), self.method_options or {}
            return grad_cams(
                network, images[part], some, layers=layers, method=self.method, reshape=self.reshape, **options
            )

        parts = ctx.auto_batch.map(work, len(images))
        return {layer: torch.cat([part[layer] for part in parts]) for layer in layers}

    def _map(self, ctx: DrawContext, images: Tensor, target: Target, layer: str, network: nn.Module) -> Tensor:
        return self._maps(ctx, network, images, target, [layer])[layer]

    def _comparison(self, ctx: DrawContext, layer: str) -> Iterator[Panel]:
        """The map of the true class beside that of the predicted class, of the misclassified pictures."""
        predicted, labels = ctx.predictions.classes if self.compare else None, ctx.probe.labels
        if predicted is None or labels is None or labels.ndim > 1:
            return
        if not len(wrong := ((predicted != labels) & (labels >= 0)).nonzero()[:, 0]):
            return
        images, items = ctx.probe.images[wrong], wrong.tolist()
        sides = ctx.predictions.meaning.kind is OutputKind.ONE_LOGIT
        classes = [one[wrong].bool() if sides else one[wrong] for one in (labels, predicted)]
        maps = [self._map(ctx, images, one, layer, ctx.network) for one in classes]
        tag, columns = f"{self.method}/{layer}/true_and_predicted", ("true class", "predicted class")
        pictures = ctx.probe.pictures[items]
        notes = f"{self.method} at {layer} of the misclassified pictures", ctx.note
        yield Panel(tag, maps, Overlay(pictures), columns=columns, items=items, beside=pictures, notes=notes)
