"""The network inside a module, and arguments that do not fit it: these fail before the first step."""

import re

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lightning_viz import FilterLogger, GradCAMLogger, Probe, SaliencyLogger
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.runtime.network import check_probe, check_target, find_network, runs

from ..stub import Stub, data, fit, tiny, tiny_network
from ..support import CLASSES, Lit, loader, trainer


class Headless(pl.LightningModule):
    """No forward: the network is called in the steps."""

    def __init__(self):
        super().__init__()
        self.model = tiny_network()
        self.accuracy = nn.Identity()

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_module_with_a_forward_is_the_network():
    module = tiny()
    assert find_network(module, None) is module


def test_a_module_without_forward_is_called_through_its_network(tmp_path):
    stub, module = Stub(on_error="raise"), Headless()
    fit(tmp_path, stub, module=module)
    assert stub.ctx.network is module.model


def test_a_module_with_two_networks_asks_for_forward(tmp_path):
    module = Headless()
    module.teacher = tiny_network()
    with pytest.raises(ValueError, match=r"no forward\(\) and 2 submodules with weights \(model, teacher\).*forward="):
        find_network(module, None)
    stub = Stub(forward=lambda module, images: module.teacher(images), on_error="raise")
    assert fit(tmp_path, stub, module=module).image_tags


def test_a_custom_forward_keeps_layer_names(tmp_path):
    module, images = tiny(), torch.rand(2, 3, 12, 12)
    network = find_network(module, lambda module, images: {"scores": module(images)})
    assert dict(network.named_children()) == dict(module.named_children())
    assert network(images)["scores"].shape == (2, CLASSES)
    forward = lambda module, images: {"scores": module(images)}["scores"]  # noqa: E731
    events = fit(tmp_path, GradCAMLogger("network.1", forward=forward, on_error="raise"), module=module)
    assert "gradcam/network.1" in events.image_tags


def test_whether_it_runs():
    assert runs(tiny_network(), torch.rand(1, 3, 12, 12))
    assert not runs(tiny_network(), torch.rand(1, 1, 12, 12))


@pytest.mark.parametrize("target", [99, [0, 99], torch.tensor([0, 99])])
def test_a_target_outside_the_classes(target):
    with pytest.raises(ValueError, match=r"outside the model's 4 classes"):
        check_target(tiny_network(), torch.rand(2, 3, 12, 12), target, AutoBatch())


def test_a_probe_fits_the_network():
    check_probe(tiny_network(), Probe(torch.rand(2, 3, 12, 12), torch.tensor([0, 1]), ["a", "b", "c", "d"]))


# Before the first step.


def never_trained(folder, callback, message, module=None, error=ValueError):
    module = module or tiny()
    with pytest.raises(error, match=message):
        fit(folder, callback, module=module)
    assert module.losses == []


@pytest.mark.parametrize("kind", [GradCAMLogger, FilterLogger])
def test_an_unknown_layer(kind, tmp_path):
    message = r"layers='network.99' is not in Lit; closest: 'net"
    never_trained(tmp_path, kind(layers=["network.0", "network.99"]), message)


def test_a_layer_without_filters(tmp_path):
    never_trained(tmp_path, FilterLogger("network.4"), r"layers='network.4' is Linear")


def test_a_layer_without_positions(tmp_path):
    never_trained(tmp_path, GradCAMLogger("network.4"), r"\(8, 4\) has no height and width")


@pytest.mark.parametrize("kind", [Stub, SaliencyLogger, GradCAMLogger])
def test_a_model_of_no_images(kind, tmp_path, our_warnings):
    module = Lit(nn.Sequential(nn.Linear(10, CLASSES)))
    vectors = loader(TensorDataset(torch.rand(8, 10), torch.arange(8) % CLASSES))
    trainer(tmp_path, [kind()], max_epochs=1).fit(module, vectors, vectors)
    assert len(module.losses) == 2
    (warning,) = our_warnings()
    assert re.search(r"\(6, 10\).* images \(B, C, H, W\)", warning)


def test_a_module_without_a_forward_of_its_own_is_warned_of_once(tmp_path, our_warnings):
    """Which of its networks is meant is not known: a GAN, or a student with its teacher."""

    class Two(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.teacher = nn.Linear(3, 2), nn.Linear(3, 2)

        def training_step(self, batch, batch_idx):
            return self.model(batch[0].mean(dim=(2, 3))).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    run = trainer(tmp_path, [Stub(tag="one"), Stub(tag="two"), SaliencyLogger()], max_epochs=1)
    run.fit(Two(), *data())
    assert run.global_step == 4
    (warning,) = our_warnings()
    assert "give forward=" in warning


def test_a_probe_of_wrong_shape(tmp_path):
    message = r"Lit does not run on probe images of shape \(1, 12, 12\).*give images of the shape"
    never_trained(tmp_path, Stub(probe=Probe(torch.rand(2, 1, 12, 12))), message)


def test_class_names_fewer_than_the_models_classes(tmp_path):
    probe = Probe(torch.rand(2, 3, 12, 12), torch.tensor([0, 1]), ["ant", "bee"])
    never_trained(tmp_path, Stub(probe=probe), "class_names has 2 names, and the model has 4 classes")


@pytest.mark.parametrize(
    ("target", "message"), [(99, "target=.*outside the model's 4 classes"), ([0, 1, 2], "does not fit 8 images")]
)
def test_a_target_that_does_not_fit(target, message, tmp_path):
    never_trained(tmp_path, Stub(target=target), message)


def test_target_label_without_labels(tmp_path):
    stub = Stub(target="label", probe=Probe(torch.rand(2, 3, 12, 12)))
    never_trained(tmp_path, stub, "target='label' needs a label for each picture of the probe")


def test_target_label_explains_the_true_class(tmp_path):
    stub = Stub(target="label")
    fit(tmp_path, stub)
    assert torch.equal(stub.target_of(stub.ctx), stub.ctx.probe.labels)


def test_targets_are_cut_to_the_probe(tmp_path):
    stub = Stub(target=[0, 1, 2, 3, 0, 1, 2, 3, 0, 1], max_images=8)
    fit(tmp_path, stub, given=data())
    assert stub.target_of(stub.ctx) == [0, 1, 2, 3, 0, 1, 2, 3]
