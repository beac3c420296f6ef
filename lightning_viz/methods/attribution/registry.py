"""The methods that callbacks offer: those for pixels, and those for the feature maps of layers."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.batching import FORWARD
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.modes import evaluating

from . import cam
from .cam import gradient_cam
from .occlusion import occlusion, window_levels
from .saliency import guided_backprop, integrated_gradients, saliency, smoothgrad

#: The keys of the registries, for signatures.
PixelMethod = Literal[
    "gradient", "smoothgrad", "guided_backprop", "guided_gradcam", "integrated_gradients", "occlusion"
]
CamMethod = Literal["gradcam", "cam", "gradcam++", "xgradcam", "layercam", "hirescam", "scorecam"]


@dataclass(frozen=True)
class Method:
    """A method that a callback offers, under its key in a registry."""

    function: Callable[..., Any]
    citation: str  #: authors and year
    url: str  #: of the paper
    #: How often each image goes through the network, forward and backward: a number, or a function of network, images
    #: (B, C, H, W) and options.
    passes: float | Callable[[nn.Module, Tensor, Mapping[str, Any]], float] = 1.0
    caption: str = ""  #: what the map shows, for the line under a panel: "<caption> of class 3"

    @property
    def options(self) -> dict[str, Any]:
        """The method's own options with their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        shared = "reduce", "reshape", "layer"
        return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY and one.name not in shared}

    def estimated_passes(self, network: nn.Module, images: Tensor, options: Mapping[str, Any] | None = None) -> float:
        """The method's `passes`; `options` may hold the callback's `layers` beside the method's own options."""
        known = {**self.options, **(options or {})}
        return self.passes(network, images, known) if callable(self.passes) else self.passes


def choose(registry: Mapping[str, Method], method: str, options: Collection[str] = ()) -> Callable[..., Any]:
    """The function of a method. Raises ValueError for an unknown method, TypeError for an unknown option."""
    if method not in registry:
        raise ValueError(f"method={method!r} is unknown; choose one of {', '.join(map(repr, registry))}")
    known = registry[method].options
    if unknown := sorted({*options} - known.keys()):
        raise TypeError(f"method={method!r} has no option {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    return registry[method].function


def _occlusion_passes(network: nn.Module, images: Tensor, options: Mapping[str, Any]) -> float:
    """A forward pass for each window, one of the whole image, and one that fixes the target."""
    levels = window_levels(images, options["window"], options["stride"], options["refine"])
    first, *finer = (level.count for level in levels)
    return (first + sum(finer) / 4 + 2) * FORWARD  # finer windows cover about the top quarter


def _score_cam_passes(network: nn.Module, images: Tensor, options: Mapping[str, Any]) -> float:
    """A forward pass for each channel of the layers, and one more. It runs a single image to count them."""
    names = options.get("layers") or [find_layer(network, "last_spatial", images)]
    with evaluating(network), torch.no_grad():
        channels = [int(FeatureMaps(network, name, "layers")(images[:1].clone()).shape[1]) for name in names]
    return (sum(channels) + 1) * FORWARD


#: By key: functions (model, images, target, *, reduce, **options) -> (B, H, W).
PIXEL_METHODS: dict[str, Method] = {
    "gradient": Method(saliency, "Simonyan et al. 2014", "https://arxiv.org/abs/1312.6034", caption="gradient"),
    "smoothgrad": Method(
        smoothgrad, "Smilkov et al. 2017", "https://arxiv.org/abs/1706.03825",
        lambda network, images, options: options["samples"] + FORWARD,  # the forward pass fixes the target
        "gradient averaged over noisy copies",
    ),
    "guided_backprop": Method(
        guided_backprop, "Springenberg et al. 2015", "https://arxiv.org/abs/1412.6806", 1.0, "guided gradient"
    ),
    "guided_gradcam": Method(
        cam.guided_grad_cam, "Selvaraju et al. 2017", "https://arxiv.org/abs/1610.02391", 2.0,
        "guided gradient times Grad-CAM",
    ),
    "integrated_gradients": Method(
        integrated_gradients, "Sundararajan et al. 2017", "https://arxiv.org/abs/1703.01365",
        lambda network, images, options: options["steps"] + FORWARD, "gradient integrated from a baseline",
    ),
    "occlusion": Method(
        occlusion, "Zeiler and Fergus 2014", "https://arxiv.org/abs/1311.2901", _occlusion_passes,
        "score drop when covered",
    ),
}  # fmt: skip

#: By key: functions (model, images, target, layers: Sequence[CamLayer], **options) -> maps (B, h, w) of each layer.
CAM_METHODS: dict[str, Method] = {
    "gradcam": Method(partial(gradient_cam, cam.gradcam), "Selvaraju et al. 2017", "https://arxiv.org/abs/1610.02391"),
    "cam": Method(cam.class_activation_map, "Zhou et al. 2016", "https://arxiv.org/abs/1512.04150", FORWARD),
    "gradcam++": Method(
        partial(gradient_cam, cam.gradcam_plus_plus), "Chattopadhay et al. 2018", "https://arxiv.org/abs/1710.11063"
    ),
    "xgradcam": Method(partial(gradient_cam, cam.xgradcam), "Fu et al. 2020", "https://arxiv.org/abs/2008.02312"),
    "layercam": Method(
        partial(gradient_cam, cam.layercam), "Jiang et al. 2021", "https://doi.org/10.1109/TIP.2021.3089943"
    ),
    "hirescam": Method(
        partial(gradient_cam, cam.hirescam), "Draelos and Carin 2020", "https://arxiv.org/abs/2011.08891"
    ),
    "scorecam": Method(cam.score_cam, "Wang et al. 2020", "https://arxiv.org/abs/1910.01279", _score_cam_passes),
}
