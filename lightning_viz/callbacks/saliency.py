"""SaliencyLogger: which pixels matter."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from lightning_viz.methods import guided_backprop, integrated_gradients, occlusion, saliency, smoothgrad
from lightning_viz.render import Overlay

from .base import VizCallback
from .panel import Panel
from .probe import Probe
from .words import explains

QUANTILE = 0.99  # a few pixels have many times the gradient of all others

METHODS: dict[str, tuple[Callable[..., Tensor], str]] = {
    "gradient": (saliency, "gradient"),
    "smoothgrad": (smoothgrad, "gradient, mean over noisy copies,"),
    "guided_backprop": (guided_backprop, "guided gradient"),
    "integrated_gradients": (integrated_gradients, "gradient, integrated from a grey picture,"),
    "occlusion": (occlusion, "drop of the score when covered,"),
}


class SaliencyLogger(VizCallback):
    """Pixel attributions of the probe, over its pictures: `saliency/<method>` and `saliency/<method>/history`.

    Args:
        method: "gradient" (Simonyan et al. 2014), "smoothgrad" (Smilkov et al. 2017), "guided_backprop" (Springenberg et
            al. 2015), "integrated_gradients" (Sundararajan et al. 2017) or "occlusion" (Zeiler and Fergus 2014).
        signed: show what speaks for the class in red and what speaks against it in blue, summed over channels; otherwise
            the magnitude, maximum over channels (of occlusion, what speaks for the class).
        method_options: options of the function of this name in `lightning_viz.methods`, such as {"samples": 16}.
        common: the options of every callback, see `VizCallback`.
    """

    def __init__(
        self,
        method: Literal["gradient", "smoothgrad", "guided_backprop", "integrated_gradients", "occlusion"] = "gradient",
        signed: bool = False,
        method_options: dict[str, Any] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if method not in METHODS:
            raise ValueError(f"method={method!r} is unknown; choose one of {', '.join(map(repr, METHODS))}")
        known = [*inspect.signature(METHODS[method][0]).parameters][3:-1]  # after model, images, target; before reduce
        if unknown := [name for name in method_options or {} if name not in known]:
            raise ValueError(f"method_options has {unknown}, and {method} takes {known or 'none'}")
        self.method = method
        self.signed = signed
        self.method_options = method_options

    def distinction(self) -> dict[str, Any]:
        return {"method": self.method}

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Panel]:
        function, words = METHODS[self.method]
        attribute = partial(function, network, probe.images, self.explained(probe), **(self.method_options or {}))
        if not self.signed:
            maps, how = attribute(), "magnitude, maximum over channels"
        elif self.method == "occlusion":  # all channels are covered at once
            maps, how = attribute(), "red for, blue against"
        else:
            maps, how = attribute(reduce=None).sum(dim=1), "sum over channels, red for, blue against"
        if self.method == "occlusion":
            painter, how = Overlay(probe.pictures, signed=self.signed), how if self.signed else "where it falls"
        else:
            painter = Overlay(probe.pictures, quantile=QUANTILE, light=0.3, signed=self.signed)
        notes = (f"{words} of {explains(self.target)}: {how}", probe.note)
        yield Panel(f"saliency/{self.method}", maps, painter, beside=probe.pictures, notes=notes)
