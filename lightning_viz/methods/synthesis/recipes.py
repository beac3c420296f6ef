"""The registry of recipes of `synthesize`: how images are parametrised and regularised."""

from dataclasses import dataclass
from typing import Any, Literal

from .classic import Classic
from .fourier import Fourier

#: A recipe by its name, or with custom parameters.
Recipe = Literal["fourier", "classic"] | Fourier | Classic


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe: its class, whose fields are its options, and its source. All cost the same, see `synthesis_passes`."""

    recipe: type[Fourier] | type[Classic]
    citation: str  #: authors and year
    url: str  #: of the paper

    @property
    def options(self) -> dict[str, Any]:
        """The recipe's options with their defaults."""
        return dict(vars(self.recipe()))


RECIPES: dict[str, RecipeEntry] = {
    "fourier": RecipeEntry(Fourier, "Olah et al. 2017", "https://distill.pub/2017/feature-visualization"),
    "classic": RecipeEntry(Classic, "Simonyan et al. 2014, Yosinski et al. 2015", "https://arxiv.org/abs/1312.6034"),
}


def resolve_recipe(recipe: Recipe) -> Fourier | Classic:
    """The recipe with its parameters. Raises ValueError for an unknown name."""
    if isinstance(recipe, Fourier | Classic):
        return recipe
    if recipe not in RECIPES:
        names = ", ".join(map(repr, RECIPES))
        raise ValueError(f"recipe={recipe!r} is unknown; choose one of {names}, or give Fourier(...) or Classic(...)")
    return RECIPES[recipe].recipe()
