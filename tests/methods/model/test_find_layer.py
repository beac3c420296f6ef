import pytest
import timm
import torch
import transformers
from torch import nn
from torchvision import models

from lightning_viz.methods import find_layer

from ...support import small_network
from ..references import NETWORKS
from .networks import FAMILIES, family

#: The side of the images, the first convolution, the last spatial layer and the embedding layer.
EXPECTED = {
    "alexnet": (96, "features.0", "features.10", "classifier.6"),
    "convnext_tiny": (64, "features.0.0", "features", "classifier.2"),
    "densenet121": (64, "features.conv0", "features", "classifier"),
    "efficientnet_b0": (64, "features.0.0", "features", "classifier.1"),
    "googlenet": (64, "conv1.conv", "inception5b", "fc"),
    "inception_v3": (128, "Conv2d_1a_3x3.conv", "Mixed_7c", "fc"),
    "maxvit_t": (64, "stem.0.0", "blocks.3", "classifier.5"),
    "mnasnet0_5": (64, "layers.0", "layers", "classifier.1"),
    "mobilenet_v2": (64, "features.0.0", "features", "classifier.1"),
    "mobilenet_v3_small": (64, "features.0.0", "features", "classifier.3"),
    "regnet_y_400mf": (64, "stem.0", "trunk_output", "fc"),
    "resnet18": (64, "conv1", "layer4", "fc"),
    "shufflenet_v2_x0_5": (64, "conv1.0", "conv5", "fc"),
    "squeezenet1_1": (64, "features.0", "classifier.1", "classifier.1"),
    "swin_t": (64, "features.0.0", "permute", "head"),
    "swin_v2_t": (64, "features.0.0", "permute", "head"),
    "vgg11": (64, "features.0", "features.18", "classifier.6"),
    "vgg11_bn": (64, "features.0", "features.26", "classifier.6"),
    "vit_b_16": (32, "conv_proj", "encoder.layers.encoder_layer_11.ln_1", "heads.head"),
}


def test_every_family_is_here():
    assert EXPECTED.keys() == FAMILIES.keys() >= NETWORKS.keys()


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision(name):
    size, *expected = EXPECTED[name]
    model, images = family(name).train(), torch.rand(1, 3, size, size)
    assert [find_layer(model, kind, images) for kind in ("first_conv", "last_spatial", "embedding")] == expected
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("name", "options", "last_spatial"),
    [
        ("vit_tiny_patch16_224", dict(img_size=64, embed_dim=24), "blocks.11.norm1"),
        ("deit_tiny_distilled_patch16_224", dict(img_size=64, embed_dim=24), "blocks.11.norm1"),
        ("swin_tiny_patch4_window7_224", dict(img_size=64, embed_dim=12, depths=(1, 1, 1, 1)), "norm"),
    ],
)
def test_timm(name, options, last_spatial):
    model = timm.create_model(name, pretrained=False, **options)
    assert find_layer(model, "last_spatial", torch.rand(1, 3, 64, 64)) == last_spatial


def test_hugging_face():
    config = transformers.ViTConfig(
        image_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    model = transformers.ViTForImageClassification(config)
    assert find_layer(model, "last_spatial", torch.rand(1, 3, 64, 64)) == "vit.layers.1.layernorm_before"


def test_the_embedding_layer_is_the_last_to_run_not_the_last_defined():
    model = nn.Sequential(small_network(), nn.Identity())
    model[1].unused = nn.Linear(4, 4)
    assert find_layer(model, "embedding") == "0.9"


class Detector(nn.Module):
    """As torchvision's: layers of whole images, then linear ones of regions, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 6)

    def forward(self, images):
        regions = self.backbone(images).flatten(2).transpose(1, 2)
        return [{"scores": self.head(one).softmax(dim=1)} for one in regions]


def test_the_embedding_of_a_detector_is_of_whole_images():
    assert find_layer(Detector(), "embedding", torch.rand(2, 3, 16, 16)).startswith("backbone")


def test_a_head_of_zeros_does_not_hide_the_layer():
    model = models.resnet18()
    nn.init.zeros_(model.fc.weight)
    assert find_layer(model, "last_spatial", torch.rand(1, 3, 64, 64)) == "layer4"


def test_one_logit_of_one_image_has_a_gradient():
    """Without one, the layer before an earlier linear layer would be found."""
    model = nn.Sequential(small_network(), nn.ReLU(), nn.Linear(small_network()(torch.rand(1, 3, 8, 8)).shape[1], 1))
    assert find_layer(model, "last_spatial", torch.rand(1, 3, 8, 8)) == "0.6"


def test_images_of_zeros_by_default():
    assert find_layer(small_network(channels=1), "last_spatial") == "6"


def test_small_images_end_before_the_last_block():
    assert find_layer(family("resnet18"), "last_spatial", torch.rand(1, 3, 32, 32)) == "layer3"


@pytest.mark.parametrize("kind", ["first_conv", "last_spatial", "embedding"])
def test_no_convolution(kind):
    with pytest.raises(ValueError, match=r"Sequential has no nn\.Conv2d; name the layer"):
        find_layer(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), kind)


def test_no_spatial_layer():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(ValueError, match="no layer with a height and a width"):
        find_layer(model, "last_spatial", torch.rand(1, 3, 2, 2))


def test_unknown_kind():
    with pytest.raises(ValueError, match="kind='head' is unknown; choose one of 'first_conv'"):
        find_layer(small_network(), "head")
