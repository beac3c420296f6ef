"""The page of promises names tests that there are, and counts what it says it counts."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from ..promises import test_bit_identical, test_environments, test_faults, test_fuzz, test_strangers
from ..support import CALLBACKS

PAGE = " ".join((Path(__file__).parents[2] / "docs/promises.md").read_text().split())
NAMED = re.findall(r"`tests/([\w/]+)\.py::(\w+)`", PAGE)


def test_every_test_that_it_names_is_there():
    assert len(NAMED) > 40
    for module, name in NAMED:
        assert callable(getattr(import_module(f"tests.{module.replace('/', '.')}"), name, None)), (module, name)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("the whole suite in {} configurations", len(test_bit_identical.CONFIGURATIONS)),
        ("whatever {} class names", len(test_strangers.NAMES)),
        ("class names, {} tags", len(test_strangers.TAGS)),
        ("tags and {} layers", len(test_strangers.LAYERS)),
        ("{} made-up values", (len(CALLBACKS) + 1) * test_fuzz.FUZZ.max_examples + 1000),
        ("raises, in each of {} hooks", len(test_faults.HOOKS)),
        ("networks compiled in {} ways", len(test_environments.COMPILED)),
        ("while a tuner tries, in {} ways", len(test_environments.TUNERS)),
    ],
)
def test_its_figures(words, count):
    written = (
        {4: "four", 5: "five"}.get(count, f"{count:,}") if "{} hooks" in words or "ways" in words else f"{count:,}"
    )
    assert words.format(written) in PAGE
