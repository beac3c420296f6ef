"""The methods that callbacks offer: those for pixels, and those for the feature maps of layers."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from . import cam_weights
from .cam import class_activation_map, gradient_cam
from .guided_grad_cam import guided_grad_cam
from .method import FORWARD, Method
from .occlusion import default_window, halved, occlusion, window_starts
from .saliency import guided_backprop, integrated_gradients, saliency, smoothgrad
from .score_cam import score_cam, score_cam_passes

#: The keys of the registries, for signatures.
PixelMethod = Literal[
    "gradient", "smoothgrad", "guided_backprop", "guided_gradcam", "integrated_gradients", "occlusion"
]
CamMethod = Literal["gradcam", "cam", "gradcam++", "xgradcam", "layercam", "hirescam", "scorecam"]


def _occlusion_passes(network: nn.Module, images: Tensor, options: Mapping[str, Any]) -> float:
    """A forward pass for each window, one of the whole image, and one that fixes the target."""
    height, width = images.shape[-2:]
    window, stride = default_window(height, width, options["window"], options["stride"])
    windows = 0.0
    for level in range(options["refine"] + 1):
        grid = len(window_starts(height, window, stride)) * len(window_starts(width, window, stride))
        windows += grid if level == 0 else grid / 4  # finer windows cover about the top quarter
        window, stride = halved(window), halved(stride)
    return (windows + 2) * FORWARD


#: By key: functions (model, images, target, *, reduce, **options) -> (B, H, W).
PIXEL_METHODS: dict[str, Method] = {
    "gradient": Method(saliency, "Simonyan et al. 2014", "https://arxiv.org/abs/1312.6034", caption="gradient"),
    "smoothgrad": Method(
        smoothgrad,
        "Smilkov et al. 2017",
        "https://arxiv.org/abs/1706.03825",
        lambda network, images, options: options["samples"] + FORWARD,  # the forward pass fixes the target
        caption="gradient averaged over noisy copies",
    ),
    "guided_backprop": Method(
        guided_backprop, "Springenberg et al. 2015", "https://arxiv.org/abs/1412.6806", caption="guided gradient"
    ),
    "guided_gradcam": Method(
        guided_grad_cam,
        "Selvaraju et al. 2017",
        "https://arxiv.org/abs/1610.02391",
        lambda network, images, options: 2.0,
        caption="guided gradient times Grad-CAM",
    ),
    "integrated_gradients": Method(
        integrated_gradients,
        "Sundararajan et al. 2017",
        "https://arxiv.org/abs/1703.01365",
        lambda network, images, options: options["steps"] + FORWARD,
        caption="gradient integrated from a baseline image",
    ),
    "occlusion": Method(
        occlusion,
        "Zeiler and Fergus 2014",
        "https://arxiv.org/abs/1311.2901",
        _occlusion_passes,
        caption="score drop when covered",
    ),
}

#: By key: functions (model, images, target, layers: Sequence[CamLayer], **options) -> maps (B, h, w) of each layer.
CAM_METHODS: dict[str, Method] = {
    "gradcam": Method(
        partial(gradient_cam, cam_weights.gradcam), "Selvaraju et al. 2017", "https://arxiv.org/abs/1610.02391"
    ),
    "cam": Method(
        class_activation_map,
        "Zhou et al. 2016",
        "https://arxiv.org/abs/1512.04150",
        lambda network, images, options: FORWARD,
    ),
    "gradcam++": Method(
        partial(gradient_cam, cam_weights.gradcam_plus_plus),
        "Chattopadhay et al. 2018",
        "https://arxiv.org/abs/1710.11063",
    ),
    "xgradcam": Method(
        partial(gradient_cam, cam_weights.xgradcam), "Fu et al. 2020", "https://arxiv.org/abs/2008.02312"
    ),
    "layercam": Method(
        partial(gradient_cam, cam_weights.layercam), "Jiang et al. 2021", "https://doi.org/10.1109/TIP.2021.3089943"
    ),
    "hirescam": Method(
        partial(gradient_cam, cam_weights.hirescam), "Draelos and Carin 2020", "https://arxiv.org/abs/2011.08891"
    ),
    "scorecam": Method(score_cam, "Wang et al. 2020", "https://arxiv.org/abs/1910.01279", score_cam_passes),
}
