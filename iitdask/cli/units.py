"""Numbers as people read them."""

from __future__ import annotations

import math

__all__ = ["bytes_text", "duration", "memory_bytes", "seconds_text"]

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


def duration(given: str | None, where: str) -> float | None:
    """Read a time such as ``55m``, ``2 hours`` or, as SLURM writes it, ``1-12:00:00``."""
    if given is None:
        return None
    try:
        return _clock(given) if ":" in given else _timedelta(given)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{where}: expected a time such as 55m or 01:30:00, got {given!r}"
        ) from error


def _timedelta(given: str) -> float:
    from dask.utils import parse_timedelta

    return float(parse_timedelta(given))


def _clock(given: str) -> float:
    days, _, clock = given.rpartition("-")
    parts = [float(part) for part in clock.split(":")]
    if days and len(parts) < 3:  # D-HH:MM
        parts.append(0.0)
    seconds = 0.0
    for part in parts:
        seconds = seconds * 60 + part
    return seconds + 86400 * float(days or 0)
