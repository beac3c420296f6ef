"""The descendants of Grad-CAM, against pytorch-grad-cam and torchcam, and what must be equal by definition."""

import pytest
import torch
import torchvision
from pytorch_grad_cam import GradCAMPlusPlus, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchcam.methods import CAM

from lightning_viz.methods import find_layer, grad_cam
from lightning_viz.methods.model.layers import resolve_layer

from ...support import small_network
from ..references import TARGETS, assert_close, calibrated

REFERENCES = {"gradcam++": GradCAMPlusPlus, "layercam": LayerCAM, "hirescam": HiResCAM}


def reference(kind, model, layer, images, reshape=None):
    """pytorch-grad-cam's map after the ReLU, before it is scaled to the image's size and to 0..1."""

    class Raw(kind):
        def aggregate_multi_layers(self, cam_per_target_layer):
            return cam_per_target_layer

        def compute_cam_per_layer(self, input_tensor, targets, eigen_smooth):
            kept = self.activations_and_grads
            activations, gradients = kept.activations[0].numpy(), kept.gradients[0].numpy()
            cam = self.get_cam_image(input_tensor, self.target_layers[0], targets, activations, gradients, eigen_smooth)
            return torch.from_numpy(cam).clamp_min(0)

    with Raw(model, [resolve_layer(model, layer)[1]], reshape) as cams:
        return cams(images, [ClassifierOutputTarget(int(target)) for target in TARGETS])


@pytest.mark.parametrize("method", REFERENCES)
def test_equals_pytorch_grad_cam(method, network, images):
    # DenseNet's last layer is overwritten by a functional in-place ReLU, which misleads the reference.
    densenet = isinstance(network, torchvision.models.DenseNet)
    layer = "features.transition3" if densenet else find_layer(network, "last_spatial", images)
    theirs = reference(REFERENCES[method], network, layer, images)
    assert_close(grad_cam(network, images, TARGETS, layer=layer, method=method), theirs)


@pytest.mark.parametrize("method", REFERENCES)
def test_equals_pytorch_grad_cam_on_a_transformer(method):
    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10).double().eval()
    nn.init.normal_(model.heads.head.weight)
    pictures = torch.rand(4, 3, 32, 32).double()
    layer = find_layer(model, "last_spatial", pictures)
    assert layer == "encoder.layers.encoder_layer_1.ln_1"
    theirs = reference(
        REFERENCES[method], model, layer, pictures, lambda x: x[:, 1:].reshape(4, 4, 4, 16).permute(0, 3, 1, 2)
    )
    assert_close(grad_cam(model, pictures, TARGETS, layer=layer, method=method), theirs)


def test_cam_equals_torchcam():
    model = torchvision.models.resnet18(num_classes=10).double().eval()
    pictures = torch.rand(4, 3, 64, 64).double()
    with CAM(model, target_layer="layer4", fc_layer="fc") as extractor:
        model(pictures)
        (theirs,) = extractor(TARGETS.tolist(), normalized=False)
    assert_close(grad_cam(model, pictures, TARGETS, method="cam"), theirs.clamp_min(0))


@pytest.mark.parametrize("name", ["resnet18", "regnet_y_400mf", "shufflenet_v2_x0_5", "efficientnet_b0"])
def test_cam_is_grad_cam_times_the_number_of_places(name):
    """On global average pooling the gradient at a place is the head's weight over the number of places."""
    model, pictures = calibrated(name), torch.randn(4, 3, 64, 64).double()
    cam = grad_cam(model, pictures, TARGETS, method="cam")
    assert_close(grad_cam(model, pictures, TARGETS) * cam[0].numel(), cam)


def test_cam_sees_through_a_relu_before_the_pooling():
    """DenseNet's: the maps that the head reads are those of its last layer after a functional ReLU."""
    model, pictures = calibrated("densenet121"), torch.randn(4, 3, 64, 64).double()
    maps = torch.relu(model.features(pictures))
    expected = torch.relu(torch.einsum("bk,bkhw->bhw", model.classifier.weight[TARGETS], maps))
    assert_close(grad_cam(model, pictures, TARGETS, method="cam"), expected)


@pytest.mark.parametrize("method", ["hirescam", "layercam"])
def test_on_global_average_pooling_places_have_the_weights_of_grad_cam(method):
    """HiResCAM equals Grad-CAM there; LayerCAM keeps the positive weights alone."""
    model, pictures = torchvision.models.resnet18(num_classes=10).double(), torch.rand(4, 3, 64, 64).double()
    cam, plain = (grad_cam(model, pictures, TARGETS, method=one) for one in (method, "gradcam"))
    if method == "hirescam":
        assert_close(cam, plain)
    else:
        assert (cam >= plain - 1e-9).all()


@pytest.mark.parametrize("name", ["vgg11", "squeezenet1_1"])
def test_cam_says_where_it_does_not_fit(name):
    model = torchvision.models.get_model(name, weights=None, num_classes=10)
    with pytest.raises(ValueError, match=r"method='cam' does not fit.*choose method='gradcam'"):
        grad_cam(model, torch.rand(2, 3, 64, 64), method="cam")


def test_cam_of_a_callable_target_is_refused():
    with pytest.raises(ValueError, match="method='cam' does not fit"):
        grad_cam(small_network(), torch.rand(1, 3, 8, 8), lambda output: output[:, 0], method="cam")


def test_reshape_is_for_the_unusual():
    """Tokens in columns rather than rows: no fold could know."""
    model = nn.Sequential(nn.Conv2d(3, 5, 1), Columns(), nn.Flatten(1), nn.Linear(5 * 24, 2))
    pictures = torch.rand(2, 3, 4, 6)
    expected = grad_cam(model, pictures, 1, layer="0")
    unfold = lambda tokens: tokens.reshape(2, 6, 4, 5).permute(0, 3, 2, 1)  # noqa: E731
    assert torch.allclose(grad_cam(model, pictures, 1, layer="1", reshape=unfold), expected, atol=1e-7)
    assert not torch.allclose(grad_cam(model, pictures, 1, layer="1"), expected, atol=1e-7)


class Columns(nn.Module):
    def forward(self, maps):
        return maps.permute(0, 3, 2, 1).flatten(1, 2)
