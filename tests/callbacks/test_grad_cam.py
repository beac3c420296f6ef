"""SaliencyLogger and GradCAMLogger: what they draw is what the methods compute."""

import pytest
import torch
import torchvision

from lightning_viz import GradCAMLogger, Probe, SaliencyLogger, methods
from lightning_viz.methods import grad_cam, saliency, smoothgrad

from ..support import CALLBACKS, QUICK, SUITE, Events, Lit, loader, small_network, trainer

PROBE = Probe(torch.rand(3, 3, 12, 12), torch.tensor([0, 3, 1]))


@pytest.mark.parametrize("target", [None, 2, [1, 2, 3], "label"])
def test_saliency_of_the_target(target):
    network = small_network().eval()
    (panel,) = SaliencyLogger(target=target).draw(network, PROBE)
    assert torch.equal(panel.values, saliency(network, PROBE.images, PROBE.labels if target == "label" else target))
    assert panel.tag == "saliency/gradient"


@pytest.mark.parametrize("target", [None, 2, "label"])
def test_cam_of_the_target(target):
    network = small_network().eval()
    (panel,) = GradCAMLogger(target=target).draw(network, PROBE)
    expected = grad_cam(network, PROBE.images, PROBE.labels if target == "label" else target, layer="6")
    assert torch.equal(panel.values, expected)
    assert panel.tag == "gradcam/6"


def test_several_layers_have_a_panel_each():
    panels = GradCAMLogger(layers=["2", "5"]).draw(small_network(), PROBE)
    assert [panel.tag for panel in panels] == ["gradcam/2", "gradcam/5", "gradcam/layers"]


def test_several_layers_are_shown_side_by_side():
    network = small_network()
    *_, panel = GradCAMLogger(layers=["5", "2"]).draw(network, PROBE)
    assert panel.columns == ["5", "2"]
    for layer, values in zip(panel.columns, panel.values, strict=True):
        assert torch.equal(values, grad_cam(network, PROBE.images, layer=layer))


@pytest.mark.parametrize("method", ["cam", "gradcam++", "layercam", "hirescam"])
def test_other_cams(method):
    network = small_network()
    (panel,) = GradCAMLogger(method=method).draw(network, PROBE)
    assert panel.tag == f"{method}/6"
    assert torch.equal(panel.values, grad_cam(network, PROBE.images, layer="6", method=method))


@pytest.mark.parametrize("method", ["smoothgrad", "guided_backprop", "integrated_gradients", "occlusion"])
@pytest.mark.parametrize("signed", [False, True])
def test_other_attributions(method, signed):
    network = small_network()
    (panel,) = SaliencyLogger(method=method, signed=signed).draw(network, PROBE)
    function = getattr(methods, method)
    if not signed or method == "occlusion":
        expected = function(network, PROBE.images)
    else:
        expected = function(network, PROBE.images, reduce=None).sum(dim=1)
    assert panel.tag == f"saliency/{method}"
    assert torch.equal(panel.values, expected)
    assert panel.painter.signed == signed


def test_options_of_the_method():
    network = small_network()
    (panel,) = SaliencyLogger("smoothgrad", method_options={"samples": 3, "noise": 0.5}).draw(network, PROBE)
    assert torch.equal(panel.values, smoothgrad(network, PROBE.images, samples=3, noise=0.5))
    with pytest.raises(ValueError, match=r"method_options has \['sample'\], and smoothgrad takes \['samples', 'noise'"):
        SaliencyLogger("smoothgrad", method_options={"sample": 3})


def test_misclassified_pictures_show_the_map_of_the_true_class_beside_the_predicted():
    network = small_network().eval()
    predicted = network(PROBE.images).argmax(dim=1)
    labels = predicted.clone()
    labels[1] = (labels[1] + 1) % 4
    probe = Probe(PROBE.images, labels)
    _, panel = GradCAMLogger(compare="predicted").draw(network, probe)
    assert panel.tag == "gradcam/6/true_and_predicted"
    assert panel.items == [1]
    for column, target in enumerate((labels, predicted)):
        assert torch.allclose(panel.values[column], grad_cam(network, probe.images[1:2], target[1:2], layer="6"))
    assert len(list(GradCAMLogger(compare="predicted").draw(network, Probe(PROBE.images, predicted)))) == 1


def test_every_option_at_once_reaches_tensorboard(tmp_path):
    callbacks = [
        GradCAMLogger(layers=["network.2", "network.5"], compare="predicted", on_error="raise"),
        SaliencyLogger("occlusion", signed=True, on_error="raise"),
        SaliencyLogger("guided_backprop", on_error="raise"),
    ]
    trainer(tmp_path, callbacks, max_epochs=1).fit(Lit(), loader(), loader())
    tags = set(Events(tmp_path / "run/version_0").image_tags)
    assert {"gradcam/layers", "gradcam/network.2/true_and_predicted", "saliency/occlusion/history"} <= tags
    assert "gradcam/layers/history" not in tags


@pytest.mark.parametrize("kind", [SaliencyLogger, GradCAMLogger])
def test_unknown_method(kind):
    with pytest.raises(ValueError, match="method='magic'"):
        kind(method="magic")


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 64), ("mobilenet_v3_small", 64), ("vit_b_32", 224), ("swin_t", 64)]
)
def test_zero_configuration_on_torchvision(name, size, tmp_path):
    """From a pretrained-like classifier to pictures without an option; the shapes of the outputs are all that matters."""
    module = Lit(torchvision.models.get_model(name, weights=None, num_classes=4))
    data = torch.utils.data.TensorDataset(torch.rand(4, 3, size, size), torch.arange(4))
    common = {"on_error": "raise", "max_images": 2, "history": 0}
    run = trainer(tmp_path, [kind(**QUICK.get(kind, {}), **common) for kind in CALLBACKS])
    run.validate(module, loader(data), verbose=False)
    tags = Events(tmp_path / "run/version_0").image_tags
    assert {tag.partition("/")[0] for tag in tags} == SUITE
