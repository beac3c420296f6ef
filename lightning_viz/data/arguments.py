"""Checks of arguments that are wrong by themselves, before any network is seen. Errors give name, value and remedy."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, TypeVar

from torch import Tensor

Value = TypeVar("Value")


def describe_value(value: object) -> str:
    """A value for an error message: its repr, or its type where the repr is long or fails."""
    try:
        text = repr(value)
    except Exception:  # of whatever object it is
        text = ""
    return text if 0 < len(text) <= 80 and "\n" not in text else f"<{type(value).__name__}>"


def _wrong_type(name: str, value: object, remedy: str) -> TypeError:
    return TypeError(f"{name}={describe_value(value)} is {type(value).__name__}; give {remedy}")


def plain(value: Any) -> Any:
    """Any sequence as a list and any mapping as a dict, nested ones too: Hydra's ListConfig and DictConfig among them."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(one) for one in value]
    return value


def as_plain(name: str, value: Any) -> Any:
    """`plain`, for the option of this name. Raises ValueError for what cannot be read, such as Hydra's `???`."""
    try:
        return plain(value)
    except Exception as error:  # OmegaConf's are of many kinds
        cause = str(error).partition("\n")[0]
        raise ValueError(f"{name}={describe_value(value)} cannot be read: {cause}; give a value") from error


def check_count(name: str, value: Value, minimum: int, optional: bool = False) -> Value:
    """`value`, if it is a whole number of at least `minimum`, or None where that is allowed; raise otherwise."""
    if value is None and optional:
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(name, value, f"a whole number of {minimum} or more")
    if value < minimum:
        raise ValueError(f"{name}={describe_value(value)} is too small; give {minimum} or more")
    return value


def check_fraction(name: str, value: Value) -> Value:
    """`value`, if it is None or a number in (0, 1]; raise otherwise."""
    if value is None:
        return value
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong_type(name, value, "a number in (0, 1], such as 0.05, or None")
    if not 0 < value <= 1:
        raise ValueError(f"{name}={describe_value(value)} must be in (0, 1]; give a number such as 0.05, or None")
    return value


def check_choice(name: str, value: Value, choices: Sequence[object]) -> Value:
    """`value`, if it is one of `choices`; raise otherwise."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        *most, last = map(repr, choices)
        raise ValueError(f"{name}={describe_value(value)} is unknown; choose {', '.join(most)} or {last}")
    return value


def check_flag(name: str, value: Value) -> Value:
    """`value`, if it is True or False; raise otherwise."""
    if not isinstance(value, bool):
        raise _wrong_type(name, value, "True or False")
    return value


def check_callable(name: str, value: Value) -> Value:
    """`value`, if it is None or callable; raise otherwise."""
    if value is not None and not callable(value):
        raise _wrong_type(name, value, "a callable")
    return value


def check_name(name: str, value: Value) -> Value:
    """`value`, if it is None or a dotted name; raise otherwise."""
    if value is not None and not isinstance(value, str):
        raise _wrong_type(name, value, "a dotted name, or None")
    return value


def check_tag(tag: Value) -> Value:
    """`tag`, if it is None or holds a printable character besides slashes; raise otherwise."""
    if tag is not None and not isinstance(tag, str):
        raise _wrong_type("tag", tag, "a word, or None for the default")
    if tag is not None and not any(one.isprintable() and one not in "/ " for one in tag):
        raise ValueError(f"tag={describe_value(tag)} is empty; give a word, or None for the default")
    return tag


def as_names(name: str, value: Any) -> str | list[str] | None:
    """`value` if it is None, a name or a sequence of names, the latter as a list; raise TypeError otherwise."""
    names: str | list[str] | None = as_plain(name, value)
    listed = names if isinstance(names, list) else [names]
    if value is not None and not (listed and all(isinstance(one, str) for one in listed)):
        raise _wrong_type(name, value, "a dotted name, a list of them, or None")
    return names


def as_indices(name: str, value: Any, count: int | None = None) -> list[int] | None:
    """`value` as a list of whole numbers of 0 or more, `count` of them if given; None stays None."""
    if value is None:
        return None
    indices = as_plain(name, value)
    if not isinstance(indices, list) or not indices:
        raise _wrong_type(name, value, "a list of whole numbers of 0 or more, or None")
    if count is not None and len(indices) != count:
        raise ValueError(f"{name}={describe_value(value)} has {len(indices)} indices; give {count}")
    for index in indices:
        check_count(name, index, 0)
    return indices


def as_target(target: Any) -> Any:
    """A `target` as it is stored: sequences as lists. Raise ValueError for one that no model could have."""
    if target is None or (isinstance(target, str) and target == "label") or callable(target):
        return target
    listed = as_plain("target", target)
    indices = listed if isinstance(listed, list) else [listed]
    whole = [one for one in indices if isinstance(one, int) and not isinstance(one, bool)]
    if not indices or len(whole) < len(indices):
        raise ValueError(
            f"target={describe_value(target)} is unknown; choose 'label', None, class indices or a callable"
        )
    if min(whole) < 0:
        raise ValueError(f"target={describe_value(target)} is no class index; give 0 or more")
    return listed


def as_options(name: str, value: Any, taker: str, defaults: Mapping[str, object]) -> dict[str, Any] | None:
    """`value` as a dict of options of `taker`, each of the kind of its default; None stays None."""
    if value is None:
        return None
    options = as_plain(name, value)
    if not isinstance(options, dict):
        raise _wrong_type(name, value, f"a dict of options of {taker}, or None")
    if unknown := [one for one in options if one not in defaults]:
        remedy = f"such option; choose from {list(defaults)}" if defaults else "options; leave it out"
        raise ValueError(f"{name} has {describe_value(unknown)}, and {taker} has no {remedy}")
    for option, one in options.items():
        if not _is_like(one, defaults[option]):
            kind = "an integer" if type(defaults[option]) is int else f"a value such as {defaults[option]!r}"
            raise _wrong_type(f"{name}[{option!r}]", one, kind)
    return options


def _is_like(value: object, default: object) -> bool:
    """Whether a value is of the kind of an option's default; a default of None stands for a number."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and all(_is_like(one, default[0]) for one in value)
    if isinstance(value, Tensor) and not isinstance(default, int):
        return bool(value.isfinite().all())
    if value is None or isinstance(value, bool):
        return value is default
    return isinstance(value, int) or (isinstance(value, float) and not isinstance(default, int) and isfinite(value))


def as_list(names: str | Sequence[str] | None) -> list[str]:
    """One name or several as a list, empty for None."""
    return [names] if isinstance(names, str) else list(names or [])
