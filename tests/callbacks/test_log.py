"""The words under a tile."""

import numpy as np
import pytest

from lightning_viz.callbacks.log import _describe


@pytest.mark.parametrize(
    ("values", "signed", "words"),
    [
        ([0.5, 2.0], False, "max 2"),
        ([0.5, -2.0], False, "max 0.5"),
        ([0.5, -2.0], True, "max 2"),
        ([0.0, 0.0], False, "zero everywhere"),
        ([0.0, -1.0], False, "nowhere above zero"),
        ([0.0, 1e-9], False, "≈ 0 (1e-09)"),
        ([1.0, np.nan], False, "not finite (magenta)"),
        ([1.0, np.inf], True, "not finite (magenta)"),
    ],
)
def test_the_maximum_is_that_of_the_colours(values, signed, words):
    assert _describe(np.array([values]), signed, largest=2.0) == words
