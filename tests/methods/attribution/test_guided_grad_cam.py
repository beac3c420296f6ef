import pytest
import torch
from captum.attr import GuidedGradCam

from lightning_viz.methods import find_layer, grad_cam, guided_backprop, guided_grad_cam
from lightning_viz.methods.model.layers import resolve_layer

from ...support import small_network
from ..references import TARGETS, assert_close, calibrated, followed
from .test_saliency import out_of_place

pytestmark = pytest.mark.filterwarnings("ignore:(Input Tensor 0 did not|Setting backward hooks)")


@pytest.mark.parametrize(
    "name", ["alexnet", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1", "vgg11"]
)
def test_equals_captum(name, images):
    model = calibrated(name)
    layer, reference = find_layer(model, "last_spatial", images), out_of_place(model)
    theirs = GuidedGradCam(reference, resolve_layer(reference, followed(reference, layer))[1]).attribute(
        images, target=TARGETS, interpolate_mode="bilinear"
    )
    assert_close(guided_grad_cam(model, images, TARGETS, layer=layer, reduce=None), theirs)
    assert_close(guided_grad_cam(model, images, TARGETS), theirs.abs().amax(dim=1))


def test_is_zero_where_either_is_zero():
    model, images = small_network(), torch.rand(2, 3, 8, 8)
    maps = guided_grad_cam(model, images, 1, layer="0")  # of the images' size
    product = grad_cam(model, images, 1, layer="0") * guided_backprop(model, images, 1)
    assert torch.allclose(maps, product)
    assert maps.max() > 0


def test_unknown_layer():
    with pytest.raises(ValueError, match="layer='nine' is not in Sequential"):
        guided_grad_cam(small_network(), torch.rand(1, 3, 8, 8), layer="nine")
