"""DeepDreamLogger: the probe's pictures, changed so that a layer is more active."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Unpack, get_args

import torch
from torch import Tensor, nn

from lightning_viz.data.arguments import as_options, check_choice, check_count, check_name
from lightning_viz.methods import deep_dream, layers_over_depth
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.synthesis.deep_dream import (
    DEEP_DREAM_OPTIONS,
    Objective,
    deep_dream_objective,
    deep_dream_passes,
)
from lightning_viz.render.colour import Pictures
from lightning_viz.render.text import GREY, WRONG, Line
from lightning_viz.runtime.artifacts import Panel
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.state import CallbackState

from ._options import CommonOptions, full_names
from .base import VizCallback

DEPTH = 0.75  # of the network, at which the default layer lies


class DeepDreamLogger(VizCallback):
    """DeepDream of the probe's pictures (Mordvintsev et al. 2015): `deepdream/layer3` and `deepdream/layer3/history`, or of
    one channel `deepdream/layer3/12` and `deepdream/layer3/12/history`.

    Beside each picture stands the same picture, changed by gradient ascent so that the layer's activation grows. The change
    shows which features the layer detects: edges and textures early, parts of objects late. The line below says by which
    factor the L2 norm of the layer's output grew, or the mean of the channel (with `objective="sum"` the sum) before and after.

    A drawing costs 24 forward and backward passes of the probe up to the layer, as much as 13 at full size; for a network
    that accepts one image size only there is one octave, which costs 8.

    Args:
        layer: dotted name of the layer; by default one at three quarters of the network's depth: layer3 of ResNet.
        channel: the index of a channel of it; by default the whole layer.
        method_options: options of `lightning_viz.methods.deep_dream`, such as {"steps": 20, "learning_rate": 0.01}.
        objective: what grows: the L2 norm of the layer's output ("norm"), or the plain sum of its activations ("sum").
        common: the options of every callback, see `VizCallback`.
    """

    TAG_FIELDS = ("layer", "channel")
    CHEAPER = 'fewer pictures (max_images=), steps or octaves (method_options={"steps": ..., "octaves": ...})'

    def __init__(
        self,
        layer: str | None = None,
        channel: int | None = None,
        method_options: Mapping[str, Any] | None = None,
        *,
        objective: Objective = "norm",
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(**common)
        self.layer = check_name("layer", layer)
        self.channel = check_count("channel", channel, 0, optional=True)
        self.objective = check_choice("objective", objective, get_args(Objective))
        self.method_options = as_options("method_options", method_options, "deep_dream", DEEP_DREAM_OPTIONS)

    def estimated_passes(self, network: nn.Module, images: Tensor) -> float:
        return len(images) * deep_dream_passes(self.method_options or {})

    def check_images(self, ctx: DrawContext) -> None:
        if self.layer is None and self.channel is None and self.method_options is None:
            return
        try:
            self._layer(ctx)
        except ValueError:
            return  # reported when it is drawn
        steps = min((self.method_options or {}).get("steps", 0), 0)  # none: this is to find what is wrong
        self._dream(ctx, ctx.probe.images[:1], steps=steps)

    def draw(self, ctx: DrawContext) -> Iterator[Panel]:
        layer, changed = self._layer(ctx), self._dream(ctx, ctx.probe.images)
        maps = FeatureMaps(ctx.network, layer)
        before, after = (self._responses(ctx, maps, images) for images in (ctx.probe.images, changed))
        growth = [self._growth(*pair) for pair in zip(before.tolist(), after.tolist(), strict=True)]
        tag, what, number = f"deepdream/{layer}", layer, "the factor by which the L2 norm of its output grew"
        if self.channel is not None:
            tag, what = f"{tag}/{self.channel}", f"channel {self.channel} of {layer}"
            number = "its mean before and after"
        if self.objective == "sum":
            number = "the sum of its activations before and after"
        about = f"changed by gradient ascent to activate {what}; below each, {number}"
        notes = about, "predictions are of the original pictures", ctx.note
        captions = [(*said, line) for said, line in zip(ctx.captions, growth, strict=True)]
        shown = torch.from_numpy(ctx.probe.to_pixels(changed)).permute(0, 3, 1, 2) / 255
        shown = shown.where(changed.cpu().isfinite().all(dim=1, keepdim=True), torch.nan)
        yield Panel(
            tag, shown, Pictures(), beside=ctx.probe.pictures, captions=captions, notes=notes, common_scale=True
        )

    def _layer(self, ctx: DrawContext) -> str:
        state = ctx.state(CallbackState)
        layer = next(iter(full_names(ctx.network, self.layer)), state.layer)
        if layer is None:
            layers = layers_over_depth(ctx.network, ctx.probe.images)
            layer = state.layer = layers[math.ceil(DEPTH * len(layers)) - 1]
        return layer

    def _dream(self, ctx: DrawContext, images: Tensor, **options: Any) -> Tensor:
        mean, std = ctx.probe.normalisation
        options = {**(self.method_options or {}), **options, "mean": mean, "std": std}
        options |= {"layer": self._layer(ctx), "channel": self.channel, "objective": self.objective}
        return ctx.auto_batch.cat(lambda part: deep_dream(ctx.network, images[part], **options), len(images))

    @torch.no_grad()
    def _responses(self, ctx: DrawContext, maps: FeatureMaps, images: Tensor) -> Tensor:
        return ctx.auto_batch.cat(
            lambda part: deep_dream_objective(maps, images[part].clone(), self.channel, self.objective), len(images)
        )

    def _growth(self, before: float, after: float) -> Line:
        if not (math.isfinite(before) and math.isfinite(after)):
            return Line("not finite", WRONG)
        if self.channel is None and self.objective == "norm" and before > 0:
            return Line(f"×{after / before:.2f}", GREY)
        return Line(f"{before:.2g} → {after:.2g}", GREY)
