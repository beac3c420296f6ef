import pytest
import timm
import torch
import torchvision
import transformers
from torch import nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.feature_extraction import create_feature_extractor

from lightning_viz.methods import embeddings
from lightning_viz.methods.features.embeddings import (
    EmbeddingSource,
    find_embedding_source,
    pool_embedding,
    read_embeddings,
)

from ...support import small_network

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def torchvision_model(name):
    options = {"init_weights": True} if name in ("inception_v3", "googlenet") else {}
    return torchvision.models.get_model(name, weights=None, num_classes=7, **options)


def vgg11():
    """With a small head: most of VGG's weights are there."""
    with torch.device("meta"):
        model = torchvision.models.vgg11(init_weights=False, num_classes=7)
    model.classifier[0], model.classifier[3] = nn.Linear(25088, 32), nn.Linear(32, 32)
    model.classifier[6] = nn.Linear(32, 7)
    model.features.to_empty(device="cpu")
    for module in model.features:
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return model


#: torchvision's classes, fewer and narrower layers.
NETWORKS = {
    "vgg11": vgg11,
    "densenet": lambda: torchvision.models.DenseNet(8, (2, 2), 8, num_classes=7),
    "convnext": lambda: torchvision.models.ConvNeXt(
        [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=7
    ),
    "vit": lambda: torchvision.models.VisionTransformer(64, 16, 2, 2, 32, 64, num_classes=7),
    "swin": lambda: torchvision.models.SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=7),
}


def pictures(size):
    return nn.functional.interpolate(IMAGES, size=size)


@pytest.mark.parametrize(
    ("name", "size", "head"),
    [
        ("resnet18", 64, "fc"),
        ("vgg11", 64, "classifier.6"),
        ("densenet", 64, "classifier"),
        ("mobilenet_v3_small", 64, "classifier.3"),
        ("efficientnet_b0", 64, "classifier.1"),
        ("convnext", 64, "classifier.2"),
        ("vit", 64, "heads.head"),
        ("swin", 64, "head"),
        ("inception_v3", 96, "fc"),
        ("googlenet", 64, "fc"),
    ],
)
def test_torchvision_without_its_head(name, size, head):
    model = NETWORKS[name]().train() if name in NETWORKS else torchvision_model(name).train()
    found = embeddings(model, pictures(size))
    assert all(module.training for module in model.modules())
    parent, _, child = head.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    with torch.no_grad():
        assert torch.equal(found, model.eval()(pictures(size)))
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_without_a_linear_layer_it_is_the_last_spatial_one():
    """Of SqueezeNet, whose pooled output is its logits."""
    model = torchvision.models.squeezenet1_1().train()
    found = embeddings(model, IMAGES)
    with torch.no_grad():
        assert torch.allclose(found, model.eval()(IMAGES), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "size", "node"),
    [("resnet18", 64, "layer2"), ("densenet", 64, "features.denseblock2"), ("swin", 64, "features.3.1")],
)
def test_a_named_layer_is_averaged_over_positions(name, size, node):
    model = (NETWORKS[name]() if name in NETWORKS else torchvision_model(name)).eval()
    with torch.no_grad():
        maps = create_feature_extractor(model, {_last_node(model, node): "maps"})(pictures(size))["maps"]
    expected = maps.mean(dim=(1, 2) if name == "swin" else (2, 3))
    assert torch.allclose(embeddings(model, pictures(size), node), expected, atol=1e-6)


def _last_node(model, module):
    nodes = torchvision.models.feature_extraction.get_graph_node_names(model)[1]
    return [node for node in nodes if node == module or node.startswith(f"{module}.")][-1]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "resnet10t"])
def test_timm(name):
    options = {"img_size": 64} if "vit" in name else {}
    model = timm.create_model(name, pretrained=False, **options)
    found = embeddings(model, IMAGES)
    model.eval()
    with torch.no_grad():
        assert torch.equal(found, model.forward_head(model.forward_features(IMAGES), pre_logits=True))


def test_tokens_of_a_named_layer_are_averaged_without_the_class_token():
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64).eval()
    with torch.no_grad():
        tokens = model.forward_features(IMAGES)
    assert tokens.shape[1] == 16 + 1
    assert torch.allclose(embeddings(model, IMAGES, "norm"), tokens[:, 1:].mean(dim=1), atol=1e-6)


def test_hugging_face():
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=64
    )
    model = transformers.ViTForImageClassification(config)
    found = embeddings(model, IMAGES)
    with torch.no_grad():
        assert torch.equal(found, model.eval().vit(IMAGES).last_hidden_state[:, 0])


def test_the_order_of_the_images_stays():
    model = torchvision.models.resnet18()
    assert torch.allclose(embeddings(model, IMAGES.flip(0)), embeddings(model, IMAGES).flip(0), atol=1e-6)


class Overwriting(nn.Module):
    """Overwrites its images, its embedding and a convolution's output."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 5, 3), nn.Linear(5, 2)

    def forward(self, images):
        embedding = self.conv(images.mul_(2)).relu_().mean(dim=(2, 3))
        scores = self.head(embedding)
        embedding.zero_()
        return scores


def test_in_place_changes_after_the_layer_are_not_seen():
    model, images = Overwriting(), IMAGES.clone()
    with torch.no_grad():
        maps = nn.functional.conv2d(2 * IMAGES, model.conv.weight, model.conv.bias)
    assert torch.allclose(embeddings(model, images), maps.relu().mean(dim=(2, 3)), atol=1e-6)
    assert torch.allclose(embeddings(model, images, "conv"), maps.relu().mean(dim=(2, 3)), atol=1e-6)
    assert torch.equal(images, IMAGES)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_a_frozen_head_in_any_mode(mode):
    model = small_network()
    expected = embeddings(model, IMAGES)
    model[9].requires_grad_(False)
    with mode():
        found = embeddings(model, IMAGES.clone())
    assert torch.equal(found, expected)
    assert not found.is_inference()


def test_half_precision_is_averaged_in_float32():
    model = small_network().bfloat16().eval()
    images = IMAGES.bfloat16()
    with torch.no_grad():
        maps = model[:6](images)
    found = embeddings(model, images, "5")
    assert found.dtype == torch.float32
    assert torch.equal(found, maps.float().mean(dim=(2, 3)))


def test_no_hook_or_gradient_stays_behind():
    model = small_network()
    embeddings(model, IMAGES)
    embeddings(model, IMAGES, "3")
    with pytest.raises(RuntimeError):
        read_embeddings(model, IMAGES[:, :2], {"3": EmbeddingSource("3", "output"), "9": EmbeddingSource("9", "input")})
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_source_of_an_embedding():
    model = small_network()
    assert find_embedding_source(model, IMAGES) == EmbeddingSource("9", "input")
    assert find_embedding_source(model, IMAGES, "9") == EmbeddingSource("9", "output")
    assert find_embedding_source(model[:7], IMAGES) == EmbeddingSource("6", "output")


def test_several_layers_are_read_in_one_pass():
    """Also in inference mode, as in a validation loop."""
    model, passes = small_network(), []
    sources = {"head": find_embedding_source(model, IMAGES), "5": EmbeddingSource("5", "output")}
    model.register_forward_pre_hook(lambda *_: passes.append(None))
    with torch.inference_mode():
        found = read_embeddings(model, IMAGES, sources)
    assert len(passes) == 1
    assert found.keys() == sources.keys()
    assert torch.equal(found["head"], embeddings(model, IMAGES))
    assert torch.equal(found["5"], embeddings(model, IMAGES, "5"))


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        ((2, 5, 4, 4), (2, 3)),
        ((2, 4, 4, 5), (1, 2)),
        ((2, 16, 5), 1),
        ((2, 3, 5), 1),
        ((2, 8, 5), 1),
        ((2, 5, 1, 1), (2, 3)),
    ],
    ids=["channels first", "channels last", "tokens", "three tokens", "tokens on no grid", "pooled"],
)
def test_pooling_is_the_mean_over_positions(shape, dims):
    activation = torch.rand(shape)
    assert torch.allclose(pool_embedding(activation, torch.zeros(2, 3, 64, 64)), activation.mean(dim=dims))


@pytest.mark.parametrize("shape", [(2, 7), (2,), (2, 3, 4, 5, 6)])
def test_pooling_flattens_other_shapes(shape):
    activation = torch.rand(shape)
    assert torch.equal(pool_embedding(activation, torch.zeros(2, 3, 64, 64)), activation.reshape(2, -1))


@pytest.mark.parametrize("shape", [(8, 5), ()])
def test_pooling_needs_one_value_per_image(shape):
    with pytest.raises(ValueError, match="for each of 2 images; choose a layer that"):
        pool_embedding(torch.rand(shape), torch.zeros(2, 3, 64, 64))


def test_wrong_layers():
    model = nn.Sequential(small_network(), nn.Identity())
    model[1].unused = nn.Linear(4, 4)
    with pytest.raises(ValueError, match=r"layer='1\.unused' did not run"):
        embeddings(model, IMAGES, "unused")
    with pytest.raises(ValueError, match="layer='nope' is not in Sequential"):
        embeddings(model, IMAGES, "nope")
