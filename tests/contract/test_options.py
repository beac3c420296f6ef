"""The options of every callback: visible, stored under their own names, of any sequence or mapping, checked at once."""

import inspect
import typing
from collections import UserList
from types import MappingProxyType

import pytest
import torch

from lightning_viz import (
    ActivationLogger,
    ClassSynthesisLogger,
    DeepDreamLogger,
    EmbeddingProjectorLogger,
    FilterLogger,
    GradCAMLogger,
    SaliencyLogger,
    TopPatchesLogger,
    VizCallback,
)
from lightning_viz.callbacks._options import CommonOptions

COMMON = [
    "every_n_epochs", "every_n_train_steps", "log_at_start", "probe", "max_images", "tag", "history", "target",
    "max_overhead", "on_error", "forward", "unpack",
]  # fmt: skip


def shared(kind):
    """The parameters that a callback has of `VizCallback`."""
    return {name: one for name, one in inspect.signature(kind).parameters.items() if name in COMMON}


def test_the_common_options_are_written_once():
    parameters = inspect.signature(VizCallback).parameters
    assert [name for name in parameters if name != "unknown"] == COMMON
    assert all(one.kind is one.KEYWORD_ONLY for name, one in parameters.items() if name != "unknown")
    assert list(CommonOptions.__annotations__) == COMMON
    assert {name: one.annotation for name, one in shared(VizCallback).items()} == CommonOptions.__annotations__
    assert typing.get_type_hints(CommonOptions).keys() == set(COMMON)


def test_every_signature_shows_all_options(case):
    assert shared(case.callback) == shared(VizCallback)
    kinds = {one.kind for one in inspect.signature(case.callback).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds, "it would let a misspelt option through"
    assert inspect.signature(case.callback.__init__).parameters["history"].default == 8


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every_n_epochs": 0}, ValueError, "every_n_epochs=0"),
        ({"every_n_train_steps": 0}, ValueError, "every_n_train_steps=0"),
        ({"every_n_epochs": 1.5}, TypeError, "every_n_epochs=1.5"),
        ({"max_images": 0}, ValueError, "max_images=0"),
        ({"history": -1}, ValueError, "history=-1"),
        ({"on_error": "ignore"}, ValueError, "on_error='ignore'"),
        ({"target": "truth"}, ValueError, "target='truth'"),
        ({"tag": ""}, ValueError, "tag=''"),
        ({"max_overhead": 0}, ValueError, "max_overhead=0"),
        ({"forward": 3}, TypeError, "forward=3"),
        ({"unpack": "batch"}, TypeError, "unpack='batch'"),
        ({"probe": torch.zeros(1, 3, 4, 4)}, TypeError, "probe=.* is Tensor"),
        ({"no_such_option": 1}, TypeError, "has no option 'no_such_option'; options: .*every_n_epochs"),
        ({"every_n_step": 1}, TypeError, "has no option 'every_n_step'; closest: 'every_n_train_steps'"),
        ({"every_n_steps": 1}, TypeError, "has no option 'every_n_steps'; closest: 'every_n_train_steps'"),
        (
            {"every_n_epochs": 2, "every_n_train_steps": 5},
            ValueError,
            "every_n_epochs=2 and every_n_train_steps=5 exclude each other; give one",
        ),
        ({"max_image": 1}, TypeError, "has no option 'max_image'; closest: 'max_images'"),
    ],
)
def test_a_wrong_argument_fails_in_the_constructor(case, options, error, message):
    with pytest.raises(error, match=message):
        case.callback(**options)


def test_arguments_are_stored_under_their_own_names(case):
    options = {
        "every_n_train_steps": 7, "max_images": 2, "tag": "mine", "history": 0, "target": 1,
        "log_at_start": False, "max_overhead": 0.5, "on_error": "raise", "forward": len, "unpack": tuple,
    }  # fmt: skip
    made = case.callback(**options)
    assert {name: getattr(made, name) for name in options} == options
    assert case.callback(every_n_epochs=3).every_n_epochs == 3
    assert all(hasattr(made, name) for name in inspect.signature(case.callback).parameters)


def test_two_of_a_kind_are_told_apart_by_their_tags(case):
    assert len({case.callback(tag=tag).state_key for tag in (None, "one", "two")}) == 3


@pytest.mark.parametrize(
    ("kind", "name", "plain"),
    [
        (FilterLogger, "layers", ["network.0"]),
        (ActivationLogger, "layers", ["network.0"]),
        (ActivationLogger, "channels", [0, 2]),
        (SaliencyLogger, "trust", ["change"]),
        (SaliencyLogger, "method_options", {"samples": 3}),
        (SaliencyLogger, "target", [0, 1]),
        (GradCAMLogger, "layers", ["network.0"]),
        (GradCAMLogger, "trust", ["change", "sanity"]),
        (EmbeddingProjectorLogger, "layers", ["network.0"]),
        (EmbeddingProjectorLogger, "dataloaders", [0, 1]),
        (TopPatchesLogger, "layers", ["network.0"]),
        (TopPatchesLogger, "units", [0, 1]),
        (ClassSynthesisLogger, "classes", [0, 1]),
        (ClassSynthesisLogger, "recipe_options", {"turn": 5.0}),
        (DeepDreamLogger, "method_options", {"steps": 1}),
    ],
)
def test_any_sequence_or_mapping_is_taken(kind, name, plain):
    """And stored as a plain one, which jsonargparse and Hydra write."""
    extra = {"method": "smoothgrad"} if (kind, name) == (SaliencyLogger, "method_options") else {}
    others = [MappingProxyType(plain)] if isinstance(plain, dict) else [tuple(plain), UserList(plain)]
    for given in [plain, *others]:
        stored = getattr(kind(**{name: given}, **extra), name)
        assert type(stored) is type(plain)
        assert stored == plain


class WithOption(GradCAMLogger):
    def __init__(self, extra: int = 3, **kwargs):
        super().__init__(**kwargs)


class Mixin:
    def __init__(self, mixed: int = 1, **kwargs):
        super().__init__(**kwargs)


class Mixed(Mixin, GradCAMLogger):
    def __init__(self, extra: int = 3, **kwargs):
        super().__init__(**kwargs)


@pytest.mark.parametrize(("subclass", "own"), [(WithOption, {"extra"}), (Mixed, {"extra", "mixed"})])
def test_a_users_subclass_shows_the_options_of_its_bases(subclass, own):
    assert {*inspect.signature(subclass).parameters} == own | {*inspect.signature(GradCAMLogger).parameters}
    assert subclass(layers="network.0", tag="mine").layers == "network.0"


def test_its_repr_shows_the_options_that_differ(case):
    name = case.callback.__name__
    assert repr(case.callback()) == f"{name}()"
    assert repr(case.callback(max_images=3, tag="mine")) == f"{name}(max_images=3, tag='mine')"


def test_both_schedules_as_a_configuration_writes_them(case):
    """With the default of the one that was not given."""
    assert case.callback(every_n_epochs=1, every_n_train_steps=5).schedule.in_steps
