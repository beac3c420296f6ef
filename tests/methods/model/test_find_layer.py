import pytest
import timm
import torch
import torchvision
import transformers
from torch import nn

from lightning_viz.methods import find_layer

from ...support import small_network


@pytest.mark.parametrize(
    ("name", "size", "first_conv", "last_spatial"),
    [
        ("alexnet", 96, "features.0", "features"),
        ("resnet18", 64, "conv1", "layer4"),
        ("vgg11", 64, "features.0", "features"),
        ("densenet121", 64, "features.conv0", "features"),
        ("efficientnet_b0", 64, "features.0.0", "features"),
        ("mobilenet_v3_small", 64, "features.0.0", "features"),
        ("squeezenet1_1", 64, "features.0", "classifier.2"),
        ("inception_v3", 128, "Conv2d_1a_3x3.conv", "Mixed_7c"),
        ("googlenet", 64, "conv1.conv", "inception5b"),
        ("convnext_tiny", 64, "features.0.0", "features"),
        ("swin_t", 64, "features.0.0", "permute"),
        ("vit_b_16", 224, "conv_proj", "encoder.layers.encoder_layer_11.ln_1"),
        ("maxvit_t", 224, "stem.0.0", "blocks.3"),
        ("regnet_y_400mf", 64, "stem.0", "trunk_output"),
        ("shufflenet_v2_x0_5", 64, "conv1.0", "conv5"),
        ("mnasnet0_5", 64, "layers.0", "layers"),
    ],
)
def test_torchvision(name, size, first_conv, last_spatial):
    options = {"init_weights": True} if name in ("inception_v3", "googlenet") else {}
    model = torchvision.models.get_model(name, weights=None, **options).train()
    assert find_layer(model, "first_conv") == first_conv
    assert find_layer(model, "last_spatial", torch.rand(1, 3, size, size)) == last_spatial
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("name", "last_spatial"),
    [
        ("vit_tiny_patch16_224", "blocks.11.norm1"),
        ("deit_tiny_distilled_patch16_224", "blocks.11.norm1"),
        ("swin_tiny_patch4_window7_224", "norm"),
    ],
)
def test_timm(name, last_spatial):
    model = timm.create_model(name, pretrained=False)
    assert find_layer(model, "last_spatial", torch.rand(1, 3, 224, 224)) == last_spatial


def test_hugging_face():
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    model = transformers.ViTForImageClassification(config)
    assert find_layer(model, "last_spatial", torch.rand(1, 3, 224, 224)) == "vit.layers.1.layernorm_before"


@pytest.mark.parametrize(
    ("name", "size", "embedding"),
    [
        ("vgg11", 64, "classifier.6"),
        ("squeezenet1_1", 64, "classifier.2"),
        ("googlenet", 64, "fc"),
        ("vit_b_16", 224, "heads.head"),
    ],
)
def test_embedding(name, size, embedding):
    options = {"init_weights": True} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, **options).train()
    assert find_layer(model, "embedding", torch.rand(1, 3, size, size)) == embedding
    assert all(module.training for module in model.modules())


def test_the_embedding_layer_is_the_last_to_run_not_the_last_defined():
    model = nn.Sequential(small_network(), nn.Identity())
    model[1].unused = nn.Linear(4, 4)
    assert find_layer(model, "embedding") == "0.9"


def test_a_head_of_zeros_does_not_hide_the_layer():
    model = torchvision.models.resnet18()
    nn.init.zeros_(model.fc.weight)
    assert find_layer(model, "last_spatial", torch.rand(1, 3, 64, 64)) == "layer4"


def test_without_images_a_grey_one_is_used():
    assert find_layer(small_network(channels=1), "last_spatial") == "6"


def test_small_images_end_before_the_last_block():
    assert find_layer(torchvision.models.resnet18(), "last_spatial", torch.rand(1, 3, 32, 32)) == "layer3"


@pytest.mark.parametrize("kind", ["first_conv", "last_spatial", "embedding"])
def test_no_convolution(kind):
    with pytest.raises(ValueError, match=r"Sequential has no nn\.Conv2d"):
        find_layer(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), kind)


def test_no_spatial_layer():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(ValueError, match="no layer with a height and a width"):
        find_layer(model, "last_spatial", torch.rand(1, 3, 2, 2))


def test_unknown_role():
    with pytest.raises(ValueError, match="kind='head'"):
        find_layer(small_network(), "head")
