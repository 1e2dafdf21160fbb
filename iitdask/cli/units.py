"""Numbers as people read them."""

from __future__ import annotations

import math

__all__ = ["bytes_text", "memory_bytes", "seconds_text"]

from iitdask.errors import InputError


def seconds_text(seconds: float) -> str:
    """Write a duration: ``0.35 s``, ``12 min``, ``3.4 h``."""
    if math.isnan(seconds):
        return "unknown"
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} d"


def bytes_text(count: float) -> str:
    """Write a number of bytes: ``12 kB``, ``3.4 GB``."""
    for limit, unit, size in ((1e3, "B", 1), (1e6, "kB", 1e3), (1e9, "MB", 1e6)):
        if count < limit:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e9:.3g} GB"


def memory_bytes(given: str | int | None, where: str) -> int | None:
    """Read an amount of memory such as ``4GB``."""
    from dask.utils import parse_bytes

    if given is None:
        return None
    try:
        return int(parse_bytes(given))
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: expected an amount such as 4GB, got {given!r}") from error
