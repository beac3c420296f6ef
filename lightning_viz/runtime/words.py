"""Small readings of options that several callbacks share."""

from hashlib import sha256
from typing import Any

from lightning_viz.render.text import clean

LONGEST_TAG = 200  # letters
LONGEST = 80  # letters of a value in an error message


def shown(value: object) -> str:
    """A value in an error message: as it is written, or its type where that is long, or cannot be written at all."""
    try:
        text = repr(value)
    except Exception:  # of whatever object it is
        text = ""
    return text if 0 < len(text) <= LONGEST and "\n" not in text else f"<{type(value).__name__}>"


def plain_tag(text: str) -> str:
    """A tag for TensorBoard: on one line, of bounded length; of two different texts, two different ones."""
    tag = clean(text)
    if tag == text and len(tag) <= LONGEST_TAG:
        return tag
    return f"{tag[: LONGEST_TAG - 9]}-{sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def check_layers(layers: object) -> None:
    """Raise TypeError for `layers=` that are neither None, a name nor a list of names."""
    names = layers if isinstance(layers, list) else [layers]
    if layers is not None and not (names and all(isinstance(name, str) for name in names)):
        raise TypeError(f"layers={shown(layers)} is no layer; give a dotted name, a list of them, or None")


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
