"""Hydra makes every callback, and a probe, of any configuration; they store plain values, as without Hydra."""

import dataclasses
import inspect

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from lightning_viz import (
    ActivationLogger,
    ClassSynthesisLogger,
    DeepDreamLogger,
    GradCAMLogger,
    Probe,
    SaliencyLogger,
    viz_callbacks,
)
from lightning_viz.callbacks.suite import CALLBACKS

from ..processes import run_python

FUNCTION = {"_target_": "hydra.utils.get_method", "path": "torch.squeeze"}
HARDEST = {"_target_": "lightning_viz.Probe.hardest", "refresh": True}

#: A value for each option of each callback; a new option needs one, too.
VALUES = {
    "channel": 1,
    "channels": [0, 2],
    "class_balanced": True,
    "classes": [0, 1],
    "compare": "predicted",
    "copies": 2,
    "dataloaders": [0, 1],
    "every_n_epochs": 2,
    "every_n_train_steps": 5,
    "forward": FUNCTION,
    "history": 3,
    "layer": "network.0",
    "layers": ["network.0", "network.3"],
    "log_at_start": False,
    "max_channels": 3,
    "max_filters": 5,
    "max_images": 3,
    "max_overhead": 0.5,
    "max_points": 100,
    "max_snapshots": 3,
    "max_units": 3,
    "method": "occlusion",
    "method_options": {"size": 3},
    "neighbours": 2,
    "objective": "sum",
    "on_error": "raise",
    "patches": 3,
    "per_class": True,
    "position": [1, 2],
    "probe": HARDEST,
    "recipe": "classic",
    "recipe_options": {"turn": 5.0},
    "reshape": FUNCTION,
    "seed": 3,
    "signed": True,
    "size": 8,
    "steps": 3,
    "tag": "mine",
    "target": [0, 1, 2],
    "trust": ["change", "sanity"],
    "unpack": FUNCTION,
    "units": [0, 1],
    "warm_start": False,
    "warm_steps": 3,
}
#: Where one callback has other values.
OWN_VALUES = {
    (GradCAMLogger, "method"): "layercam",
    (GradCAMLogger, "method_options"): {"batch_size": 4},
    (SaliencyLogger, "method_options"): {"samples": 4, "noise": 0.2},
    (DeepDreamLogger, "method_options"): {"steps": 2, "octave_scale": 1.5},
}
#: What an option needs beside it.
NEEDED = {
    (ClassSynthesisLogger, "units"): {"layer": "network.0"},
    (ClassSynthesisLogger, "position"): {"layer": "network.0"},
    (GradCAMLogger, "method_options"): {"method": "scorecam"},
    (SaliencyLogger, "method_options"): {"method": "smoothgrad"},
}

OPTIONS = [(kind, name) for kind in CALLBACKS for name in inspect.signature(kind).parameters]


def by_hydra(path, **options):
    """As Hydra's instantiate makes it of a composed configuration: lists and dicts remain those of OmegaConf."""
    return instantiate(OmegaConf.create({"_target_": path, **options}))


def assert_same(found, expected):
    """Equal, and of the same types all the way down, none of them Hydra's."""
    assert type(found) is type(expected)
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        assert {*map(type, found)} == {*map(type, expected)}
    if isinstance(found, list | tuple | dict):
        for one in found if isinstance(found, dict) else range(len(found)):
            assert_same(found[one], expected[one])
    elif isinstance(found, torch.Tensor):
        assert torch.equal(found, expected)
    else:
        assert found == expected


def plainly(value):
    """The value that Hydra would make of a node."""
    return instantiate(value) if isinstance(value, dict) and "_target_" in value else value


@pytest.mark.parametrize(("kind", "name"), OPTIONS, ids=lambda one: getattr(one, "__name__", one))
def test_an_option_is_stored_as_without_hydra(kind, name):
    value = OWN_VALUES.get((kind, name), VALUES[name])
    needed = NEEDED.get((kind, name), {})
    for given in [value, None] if inspect.signature(kind).parameters[name].default is None else [value]:
        made = by_hydra(f"lightning_viz.{kind.__name__}", **{name: given}, **needed)
        assert_same(getattr(made, name), getattr(kind(**{name: plainly(given)}, **needed), name))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ActivationLogger, "layers", "network.0"),
        (ActivationLogger, "channels", "varying"),
        (SaliencyLogger, "target", 2),
        (SaliencyLogger, "target", "label"),
        (SaliencyLogger, "target", FUNCTION),
        (SaliencyLogger, "trust", []),
        (ClassSynthesisLogger, "recipe_options", {"crop": [0.5, 1.0]}),
    ],
)
def test_other_forms_of_an_option_are_stored_as_without_hydra(kind, name, value):
    made = by_hydra(f"lightning_viz.{kind.__name__}", **{name: value})
    assert_same(getattr(made, name), getattr(kind(**{name: plainly(value)}), name))


@pytest.mark.parametrize(
    "name", [name for name, one in inspect.signature(viz_callbacks).parameters.items() if one.kind is one.KEYWORD_ONLY]
)
def test_a_common_option_of_the_suite_is_stored_as_without_hydra(name):
    made = by_hydra("lightning_viz.viz_callbacks", **{name: VALUES[name]})
    assert [type(one) for one in made] == list(CALLBACKS)
    for one, expected in zip(made, viz_callbacks(**{name: plainly(VALUES[name])}), strict=True):
        assert_same(getattr(one, name), getattr(expected, name))


def test_a_tuple_of_hydras_lists_is_stored_as_lists():
    inner = ListConfig([0, 1])
    assert_same(SaliencyLogger(target=tuple(inner)).target, [0, 1])
    assert_same(DeepDreamLogger(method_options=DictConfig({"steps": 3})).method_options, {"steps": 3})


PROBE = {
    "images": {"_target_": "torch.ones", "_args_": [2, 4, 3, 3]},
    "labels": [0, 1],
    "class_names": ["cat", "dog"],
    "mean": [0.1, 0.2, 0.3, 0.4],
    "std": [1, 1, 1, 0.5],
    "origin": "mine",
    "in_bytes": False,
    "bands": [3, 2, 1],
}


@pytest.mark.parametrize("other", [{}, {"mean": 0.5, "std": 0.5, "bands": 2, "labels": None, "class_names": None}])
def test_a_probe_is_stored_as_without_hydra(other):
    options = {**PROBE, **other}
    assert options.keys() == {one.name for one in dataclasses.fields(Probe)}
    made = by_hydra("lightning_viz.SaliencyLogger", probe={"_target_": "lightning_viz.Probe", **options}).probe
    expected = Probe(**{name: plainly(value) for name, value in options.items()})
    for name in options:
        assert_same(getattr(made, name), getattr(expected, name))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ActivationLogger, "layers", ["conv1", "???"]),
        (ActivationLogger, "layers", ["${nowhere}"]),
        (SaliencyLogger, "target", [0, "${nowhere}"]),
        (SaliencyLogger, "trust", ["???"]),
        (ActivationLogger, "channels", [0, "???"]),
        (DeepDreamLogger, "method_options", {"steps": "???"}),
    ],
)
def test_a_value_that_is_missing_is_named(kind, name, value):
    with pytest.raises(ValueError, match=rf"{name}=.* cannot be read: .*; give a value"):
        kind(**{name: OmegaConf.create({"value": value}).value})


@pytest.mark.parametrize("name", ["class_names", "mean", "bands"])
def test_a_value_that_is_missing_is_named_in_a_probe(name):
    options = {"mean": [0.5] * 3, "std": [0.5] * 3, name: ListConfig([0, "???", 1])}
    with pytest.raises(ValueError, match=rf"{name}=.* cannot be read: .*; give a value"):
        Probe(torch.ones(1, 3, 2, 2), **options)


def test_the_library_does_not_import_hydra():
    code = "import sys, lightning_viz; lightning_viz.viz_callbacks(); print({'hydra', 'omegaconf'} & {*sys.modules})"
    assert run_python("-c", code).stdout.splitlines()[-1] == "set()"
