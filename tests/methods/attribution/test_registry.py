"""The registries agree with the signatures, and with what the methods cost."""

from typing import get_args

import pytest
import torch

from lightning_viz.methods.attribution.registry import CAM_METHODS, PIXEL_METHODS, CamMethod, PixelMethod, choose

from ...support import small_network
from ..references import METHODS, QUICK

EVERY = PIXEL_METHODS | CAM_METHODS


def test_literals_are_the_keys():
    assert list(get_args(PixelMethod)) == list(PIXEL_METHODS)
    assert list(get_args(CamMethod)) == list(CAM_METHODS)


@pytest.mark.parametrize("name", EVERY)
def test_every_method_cites_its_paper(name):
    assert EVERY[name].citation[-4:].isdecimal()
    assert EVERY[name].url.startswith("https://")
    assert (EVERY[name].caption != "") == (name in PIXEL_METHODS)


def test_options_are_the_methods_own():
    assert PIXEL_METHODS["gradient"].options == {}
    assert PIXEL_METHODS["smoothgrad"].options == {"samples": 32, "noise": 0.15, "batch_size": None, "seed": 0}
    assert list(PIXEL_METHODS["occlusion"].options) == ["window", "stride", "fill", "refine", "batch_size"]
    assert CAM_METHODS["gradcam"].options == {}


def test_unknown_method():
    with pytest.raises(ValueError, match="method='lime' is unknown; choose one of 'gradient', 'smoothgrad'"):
        choose(PIXEL_METHODS, "lime")


def counted_passes(method, images, **options):
    """Passes of each image: forward passes count a third, backward passes two thirds."""
    model, counts = small_network(), {"forward": 0, "backward": 0}

    def count(module, inputs, output):
        counts["forward"] += len(output)
        if output.requires_grad:
            output.register_hook(lambda gradient: counts.update(backward=counts["backward"] + len(gradient)))

    model.register_forward_hook(count)
    method(model, images, **options)
    return (counts["forward"] + 2 * counts["backward"]) / 3 / len(images)


@pytest.mark.parametrize("name", EVERY)
def test_estimated_passes_are_those_made(name):
    images, layer = torch.rand(2, 3, 12, 18), {"layer": "6"}  # or one more pass finds the layer
    own = layer if name in CAM_METHODS or name == "guided_gradcam" else {}
    options = QUICK.get(name, {}) | ({"layers": ["6"]} if name in CAM_METHODS else own)
    estimate = EVERY[name].estimated_passes(small_network(), images, options)
    assert counted_passes(METHODS[name], images, **own) == pytest.approx(estimate)


@pytest.mark.parametrize("options", [{}, {"window": 5, "stride": 2}, {"window": 4, "refine": 2}])
def test_estimated_windows_are_those_covered(options):
    images = torch.rand(2, 3, 16, 24)
    estimate = PIXEL_METHODS["occlusion"].estimated_passes(small_network(), images, options)
    counted = counted_passes(PIXEL_METHODS["occlusion"].function, images, **options)
    assert counted == pytest.approx(estimate, rel=0.25 if "refine" in options else 1e-6)
