import pytest
import torch
import torchvision
from torch import nn

from lightning_viz.methods.model.feature_maps import FeatureMaps

from ...support import small_network


class Shared(nn.Module):
    """One ReLU that runs twice, the second time in place."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.relu = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, images):
        return self.head(self.relu(self.two(self.relu(self.one(images)))).add_(1))


def calls(model):
    """The names of the layers without children, as they run."""
    names = []
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_pre_hook(lambda _m, _i, name=name: names.append(name))
    return names


def test_output_is_that_after_the_activation_function():
    model, pictures = small_network().eval(), torch.rand(2, 3, 8, 8)
    maps = FeatureMaps(model, "1")(pictures)
    assert torch.equal(maps, model[:3](pictures))


def test_nothing_after_the_layer_runs():
    model, pictures = small_network().eval(), torch.rand(2, 3, 8, 8)
    maps = FeatureMaps(model, "3")
    maps(pictures)  # counts
    names = calls(model)
    maps(pictures)
    assert names == ["0", "1", "2", "3"]


def test_a_shared_layer_gives_its_last_output():
    model, pictures = Shared(), torch.rand(2, 3, 8, 8)
    maps, names = FeatureMaps(model, "relu"), calls(model)
    expected = model.two(model.one(pictures).relu()).relu()
    assert torch.equal(maps(pictures), expected)
    names.clear()
    assert torch.equal(maps(pictures), expected)
    assert names == ["one", "relu", "two", "relu"]


def test_a_layer_inside_a_block_stops_the_whole_pass():
    model, pictures = torchvision.models.resnet18().eval(), torch.rand(1, 3, 32, 32)
    maps = FeatureMaps(model, "layer2.0.conv1")
    assert maps(pictures).shape == (1, 128, 4, 4)
    names = calls(model)
    maps(pictures)
    assert names[-1] == "layer2.0.conv1"


def test_errors_of_the_network_pass():
    model = small_network()
    maps = FeatureMaps(model, "3")
    with pytest.raises(RuntimeError, match="channels"):
        maps(torch.rand(1, 1, 8, 8))
    assert not any(module._forward_hooks for module in model.modules())


def test_convolutions_are_channels_first_whatever_the_shape():
    model = nn.Sequential(nn.Conv2d(3, 8, (8, 1)))
    assert FeatureMaps(model, "0")(torch.rand(2, 3, 8, 8)).shape == (2, 8, 1, 8)


def test_outputs_that_mix_the_images():
    model = nn.Sequential(nn.Flatten(0, 1))
    with pytest.raises(ValueError, match=r"\(6, 8, 8\) for 2 images; choose a layer that keeps the images apart"):
        FeatureMaps(model, "0")(torch.rand(2, 3, 8, 8))
