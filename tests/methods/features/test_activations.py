import pytest
import torch
from torch import nn

from lightning_viz.methods import activations, choose_channels
from lightning_viz.methods.features.activations import layer_activations

from ...support import small_network


def test_output_is_that_after_the_activation_function():
    model, pictures = small_network().eval(), torch.rand(2, 3, 8, 8)
    output = activations(model, pictures, "1")
    assert torch.equal(output, model[:3](pictures))
    assert not output.requires_grad


def test_the_output_of_any_layer_is_unchanged():
    model, pictures = small_network().eval(), torch.rand(2, 3, 8, 8)
    assert torch.equal(activations(model, pictures, "9"), model(pictures))


def test_network_is_left_as_it_was():
    model = small_network().train()
    with torch.inference_mode():
        activations(model, torch.rand(2, 3, 8, 8), "1")
    assert all(module.training for module in model.modules())
    assert model[1].num_batches_tracked == 0
    assert not any(module._forward_hooks for module in model.modules())


def test_unknown_layer():
    with pytest.raises(ValueError, match="layer='conv9' is not in Sequential"):
        activations(small_network(), torch.rand(2, 3, 8, 8), "conv9")


class Shared(nn.Module):
    """A ReLU that runs twice, one layer that returns a tuple, one that mixes the images, one that does not run."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.tokens, self.head = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.Identity(),
            nn.Linear(4, 2),
        )
        self.pair, self.mixing, self.odd, self.never = Pair(), nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, images):
        maps = self.relu(self.conv(images))
        maps = self.relu(maps - 0.1)
        self.pair(maps)
        self.mixing(maps.flatten(0, 1))
        self.odd(maps[:, :, None])
        return self.head(self.tokens(maps.flatten(2).transpose(1, 2)).mean(dim=1))


class Pair(nn.Module):
    def forward(self, maps):
        return maps, maps


def test_several_layers_as_maps_from_one_pass():
    model, images, passes = Shared().train(), torch.rand(3, 3, 6, 8), []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    with torch.inference_mode():
        layer_activations(model, images.clone(), ["conv", "relu", "tokens", "head"])  # checks once where the tokens lie
        passes.clear()
        found = layer_activations(model, images.clone(), ["conv", "relu", "tokens", "head"])
    assert len(passes) == 1
    assert {name: one.calls for name, one in found.items()} == {"conv": 1, "relu": 2, "tokens": 1, "head": 1}
    maps = model.conv(images)
    assert torch.equal(found["conv"].maps, maps.relu())
    assert torch.equal(found["relu"].maps, (maps.relu() - 0.1).relu())  # the last call
    assert torch.equal(found["tokens"].maps, found["relu"].maps)
    assert torch.equal(found["head"].maps, model(images)[:, :, None, None])
    assert not any(one.maps.requires_grad or one.maps.is_inference() for one in found.values())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("never", "layers='never' did not run, or returns no tensor; choose"),
        ("pair", "layers='pair' did not run, or returns no tensor; choose"),
        ("mixing", r"layers='mixing' returns the shape \(8, 6, 8\) for 2 images; choose a layer that keeps"),
        ("odd", "layers='odd': an output of shape"),
        ("nope", "'nope' is not in Shared"),
    ],
)
def test_layers_without_feature_maps(layer, message):
    with pytest.raises(ValueError, match=message):
        layer_activations(Shared(), torch.rand(2, 3, 6, 8), ["conv", layer])


def maps():
    """Four channels of two images of 1×2: never positive, strong and constant, of both signs, weak and varying."""
    first = [[-5, -5], [3, 3], [4, -9], [0, 0]]
    second = [[-5, -5], [3, 3], [4, -9], [2, 2]]
    return torch.tensor([first, second]).float()[:, :, None]


@pytest.mark.parametrize(("by", "expected"), [("active", [1, 2, 3, 0]), ("varying", [3, 0, 1, 2])])
def test_channels_are_ranked_by_the_measure(by, expected):
    assert choose_channels(maps(), 4, by).tolist() == expected
    assert choose_channels(maps(), 2, by).tolist() == expected[:2]
    assert choose_channels(maps(), 9, by).tolist() == expected


@pytest.mark.parametrize("by", ["active", "varying"])
def test_channels_that_are_not_finite_rank_last(by):
    broken = maps()
    broken[0, 3, 0, 0] = torch.nan
    broken[1, 1, 0, 1] = torch.inf
    assert set(choose_channels(broken, 4, by)[2:].tolist()) == {1, 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((maps(), 0), "count=0 is too small"),
        ((maps(), 1, "loud"), "by='loud' is unknown.*'active', 'varying'"),
        ((torch.rand(2, 3), 1), r"shape \(2, 3\); give feature maps"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_channels(*arguments)
