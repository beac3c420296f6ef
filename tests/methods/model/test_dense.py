import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
import transformers
from monai.networks.nets import BasicUNet
from torch import nn
from torchvision.models import segmentation

from lightning_viz.methods import activations, embeddings, find_layer

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class SmallUNet(nn.Module):
    """Two levels, a convolution of one pixel as the head, and a resize and a sigmoid after it."""

    def __init__(self, classes=3):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.bottom = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.up, self.mix = nn.ConvTranspose2d(16, 8, 2, 2), nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU())
        self.head, self.resize = nn.Conv2d(8, classes, 1), nn.Upsample(scale_factor=2)

    def forward(self, images):
        down = self.down(images)
        mixed = self.mix(torch.cat([self.up(self.bottom(down)), down], dim=1))
        return F.interpolate(self.resize(self.head(mixed)), size=images.shape[2:]).sigmoid()


class FCN8(nn.Module):
    """Scores of three resolutions, resized by learned convolutions and added up (Long et al. 2015)."""

    def __init__(self, classes=5):
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(*sizes, 3, 2, 1) for sizes in [(3, 8), (8, 16), (16, 32)])
        self.scores = nn.ModuleList(nn.Conv2d(channels, classes, 1) for channels in (8, 16, 32))
        self.resizes = nn.ModuleList(nn.ConvTranspose2d(classes, classes, 2, 2) for _ in range(3))

    def forward(self, images):
        features, total = [images], 0.0
        for stage in self.stages:
            features.append(stage(features[-1]).relu())
        for score, resize, one in zip(reversed(self.scores), self.resizes, reversed(features[1:]), strict=True):
            total = resize(score(one) + total)
        return total


def segformer():
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=16,
        num_labels=3,
    )
    return transformers.SegformerForSemanticSegmentation(config)


def lraspp():
    return segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)


#: A network, the last layer of features, and the end of the encoder.
NETWORKS = {
    "smp Unet": (lambda: smp.Unet("resnet18", encoder_weights=None, classes=3), "decoder", "encoder.layer4"),
    "torchvision LRASPP": (lraspp, "classifier.cbr", "classifier.cbr"),
    "transformers SegFormer": (segformer, "decode_head.batch_norm", "segformer.stages.3"),
    "MONAI BasicUNet": (lambda: BasicUNet(2, 3, 4, features=(8, 8, 16, 16, 32, 8)), "upcat_1", "down_4"),
    "own U-Net": (SmallUNet, "mix", "bottom"),
    "own U-Net, as many classes as channels": (lambda: SmallUNet(8), "up", "bottom"),
    "FCN-8s": (FCN8, "stages.2", "stages.2"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_features_before_the_head_and_at_the_end_of_the_encoder(name):
    build, last, end = NETWORKS[name]
    model = build()
    assert find_layer(model, "last_spatial", IMAGES[:1], lambda output: _scores(output)[:, 0].mean(dim=(1, 2))) == last
    assert find_layer(model, "last_spatial", IMAGES[:1]) == last
    assert find_layer(model, "embedding", IMAGES[:1]) == end


def _scores(output):
    return output["out"] if isinstance(output, dict) and "out" in output else getattr(output, "logits", output)


def test_embeddings_are_those_of_the_encoder():
    model = SmallUNet()
    assert torch.allclose(embeddings(model, IMAGES), activations(model, IMAGES, "bottom").mean(dim=(2, 3)))


def test_the_output_of_a_backbone_is_its_embedding():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 8, 3, 2), nn.ReLU())
    assert find_layer(model, "embedding", IMAGES) == "2"
    assert find_layer(nn.Sequential(*model, nn.Conv2d(8, 2, 1)), "embedding", IMAGES) == "2"  # coarse scores


def test_auxiliary_heads_are_no_features():
    """The score does not depend on the auxiliary head, which runs last."""
    model = segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=3, aux_loss=True)
    assert find_layer(model, "last_spatial", IMAGES[:1]) == "classifier.1"
    assert find_layer(model, "embedding", IMAGES[:1]) == "classifier.1"


def test_in_place_layers_after_a_convolution():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1), nn.Sigmoid())
    assert find_layer(model, "last_spatial", IMAGES) == "0"


def test_a_single_layer_has_no_features():
    with pytest.raises(ValueError, match="no layer with a height and a width"):
        find_layer(nn.Sequential(nn.Conv2d(3, 2, 1)), "last_spatial", IMAGES)
