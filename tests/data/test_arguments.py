from collections import UserDict, UserList
from collections.abc import Mapping, Sequence

import pytest
import torch

from lightning_viz.data.arguments import (
    as_indices,
    as_list,
    as_names,
    as_options,
    as_target,
    check_callable,
    check_choice,
    check_count,
    check_flag,
    check_fraction,
    check_name,
    check_tag,
    describe_value,
    plain,
)


class Listlike(Sequence):
    """A sequence that is no list, such as Hydra's ListConfig."""

    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Dictlike(Mapping):
    """A mapping that is no dict, such as Hydra's DictConfig."""

    def __init__(self, **items):
        self.items_ = items

    def __len__(self):
        return len(self.items_)

    def __iter__(self):
        return iter(self.items_)

    def __getitem__(self, key):
        return self.items_[key]


def test_values_are_described_in_a_line():
    class Unprintable:
        def __repr__(self):
            raise RuntimeError

    assert describe_value([1, "a"]) == "[1, 'a']"
    assert describe_value("a" * 100) == "<str>"
    assert describe_value(torch.eye(2)) == "<Tensor>"  # its repr has two lines
    assert describe_value(Unprintable()) == "<Unprintable>"


def test_nested_sequences_and_mappings_become_lists_and_dicts():
    given = Dictlike(a=Listlike(1, Dictlike(b=(2, 3))), c="text")
    assert plain(given) == {"a": [1, {"b": [2, 3]}], "c": "text"}


SEQUENCES = [[0, 2], (0, 2), range(0, 3, 2), Listlike(0, 2), UserList([0, 2])]


@pytest.mark.parametrize("given", SEQUENCES, ids=lambda one: type(one).__name__)
def test_indices_may_be_any_sequence(given):
    found = as_indices("units", given)
    assert found == [0, 2]
    assert type(found) is list


@pytest.mark.parametrize("given", SEQUENCES, ids=lambda one: type(one).__name__)
def test_a_target_may_be_any_sequence(given):
    assert as_target(given) == [0, 2]


@pytest.mark.parametrize("given", [["a", "b"], ("a", "b"), Listlike("a", "b"), UserList(["a", "b"])])
def test_names_may_be_any_sequence(given):
    assert as_names("layers", given) == ["a", "b"]


@pytest.mark.parametrize("given", [{"a": 2}, Dictlike(a=2), UserDict(a=2)], ids=lambda one: type(one).__name__)
def test_options_may_be_any_mapping(given):
    found = as_options("method_options", given, "method", {"a": 1})
    assert found == {"a": 2}
    assert type(found) is dict


def test_none_stays_none():
    assert as_indices("units", None) is None
    assert as_names("layers", None) is None
    assert as_options("method_options", None, "method", {}) is None
    assert as_target(None) is None


def test_a_single_name_stays_one():
    assert as_names("layers", "conv1") == "conv1"
    assert [as_list(one) for one in (None, "a", ["a", "b"])] == [[], ["a"], ["a", "b"]]


@pytest.mark.parametrize("target", [0, 7, "label", len])
def test_targets_are_returned(target):
    assert as_target(target) == target


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (check_flag, True),
        (check_fraction, 0.05),
        (check_fraction, 1),
        (check_fraction, None),
        (check_callable, len),
        (check_callable, None),
        (check_name, "conv1"),
        (check_name, None),
        (lambda name, value: check_count(name, value, 1), 1),
        (lambda name, value: check_count(name, value, 1, optional=True), None),
        (lambda name, value: check_choice(name, value, ("a", None)), None),
        (lambda name, value: check_tag(value), "a/b"),
        (lambda name, value: check_tag(value), None),
    ],
)
def test_valid_values_are_returned(check, value):
    assert check("option", value) is value


def count(name, value):
    return check_count(name, value, 2)


@pytest.mark.parametrize(
    ("check", "value", "error", "message"),
    [
        (count, 1, ValueError, r"option=1 is too small; give 2 or more"),
        (count, 2.0, TypeError, r"option=2\.0 is float; give a whole number of 2 or more"),
        (count, True, TypeError, "option=True is bool"),
        (count, None, TypeError, "option=None is NoneType"),
        (check_fraction, 0, ValueError, r"option=0 must be in \(0, 1\]; give a number such as 0\.05, or None"),
        (check_fraction, 1.5, ValueError, r"option=1\.5 must be in \(0, 1\]"),
        (check_fraction, float("nan"), ValueError, r"option=nan must be in \(0, 1\]"),
        (check_fraction, "0.05", TypeError, r"option='0\.05' is str; give a number in \(0, 1\]"),
        (check_fraction, True, TypeError, "option=True is bool"),
        (check_flag, 1, TypeError, "option=1 is int; give True or False"),
        (check_callable, 3, TypeError, "option=3 is int; give a callable"),
        (check_name, ["a"], TypeError, r"option=\['a'\] is list; give a dotted name, or None"),
        (as_names, 3, TypeError, "option=3 is int; give a dotted name, a list of them, or None"),
        (as_names, [], TypeError, r"option=\[\] is list"),
        (as_names, ["a", 3], TypeError, r"option=\['a', 3\]"),
        (as_indices, [], TypeError, r"option=\[\] is list; give a list of whole numbers"),
        (as_indices, 3, TypeError, "option=3 is int"),
        (as_indices, "12", TypeError, "option='12' is str"),
        (as_indices, {1}, TypeError, r"option=\{1\} is set"),
        (as_indices, [-1], ValueError, "option=-1 is too small"),
        (as_indices, [1.5], TypeError, "option=1.5 is float"),
        (as_indices, [True], TypeError, "option=True is bool"),
        (lambda name, value: as_indices(name, value, 2), [1], ValueError, r"option=\[1\] has 1 indices; give 2"),
        (lambda name, value: as_target(value), "best", ValueError, "target='best' is unknown; choose 'label', None"),
        (lambda name, value: as_target(value), [], ValueError, r"target=\[\] is unknown"),
        (lambda name, value: as_target(value), [True], ValueError, "target=.* is unknown"),
        (lambda name, value: as_target(value), [0, -1], ValueError, r"target=\[0, -1\] is no class index; give 0 or more"),
        (lambda name, value: check_tag(value), "/", ValueError, "tag='/' is empty; give a word"),
        (lambda name, value: check_tag(value), 3, TypeError, "tag=3 is int; give a word"),
        (lambda name, value: check_choice(name, value, ("a", "b", "c")), "d", ValueError, "option='d' is unknown; choose 'a', 'b' or 'c'"),
        (lambda name, value: check_choice(name, value, ("a", "b")), torch.eye(2), ValueError, "option=<Tensor> is unknown"),
    ],
)  # fmt: skip
def test_invalid_values(check, value, error, message):
    with pytest.raises(error, match=message):
        check("option", value)


DEFAULTS = {"steps": 8, "noise": 0.1, "flag": False, "fill": None, "crop": (0.5, 1.0)}


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 3},
        {"noise": 1},
        {"noise": 0.5},
        {"flag": True},
        {"fill": 0.5},
        {"fill": None},
        {"fill": torch.tensor([0.1, 0.2, 0.3])},
        {"crop": [0.1, 0.9]},
    ],
    ids=str,
)
def test_options_of_the_kind_of_their_default(options):
    assert as_options("method_options", options, "smoothgrad", DEFAULTS) == options


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (3, TypeError, "method_options=3 is int; give a dict of options of smoothgrad, or None"),
        (["steps"], TypeError, r"method_options=\['steps'\] is list"),
        ({"step": 3}, ValueError, r"method_options has \['step'\], and smoothgrad has no such option; choose from \['steps', 'noise'"),
        ({"steps": 3.5}, TypeError, r"method_options\['steps'\]=3\.5 is float; give an integer"),
        ({"steps": True}, TypeError, r"method_options\['steps'\]=True"),
        ({"steps": None}, TypeError, r"method_options\['steps'\]=None"),
        ({"noise": "much"}, TypeError, r"method_options\['noise'\]='much' is str; give a value such as 0\.1"),
        ({"noise": float("inf")}, TypeError, r"method_options\['noise'\]=inf"),
        ({"flag": 1}, TypeError, r"method_options\['flag'\]=1"),
        ({"crop": [0.1, "b"]}, TypeError, r"method_options\['crop'\]"),
        ({"fill": torch.tensor([torch.nan])}, TypeError, r"method_options\['fill'\]"),
    ],
)  # fmt: skip
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        as_options("method_options", options, "smoothgrad", DEFAULTS)


def test_a_method_without_options_says_so():
    with pytest.raises(ValueError, match=r"method_options has \['steps'\], and gradient has no options; leave it out"):
        as_options("method_options", {"steps": 1}, "gradient", {})
