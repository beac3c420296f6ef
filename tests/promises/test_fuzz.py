"""Whatever is given to a constructor is stored, or refused at once, by a message that says what is wrong and what to do."""

import inspect
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_viz import (
    ActivationLogger,
    ClassSynthesisLogger,
    DeepDreamLogger,
    EmbeddingProjectorLogger,
    GradCAMLogger,
    Probe,
    SaliencyLogger,
    VizCallback,
    viz_callbacks,
)
from lightning_viz.methods.attribution.registry import CAM_METHODS, PIXEL_METHODS

from ..support import CALLBACKS

FUZZ = settings(
    max_examples=600, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
REMEDY = r"give|choose|must be|leave it out"


class Odd:
    """Compares with nothing and cannot even be written."""

    def __repr__(self):
        raise RuntimeError("unspeakable")

    def __eq__(self, other):
        raise RuntimeError("incomparable")

    __hash__ = None


# Values of all kinds. They are made anew each time: none is remembered by a check that compares by identity.

ODDITIES = [
    object, Odd, set, list, dict, tuple, bytearray, lambda: range(3),
    lambda: torch.zeros(()), lambda: torch.tensor([1, 2]), lambda: torch.rand(40, 40), lambda: torch.tensor(math.nan),
    lambda: np.zeros(3), lambda: np.array("label"), lambda: np.int64(3), lambda: np.float32(0.5),
    lambda: Probe.hardest(), lambda: Probe, lambda: (lambda *given: None), lambda: "x" * 10_000, lambda: [7] * 10_000,
    lambda: {"steps": 4}, lambda: {"samples": -1}, lambda: {"samples": 8}, lambda: {"turn": 5.0}, lambda: {"crop": (0.5, 1.0)},
    lambda: (0, 2), lambda: range(3), lambda: ("conv1", "fc"), lambda: ("change", "sanity"), lambda: (1, (2, 3)),
    lambda: MappingProxyType({"steps": 4}), lambda: MappingProxyType({"samples": 8}), lambda: b"ab",
    lambda: {"crop": [2.0, 1.0]}, lambda: {1: 2}, lambda: {Ellipsis: None}, lambda: ["change", "sanity"], lambda: ["conv1", 3],
]  # fmt: skip
WORDS = ["warn", "raise", "label", "gradient", "occlusion", "cam", "predicted", "active", "fourier", "classic", "a/b"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.integers(),
    st.floats(),
    st.sampled_from([*WORDS, "", " ", "/", "\0", "\ud800", "layer4"]),
    st.text(max_size=8),
    st.binary(max_size=4),
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.lists(st.integers(-1, 9), max_size=4),
    st.dictionaries(
        st.sampled_from([*"ab", "steps", "samples", "decay", "noise", "seed", "crop"]), scalars, max_size=2
    ),
    st.sampled_from(ODDITIES).map(lambda make: make()),
)


# What each option should take, said independently of the library.


def whole(least, most=math.inf):
    return lambda value: type(value) is int and least <= value <= most


def flag(value):
    return type(value) is bool


def none(value):
    return value is None


def text(value):
    return isinstance(value, str)


def one_of(*choices):
    return lambda value: isinstance(value, str) and value in choices


def either(*kinds):
    return lambda value: any(kind(value) for kind in kinds)


def listed(value):
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def list_of(kind, count=None):
    """Any sequence of these: Hydra's lists, tuples of YAML."""
    return lambda value: listed(value) and len(value) > 0 and all(map(kind, value)) and count in (None, len(value))


def number(value):
    return type(value) in (int, float, np.float32, np.float64) and math.isfinite(value)


def options_of(**kinds):
    return lambda value: (
        isinstance(value, Mapping) and all(name in kinds and kinds[name](one) for name, one in value.items())
    )


def shares(value):
    fits = isinstance(value, list | tuple) and len(value) == 2 and all(map(number, value))
    return fits and 0 < value[0] <= value[1] <= 1


def positive(value):
    return number(value) and value >= 0


LAYERS = either(none, text, list_of(text))
INDICES = either(none, list_of(whole(0)))

COMMON = {
    "every_n_epochs": whole(1),
    "every_n_train_steps": either(none, whole(1)),
    "log_at_start": flag,
    "probe": either(none, lambda value: isinstance(value, type(Probe.hardest()))),
    "max_images": whole(1),
    "tag": either(none, lambda value: text(value) and bool("".join(c for c in value if c.isprintable()).strip("/ "))),
    "history": whole(0),
    "target": either(none, whole(0), list_of(whole(0)), one_of("label"), callable),
    "max_overhead": either(none, lambda value: type(value) in (int, float) and 0 < value <= 1),
    "on_error": one_of("warn", "raise"),
    "forward": either(none, callable),
    "unpack": either(none, callable),
}
TRUST = {"trust": either(none, lambda v: listed(v) and all(map(one_of("change", "faithfulness", "sanity"), v)))}
OPTIONS = {
    "FilterLogger": {"layers": LAYERS, "max_filters": whole(1)},
    "ActivationLogger": {
        "layers": LAYERS,
        "channels": either(one_of("active", "varying"), list_of(whole(0))),
        "max_channels": whole(1),
    },
    "SaliencyLogger": TRUST
    | {
        "method": one_of(*PIXEL_METHODS),
        "signed": flag,
        "method_options": either(
            none, options_of(samples=whole(-99), noise=number, batch_size=whole(0), seed=whole(-99))
        ),
    },
    "GradCAMLogger": TRUST
    | {
        "layers": LAYERS,
        "method": one_of(*CAM_METHODS),
        "method_options": either(none, options_of()),  # the default method has none
        "compare": either(none, one_of("predicted")),
        "reshape": either(none, callable),
    },
    "EmbeddingProjectorLogger": {
        "layers": LAYERS,
        "max_points": whole(1, 100_000),
        "class_balanced": flag,
        "neighbours": whole(1),
        "per_class": flag,
        "dataloaders": INDICES,
        "max_snapshots": whole(1),
        "seed": whole(0),
    },
    "TopPatchesLogger": {"layers": LAYERS, "units": INDICES, "max_units": whole(1), "patches": whole(1)},
    "ClassSynthesisLogger": {
        "classes": INDICES,
        "layer": either(none, text),
        "units": INDICES,
        "position": either(none, list_of(whole(0), 2)),
        "steps": whole(1),
        "warm_steps": whole(1),
        "warm_start": flag,
        "copies": whole(1),
        "size": either(none, whole(2)),
        "recipe": one_of("fourier", "classic"),
        "recipe_options": either(
            none,
            options_of(
                learning_rate=positive, decay=positive, crop=shares, turn=positive, noise=positive, revive=whole(0)
            ),
        ),
        "per_class": flag,
        "seed": whole(0),
    },
    "DeepDreamLogger": {
        "layer": either(none, text),
        "channel": either(none, whole(0)),
        "method_options": either(none, options_of(steps=whole(-99), seed=whole(-99))),
        "objective": one_of("norm", "sum"),
    },
}

#: What an option needs beside it.
BESIDE = {"units": {"layer": "layer4"}, "position": {"layer": "layer4"}}
USUAL = {SaliencyLogger: {"method_options": {"method": "smoothgrad"}}, ClassSynthesisLogger: BESIDE}


def test_every_option_is_here():
    for kind in CALLBACKS:
        parameters = {name for each in kind.__mro__ if issubclass(each, VizCallback) for name in _own_parameters(each)}
        assert parameters == {*COMMON, *OPTIONS[kind.__name__]}, kind
        assert {*inspect.signature(kind).parameters} == parameters, kind  # what editors, jsonargparse and Hydra see


def _own_parameters(kind):
    """As they are written, without the signature that shows the inherited ones."""
    code = kind.__init__.__code__
    return code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]


def plain(value):
    """As it is stored, to be written to YAML and read back: lists and dicts."""
    if listed(value):
        return [plain(one) for one in value]
    return {name: plain(one) for name, one in value.items()} if isinstance(value, Mapping) else value


def refuses(make, name, value):
    """That it raises one of two errors, and says the option, the value or its kind, and a remedy."""
    with pytest.raises((TypeError, ValueError), match=rf"(?s)\b{name}\b.*({REMEDY})") as caught:
        make()
    said = str(caught.value)
    try:
        written = repr(value)
    except RuntimeError:
        written = "Odd"
    parts = value if listed(value) else [*value, *value.values()] if isinstance(value, Mapping) else []
    words = [
        written,
        type(value).__name__,
        str(tuple(getattr(value, "shape", ()))),
        str(getattr(value, "dtype", "")) or written,
        *(repr(part) for part in parts if type(part) is not Odd),
    ]
    assert any(word in said for word in words), said
    assert len(said) < 600


@pytest.mark.parametrize("kind", CALLBACKS)
def test_a_callback_takes_what_is_right_and_refuses_what_is_wrong(kind):
    options = COMMON | OPTIONS[kind.__name__]

    @FUZZ
    @given(st.sampled_from(sorted(options)), values)
    def check(name, value):
        beside = USUAL.get(kind, {}).get(name, {})
        if options[name](value):
            stored = getattr(kind(**beside, **{name: value}), name)
            assert stored is value or (stored == plain(value) and type(stored) is type(plain(value)))
        else:
            refuses(lambda: kind(**beside, **{name: value}), name, value)

    check()


@FUZZ
@given(st.text(min_size=1, max_size=12), values)
def test_an_unknown_name_is_refused(name, value):
    if name not in COMMON:
        with pytest.raises(TypeError, match=r"has no option .*; (closest|options): "):
            viz_callbacks(**{name: value})


@pytest.mark.parametrize("kind", CALLBACKS)
def test_a_misspelt_option_is_refused_with_the_closest_name(kind):
    for name in inspect.signature(kind).parameters:
        with pytest.raises(TypeError) as caught:
            kind(**{f"{name}_": None})
        assert f"{kind.__name__} has no option '{name}_'; closest: '{name}'" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (ClassSynthesisLogger, {"units": [1]}, r"units=\[1\].* give its name as layer="),
        (
            ClassSynthesisLogger,
            {"classes": [1], "layer": "a"},
            r"classes=\[1\] and layer='a' exclude each other; give one",
        ),
        (ActivationLogger, {"channels": "a list of indices"}, "channels='a list of indices' is unknown; choose"),
        (EmbeddingProjectorLogger, {"dataloaders": 0}, "dataloaders=0 .*give"),
        (
            SaliencyLogger,
            {"method": "occlusion", "method_options": {"samples": 3}},
            r"method_options has \['samples'\], and occlusion has no such option; choose from",
        ),
        (GradCAMLogger, {"trust": ["change", "truth"]}, "trust='truth' is unknown; choose"),
        (
            DeepDreamLogger,
            {"method_options": {"steps": 2.0}},
            r"method_options\['steps'\]=2.0 is float; give an integer",
        ),
    ],
)
def test_options_that_do_not_fit_one_another(kind, options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        kind(**options)


# Probe.


def images(value):
    if not isinstance(value, torch.Tensor) or not (value.is_floating_point() or value.dtype == torch.uint8):
        return False
    return value.ndim == 4 and 0 not in value.shape


def labels(value):
    try:
        array = np.asarray(value)
    except Exception:
        return False
    return value is None or (array.shape == (2,) and array.dtype.kind in "iu")  # negative: unlabelled


def in_float32(value):
    """The number as it is computed with; NaN where it is none then."""
    try:
        found = float(torch.as_tensor(value).float())
    except Exception:  # too large, of whatever error
        return math.nan
    return found if math.isfinite(found) else math.nan


def colours(least):
    def fits(value):
        many = (
            list(value)
            if isinstance(value, list | tuple | range)
            else value.reshape(-1).tolist()
            if array(value)
            else [value]
        )
        flat = not array(value) or value.ndim <= 1
        return flat and len(many) in (1, 3) and all(number(one) and in_float32(one) > least for one in many)

    return fits


def array(value):
    return isinstance(value, torch.Tensor | np.ndarray | np.number)


def bands(value):
    many = value.tolist() if array(value) else list(value) if listed(value) else value
    many = many if isinstance(many, list) else [many]
    return value is None or (len(many) in (1, 3) and all(type(one) is int and 0 <= one < 3 for one in many))


PROBE = {
    "images": images,
    "labels": labels,
    "class_names": either(
        none, lambda v: type(v) in (list, tuple, range) and v and all(isinstance(one, str | int) for one in v)
    ),
    "mean": colours(-math.inf),
    "std": colours(0),
    "origin": text,
    "bands": bands,
}
TENSORS = [
    lambda: torch.rand(2, 3, 4, 4), lambda: torch.rand(2, 3, 4), lambda: torch.rand(0, 3, 4, 4), lambda: torch.ones(2).long(),
    lambda: torch.zeros(2, 3, 4, 4, dtype=torch.uint8), lambda: torch.zeros(2, 3, 4, 4, dtype=torch.complex64),
    lambda: torch.tensor([True, False]), lambda: torch.tensor([-1, 0]), lambda: [0, 1], lambda: (3, 2), lambda: [0.5, 0.4, 0.3],
    lambda: [0.5, math.nan, 0.3], lambda: (0.1, 0.0, 1.0), lambda: np.array([0.5, 0.5, 0.2]), lambda: ["cat", 3],
    lambda: [None, "cat"], lambda: ("a", "b", "c", "d"), lambda: {"cat": 1}, lambda: torch.rand(3), lambda: 0.5, lambda: -0.5,
    lambda: [2, 1, 0], lambda: torch.tensor([2, 0, 0]), lambda: np.array(2), lambda: [3, 2, 1],
]  # fmt: skip


@settings(FUZZ, max_examples=1000)
@given(st.sampled_from(sorted(PROBE)), st.one_of(values, st.sampled_from(TENSORS).map(lambda make: make())))
def test_a_probe_takes_what_is_right_and_refuses_what_is_wrong(name, value):
    given = {"images": torch.rand(2, 3, 4, 4), name: value}
    if name in ("mean", "std"):
        given = {"mean": 0.5, "std": 0.5, **given}
    if PROBE[name](value):
        Probe(**given).pictures  # noqa: B018 - they can be shown, too
    else:
        refuses(lambda: Probe(**given), name, value)
