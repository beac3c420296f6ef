"""A model finds itself as it was: the same objects with the same values, whatever its forward pass changes."""

import time
from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from lightning_viz.methods.model.snapshot import preserved

from ...changing import CHANGES, Changing, everything


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_forward_pass_changes_is_restored(what):
    model = Changing()
    before = everything(model)
    with preserved(model):
        CHANGES[what](model)
        assert everything(model) != before
    assert everything(model) == before


def use(model):
    with preserved(model):
        model(torch.rand(2, 3, 8, 8)).sum().backward()
        model.zero_grad()


@pytest.mark.parametrize(
    "norm", [weight_norm, spectral_norm, parametrizations.weight_norm, parametrizations.spectral_norm]
)
@pytest.mark.parametrize("training", [False, True])
def test_normalised_weights_are_restored(norm, training):
    model = nn.Sequential(norm(nn.Conv2d(3, 4, 3)), nn.Flatten()).train(training)
    kept = {name: (value, value.clone()) for name, value in model.state_dict(keep_vars=True).items()}
    attributes = {name: list(vars(part)) for name, part in model.named_modules()}
    use(model)
    assert all(value is kept[name][0] for name, value in model.state_dict(keep_vars=True).items())
    assert all(torch.equal(value, copy) for value, copy in kept.values())
    assert {name: list(vars(part)) for name, part in model.named_modules()} == attributes


def test_lazy_modules_are_lazy_again_and_initialise_later():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    weights = [*model.parameters()]
    for _ in range(2):
        use(model)
        assert all(nn.parameter.is_lazy(one) for one in model.parameters())
        assert type(model[0]) is nn.LazyConv2d
    model(torch.rand(2, 3, 8, 8))
    assert type(model[0]) is nn.Conv2d
    assert model[0].weight.shape == (4, 3, 3, 3)
    assert all(one is other for one, other in zip(model.parameters(), weights, strict=True))


def test_a_scripted_model():
    model = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    use(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_tensors_of_inference_mode():
    model = Changing()
    with torch.inference_mode():
        model.steps, model.calls = torch.zeros(3), model.calls + 1
        with preserved(model):
            model.steps += 1
    with preserved(model):
        model.calls = model.calls + 1
    assert model.steps.tolist() == [0, 0, 0]
    assert model.calls.item() == 1


class Hostile:
    """Can be neither compared nor listed."""

    __slots__ = ()

    def __eq__(self, other):
        raise RuntimeError("compared")

    __hash__ = object.__hash__

    def __bool__(self):
        raise RuntimeError("asked")

    __len__ = __iter__ = __getattr__ = __eq__


def test_objects_that_cannot_be_compared():
    model = nn.Identity()
    model.one, model.several = Hostile(), [Hostile(), {"a": Hostile(), Hostile(): 1}, {Hostile()}]
    first = model.one
    with preserved(model):
        model.one = Hostile()
        model.several.append(Hostile())
    assert model.one is first
    assert len(model.several) == 3


class WithTrainer(nn.Module):
    def __init__(self, trainer):
        super().__init__()
        self.trainer, self.itself = trainer, self


def test_the_trainer_is_left_alone():
    trainer_class = type("Trainer", (), {"__module__": "lightning.pytorch.trainer"})
    subclass = type("Own", (trainer_class,), {"__module__": "own"})
    for kind in (trainer_class, subclass):
        trainer = kind()
        trainer.step = 1
        model = WithTrainer(trainer)
        with preserved(model):
            trainer.step = 2
        assert trainer.step == 2


def test_large_tensors_and_long_lists_cost_no_copy():
    model = nn.Identity()
    model.bank, model.history = torch.zeros(2**21), [[] for _ in range(5000)]
    with preserved(model):
        model.bank[0], model.history[0] = 1, None
    assert model.bank[0] == 1  # as documented
    assert model.history[0] == []
    start = time.perf_counter()
    for _ in range(10):
        with preserved(model):
            pass
    assert time.perf_counter() - start < 1


def test_an_error_leaves_everything_restored():
    model = Changing()
    before = everything(model)
    with suppress(KeyboardInterrupt), preserved(model):
        for change in CHANGES.values():
            change(model)
        raise KeyboardInterrupt
    assert everything(model) == before
