"""SaliencyLogger: which pixels matter."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods import Target, guided_backprop, integrated_gradients, occlusion, saliency, smoothgrad
from lightning_viz.methods.model.outputs import target_of
from lightning_viz.render import Overlay
from lightning_viz.runtime.artifacts import Panel, Scalar
from lightning_viz.runtime.validation import check_choice, check_flag, check_options
from lightning_viz.runtime.words import explains

from .attribution import AttributionLogger, in_words

QUANTILE = 0.99  # a few pixels have many times the gradient of all others

METHODS: dict[str, tuple[Callable[..., Tensor], str]] = {
    "gradient": (saliency, "gradient"),
    "smoothgrad": (smoothgrad, "gradient, mean over noisy copies,"),
    "guided_backprop": (guided_backprop, "guided gradient"),
    "integrated_gradients": (integrated_gradients, "gradient, integrated from a grey picture,"),
    "occlusion": (occlusion, "drop of the score when covered,"),
}


class SaliencyLogger(AttributionLogger):
    """Pixel attributions of the probe, over its pictures: `saliency/<method>` and `saliency/<method>/history`.

    Args:
        method: "gradient" (Simonyan et al. 2014), "smoothgrad" (Smilkov et al. 2017), "guided_backprop" (Springenberg et
            al. 2015), "integrated_gradients" (Sundararajan et al. 2017) or "occlusion" (Zeiler and Fergus 2014).
        signed: show what speaks for the class in red and what speaks against it in blue, summed over channels; otherwise
            the magnitude, maximum over channels (of occlusion, what speaks for the class).
        method_options: options of the function of this name in `lightning_viz.methods`, such as {"samples": 16}.
        common: `trust`, see `AttributionLogger`, and the options of every callback, see `VizCallback`.
    """

    def __init__(
        self,
        method: Literal["gradient", "smoothgrad", "guided_backprop", "integrated_gradients", "occlusion"] = "gradient",
        signed: bool = False,
        method_options: dict[str, Any] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        check_choice("method", method, tuple(METHODS))
        check_flag("signed", signed)
        check_options("method_options", method_options, method, _options(method))
        self.method = method
        self.signed = signed
        self.method_options = method_options

    def distinction(self) -> dict[str, Any]:
        return {"method": self.method}

    def passes(self, count: int) -> float:
        options = _options(self.method) | (self.method_options or {})
        each: dict[str, float] = {
            "smoothgrad": options.get("samples", 1),
            "integrated_gradients": options.get("steps", 1),
            "occlusion": 50 / 3,
        }
        return super().passes(count) + count * (each.get(self.method, 1) - 1)

    def begin(self, network: nn.Module, probe: Probe) -> None:
        if self.method_options:  # to see what is wrong
            self._maps(network, probe.images[:1], target_of(self.explained(probe), slice(1)))

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Panel | Scalar]:
        words = METHODS[self.method][1]
        target, tag = self.settled(network, probe), f"saliency/{self.method}"
        if self.signed and self.method != "occlusion":  # which covers all channels at once, and is signed as it is
            maps = self._maps(network, probe.images, target, reduce=None).sum(dim=1)
            how = "sum over channels, red for, blue against"
        else:
            maps = self._maps(network, probe.images, target)
            how = "red for, blue against" if self.signed else "magnitude, maximum over channels"
        if self.method == "occlusion":
            painter, how = Overlay(probe.pictures, signed=self.signed), how if self.signed else "where it falls"
        else:
            painter = Overlay(probe.pictures, quantile=QUANTILE, light=0.3, signed=self.signed)
        scalars = self.checked(
            tag,
            network,
            probe,
            maps.abs() if self.signed else maps,
            partial(self._maps, images=probe.images, target=target),
        )
        notes = [f"{words} of {explains(self.target)}: {how}", *([in_words(scalars)] if scalars else []), probe.note]
        yield Panel(tag, maps, painter, beside=probe.pictures, notes=notes)
        yield from scalars

    def _maps(self, network: nn.Module, images: Tensor, target: Target, **options: Any) -> Tensor:
        """The attributions of all images, as many at once as memory takes."""
        function, takes = METHODS[self.method][0], _options(self.method)
        options |= self.method_options or {}
        if "fill" in takes and options.get("fill") is None:
            options["fill"] = images.mean(dim=(0, 2, 3))  # of all, whatever the portion

        def work(part: slice) -> Tensor:
            some, fewer = images[part], {}
            if "batch_size" in takes and self._memory.portions.most:  # or it would take more copies at once instead
                fewer = {"batch_size": min(len(some), options.get("batch_size", len(some)))}
            return function(network, some, target_of(target, part), **{**options, **fewer})

        return self._memory.portions(work, len(images))


def _options(method: str) -> dict[str, Any]:
    """What a method's `method_options` may hold, and the defaults: all after model, images, target, and before reduce."""
    parameters = [*inspect.signature(METHODS[method][0]).parameters.values()]
    return {one.name: one.default for one in parameters[3:-1]}
