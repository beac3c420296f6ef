import pytest
import torch
from torch import nn

from lightning_viz.methods.model.capture import capture
from lightning_viz.methods.model.modes import evaluating

from ...support import small_network


def test_each_module_has_its_flag_again():
    model = small_network().train()
    model[1].eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model] == [True, False, *[True] * 8]


def test_flags_are_restored_after_an_error():
    model = small_network().train()
    with pytest.raises(KeyboardInterrupt), evaluating(model):
        raise KeyboardInterrupt
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("outer", [torch.inference_mode, torch.no_grad])
def test_gradients_are_enabled_inside(outer):
    with outer(), evaluating(nn.Identity()):
        assert torch.ones(1, requires_grad=True).mul(2).requires_grad


def test_weights_cast_by_a_validation_step_are_not_used_for_gradients():
    """Autocast caches what it casts, inference tensors too, and torch 2.6 returns them for every use of the weight."""
    model, images = small_network(), torch.rand(2, 3, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.inference_mode():
            model(images)
        with evaluating(model):
            (gradient,) = torch.autograd.grad(model(images).sum(), images)
    assert gradient.any()


def test_a_training_step_casts_its_weights_again():
    """A weight cast without gradients inside would give none outside."""
    model, images = small_network(), torch.rand(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        with evaluating(model), torch.no_grad():
            model(images)
        model(images).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("enabled", [True, False])
def test_autocast_cache_setting_is_restored(enabled):
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=enabled):
        with evaluating(nn.Identity()):
            assert not torch.is_autocast_cache_enabled()
        assert torch.is_autocast_cache_enabled() == enabled


def test_captured_activation_is_safe_from_in_place_layers():
    model = small_network().eval()
    images = torch.rand(2, 3, 8, 8)
    with capture(model, ["1"]) as outputs:
        model(images)
    assert torch.equal(outputs["1"], model[:3](images))


def test_hooks_are_removed_after_an_error():
    model = small_network()
    with pytest.raises(ValueError, match="layers='nope'"), capture(model, ["0", "nope"]):
        pass
    assert not any(module._forward_hooks for module in model.modules())


def test_frozen_layers_can_still_be_differentiated():
    model = small_network().requires_grad_(False).eval()
    with capture(model, ["2"]) as outputs:
        scores = model(torch.rand(1, 3, 8, 8))
    (gradient,) = torch.autograd.grad(scores.sum(), outputs["2"])
    assert gradient.abs().sum() > 0
