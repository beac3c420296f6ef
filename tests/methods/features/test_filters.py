import pytest
import torch
import torchvision

from lightning_viz.methods import filters


def test_first_convolution_by_default():
    model = torchvision.models.resnet18()
    assert torch.equal(filters(model), model.conv1.weight)


def test_result_is_a_copy():
    model = torchvision.models.resnet18()
    filters(model).zero_()
    assert model.conv1.weight.abs().sum() > 0


def test_depthwise_filters_see_one_channel():
    assert filters(torchvision.models.mobilenet_v2(), "features.1.conv.0.0").shape == (32, 1, 3, 3)


def test_a_layer_without_filters():
    with pytest.raises(ValueError, match=r"layer='fc' is Linear.*'conv1'"):
        filters(torchvision.models.resnet18(), "fc")
