import pytest
import torch
import torchvision
from torch import nn

from lightning_viz.methods.model.layers import are_channels_last, feature_maps, resolve_layer

from ...support import Lit

IMAGES = torch.zeros(2, 3, 32, 48)


def test_exact_name_wins_over_an_ending():
    model = nn.ModuleDict({"head": nn.Linear(1, 1), "inner": nn.ModuleDict({"head": nn.Linear(1, 1)})})
    assert resolve_layer(model, "head") == ("head", model["head"])


def test_unique_ending_is_enough():
    lit = Lit(torchvision.models.resnet18())
    assert resolve_layer(lit, "layer4") == ("network.layer4", lit.network.layer4)


def test_ambiguous_ending_names_the_candidates():
    with pytest.raises(ValueError, match=r"ambiguous.*layer1\.0\.conv1"):
        resolve_layer(torchvision.models.resnet18(), "0.conv1")


@pytest.mark.parametrize(("name", "closest"), [("layer9", "layer"), ("network.layr4", "network.layer4")])
def test_unknown_name_gets_the_closest(name, closest):
    with pytest.raises(ValueError, match=rf"layer='{name}' is not in Lit; closest: '.*{closest}"):
        resolve_layer(Lit(torchvision.models.resnet18()), name)


def test_compiled_prefix_may_be_left_out():
    model = nn.Sequential(nn.ModuleDict({"_orig_mod": nn.Sequential(nn.Linear(1, 1))}))
    assert resolve_layer(model, "0.0")[0] == "0._orig_mod.0"


def test_channels_first_stays():
    activation = torch.rand(2, 5, 8, 12)
    assert feature_maps(activation, IMAGES) is activation


def test_channels_last_is_permuted():
    activation = torch.rand(2, 8, 12, 5)
    assert torch.equal(feature_maps(activation, IMAGES), activation.permute(0, 3, 1, 2))


@pytest.mark.parametrize("extra", [0, 1, 5], ids=["no class token", "class token", "class and register tokens"])
def test_tokens_are_folded_row_by_row(extra):
    grid = torch.rand(2, 5, 8, 12)
    tokens = torch.cat([torch.rand(2, extra, 5), grid.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(feature_maps(tokens, IMAGES), grid)


def test_vectors_have_no_feature_maps():
    with pytest.raises(ValueError, match=r"\(2, 7\) has no height and width"):
        feature_maps(torch.rand(2, 7), IMAGES)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 32, 48, 3), True),
        ((2, 28, 28, 1), True),
        ((2, 3, 32, 48), False),
        ((2, 1, 28, 28), False),
        ((2, 3, 8, 3), False),
        ((2, 7, 32, 3), False),
        ((2, 13, 4, 4), False),
    ],
)
def test_channels_last_is_recognised(shape, expected):
    assert are_channels_last(torch.zeros(shape)) == expected


def test_images_with_channels_last_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 32, 48, 3\) have their channels last; give images \(B, C, H, W\)"):
        feature_maps(torch.rand(2, 5, 8, 12), IMAGES.permute(0, 2, 3, 1))
