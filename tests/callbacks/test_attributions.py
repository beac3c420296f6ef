"""SaliencyLogger and GradCAMLogger: what they draw is what the methods compute."""

import pytest
import torch
import torchvision

from lightning_viz import GradCAMLogger, Probe, SaliencyLogger
from lightning_viz.methods import grad_cam, saliency

from ..support import Events, Lit, loader, small_network, trainer

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
    assert [panel.tag for panel in panels] == ["gradcam/2", "gradcam/5"]


@pytest.mark.parametrize("kind", [SaliencyLogger, GradCAMLogger])
def test_unknown_method(kind):
    with pytest.raises(ValueError, match="method='magic'"):
        kind(method="magic")


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 64), ("mobilenet_v3_small", 64), ("vit_b_32", 224), ("swin_t", 64)]
)
def test_zero_configuration_on_torchvision(name, size, tmp_path):
    """From a pretrained-like classifier to pictures without an option; the shapes of the outputs are all that matters."""
    from lightning_viz import viz_callbacks

    module = Lit(torchvision.models.get_model(name, weights=None, num_classes=4))
    data = torch.utils.data.TensorDataset(torch.rand(4, 3, size, size), torch.arange(4))
    run = trainer(tmp_path, viz_callbacks(on_error="raise", max_images=2, history=0))
    run.validate(module, loader(data), verbose=False)
    tags = Events(tmp_path / "run/version_0").image_tags
    assert {tag.partition("/")[0] for tag in tags} == {"filters", "saliency", "gradcam"}
