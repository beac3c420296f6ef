import pytest
import timm
import torch
import transformers
from torch import Tensor, nn

from lightning_viz.methods import find_layer, grad_cam, layers_over_depth
from lightning_viz.methods.features.activations import layer_activations
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.token_order import is_placed, token_order

IMAGES = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class Tokens(nn.Module):
    """An embedding of patches to 64 tokens in some order, a layer on them, and a head."""

    def __init__(self, order, layer=None):
        super().__init__()
        self.patches, self.order = nn.Conv2d(3, 16, 8, 8), order
        self.layer, self.head = layer or nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)[:, self.order]
        return self.head(self.layer(tokens).mean(dim=1))


GRID = torch.arange(64).reshape(8, 8)
ORDERS = {
    "column by column": GRID.T.flatten(),
    "windows": GRID.reshape(2, 4, 2, 4).transpose(1, 2).flatten(),
    "units": GRID.reshape(4, 2, 4, 2).permute(1, 3, 0, 2).flatten(),
    "from below": GRID.flip(0).flatten(),
}


@pytest.mark.parametrize("name", ORDERS)
def test_reshaped_grids_are_put_row_by_row(name):
    model = Tokens(ORDERS[name]).eval()
    rows = Tokens(GRID.flatten()).eval()
    rows.load_state_dict(model.state_dict())
    assert torch.equal(FeatureMaps(model, "layer")(IMAGES), FeatureMaps(rows, "layer")(IMAGES))
    assert torch.allclose(grad_cam(model, IMAGES, layer="layer"), grad_cam(rows, IMAGES, layer="layer"))
    found = layer_activations(model, IMAGES, ["layer"])["layer"].maps
    assert torch.equal(found, layer_activations(rows, IMAGES, ["layer"])["layer"].maps)


def test_any_other_order_is_refused_and_passed_over():
    model = Tokens(torch.randperm(64, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match=r"layers='layer' returns tokens that cannot be placed.*choose another layer"):
        token_order(model, "layer", IMAGES, "layers")
    assert find_layer(model, "last_spatial", IMAGES) == "patches"
    assert layers_over_depth(model, IMAGES) == ["patches"]


class Mean(nn.Module):
    """Attention that is still uniform: every token is the mean of all."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1, keepdim=True).expand_as(tokens)


def test_tokens_that_respond_alike_are_in_the_order_of_their_neighbours():
    assert is_placed(Tokens(GRID.flatten(), nn.Sequential(nn.LayerNorm(16), Mean())), "layer.1", IMAGES)
    model = Tokens(ORDERS["units"], nn.Sequential(nn.LayerNorm(16), Mean()))
    assert torch.equal(token_order(model, "layer.1", IMAGES), token_order(model, "layer.0", IMAGES))


def test_images_of_one_colour_do():
    assert token_order(Tokens(ORDERS["windows"]), "layer", torch.zeros(1, 3, 64, 64)) is not None


def test_nothing_is_changed():
    model, state = Tokens(ORDERS["units"]).train(), torch.get_rng_state()
    token_order(model, "layer", IMAGES)
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_hiera_is_unrolled():
    """Its tokens lie in units; `unroll` says how."""
    options = dict(embed_dim=8, num_heads=1, stages=(1, 1, 1, 1), mask_unit_size=(8, 8))
    model = timm.models.hiera.Hiera(img_size=(128, 128), num_classes=4, **options).eval()
    images = torch.rand(1, 3, 128, 128)
    positions = model.unroll(torch.arange(32 * 32.0).reshape(1, -1, 1))[0, :, 0]
    assert torch.equal(token_order(model, "blocks.0", images), positions.argsort())
    assert all(is_placed(model, layer, images) for layer in layers_over_depth(model, images))


NETWORKS = {
    "vit": ("vit_tiny_patch16_224", dict(img_size=64, patch_size=8, embed_dim=24, depth=3, num_heads=3)),
    "registers": ("vit_small_patch14_reg4_dinov2", dict(img_size=84, embed_dim=24, depth=2, num_heads=3)),
    "distilled": ("deit_tiny_distilled_patch16_224", dict(img_size=64, embed_dim=24, depth=2, num_heads=3)),
    "cait": ("cait_xxs24_224", dict(img_size=64, embed_dim=24, depth=2, num_heads=2)),
    "xcit": ("xcit_nano_12_p16_224", dict(img_size=96, embed_dim=16, num_heads=2)),
    "pit": ("pit_ti_224", dict(img_size=64)),
    "pvt": ("pvt_v2_b0", {}),
    "mvitv2": ("mvitv2_tiny", dict(img_size=64)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_of_networks_that_go_row_by_row_are_accepted(name):
    model, options = NETWORKS[name]
    network = timm.create_model(model, num_classes=4, **options)
    size = options.get("img_size", 64)
    images = torch.rand(1, 3, size, size)
    layers = [layer for layer, _ in network.named_modules() if layer]
    assert [token_order(network, layer, images) for layer in layers] == [None] * len(layers)


def test_learned_queries_are_refused():
    """The tokens at the end of YOLOS are not on the image; with them 81 seem to be a grid of 9×9."""
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 64],
        patch_size=8,
        num_detection_tokens=16,
    )
    model = transformers.YolosModel(config)
    assert not is_placed(model, "layernorm", IMAGES)
