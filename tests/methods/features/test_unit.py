import copy
from collections import OrderedDict
from itertools import product

import pytest
import torch
import torchvision
from captum.attr import NeuronGradient, NeuronGuidedBackprop
from torch import nn

from lightning_viz.methods import Unit, guided_backprop, integrated_gradients, occlusion, saliency, smoothgrad
from lightning_viz.methods.model.modes import evaluating

from ...support import small_network
from ..references import assert_close, calibrated

pytestmark = pytest.mark.filterwarnings("ignore:(Input Tensor 0 did not|Setting backward hooks)")

#: A layer in the middle of each network; most of them are followed by an in-place ReLU.
LAYERS = {
    "alexnet": "features.8", "densenet121": "features.denseblock2", "mnasnet0_5": "layers.9", "regnet_y_400mf": "stem.1",
    "resnet18": "layer2.1.bn2", "shufflenet_v2_x0_5": "stage3", "squeezenet1_1": "features.6", "vgg11": "features.8",
}  # fmt: skip


def headless(name):
    """A network in float64 without its head, which holds most of the weights."""
    with torch.device("meta"):
        features = torchvision.models.get_model(name, weights=None).features.double()
    features.to_empty(device="cpu")
    for module in features:
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return nn.Sequential(OrderedDict(features=features)).eval()


def strongest(model, images, layer):
    """Channel, row and column of an active unit, and a copy of the model for captum, which needs no in-place layers."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    outputs = []
    hook = model.get_submodule(layer).register_forward_hook(lambda _m, _i, output: outputs.append(output))
    model(images)
    hook.remove()
    maps = outputs[-1].mean(dim=0)
    channel, row, column = torch.unravel_index(maps.argmax(), maps.shape)
    return (int(channel), int(row), int(column)), model


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_equal_captums(name, images):
    model, layer = headless(name) if name in ("alexnet", "vgg11") else calibrated(name), LAYERS[name]
    neuron, plain = strongest(model, images, layer)
    unit, module = Unit(model, layer, neuron[0], neuron[1:]), plain.get_submodule(layer)
    assert_close(saliency(unit, images, reduce=None), NeuronGradient(plain, module).attribute(images, neuron))
    theirs = NeuronGuidedBackprop(plain, module).attribute(images, neuron)
    assert_close(guided_backprop(unit, images, reduce=None), theirs)


def test_occlusion_is_the_drop_of_the_activation():
    model, pictures = small_network().eval(), torch.rand(2, 3, 12, 12)
    maps = occlusion(Unit(model, "3", 5, (2, 3)), pictures, window=3, stride=3, fill=0.5)
    clean = model[:4](pictures)[:, 5, 2, 3]
    for top, left in product(range(0, 12, 3), range(0, 12, 3)):
        covered = pictures.clone()
        covered[:, :, top : top + 3, left : left + 3] = 0.5
        drop = clean - model[:4](covered)[:, 5, 2, 3]
        assert torch.allclose(maps[:, top : top + 3, left : left + 3], drop[:, None, None].expand(2, 3, 3), atol=1e-6)
    assert maps.abs().max() > 0.01


def test_a_position_is_one_activation_of_each_image():
    model, pictures = small_network().eval(), torch.rand(3, 3, 8, 8)
    assert torch.equal(Unit(model, "1", 4, (2, 5))(pictures), model[:3](pictures)[:, 4, 2, 5])


def test_without_a_position_all_are_scores_row_by_row():
    model, pictures = small_network().eval(), torch.rand(3, 3, 8, 12)
    assert torch.equal(Unit(model, "3", 4)(pictures), model[:4](pictures)[:, 4].reshape(3, 4 * 6))


METHODS = [saliency, smoothgrad, guided_backprop, integrated_gradients, occlusion]


@pytest.mark.parametrize("method", METHODS)
def test_target_is_the_position_in_each_image(method):
    """Also where a method's own batches have as many images as the target has entries."""
    model, pictures = small_network().eval(), torch.rand(3, 3, 12, 12)
    options = {"fill": 0.5, "batch_size": 3} if method is occlusion else {}
    maps = method(Unit(model, "5", 4), pictures, torch.tensor([0, 8, 35]), **options)
    for one, position in enumerate([(0, 0), (1, 2), (5, 5)]):
        alone = method(Unit(model, "5", 4, position), pictures[one : one + 1], **options)
        assert torch.allclose(maps[one], alone[0], atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_default_target_is_the_position_of_maximal_activation_in_the_original_image(method):
    model, pictures = small_network().eval(), torch.rand(3, 3, 12, 12)
    positions = model[:4](pictures)[:, 2].flatten(1).argmax(dim=1)
    assert torch.equal(method(Unit(model, "3", 2), pictures), method(Unit(model, "3", 2), pictures, positions))


def test_a_vector_has_one_position():
    model, pictures = small_network().eval(), torch.rand(3, 3, 8, 8)
    assert torch.equal(saliency(Unit(model, "9", 3), pictures), saliency(model, pictures, 3))
    assert torch.equal(Unit(model, "9", 3, (0, 0))(pictures), model(pictures)[:, 3])


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32), "encoder_layer_1"),
        (torchvision.models.SwinTransformer([2, 2], 16, [2, 2], [2, 2], [4, 4]), "features.3"),
    ],
    ids=["tokens", "channels last"],
)
def test_transformers_have_positions_too(model, layer):
    pictures, outputs = torch.rand(2, 3, 32, 32), []
    model.eval().get_submodule(f"encoder.layers.{layer}" if "encoder" in layer else layer).register_forward_hook(
        lambda _m, _i, output: outputs.append(output)
    )
    with torch.no_grad():
        scores = Unit(model, layer, 5, (1, 3))(pictures)
    output = next(one for one in outputs if len(one) == len(pictures))  # others check where the tokens lie
    side = 4
    assert torch.equal(scores, output[:, 1 + side + 3, 5] if output.ndim == 3 else output[:, 1, 3, 5])


def test_compiled_networks_run_as_they_were_written():
    model, pictures = small_network(), torch.rand(2, 3, 8, 8)
    expected = guided_backprop(Unit(model, "3", 1, (1, 1)), pictures)
    assert torch.equal(guided_backprop(Unit(torch.compile(model), "3", 1, (1, 1)), pictures), expected)


def test_frozen_networks_have_units():
    model = small_network().requires_grad_(False)
    assert saliency(Unit(model, "3", 1), torch.rand(2, 3, 8, 8)).any()


def test_network_is_left_as_it_was():
    model, pictures = small_network().train(), torch.rand(2, 3, 8, 8)
    model[1].eval()
    flags = [module.training for module in model.modules()]
    with torch.inference_mode():
        guided_backprop(Unit(model, "5", 1), pictures)
    assert [module.training for module in model.modules()] == flags
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope", 0), "layer='nope' is not in Sequential"),
        (("3", 8), "channel=8 is outside the 8 channels of layer='3'; give one of 0 to 7"),
        (("3", -1), "channel=-1 is outside"),
        (("3", 0, (4, 0)), r"position=\(4, 0\) is outside the map of layer='3', 4×4 positions; give a row of 0 to 3"),
        (("3", 0, (0, -1)), r"position=\(0, -1\) is outside"),
        (("9", 0, (0, 1)), r"position=\(0, 1\) is outside the map of layer='9', 1×1 positions"),
        (("3", 0, torch.zeros(2, 2)), r"is invalid; give one \(row, column\).*target=row"),
    ],
)
def test_wrong_arguments(arguments, message):
    with evaluating(model := small_network()), pytest.raises(ValueError, match=message):
        Unit(model, *arguments)(torch.rand(2, 3, 8, 8))


def test_layer_that_does_not_run():
    model = nn.Module()
    model.used, model.unused, model.forward = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), lambda inputs: model.used(inputs)
    with pytest.raises(ValueError, match="layer='unused' did not run"):
        Unit(model, "unused", 0)(torch.rand(1, 3, 4, 4))
