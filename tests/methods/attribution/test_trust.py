import pytest
import torch
from torch import nn

from lightning_viz.methods import insertion_deletion
from lightning_viz.methods.attribution.trust import FAITHFULNESS_FORWARDS, STEPS, faithfulness_gain, randomize_weights
from lightning_viz.methods.model.batching import AutoBatch

from ...support import small_network
from .test_faithfulness import Brightness, left


def test_gain_of_the_best_map_is_positive_and_of_the_worst_negative():
    images = torch.ones(2, 1, 8, 8)
    images[:, :, :, 4:] = 0  # the mean colour is grey: bright pixels count
    for value in (1.0, -1.0):
        gain = faithfulness_gain(Brightness(), images, left(value), None, AutoBatch())
        assert (value * gain["over_random"] > 0.1).all()
        assert (value * gain["over_blob"] > 0.1).all()


def test_gain_is_the_difference_of_the_areas():
    model, images, maps = small_network(), torch.rand(3, 3, 8, 8), torch.rand(3, 8, 8)
    rows = torch.linspace(-1, 1, 8)
    blob = torch.exp(-2 * (rows[:, None] ** 2 + rows**2)).expand(3, 8, 8)
    areas = [insertion_deletion(model, images, each, 1, steps=STEPS) for each in (maps, blob)]
    own, centred = (each.insertion_area - each.deletion_area for each in areas)
    assert torch.allclose(faithfulness_gain(model, images, maps, 1, AutoBatch())["over_blob"], own - centred, atol=1e-6)


@pytest.mark.parametrize("limit", [None, 1, 2])
def test_batches_change_nothing_and_the_cost_is_stated(limit):
    model, images, maps, seen = small_network(), torch.rand(3, 3, 8, 8), torch.rand(3, 8, 8), []
    expected = faithfulness_gain(model, images, maps, [0, 1, 2], AutoBatch())
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    gain = faithfulness_gain(model, images, maps, [0, 1, 2], AutoBatch(limit))
    assert all(torch.allclose(gain[name], expected[name], atol=1e-6) for name in expected)
    assert sum(seen) == len(images) * FAITHFULNESS_FORWARDS
    assert limit is None or max(seen) <= limit


def test_randomized_copy_has_new_weights_and_the_network_its_own():
    network = small_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copy = randomize_weights(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(torch.equal(copy[k].weight, network[k].weight) for k in (0, 3, 9))
    assert isinstance(copy[1], nn.BatchNorm2d)
    assert copy[1].running_mean.eq(0).all()


class Tokens(nn.Module):
    """Parameters that no module resets, as in a transformer that was trained."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.scale = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.rand(8))
        self.attention = nn.MultiheadAttention(8, 2)
        self.normalised = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
        self.norm = nn.LayerNorm(8)
        nn.init.uniform_(self.norm.weight)
        nn.init.uniform_(self.norm.bias)


def test_all_parameters_are_drawn_again():
    network = Tokens()
    network.attention.in_proj_bias.data.normal_()
    network.attention.out_proj.bias.data.normal_()
    for name, parameter in randomize_weights(network).named_parameters():
        assert not torch.equal(parameter, network.get_parameter(name)), name


def test_random_weights_depend_on_the_seed_and_leave_the_random_state():
    network, state = Tokens(), torch.get_rng_state()
    first, again, other = (randomize_weights(network, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["token"], other["token"])
    assert first["token"].std() == pytest.approx(float(network.token.std()), rel=1)
