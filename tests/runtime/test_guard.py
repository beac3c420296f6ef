import random

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import nn

from lightning_viz.runtime.guard import guard

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
