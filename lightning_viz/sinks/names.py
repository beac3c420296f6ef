"""Names of files and folders, from any text."""

import hashlib
import re
from pathlib import Path


def plain_name(text: str) -> str:
    """One plain folder's name, for any text; of two different texts, two different names."""
    plain = re.sub(r"[^\w.-]+", "_", text)[:40].lstrip(".")
    return text if plain == text and text else f"{plain}-{digest(text.encode(errors='surrogatepass'))[:8]}"


def digest(*parts: bytes) -> str:
    """24 hexadecimal digits of these bytes."""
    known = hashlib.sha256()
    for part in parts:
        known.update(part)
    return known.hexdigest()[:24]


def local(folder: str | Path) -> Path | None:
    """The path of a folder on this machine, which may be given as file://; None for one elsewhere."""
    scheme, separator, rest = str(folder).rpartition("://")
    return Path(rest) if not separator or scheme in ("file", "local") else None
