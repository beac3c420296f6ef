"""One tensor for one computation, however its activation function is written."""

import pytest
import torch
from torch import nn

from lightning_viz.methods import find_layer, grad_cam, layers_over_depth
from lightning_viz.methods.features.activations import layer_activations
from lightning_viz.methods.model.capture import activation_functions, trace

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
FUNCTIONS = {
    "relu": (nn.ReLU, nn.functional.relu),
    "silu": (nn.SiLU, nn.functional.silu),
    "hardswish": (nn.Hardswish, nn.functional.hardswish),
    "leaky_relu": (nn.LeakyReLU, nn.functional.leaky_relu),
    "relu6": (nn.ReLU6, nn.functional.relu6),
}


class Written(nn.Module):
    """A small network; its activation function is a module, shared, a function, or works in place."""

    def __init__(self, name, writing):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)
        module, function = FUNCTIONS[name]
        if writing == "function":
            self.first = self.second = function
        elif writing == "function in place":
            self.first = self.second = lambda values: function(values, inplace=True)
        elif writing == "shared module":
            self.first = self.second = module()
        else:
            self.first, self.second = (module(inplace=writing == "module in place") for _ in range(2))

    def forward(self, images):
        maps = nn.functional.max_pool2d(self.first(self.bn1(self.conv1(images))), 2)
        return self.head(self.second(self.conv2(maps)).mean(dim=(2, 3)))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("writing", ["module in place", "shared module", "function", "function in place"])
def test_the_same_in_each_writing(name, writing):
    plain, other = Written(name, "module").eval(), Written(name, writing).eval()
    assert find_layer(other, "last_spatial", IMAGES) == find_layer(plain, "last_spatial", IMAGES) == "conv2"
    assert layers_over_depth(other, IMAGES) == layers_over_depth(plain, IMAGES)
    assert torch.equal(grad_cam(other, IMAGES, 1), grad_cam(plain, IMAGES, 1))
    expected = layer_activations(plain, IMAGES, ["bn1", "conv2"])
    for layer, found in layer_activations(other, IMAGES, ["bn1", "conv2"]).items():
        assert torch.equal(found.maps, expected[layer].maps)


def test_a_residual_connection_reads_the_output_itself():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, images):
            maps = self.conv(images)
            return (maps.relu() + maps).mean(dim=(2, 3))

    function = activation_functions(Residual(), IMAGES, ["conv"])["conv"]
    assert function.function is None
    assert function.is_linear


def test_attention_weights_are_matrices():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.drop = nn.Linear(3, 12), nn.Dropout()

        def forward(self, images):
            tokens = images.flatten(2).transpose(1, 2)[:, :16]
            q, k, v = self.qkv(tokens).reshape(2, 16, 3, 2, 2).permute(2, 0, 3, 1, 4)
            return (self.drop((q @ k.transpose(-2, -1)).softmax(dim=-1)) @ v).mean(dim=(1, 2))

    assert trace(Attention(), IMAGES)["drop"].is_matrix
