"""File and folder names that are safe on any file system."""

import hashlib
import re
from pathlib import Path


def safe_name(text: str) -> str:
    """A file name without separators for any text; different texts get different names."""
    plain = re.sub(r"[^\w.-]+", "_", text)[:40].lstrip(".")
    return text if plain == text and text else f"{plain}-{digest(text.encode(errors='surrogatepass'))[:8]}"


def digest(*parts: bytes) -> str:
    """The first 24 hexadecimal digits of the SHA-256 of these bytes."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:24]


def local_path(folder: str | Path) -> Path | None:
    """The path of a folder on this machine, also if given as file://; None for a remote one."""
    scheme, separator, rest = str(folder).rpartition("://")
    return Path(rest) if not separator or scheme in ("file", "local") else None
