"""SaliencyLogger: what it draws is what the methods compute."""

import pytest
import torch

from lightning_viz import Probe, SaliencyLogger
from lightning_viz.methods import saliency, smoothgrad
from lightning_viz.methods.attribution.registry import PIXEL_METHODS
from lightning_viz.methods.model.batching import AutoBatch

from ..support import Events, Lit, loader, small_network, trainer
from .context import draw

PROBE = Probe(torch.rand(3, 3, 12, 12), torch.tensor([0, 3, 1]))
FEW = {"smoothgrad": {"samples": 3}, "integrated_gradients": {"steps": 3}, "occlusion": {"refine": 0}}


@pytest.mark.parametrize("target", [None, 2, [1, 2, 3], "label"])
def test_the_map_is_that_of_the_target(target):
    network = small_network()
    (panel,) = draw(SaliencyLogger(target=target), network, PROBE)
    assert torch.equal(panel.values, saliency(network, PROBE.images, PROBE.labels if target == "label" else target))
    assert panel.tag == "saliency/gradient"


@pytest.mark.parametrize("method", PIXEL_METHODS)
@pytest.mark.parametrize("signed", [False, True])
def test_the_map_is_that_of_the_method(method, signed):
    network, options, function = small_network(), FEW.get(method, {}), PIXEL_METHODS[method].function
    (panel,) = draw(SaliencyLogger(method, signed, method_options=options or None), network, PROBE)
    if not signed or method == "occlusion":
        expected = function(network, PROBE.images, **options)
    else:
        expected = function(network, PROBE.images, reduce=None, **options).sum(dim=1)
    assert panel.tag == f"saliency/{method}"
    assert torch.equal(panel.values, expected)
    assert panel.painter.signed == signed
    assert panel.notes[0].startswith(PIXEL_METHODS[method].caption)
    assert " of the score of the predicted class: " in panel.notes[0]


@pytest.mark.parametrize(
    ("normalisation", "baseline", "expected"),
    [
        ({}, 0.0, "0 everywhere: black"),
        ({}, 1.0, "1 everywhere: white"),
        ({}, 0.5, "0.5 everywhere: shown as 0.5 between black, 0, and white, 1"),
        (dict(mean=0.5, std=0.2), 0.0, "0 everywhere: the mean colour of the normalisation, shown as 0.5 between"),
        (
            dict(mean=[0.4, 0.5, 0.6], std=[0.1, 0.2, 0.2]),
            0.0,
            "mean colour of the normalisation, shown as 0.4 / 0.5 / 0.6",
        ),
        (dict(mean=[0.4, 0.5, 0.6], std=[0.1, 0.1, 0.1]), -9.0, "-9 everywhere: black"),
        ({}, torch.full((3, 1, 1), 0.5), "baseline (the one given)"),
    ],
)
def test_the_note_says_what_the_baseline_is(normalisation, baseline, expected):
    images = torch.rand(2, 3, 12, 12)
    images[0, :, 0, 0], images[0, :, 0, 1] = 0, 1
    if normalisation:
        mean, std = (torch.as_tensor(one).reshape(-1, 1, 1) for one in normalisation.values())
        images = (images - mean) / std
    probe = Probe(images, **normalisation)
    options = {"steps": 1, "baseline": baseline}
    (panel,) = draw(SaliencyLogger("integrated_gradients", method_options=options), small_network(), probe)
    assert expected in panel.notes[0]


def test_options_reach_the_method():
    network = small_network()
    (panel,) = draw(SaliencyLogger("smoothgrad", method_options={"samples": 3, "noise": 0.5}), network, PROBE)
    assert torch.equal(panel.values, smoothgrad(network, PROBE.images, samples=3, noise=0.5))


def test_an_unknown_option_of_the_method():
    with pytest.raises(ValueError, match=r"method_options has \['sample'\], and smoothgrad has no such option; choose"):
        SaliencyLogger("smoothgrad", method_options={"sample": 3})


def test_an_unknown_method():
    with pytest.raises(ValueError, match="method='magic'"):
        SaliencyLogger(method="magic")


@pytest.mark.parametrize("method", ["gradient", "occlusion", "integrated_gradients"])
def test_batches_that_fit_in_memory_change_nothing(method):
    network, options = small_network(), FEW.get(method)
    whole, parts = (
        draw(SaliencyLogger(method, method_options=options), network, PROBE, auto_batch=AutoBatch(limit))[0].values
        for limit in (None, 2)
    )
    torch.testing.assert_close(parts, whole)


def test_every_method_beside_each_other_reaches_tensorboard(tmp_path):
    callbacks = [
        SaliencyLogger("occlusion", signed=True, method_options=FEW["occlusion"], on_error="raise"),
        SaliencyLogger("guided_backprop", on_error="raise"),
    ]
    trainer(tmp_path, callbacks, max_epochs=1).fit(Lit(), loader(), loader())
    tags = ["saliency/occlusion", "saliency/guided_backprop"]
    expected = {f"{tag}{suffix}" for tag in tags for suffix in ("", "/history")}
    assert set(Events(tmp_path / "run/version_0").image_tags) == expected
