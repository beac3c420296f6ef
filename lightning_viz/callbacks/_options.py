"""The options that all callbacks share, visible in each callback's signature."""

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from lightning_viz.data.arguments import as_list, describe_value
from lightning_viz.data.batch import Unpack
from lightning_viz.data.probe import Hardest, Probe
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.layers import plain_name, resolve_layer
from lightning_viz.runtime.network import Forward

#: What a map explains, see `VizCallback`.
TargetOption = None | int | Sequence[int] | Literal["label"] | Callable[[Any], Tensor]


class CommonOptions(TypedDict, total=False):
    """The options that all callbacks share, for type checkers; `VizCallback` documents them and has their defaults."""

    every_n_epochs: int
    every_n_train_steps: int | None
    log_at_start: bool
    probe: Probe | Hardest | None
    max_images: int
    tag: str | None
    history: int
    target: TargetOption
    max_overhead: float | None
    on_error: Literal["warn", "raise"]
    forward: Forward | None
    unpack: Unpack | None


def show_inherited_options(cls: type) -> None:
    """Give a constructor that ends in `**common` the signature it has in effect, with the options of its bases."""
    shown: dict[str, inspect.Parameter] = {}
    for base in (one for one in cls.__mro__ if "__init__" in vars(one)):
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        for one in (one for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)):
            shown.setdefault(one.name, one if base is cls else one.replace(kind=one.KEYWORD_ONLY))
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break  # it passes nothing on
    vars(cls)["__init__"].__signature__ = inspect.Signature(list(shown.values()))


def describe_unknown_option(cls: type, name: str) -> str:
    """The error for an option that a callback does not have."""
    known = [one for one in inspect.signature(cls).parameters if one != "unknown"]
    words = {*name.split("_")}
    close = sorted(difflib.get_close_matches(name, known), key=lambda one: -len(words & {*one.split("_")}))
    remedy = f"closest: {close[0]!r}" if close else f"options: {', '.join(known)}"
    return f"{cls.__name__} has no option {name!r}; {remedy}"


def full_names(network: nn.Module, layers: str | Sequence[str] | None) -> list[str]:
    """The full dotted names of layers, however they were given, as tags show them."""
    return [plain_name(resolve_layer(network, layer, "layers")[0]) for layer in as_list(layers)]


def describe_options(callback: Any) -> str:
    """The class of a callback, and the options that differ from their defaults."""
    defaults = {name: one.default for name, one in inspect.signature(type(callback)).parameters.items()}
    values = {name: getattr(callback, name, default) for name, default in defaults.items()}
    given = [f"{name}={describe_value(one)}" for name, one in values.items() if not _is_equal(one, defaults[name])]
    return f"{type(callback).__name__}({', '.join(given)})"


def _is_equal(value: Any, default: Any) -> bool:
    """Of plain values; tensors compare as they like."""
    plain = isinstance(value, str | int | float)
    return value is default or (plain and type(value) is type(default) and value == default)


def check_schedule(every_n_epochs: int, every_n_train_steps: int | None) -> None:
    """Raise ValueError where both are given: the default of the one beside the other is none, as configurations write it."""
    if every_n_train_steps is not None and every_n_epochs != 1:
        raise ValueError(
            f"every_n_epochs={every_n_epochs} and every_n_train_steps={every_n_train_steps} exclude each other; give one"
        )


def check_among(name: str, indices: Sequence[int], count: int, what: str) -> None:
    """Raise ValueError for indices that `count` classes or channels do not have."""
    if max(indices) >= count:
        raise ValueError(f"{name}={indices} are not all among the {count} {what}; give some of 0 to {count - 1}")


@torch.no_grad()
def check_units(units: Sequence[int], network: nn.Module, layer: str, images: Tensor, argument: str = "layer") -> None:
    """Raise ValueError for units that are no channels of a layer, and for a layer without; `argument` gave its name."""
    channels = FeatureMaps(network, layer, argument)(images[:1]).shape[1]
    check_among("units", units, channels, f"channels of {argument}={layer!r}")
