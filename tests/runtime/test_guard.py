import random
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import nn

from lightning_viz.runtime.guard import guard

from ..changing import CHANGES, Changing, everything
from ..support import Restless, small_network


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_everything_comes_back(error):
    module = nn.Sequential(Restless(), small_network())
    before = states(), {name: value.clone() for name, value in module.state_dict().items()}
    buffers = dict(module.named_buffers())

    def disturb():
        with guard(module):
            module.train()
            module(torch.rand(2, 3, 8, 8))
            if error:
                raise error

    if error:
        with pytest.raises(error):
            disturb()
    else:
        disturb()
    assert states() == before[0]
    assert all(torch.equal(value, before[1][name]) for name, value in module.state_dict().items())
    assert all(part.training for part in module.modules())
    # The same tensors: DDP and CUDA graphs hold these objects.
    assert all(buffer is buffers[name] for name, buffer in module.named_buffers())


class Mutating(Changing):
    """Changes itself in its forward pass, in these ways; may fail in the middle."""

    def __init__(self, changes, error):
        super().__init__()
        self.changes, self.error = changes, error

    def forward(self, images):
        for change in self.changes:
            with suppress(Exception):  # what another change has removed
                CHANGES[change](self)
        if self.error is not None:
            raise self.error
        return images


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(st.lists(st.sampled_from(sorted(CHANGES)), max_size=8), min_size=1, max_size=3),
    error=st.sampled_from([None, RuntimeError(), KeyboardInterrupt()]),
    passes=st.integers(1, 2),
)
def test_a_module_that_changes_itself_in_whatever_way_is_as_it_was(changes, error, passes):
    last = Mutating(changes[-1], error)
    model = nn.Sequential(*(Mutating(one, None) for one in changes[:-1]), nn.Sequential(last))
    before = everything(model), states()
    for _ in range(2):
        with suppress(RuntimeError, KeyboardInterrupt), guard(model):
            for _ in range(passes):
                model(torch.rand(2, 3))
        assert (everything(model), states()) == before


def test_a_log_of_the_modules_own_is_muted_inside_only():
    module, logged = nn.Identity(), []
    module.log = lambda *args: logged.append(args)
    with guard(module):
        module.log("loss", 1)
        module.log_dict({"loss": 1})
    module.log("loss", 2)
    assert logged == [("loss", 2)]
    assert not hasattr(module, "log_dict")


def test_the_precision_plugins_autocast_is_on_inside_only():
    with guard(nn.Identity(), MixedPrecision("bf16-mixed", "cpu")):
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_random_states_come_back():
    torch.cuda.manual_seed_all(3)
    torch.rand(1, device="cuda")
    before = torch.cuda.get_rng_state_all()
    with guard(nn.Identity()):
        torch.rand(5, device="cuda")
    assert all(torch.equal(one, other) for one, other in zip(before, torch.cuda.get_rng_state_all(), strict=True))
