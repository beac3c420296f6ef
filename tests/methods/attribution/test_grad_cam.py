import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from lightning_viz.methods import find_layer, grad_cam
from lightning_viz.methods.model.layers import resolve_layer

from ...support import small_network
from ..references import TARGETS, assert_close


def test_equals_captum(network, images):
    layer = find_layer(network, "last_spatial", images)
    module = resolve_layer(network, layer)[1]
    theirs = LayerGradCam(network, module).attribute(images, target=TARGETS, relu_attributions=True)[:, 0]
    assert_close(grad_cam(network, images, TARGETS, layer=layer), theirs)
    assert all(parameter.grad is None for parameter in network.parameters())


class RawGradCAM(GradCAM):
    """pytorch-grad-cam without its scaling to the image's size and to 0..1."""

    def aggregate_multi_layers(self, cam_per_target_layer):
        return cam_per_target_layer

    def compute_cam_per_layer(self, input_tensor, targets, eigen_smooth):
        activations, gradients = self.activations_and_grads.activations[0], self.activations_and_grads.gradients[0]
        cam = self.get_cam_image(
            input_tensor,
            self.target_layers[0],
            targets,
            activations.cpu().numpy(),
            gradients.cpu().numpy(),
            eigen_smooth,
        )
        return torch.from_numpy(cam).clamp_min(0)


def test_equals_pytorch_grad_cam(network, images):
    # DenseNet's features end in a norm that a functional in-place ReLU overwrites: pytorch-grad-cam then pairs
    # activations after the ReLU with gradients before it. The last transition is not overwritten.
    name = "features.transition3" if isinstance(network, torchvision.models.DenseNet) else None
    name = name or find_layer(network, "last_spatial", images)
    targets = [ClassifierOutputTarget(int(target)) for target in TARGETS]
    with RawGradCAM(network, [resolve_layer(network, name)[1]]) as reference:
        theirs = reference(images, targets)
    assert_close(grad_cam(network, images, TARGETS, layer=name), theirs)


def test_on_global_average_pooling_is_the_class_activation_map():
    """There the weights are the head's, over the number of places (Selvaraju et al. 2017, section 3.1)."""
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    images = torch.rand(2, 3, 10, 10)
    cam = torch.relu(torch.einsum("k,bkhw->bhw", model[4].weight[1], model[:2](images))) / 64
    assert torch.allclose(grad_cam(model, images, 1, layer="1"), cam, atol=1e-6)


@pytest.mark.parametrize(("name", "size", "grid"), [("vit_b_32", 224, 7), ("swin_t", 96, 3)])
def test_transformers_are_folded_to_the_grid(name, size, grid):
    model = torchvision.models.get_model(name, weights=None)
    if name == "vit_b_32":
        nn.init.normal_(model.heads.head.weight)  # torchvision starts it at zero
    images = torch.rand(2, 3, size, size)
    cams = torch.stack([grad_cam(model, images, target) for target in (0, 1)])
    assert cams.shape == (2, 2, grid, grid)
    assert cams.max() > 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [("99", "layer='99' is not in"), ("9", "no height and width"), ("unused", "did not run")],
)
def test_wrong_layer(layer, message):
    model = small_network()
    model.unused = nn.Conv2d(3, 3, 1)
    model.forward = lambda images: model[:10](images)
    with pytest.raises(ValueError, match=message):
        grad_cam(model, torch.rand(1, 3, 8, 8), layer=layer)


def test_unknown_method():
    with pytest.raises(ValueError, match="method='scorecam'"):
        grad_cam(small_network(), torch.rand(1, 3, 8, 8), method="scorecam")
