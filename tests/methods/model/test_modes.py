import pytest
import torch
from torch import nn

from lightning_viz.methods.model.modes import capture, evaluating

from ...support import small_network


def test_each_module_gets_its_own_flag_back():
    model = small_network().train()
    model[1].eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model] == [True, False, *[True] * 8]


def test_flags_come_back_after_an_error():
    model = small_network().train()
    with pytest.raises(KeyboardInterrupt), evaluating(model):
        raise KeyboardInterrupt
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("outer", [torch.inference_mode, torch.no_grad])
def test_gradients_are_possible_inside(outer):
    with outer(), evaluating(nn.Identity()):
        assert torch.ones(1, requires_grad=True).mul(2).requires_grad


def test_weights_that_a_validation_step_cast_are_not_used_for_gradients():
    """Autocast keeps what it casts, inference tensors too, which torch 2.6 hands out wherever the weight is asked for."""
    model, images = small_network(), torch.rand(2, 3, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.inference_mode():
            model(images)
        with evaluating(model):
            (gradient,) = torch.autograd.grad(model(images).sum(), images)
    assert gradient.any()


def test_a_training_step_casts_its_weights_itself():
    """What was cast without gradients inside has none to give outside."""
    model, images = small_network(), torch.rand(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        with evaluating(model), torch.no_grad():
            model(images)
        model(images).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("enabled", [True, False])
def test_autocasts_cache_is_on_again_if_it_was(enabled):
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=enabled):
        with evaluating(nn.Identity()):
            assert not torch.is_autocast_cache_enabled()
        assert torch.is_autocast_cache_enabled() == enabled


def test_captured_output_is_safe_from_in_place_layers():
    model = small_network().eval()
    images = torch.rand(2, 3, 8, 8)
    with capture(model, ["1"]) as outputs:
        model(images)
    assert torch.equal(outputs["1"], model[1](model[0](images)))
    assert (outputs["1"] < 0).any()


def test_hooks_go_when_the_context_ends():
    model = small_network()
    with pytest.raises(ValueError, match="layer='nope'"), capture(model, ["0", "nope"]):
        pass
    assert not any(module._forward_hooks for module in model.modules())


def test_frozen_layers_can_still_be_differentiated():
    model = small_network().requires_grad_(False).eval()
    with capture(model, ["2"]) as outputs:
        scores = model(torch.rand(1, 3, 8, 8))
    (gradient,) = torch.autograd.grad(scores.sum(), outputs["2"])
    assert gradient.abs().sum() > 0
