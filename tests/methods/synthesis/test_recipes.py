from typing import get_args

import pytest

from lightning_viz.methods import Classic, Fourier
from lightning_viz.methods.synthesis.recipes import RECIPES, Recipe, resolve_recipe


def test_every_recipe_is_registered_with_its_source():
    names, classes = get_args(get_args(Recipe)[0]), get_args(Recipe)[1:]
    assert tuple(RECIPES) == names
    assert tuple(entry.recipe for entry in RECIPES.values()) == classes
    for entry in RECIPES.values():
        assert entry.recipe(**entry.options) == entry.recipe()
        assert entry.citation
        assert entry.url.startswith("https://")


def test_a_recipe_by_name_has_the_default_parameters():
    assert resolve_recipe("fourier") == Fourier()
    assert resolve_recipe("classic") == Classic()
    assert resolve_recipe(own := Classic(tv=0)) is own


def test_an_unknown_recipe():
    with pytest.raises(
        ValueError, match="recipe='best' is unknown; choose one of 'fourier', 'classic', or give Fourier"
    ):
        resolve_recipe("best")
