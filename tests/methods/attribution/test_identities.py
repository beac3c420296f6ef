"""What is equal by definition for every attribution method: batches, contexts, precision, and the model afterwards."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from lightning_viz.methods.attribution.registry import CAM_METHODS

from ...support import CLASSES
from ..references import METHODS, assert_close, network_with_statistics, unchanged

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)

TARGETS = torch.arange(8) % CLASSES


@pytest.fixture
def model() -> nn.Module:
    return network_with_statistics(12)


@pytest.fixture
def images() -> Tensor:
    return 2 * torch.randn(8, 3, 12, 12).double()


@every_method
def test_a_batch_equals_its_images_one_by_one(method, model, images):
    alone = [method(model, image[None], target[None]) for image, target in zip(images, TARGETS, strict=True)]
    assert_close(method(model, images, TARGETS), torch.cat(alone))


@every_method
def test_does_not_depend_on_the_train_flag(method, model, images):
    assert torch.equal(method(model.train(), images, TARGETS), method(model.eval(), images, TARGETS))


@every_method
def test_model_and_images_are_unchanged(method, model, images):
    with unchanged(model, images):
        method(model, images)


@every_method
@pytest.mark.parametrize("frozen", [False, True], ids=["trainable", "frozen"])
@pytest.mark.parametrize("context", [nullcontext, torch.no_grad, torch.inference_mode])
def test_is_the_same_in_every_context(method, context, frozen, model, images):
    expected = method(model, images, TARGETS)
    model.requires_grad_(not frozen)
    with context():
        pictures = images.clone()  # an inference tensor in inference mode
        maps = method(model, pictures, TARGETS)
    assert pictures.is_inference() == (context is torch.inference_mode)
    assert_close(maps, expected)
    assert not maps.requires_grad


@every_method
def test_bfloat16_comes_back_as_float32(method, model, images):
    assert method(model.bfloat16(), images.bfloat16(), TARGETS).dtype == torch.float32


ROUNDING = torch.finfo(torch.bfloat16).eps / 2  # the largest relative error of a number with eight digits, 0.4%


@pytest.mark.parametrize("name", METHODS)
def test_autocast_changes_no_more_than_its_precision(name, model, images):
    """Weights, images and each layer's sums are rounded: an error of a few roundings, `rounded`.

    Rounding also moves units near zero to the other side of their ReLU. That fraction of the gradient's terms is wrong,
    and so the error of the norm is its root. The gradients of class activation maps pass no ReLU; Score-CAM's
    softmax multiplies the scores' error, and tells classes apart where scores are far apart.
    """
    rounded = 4 * ROUNDING
    model, images = model.float(), images.float()
    model[9].weight.data *= 30
    exact, other = (METHODS[name](model, images, targets) for targets in (TARGETS, TARGETS.flip(0)))
    with torch.autocast("cpu", torch.bfloat16):
        maps = METHODS[name](model, images, TARGETS)
    assert maps.dtype == torch.float32
    error, distance = ((each - exact).norm() / exact.norm() for each in (maps, other))
    assert error > ROUNDING / 100  # autocast was on
    assert error < (rounded if name in CAM_METHODS.keys() - {"scorecam"} else rounded**0.5)
    assert distance > 2 * rounded**0.5  # the bound tells the map from that of another class
