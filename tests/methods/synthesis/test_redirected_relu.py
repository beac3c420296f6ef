import pytest
import torch
from torch import nn

from lightning_viz.methods.synthesis.relu_gradients import LetThrough

RELUS = {
    "module": nn.ReLU(),
    "in place": nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)),
    "function": torch.relu,
    "method": lambda values: values.clone().relu_(),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(0, 3),
}


def gradient(relu, inputs, weights):
    """Of the score, weights · relu(inputs)."""
    leaf = inputs.clone().requires_grad_()
    return torch.autograd.grad((relu(leaf * 1) * weights).sum(), leaf)[0]


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_a_dead_one_lets_through_what_brings_it_to_life(relu):
    """The score rises as the first unit rises, and as the second falls, which is further from its kink."""
    inputs, weights = torch.tensor([[-1.0, -1.0]]), torch.tensor([[2.0, -2.0]])
    with LetThrough() as passage:
        found = gradient(relu, inputs, weights)
    assert passage.met
    assert found.tolist() == [[2, 0]]
    assert not gradient(relu, inputs, weights).any()  # without


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_an_image_that_is_alive_has_the_plain_gradient(relu):
    """Each image for itself."""
    inputs, weights = torch.tensor([[-1.0, 1.0], [-1.0, -2.0]]), torch.ones(2, 2)
    with LetThrough():
        found = gradient(relu, inputs, weights)
    assert torch.equal(found[0], gradient(relu, inputs, weights)[0])
    assert torch.equal(found[1], weights[1])


def test_saturated_ones_are_dead_too():
    with LetThrough():
        found = gradient(nn.ReLU6(), torch.tensor([[7.0, 8.0]]), torch.tensor([[-1.0, 1.0]]))
    assert found.tolist() == [[-1, 0]]


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_the_values_are_the_same(relu):
    values = torch.randn(3, 5) * 5
    with LetThrough():
        assert torch.equal(relu(values.clone().requires_grad_() * 1), relu(values.clone()))


def test_in_place_is_in_place():
    values = torch.tensor([[-1.0, 2.0]], requires_grad=True) * 1
    with LetThrough():
        nn.functional.relu(values, inplace=True)
    assert values.tolist() == [[0, 2]]


def test_it_says_that_none_was_dead():
    with LetThrough() as passage:
        gradient(nn.ReLU(), torch.tensor([[-1.0, 1.0]]), torch.ones(1, 2))
    assert not passage.met
