"""Which iitdask this is: processes of one run must be of one edition."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["edition"]


@cache
def edition() -> str:
    """Version of the package and a digest of its source, such as ``0.1.0+9f2c61d08a4b``."""
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    try:
        released = version("iitdask")
    except PackageNotFoundError:
        released = "unknown"
    return f"{released}+{digest.hexdigest()[:12]}"
