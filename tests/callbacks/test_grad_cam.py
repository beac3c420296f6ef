"""GradCAMLogger: what it draws is what the methods compute."""

import pytest
import torch
from torch import nn

from lightning_viz import GradCAMLogger, Probe
from lightning_viz.methods import grad_cam
from lightning_viz.methods.attribution.registry import CAM_METHODS

from ..support import Events, Lit, loader, small_network, trainer
from .context import count_forwards, draw, make_context

PROBE = Probe(torch.rand(3, 3, 12, 12), torch.tensor([0, 3, 1]))


@pytest.mark.parametrize("target", [None, 2, "label"])
def test_the_map_is_that_of_the_target(target):
    network = small_network()
    (panel,) = draw(GradCAMLogger(target=target), network, PROBE)
    expected = grad_cam(network, PROBE.images, PROBE.labels if target == "label" else target, layer="6")
    assert torch.equal(panel.values, expected)
    assert panel.tag == "gradcam/6"


@pytest.mark.parametrize("method", CAM_METHODS)
def test_the_map_is_that_of_the_method(method):
    network = small_network()
    (panel,) = draw(GradCAMLogger(method=method), network, PROBE)
    assert panel.tag == f"{method}/6"
    assert torch.equal(panel.values, grad_cam(network, PROBE.images, layer="6", method=method))


@pytest.mark.parametrize("layers", [["5", "2"], ("5", "2")], ids=["list", "tuple"])
def test_several_layers_have_a_panel_each_and_one_side_by_side(layers):
    network = small_network()
    *each, panel = draw(GradCAMLogger(layers=layers), network, PROBE)
    assert [one.tag for one in each] == ["gradcam/5", "gradcam/2"]
    assert (panel.tag, panel.columns) == ("gradcam/layers", ["5", "2"])
    for one, layer, values in zip(each, panel.columns, panel.values, strict=True):
        assert torch.equal(values, grad_cam(network, PROBE.images, layer=layer))
        assert torch.equal(values, one.values)


def test_the_layer_found_first_is_kept(monkeypatch):
    network, callback = small_network(), GradCAMLogger()
    draw(callback, network, PROBE)
    monkeypatch.setattr("lightning_viz.callbacks.grad_cam.find_layer", lambda *_: "2")
    assert draw(callback, network, PROBE)[0].tag == "gradcam/6"


def test_reshape_makes_feature_maps():
    class Tokens(nn.Module):
        """Tokens column by column."""

        def __init__(self):
            super().__init__()
            self.patches, self.mix, self.head = nn.Conv2d(3, 4, 4, stride=2), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, images):
            return self.head(torch.relu(self.mix(self.patches(images).transpose(2, 3).flatten(2).mT)).mean(dim=1))

    def reshape(tokens):
        return tokens.reshape(-1, 5, 5, 4).permute(0, 3, 2, 1)

    network = Tokens()
    (panel,) = draw(GradCAMLogger("mix", reshape=reshape), network, PROBE)
    assert torch.equal(panel.values, grad_cam(network, PROBE.images, layer="mix", reshape=reshape))


# Misclassified pictures.


def misclassified(network):
    """A probe of which the second picture alone is not what the network predicts."""
    predicted = network.eval()(PROBE.images).argmax(dim=1)
    labels = predicted.clone()
    labels[1] = (labels[1] + 1) % 4
    return Probe(PROBE.images, labels), predicted


def test_misclassified_pictures_show_the_map_of_the_true_class_beside_the_predicted():
    network = small_network()
    probe, predicted = misclassified(network)
    _, panel = draw(GradCAMLogger(compare="predicted"), network, probe)
    assert panel.tag == "gradcam/6/true_and_predicted"
    assert panel.items == [1]
    assert panel.columns == ("true class", "predicted class")
    for column, target in enumerate((probe.labels, predicted)):
        assert torch.allclose(panel.values[column], grad_cam(network, probe.images[1:2], target[1:2], layer="6"))


def test_without_a_misclassified_picture_there_is_no_comparison():
    network = small_network()
    _, predicted = misclassified(network)
    assert len(draw(GradCAMLogger(compare="predicted"), network, Probe(PROBE.images, predicted))) == 1


def test_an_unlabelled_picture_is_not_misclassified():
    network = small_network()
    probe, _ = misclassified(network)
    probe.labels[1] = -1
    assert len(draw(GradCAMLogger(compare="predicted"), network, probe)) == 1


# What it costs.


def passes(callback, network):
    """Forward passes and backward passes of a drawing, in images."""
    ctx = make_context(network, PROBE, callback)
    _ = ctx.captions  # shared by all callbacks
    forwards, backwards = count_forwards(network), []

    def count(module, inputs, output):
        if output.requires_grad:
            output.register_hook(lambda gradient: backwards.append(len(gradient)))

    network[-1].register_forward_hook(count)
    list(callback.draw(ctx))
    return sum(forwards), sum(backwards)


@pytest.mark.parametrize("layers", ["6", ["2", "5", "6"]], ids=["one layer", "three layers"])
def test_all_layers_together_cost_one_forward_and_one_backward_pass(layers):
    assert passes(GradCAMLogger(layers), small_network()) == (3, 3)


SEVERAL = [(method, ["2", "5", "6"]) for method in CAM_METHODS if method != "cam"]  # which reads the last layer only


@pytest.mark.parametrize(("method", "layers"), [*((method, "6") for method in CAM_METHODS), *SEVERAL])
def test_the_estimated_passes_are_those_made(method, layers):
    network, callback = small_network(), GradCAMLogger(layers, method)
    estimated = callback.estimated_passes(network, PROBE.images)
    forwards, backwards = passes(callback, network)
    assert forwards / 3 + 2 * backwards / 3 == pytest.approx(estimated, rel=0.2)


# In a run, and what does not fit.


def test_every_option_at_once_reaches_tensorboard(tmp_path):
    callback = GradCAMLogger(layers=["network.2", "network.5"], compare="predicted", on_error="raise")
    trainer(tmp_path, [callback], max_epochs=1).fit(Lit(), loader(), loader())
    tags = set(Events(tmp_path / "run/version_0").image_tags)
    assert {"gradcam/layers", "gradcam/network.2/true_and_predicted", "gradcam/network.5/history"} <= tags
    assert "gradcam/layers/history" not in tags


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "magic"}, ValueError, "method='magic'"),
        ({"compare": "true"}, ValueError, "compare='true' is unknown; choose 'predicted' or None"),
        ({"reshape": 3}, TypeError, "reshape=3 is int; give a callable"),
        ({"layers": 3}, TypeError, "layers=3"),
        ({"method_options": {"power": 2}}, ValueError, r"method_options has \['power'\], and gradcam has no options"),
    ],
)
def test_invalid_arguments(options, error, message):
    with pytest.raises(error, match=message):
        GradCAMLogger(**options)


@pytest.mark.parametrize("given", ["5", "network.5"])
def test_a_tag_has_the_full_name_of_the_layer_however_it_was_given(given, tmp_path):
    trainer(tmp_path, [GradCAMLogger(given, history=0)], max_steps=1).fit(Lit(), loader(), loader())
    assert Events(tmp_path / "run/version_0").image_tags == ["gradcam/network.5"]
