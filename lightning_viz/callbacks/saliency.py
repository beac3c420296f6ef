"""SaliencyLogger: which pixels matter."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal

from torch import Tensor, nn

from lightning_viz.methods import guided_backprop, integrated_gradients, occlusion, saliency, smoothgrad
from lightning_viz.render import Overlay

from .checks import check_choice
from .panel import Panel, Scalar
from .probe import Probe
from .trust import AttributionLogger, in_words
from .words import explains

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
        known = [*inspect.signature(METHODS[method][0]).parameters][3:-1]  # after model, images, target; before reduce
        if unknown := [name for name in method_options or {} if name not in known]:
            raise ValueError(f"method_options has {unknown}, and {method} takes {known or 'none'}")
        self.method = method
        self.signed = signed
        self.method_options = method_options

    def distinction(self) -> dict[str, Any]:
        return {"method": self.method}

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Panel | Scalar]:
        function, words = METHODS[self.method]
        target, options, tag = self.settled(network, probe), self.method_options or {}, f"saliency/{self.method}"
        if self.signed and self.method != "occlusion":  # which covers all channels at once, and is signed as it is
            maps = function(network, probe.images, target, reduce=None, **options).sum(dim=1)
            how = "sum over channels, red for, blue against"
        else:
            maps = function(network, probe.images, target, **options)
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
            lambda other: function(other, probe.images, target, **options),
        )
        notes = [f"{words} of {explains(self.target)}: {how}", *([in_words(scalars)] if scalars else []), probe.note]
        yield Panel(tag, maps, painter, beside=probe.pictures, notes=notes)
        yield from scalars
