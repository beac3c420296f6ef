import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_viz.methods.synthesis.redirected_relu import RedirectedReLU

RELUS = {
    "module": nn.ReLU(),
    "in place": nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)),
    "function": torch.relu,
    "method": lambda values: values.clone().relu_(),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(0, 3),
}


def gradient(relu, inputs, weights):
    """The gradient of the score weights · relu(inputs)."""
    leaf = inputs.clone().requires_grad_()
    return torch.autograd.grad((relu(leaf * 1) * weights).sum(), leaf)[0]


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_a_dead_relu_passes_the_gradient_that_activates_it(relu):
    """The score rises with the first unit, and as the second falls further below its threshold."""
    inputs, weights = torch.tensor([[-1.0, -1.0]]), torch.tensor([[2.0, -2.0]])
    with RedirectedReLU() as relus:
        found = gradient(relu, inputs, weights)
    assert relus.redirected
    assert found.tolist() == [[2, 0]]
    assert not gradient(relu, inputs, weights).any()  # without redirection


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_an_image_with_an_active_unit_has_the_plain_gradient(relu):
    """Each image is judged on its own."""
    inputs, weights = torch.tensor([[-1.0, 1.0], [-1.0, -2.0]]), torch.ones(2, 2)
    with RedirectedReLU():
        found = gradient(relu, inputs, weights)
    assert torch.equal(found[0], gradient(relu, inputs, weights)[0])
    assert torch.equal(found[1], weights[1])


def test_saturated_units_are_redirected_too():
    with RedirectedReLU():
        found = gradient(nn.ReLU6(), torch.tensor([[7.0, 8.0]]), torch.tensor([[-1.0, 1.0]]))
    assert found.tolist() == [[-1, 0]]


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_outputs_do_not_change(relu):
    values = torch.randn(3, 5) * 5
    with RedirectedReLU():
        assert torch.equal(relu(values.clone().requires_grad_() * 1), relu(values.clone()))


def test_in_place_stays_in_place():
    values = torch.tensor([[-1.0, 2.0]], requires_grad=True) * 1
    with RedirectedReLU():
        nn.functional.relu(values, inplace=True)
    assert values.tolist() == [[0, 2]]


def test_reports_when_no_relu_was_dead():
    with RedirectedReLU() as relus:
        gradient(nn.ReLU(), torch.tensor([[-1.0, 1.0]]), torch.ones(1, 2))
    assert not relus.redirected


def test_non_reentrant_checkpointing_changes_nothing():
    inputs = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    part = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(inplace=True), torch.nn.ReLU6())
    gradients = []
    for run in (part, lambda images: checkpoint(part, images, use_reentrant=False)):
        with RedirectedReLU():
            gradients += torch.autograd.grad(run(inputs).sum(), inputs)
    assert torch.equal(*gradients)
