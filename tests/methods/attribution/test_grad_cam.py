"""What `grad_cam` and `grad_cams` do whatever the method: layers, tokens, options, errors."""

import pytest
import torch
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer

from lightning_viz.methods import grad_cam
from lightning_viz.methods.attribution.grad_cam import grad_cams
from lightning_viz.methods.attribution.registry import CAM_METHODS

from ...support import small_network

LAYERS = ["2", "5", "6"]


@pytest.mark.parametrize("method", [one for one in CAM_METHODS if one != "cam"])
def test_several_layers_have_the_maps_of_each(method):
    model, images = small_network(), torch.rand(2, 3, 8, 8)
    maps = grad_cams(model, images, 1, layers=LAYERS, method=method)
    assert list(maps) == LAYERS
    for layer in LAYERS:
        assert torch.allclose(maps[layer], grad_cam(model, images, 1, layer=layer, method=method), rtol=1e-4, atol=1e-7)


def test_several_layers_cost_one_forward_and_one_backward_pass(monkeypatch):
    passes = []
    model, backward = small_network(), torch.autograd._engine_run_backward
    model.register_forward_pre_hook(lambda *_: passes.append("forward"))
    monkeypatch.setattr(
        torch.autograd,
        "_engine_run_backward",
        lambda *args, **options: passes.append("backward") or backward(*args, **options),
    )
    grad_cams(model, torch.rand(2, 3, 8, 8), layers=LAYERS)
    assert passes == ["forward", "backward"]


def test_nested_and_repeated_layers():
    """A container returns its last layer's output; one layer can have two names."""
    model, images = nn.Sequential(small_network()), torch.rand(2, 3, 8, 8)
    model[0].add_module("10", nn.Identity())
    maps = grad_cams(model, images, 1, layers=["0.2", "2", "0.6"])
    assert torch.equal(maps["2"], maps["0.2"])
    assert torch.allclose(maps["2"], grad_cam(model, images, 1, layer="0.2"))


@pytest.mark.parametrize(
    ("model", "grid"),
    [
        (lambda: VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=4), 4),
        (lambda: SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=4), 4),
    ],
    ids=["vit", "swin"],
)
def test_transformers_are_folded_to_the_grid(model, grid):
    model = model()
    nn.init.normal_((model.heads if hasattr(model, "heads") else model).head.weight)  # torchvision's ViT starts at zero
    images = torch.rand(2, 3, 32, 32)
    cams = torch.stack([grad_cam(model, images, target) for target in (0, 1)])
    assert cams.shape == (2, 2, grid, grid)
    assert cams.max() > 0


class Columns(nn.Module):
    def forward(self, maps):
        return maps.permute(0, 3, 2, 1).flatten(1, 2)


def test_reshape_converts_unusual_outputs():
    """Tokens column by column; that order is found without it as well."""
    model = nn.Sequential(nn.Conv2d(3, 5, 1), Columns(), nn.Flatten(1), nn.Linear(5 * 24, 2))
    images = torch.rand(2, 3, 4, 6)
    expected = grad_cam(model, images, 1, layer="0")
    unfold = lambda tokens: tokens.reshape(2, 6, 4, 5).permute(0, 3, 2, 1)  # noqa: E731
    assert torch.allclose(grad_cam(model, images, 1, layer="1", reshape=unfold), expected, atol=1e-7)
    assert torch.allclose(grad_cam(model, images, 1, layer="1"), expected, atol=1e-7)


@pytest.mark.parametrize("method", CAM_METHODS)
@pytest.mark.parametrize(
    ("layer", "message"),
    [("99", "{}='99' is not in"), ("9", "no height and width"), ("unused", "{}='unused' did not run")],
)
def test_invalid_layer(layer, message, method):
    model, images = small_network(), torch.rand(1, 3, 8, 8)
    model.unused = nn.Conv2d(3, 3, 1)
    model.forward = lambda images: model[:10](images)
    with pytest.raises(ValueError, match=message.format("layer")):
        grad_cam(model, images, layer=layer, method=method)
    with pytest.raises(ValueError, match=message.format("layers")):
        grad_cams(model, images, layers=[layer], method=method)


class Aside(nn.Module):
    """A network with a layer that its output does not depend on."""

    def __init__(self):
        super().__init__()
        self.main, self.aside = small_network(), nn.Conv2d(3, 3, 1)

    def forward(self, images):
        self.aside(images)
        return self.main(images)


def test_layer_beside_the_way_to_the_score():
    with pytest.raises(ValueError, match="layer='aside' does not reach the target score; choose a layer"):
        grad_cam(Aside(), torch.rand(1, 3, 8, 8), layer="aside")


def test_unknown_method_and_option():
    model, images = small_network(), torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match="method='ablation' is unknown; choose one of 'gradcam', 'cam'"):
        grad_cam(model, images, method="ablation")
    with pytest.raises(TypeError, match="method='gradcam' has no option samples; it has none"):
        grad_cam(model, images, samples=3)
