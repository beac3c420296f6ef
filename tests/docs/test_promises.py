"""docs/promises.md names existing tests, and its figures are those of the tests."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from ..promises import test_bit_identical, test_environments, test_faults, test_fuzz, test_strangers
from ..support import CALLBACKS

PAGE = " ".join((Path(__file__).parents[2] / "docs/promises.md").read_text().split())
NAMED = re.findall(r"`tests/([\w/]+)\.py::(\w+)`", PAGE)


def test_every_named_test_exists():
    assert len(NAMED) > 40
    missing = [f"tests/{module}.py::{name}" for module, name in NAMED if not exists(module, name)]
    assert not missing


def exists(module, name):
    try:
        return callable(getattr(import_module(f"tests.{module.replace('/', '.')}"), name, None))
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("the whole suite in {:,} configurations", len(test_bit_identical.CONFIGURATIONS)),
        ("tested with {:,} class names", len(test_strangers.NAMES)),
        ("class names, {:,} tags", len(test_strangers.TAGS)),
        ("tags and {:,} layers", len(test_strangers.LAYERS)),
        ("{:,} made-up values", (len(CALLBACKS) + 1) * test_fuzz.FUZZ.max_examples + 1000),
        ("raises, in each of {:,} hooks", len(test_faults.HOOKS)),
        ("networks compiled in {:,} ways", len(test_environments.COMPILED)),
        ("during tuning, with {:,} kinds of tuner", len(test_environments.TUNERS)),
    ],
)
def test_figures(words, count):
    assert words.format(count) in PAGE
