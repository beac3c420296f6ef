"""Small readings of options that several callbacks share."""

from typing import Any


def check_layers(layers: object) -> None:
    """Raise TypeError for `layers=` that are neither None, a name nor a list of names."""
    names = layers if isinstance(layers, list) else [layers]
    if layers is not None and not (names and all(isinstance(name, str) for name in names)):
        raise TypeError(f"layers={layers!r} is no layer; give a dotted name, a list of them, or None")


def named(layers: str | list[str] | None) -> list[str]:
    """The names in `layers=`, none if it is None."""
    return [layers] if isinstance(layers, str) else list(layers or [])


def explains(target: Any) -> str:
    """What `target=` makes a map explain, in words."""
    if target is None:
        return "the predicted class"
    if target == "label":
        return "the true class"
    return "the target given" if callable(target) else f"class {target}"
