"""Small readings of options that several callbacks share."""

from typing import Any


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
