"""SaliencyLogger: which pixels matter."""

from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from torch import Tensor, nn

from lightning_viz.data.arguments import as_options, check_choice, check_flag
from lightning_viz.methods import Target
from lightning_viz.methods.attribution.registry import PIXEL_METHODS, PixelMethod
from lightning_viz.methods.model.images import mean_color
from lightning_viz.methods.model.outputs import slice_target
from lightning_viz.render.colour import Overlay
from lightning_viz.runtime.artifacts import Panel, Scalar
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.output_meaning import describe_target

from .attribution import AttributionLogger, AttributionOptions, describe_checks

QUANTILE = 0.99  # a few pixels have many times the gradient of all others


class SaliencyLogger(AttributionLogger):
    """Pixel attributions of the probe, over its pictures: `saliency/<method>` and `saliency/<method>/history`.

    Args:
        method: "gradient" (Simonyan et al. 2014), "smoothgrad" (Smilkov et al. 2017), "guided_backprop" (Springenberg et
            al. 2015), "guided_gradcam" (Selvaraju et al. 2017), "integrated_gradients" (Sundararajan et al. 2017) or
            "occlusion" (Zeiler and Fergus 2014).
        signed: show evidence for the class in red and against it in blue, summed over channels; otherwise the magnitude,
            maximum over channels (of occlusion, evidence for the class).
        method_options: options of the method in `lightning_viz.methods`, such as {"samples": 16} of smoothgrad.
        common: `trust`, see `AttributionLogger`, and the options of every callback, see `VizCallback`.
    """

    PRIORITY = 2
    TAG_FIELDS = ("method",)

    def __init__(
        self,
        method: PixelMethod = "gradient",
        signed: bool = False,
        method_options: Mapping[str, Any] | None = None,
        **common: Unpack[AttributionOptions],
    ) -> None:
        super().__init__(**common)
        self.method = check_choice("method", method, tuple(PIXEL_METHODS))
        self.signed = check_flag("signed", signed)
        self.method_options = as_options("method_options", method_options, method, PIXEL_METHODS[method].options)

    def estimated_passes(self, network: nn.Module, images: Tensor) -> float:
        method = PIXEL_METHODS[self.method]
        each = method.estimated_passes(network, images, self.method_options)
        return len(images) * each + self.trust_passes(len(images), each)

    def check_images(self, ctx: DrawContext) -> None:
        if self.method_options:  # the method itself finds what is wrong
            self._maps(ctx, ctx.network, slice_target(self.target_of(ctx), slice(1)), ctx.probe.images[:1])

    def draw(self, ctx: DrawContext) -> Iterator[Panel | Scalar]:
        target, tag = self.fixed_target_of(ctx), f"saliency/{self.method}"
        if self.signed and self.method != "occlusion":  # which covers all channels at once, and is signed as it is
            maps = self._maps(ctx, ctx.network, target, reduce=None).sum(dim=1)
        else:
            maps = self._maps(ctx, ctx.network, target)
        magnitudes = maps.abs() if self.signed else maps
        scalars = self.checks(ctx, tag, magnitudes, lambda network: self._maps(ctx, network, target))
        notes = [self._describe(ctx), *describe_checks(scalars), ctx.note]
        yield Panel(tag, maps, self._overlay(ctx), beside=ctx.probe.pictures, notes=notes)
        yield from scalars

    def _overlay(self, ctx: DrawContext) -> Overlay:
        if self.method == "occlusion":
            return Overlay(ctx.probe.pictures, signed=self.signed)
        return Overlay(ctx.probe.pictures, quantile=QUANTILE, light=0.3, signed=self.signed)

    def _describe(self, ctx: DrawContext) -> str:
        reduction = "where the score drops" if self.method == "occlusion" else "magnitude, maximum over channels"
        if self.signed:
            total = "" if self.method == "occlusion" else "sum over channels, "
            reduction = f"{total}red for the class, blue against it"
        target = describe_target(self.target, ctx.predictions.meaning)
        baseline = f" ({self._baseline(ctx)})" if self.method == "integrated_gradients" else ""
        return f"{PIXEL_METHODS[self.method].caption}{baseline} of the score of {target}: {reduction}"

    def _baseline(self, ctx: DrawContext) -> str:
        """What the baseline of integrated gradients is, in the units of the data and as a picture."""
        given = (self.method_options or {}).get("baseline", 0.0)
        if isinstance(given, Tensor):
            return "the one given"
        mean, std = ctx.probe.normalisation
        levels = [round(level, 2) for level in (given * std + mean).clamp(0, 1).flatten().tolist()]
        if len({*levels}) == 1:
            levels = levels[:1]
        elif len(levels) > 4:
            levels = [min(levels), max(levels)]
        shown = f"shown as {' / '.join(map(str, levels))} between black, 0, and white, 1"
        shown = {(0.0,): "black", (1.0,): "white"}.get(tuple(levels), shown)
        is_mean = given == 0 and ctx.probe.mean is not None and any(levels)
        return f"{given:g} everywhere: {'the mean colour of the normalisation, ' if is_mean else ''}{shown}"

    def _maps(
        self, ctx: DrawContext, network: nn.Module, target: Target, images: Tensor | None = None, **options: Any
    ) -> Tensor:
        """The attributions, as many images at once as memory allows."""
        images = ctx.probe.images if images is None else images
        method = PIXEL_METHODS[self.method]
        options |= self.method_options or {}
        if "fill" in method.options and options.get("fill") is None:
            options["fill"] = mean_color(images)  # of all images, however they are batched

        def work(part: slice) -> Tensor:
            some, limit = images[part], {}
            if "batch_size" in method.options and ctx.auto_batch.limit:  # or it would take more copies at once instead
                limit = {"batch_size": min(len(some), options.get("batch_size") or len(some))}
            maps: Tensor = method.function(network, some, slice_target(target, part), **{**options, **limit})
            return maps

        return ctx.auto_batch.cat(work, len(images))
