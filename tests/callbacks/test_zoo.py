"""Zero configuration over torchvision's classifiers: every callback draws, or says clearly why not."""

import pytest
import torch
import torchvision

from lightning_viz import EmbeddingProjectorLogger, Probe, TopPatchesLogger
from lightning_viz.callbacks.top_patches import Found
from lightning_viz.collect.recorder import Harvest
from lightning_viz.data.batch import unpack_batch
from lightning_viz.runtime.guard import guard

from ..support import CALLBACKS, QUICK

FAMILIES = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "mnasnet0_5", "maxvit_t", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn", "vit_b_32", "wide_resnet50_2",
]  # fmt: skip
SIZES = {"inception_v3": 128, "maxvit_t": 224, "vit_b_32": 224}


def listened(network, callback, probe):
    """The probe as samples, heard as a validation loop is."""
    keeper = callback._keeper(0, 10)
    harvest = Harvest(network, [keeper], unpack_batch)
    harvest.open(probe.images)
    harvest.start((probe.images, probe.labels))
    network(probe.images)
    harvest.end((probe.images, probe.labels), 0, None)
    assert harvest.error is None
    samples = keeper.samples
    assert samples.predicted.min() >= 0
    return samples


def activated(network, callback, probe):
    """The probe as patches, heard as a validation loop is."""
    winners = callback._winners(keep_images=True)
    harvest = Harvest(network, [winners], unpack_batch)
    harvest.open(probe.images)
    harvest.start((probe.images, probe.labels))
    network(probe.images)
    harvest.end((probe.images, probe.labels), 0, None)
    assert harvest.error is None
    assert len(winners.answers) == 2
    return [
        Found(layer, callback._chosen(layer, answers), winners.images, ["heard"])
        for layer, answers in winners.answers.items()
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_callback_draws(name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = torchvision.models.get_model(name, weights=None, **options).train()
    size = SIZES.get(name, 64)
    probe = Probe(torch.rand(2, 3, size, size), torch.tensor([1, 2]))
    for callback in (kind(**QUICK.get(kind, {})) for kind in CALLBACKS):
        with guard(network):
            callback.begin(network, probe)
            if isinstance(callback, EmbeddingProjectorLogger):
                callback._samples = {0: (listened(network, callback, probe), "heard")}
            if isinstance(callback, TopPatchesLogger):
                callback._found = activated(network, callback, probe)
            panels = list(callback.draw(network, probe))
        assert panels
        assert all(torch.isfinite(panel.values).all() for panel in panels if hasattr(panel, "values"))
    assert all(module.training for module in network.modules())
