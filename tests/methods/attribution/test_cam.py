"""The methods of the CAM family against pytorch-grad-cam, captum and torchcam, and what is equal by definition."""

import pytest
import pytorch_grad_cam
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchcam.methods import CAM
from torchvision import models

from lightning_viz.methods import find_layer, grad_cam
from lightning_viz.methods.attribution.cam import gradcam_plus_plus
from lightning_viz.methods.attribution.registry import CAM_METHODS
from lightning_viz.methods.model.layers import resolve_layer

from ...support import small_network
from ..references import NETWORKS, TARGETS, assert_close, calibrated, followed

#: The class of pytorch-grad-cam for every method but "cam", which it has not.
REFERENCES = {
    "gradcam": pytorch_grad_cam.GradCAM,
    "gradcam++": pytorch_grad_cam.GradCAMPlusPlus,
    "xgradcam": pytorch_grad_cam.XGradCAM,
    "layercam": pytorch_grad_cam.LayerCAM,
    "hirescam": pytorch_grad_cam.HiResCAM,
    "scorecam": pytorch_grad_cam.ScoreCAM,
}

#: Score-CAM makes a forward pass for each channel: networks whose last layer has few.
FEW_CHANNELS = ("densenet121", "regnet_y_400mf", "shufflenet_v2_x0_5", "vgg11")
CASES = [(m, name) for m in REFERENCES for name in (FEW_CHANNELS if m == "scorecam" else NETWORKS)]


def test_every_method_has_a_reference():
    assert REFERENCES.keys() == CAM_METHODS.keys() - {"cam"}


def reference(method, model, layer, images, reshape=None):
    """pytorch-grad-cam's map after the ReLU, before it is scaled to the image's size and to 0..1."""

    class Raw(REFERENCES[method]):
        def aggregate_multi_layers(self, cam_per_target_layer):
            return cam_per_target_layer

        def compute_cam_per_layer(self, input_tensor, targets, eigen_smooth):
            recorded = self.activations_and_grads
            activations, gradients = (
                each[0].numpy() if each else None for each in (recorded.activations, recorded.gradients)
            )
            if method == "gradcam++":  # the same map, of gradients whose squares are far above the reference's epsilon
                activations, gradients = activations / 1e6, gradients * 1e6
            cam = self.get_cam_image(input_tensor, self.target_layers[0], targets, activations, gradients, eigen_smooth)
            return torch.as_tensor(cam).clamp_min(0)

    with Raw(model, [resolve_layer(model, layer)[1]], reshape) as cams:
        return cams(images, [ClassifierOutputTarget(int(target)) for target in TARGETS])


@pytest.mark.parametrize(("method", "name"), CASES)
def test_equals_pytorch_grad_cam(method, name, images):
    # DenseNet's last layer is overwritten by a functional in-place ReLU, which misleads the reference: it pairs
    # activations after the ReLU with gradients before it. The last transition is not overwritten.
    network = calibrated(name)
    layer = "features.transition3" if name == "densenet121" else find_layer(network, "last_spatial", images)
    theirs = reference(method, network, followed(network, layer), images)
    assert_close(grad_cam(network, images, TARGETS, layer=layer, method=method), theirs)


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-3, 1.0, 1e3])
def test_gradcam_plus_plus_of_small_and_large_gradients(scale):
    """By the equation, whose squares and cubes fit float64 at each of these scales, and have no epsilon here."""
    activations, gradients = torch.rand(2, 5, 4, 4).double(), scale * torch.randn(2, 5, 4, 4).double()
    sums = activations.sum(dim=(2, 3), keepdim=True)
    alphas = gradients**2 / (2 * gradients**2 + sums * gradients**3)
    expected = (alphas * gradients.clamp(min=0)).sum(dim=(2, 3), keepdim=True)
    found = gradcam_plus_plus(activations.float(), gradients.float())
    assert torch.allclose(found.double(), expected, rtol=1e-4, atol=0)


def test_gradcam_plus_plus_does_not_depend_on_the_scale_of_small_scores(images):
    model = calibrated("resnet18")
    small, smaller = (
        grad_cam(model, images, lambda scores, factor=factor: factor * scores[:, 3], method="gradcam++")
        for factor in (1e-5, 1e-8)
    )
    assert_close(1e3 * smaller, small)


@pytest.mark.parametrize("method", REFERENCES)
def test_equals_pytorch_grad_cam_on_a_transformer(method):
    model = models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10).double().eval()
    nn.init.normal_(model.heads.head.weight)  # torchvision starts it at zero
    images = torch.rand(4, 3, 32, 32).double()
    layer = find_layer(model, "last_spatial", images)
    assert layer == "encoder.layers.encoder_layer_1.ln_1"
    theirs = reference(method, model, layer, images, lambda x: x[:, 1:].reshape(-1, 4, 4, 16).permute(0, 3, 1, 2))
    assert_close(grad_cam(model, images, TARGETS, layer=layer, method=method), theirs)


def test_grad_cam_equals_captum(network, images):
    layer = find_layer(network, "last_spatial", images)
    written, after = network, followed(network, layer)
    if type(network).__name__ == "DenseNet":  # a functional ReLU follows its last layer: the same with a module
        pool = nn.AdaptiveAvgPool2d(1)
        written, after = nn.Sequential(network.features, nn.ReLU(), pool, nn.Flatten(), network.classifier), "1"
    module = resolve_layer(written, after)[1]
    theirs = LayerGradCam(written, module).attribute(images, target=TARGETS, relu_attributions=True)[:, 0]
    assert_close(grad_cam(network, images, TARGETS, layer=layer), theirs)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_cam_equals_torchcam(images):
    model = calibrated("resnet18")
    with CAM(model, target_layer="layer4", fc_layer="fc") as extractor:
        model(images)
        (theirs,) = extractor(TARGETS.tolist(), normalized=False)
    assert_close(grad_cam(model, images, TARGETS, method="cam"), theirs.clamp_min(0))


@pytest.mark.parametrize("name", ["resnet18", "regnet_y_400mf", "shufflenet_v2_x0_5", "efficientnet_b0"])
def test_cam_is_grad_cam_times_the_number_of_positions(name, images):
    """With global average pooling the gradient at a position is the head's weight over the number of positions."""
    model = calibrated(name)
    cam = grad_cam(model, images, TARGETS, method="cam")
    assert_close(grad_cam(model, images, TARGETS) * cam[0].numel(), cam)


def test_on_global_average_pooling_grad_cam_is_the_class_activation_map():
    """Its weights are the head's, over the number of positions (Selvaraju et al. 2017, section 3.1)."""
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    images = torch.rand(2, 3, 10, 10)
    cam = torch.relu(torch.einsum("k,bkhw->bhw", model[4].weight[1], model[:2](images))) / 64
    assert torch.allclose(grad_cam(model, images, 1, layer="1"), cam, atol=1e-6)


def test_cam_allows_a_relu_before_the_pooling(images):
    """DenseNet's head reads the means of its last layer after a functional ReLU."""
    model = calibrated("densenet121")
    maps = torch.relu(model.features(images))
    expected = torch.relu(torch.einsum("bk,bkhw->bhw", model.classifier.weight[TARGETS], maps))
    assert_close(grad_cam(model, images, TARGETS, method="cam"), expected)


def test_on_global_average_pooling_positions_have_the_weights_of_grad_cam(images):
    """HiResCAM equals Grad-CAM there; LayerCAM keeps the positive weights only."""
    model = calibrated("resnet18")
    cams = {method: grad_cam(model, images, TARGETS, method=method) for method in ("gradcam", "hirescam", "layercam")}
    assert_close(cams["hirescam"], cams["gradcam"])
    assert (cams["layercam"] >= cams["gradcam"] - 1e-9).all()


@pytest.mark.parametrize("name", ["vgg11", "squeezenet1_1"])
def test_cam_raises_where_it_does_not_fit(name, images):
    with pytest.raises(ValueError, match=r"method='cam' does not fit.*choose method='gradcam'"):
        grad_cam(calibrated(name), images, method="cam")


def test_cam_raises_for_a_callable_target():
    with pytest.raises(ValueError, match="method='cam' does not fit"):
        grad_cam(small_network(), torch.rand(1, 3, 8, 8), lambda output: output[:, 0], method="cam")


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_batch_size_of_scorecam_changes_memory_only(batch_size):
    model, images, seen = small_network(), torch.rand(3, 3, 8, 8), []
    expected = grad_cam(model, images, 1, method="scorecam")
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    cam = grad_cam(model, images, 1, layer="6", method="scorecam", batch_size=batch_size)
    assert torch.allclose(cam, expected, rtol=1e-4, atol=1e-7)
    assert max(seen) <= max(batch_size, 3)
    with pytest.raises(ValueError, match="batch_size=0 is too small"):
        grad_cam(model, images, method="scorecam", batch_size=0)


def test_scorecam_of_a_callable_target():
    model, images = small_network(), torch.rand(3, 3, 8, 8)
    cam = grad_cam(model, images, lambda output: output[:, 1], method="scorecam")
    assert torch.allclose(cam, grad_cam(model, images, 1, method="scorecam"))
