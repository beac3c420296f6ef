"""DeepDreamLogger: the probe's pictures with more of what a layer finds in them."""

import inspect
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods import deep_dream, layers_over_depth
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.layers import resolve_layer
from lightning_viz.methods.synthesis.deep_dream import response
from lightning_viz.render import WRONG, Line, Pictures
from lightning_viz.render.text import GREY
from lightning_viz.runtime.artifacts import Panel
from lightning_viz.runtime.network import verdicts
from lightning_viz.runtime.validation import check_count, check_layer, check_options

from .base import VizCallback

OPTIONS = {
    name: one.default
    for name, one in inspect.signature(deep_dream).parameters.items()
    if name not in ("model", "images", "layer", "channel", "mean", "std")
}


class DeepDreamLogger(VizCallback):
    """The probe's pictures dreamt through a layer (Mordvintsev et al. 2015): `deepdream/layer3` and
    `deepdream/layer3/history`, or of one channel `deepdream/layer3/12` and `deepdream/layer3/12/history`.

    Each picture stands beside its dream: the same picture, changed by gradient ascent so that the layer answers more. What it
    changes into is what the layer knows: edges and textures early, parts of objects late. Under it stands by how much the L2
    norm of the layer's output rose, or from what to what the mean of the channel did.

    A drawing costs 24 forward and backward passes of the probe up to the layer, as much as 13 at full size; a network that
    takes one size of images only dreams in one octave, for 8.

    Args:
        layer: dotted name of the layer; by default one at three quarters of the network's depth: layer3 of ResNet.
        channel: the index of a channel of it; by default the whole layer.
        method_options: options of `lightning_viz.methods.deep_dream`, such as {"steps": 20, "learning_rate": 0.01}.
        common: the options of every callback, see `VizCallback`.
    """

    def __init__(
        self,
        layer: str | None = None,
        channel: int | None = None,
        method_options: dict[str, Any] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        check_layer("layer", layer)
        check_count("channel", channel, 0, optional=True)
        check_options("method_options", method_options, "deep_dream", OPTIONS)
        self.layer = layer
        self.channel = channel
        self.method_options = method_options

    def distinction(self) -> dict[str, Any]:
        return {"layer": self.layer, "channel": self.channel}

    def check(self, network: nn.Module) -> None:
        if self.layer is not None:
            resolve_layer(network, self.layer)

    def passes(self, count: int) -> float:
        options = {**OPTIONS, **(self.method_options or {})}
        sizes = sum(options["octave_scale"] ** (-2 * octave) for octave in range(options["octaves"]))
        return float(count * options["steps"] * sizes)

    def begin(self, network: nn.Module, probe: Probe) -> None:
        if self.layer is None and self.channel is None and self.method_options is None:
            return
        steps = min((self.method_options or {}).get("steps", 0), 0)  # none: this is to see what is wrong
        self._dream(network, probe.head(1), steps=steps)

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Panel]:
        layer, dreams = self._layer(network, probe), self._dream(network, probe)
        maps = FeatureMaps(network, layer)
        before, after = (self._answers(maps, images) for images in (probe.images, dreams))
        rises = [self._rise(*pair) for pair in zip(before, after, strict=True)]
        part, what, number = "", layer, "how many times its L2 norm grew"
        if self.channel is not None:
            part, what, number = f"/{self.channel}", f"channel {self.channel} of {layer}", "its mean before and after"
        yield Panel(
            f"deepdream/{layer}{part}",
            _shown(probe, dreams),
            Pictures(),
            beside=probe.pictures,
            captions=[
                (*said, rise) for said, rise in zip(verdicts(network, probe, self._memory.portions), rises, strict=True)
            ],
            notes=(
                f"changed so that {what} answers more",
                f"below each {number}",
                "classes are predicted of the pictures, not of their dreams",
                probe.note,
            ),
            common_scale=True,
        )

    def _layer(self, network: nn.Module, probe: Probe) -> str:
        """The name given, or the one that was found first."""
        if self.layer is not None:
            return self.layer
        if self._memory.layer is None:
            layers = layers_over_depth(network, probe.images)
            self._memory.layer = layers[math.ceil(0.75 * len(layers)) - 1]
        return self._memory.layer

    def _dream(self, network: nn.Module, probe: Probe, **options: Any) -> Tensor:
        mean, std = probe.normalisation
        options = {**(self.method_options or {}), **options, "mean": mean, "std": std}
        layer, images = self._layer(network, probe), probe.images
        return self._memory.portions(
            lambda part: deep_dream(network, images[part], layer=layer, channel=self.channel, **options), len(images)
        )

    @torch.no_grad()
    def _answers(self, maps: FeatureMaps, images: Tensor) -> list[float]:
        found = self._memory.portions(lambda part: response(maps, images[part].clone(), self.channel), len(images))
        answers: list[float] = found.tolist()
        return answers

    def _rise(self, before: float, after: float) -> Line:
        if not (math.isfinite(before) and math.isfinite(after)):
            return Line("not finite", WRONG)
        if self.channel is None and before > 0:
            return Line(f"×{after / before:.2f}", GREY)
        return Line(f"{before:.2g} → {after:.2g}", GREY)


def _shown(probe: Probe, images: Tensor) -> Tensor:
    """Images as a person sees them, (N, 3, H, W), 0 to 1; NaN where they are not finite."""
    pictures = torch.from_numpy(probe.shown(images)).permute(0, 3, 1, 2) / 255
    finite = images.detach().cpu().isfinite().all(dim=1, keepdim=True)
    return torch.where(finite, pictures, torch.nan)
