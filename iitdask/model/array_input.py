"""Arrays as people have them: masked, with names, or of single precision.

What an array says beside its numbers is never dropped: it is used or refused. Rounding errors are
those of the precision in which the numbers were computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from iitdask.errors import SubstrateError, quote
from iitdask.types import Mask, Table

SUM_TOLERANCE = 1e-8  # Largest difference from 1 of the sum of a row of probabilities
ROUNDING_TOLERANCE = 1e-9  # Largest distance from [0, 1] that counts as a rounding error
CLIPPED_SILENTLY = 1e-13  # Largest distance from [0, 1] that leaves a row's sum as it is
COARSE_TOLERANCES = ((np.float16, 4e-3), (np.float32, 1e-6))
"""Both tolerances for tables whose numbers are all of a shorter type, the shortest type first."""


def as_array(values: Any, where: str) -> Table:
    """Return values as float64, missing ones as nan; refuse what is not a table of numbers."""
    _require_plain(values, where)
    try:
        array = np.array(_unmasked(values), dtype=np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError, SystemError, RecursionError):
        raise SubstrateError(
            f"{where}: expected numbers in rows of equal length, got {quote(values)}"
        ) from None
    return array + 0.0  # -0.0 and 0.0 must have the same fingerprint


def _unmasked(values: Any) -> Any:
    """Return values with nan, which is no probability, in place of those behind a mask."""
    if values is np.ma.masked:
        return np.nan
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(np.float64), np.nan)
    if isinstance(values, list | tuple) and any(
        isinstance(each, np.ma.MaskedArray | list | tuple) for each in values
    ):
        return [_unmasked(each) for each in values]
    return values


def _require_plain(values: Any, where: str) -> None:
    """Refuse tables of which an array would drop something: names, or imaginary parts."""
    if getattr(getattr(values, "dtype", None), "kind", "f") in "cmMV":
        raise SubstrateError(f"{where}: expected real numbers, got an array of {values.dtype}")
    named = [name for name in ("columns", "index", "coords") if _has_names(values, name)]
    if named:
        raise SubstrateError(
            f"{where}: expected numbers alone, got a {type(values).__name__} with {named[0]}; "
            "give its .to_numpy(), and names of units as labels"
        )


def _has_names(values: Any, attribute: str) -> bool:
    """Return True if rows or columns of a table have names other than their numbers."""
    names = getattr(values, attribute, ())
    return not callable(names) and list(names) != list(range(len(names)))


def first_index(table: Table, bad: Mask) -> tuple[int, ...] | None:
    """Return the first index where ``bad``, or None."""
    if not bad.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), table.shape))


def coarse_tolerance(table: Table) -> float:
    """Return the rounding error of tables of half or single precision; 0 for any other table."""
    with np.errstate(over="ignore", invalid="ignore"):
        for dtype, tolerance in COARSE_TOLERANCES:
            if (table.astype(dtype) == table).all():
                return tolerance
    return 0.0


def first_outside(table: Table) -> tuple[int, ...] | None:
    """Return the first index of what is no probability, rounding errors aside, or None."""
    if _is_inside(table, ROUNDING_TOLERANCE).all():
        return None
    tolerance = max(ROUNDING_TOLERANCE, coarse_tolerance(table))
    return first_index(table, ~_is_inside(table, tolerance))


def _is_inside(table: Table, tolerance: float) -> Mask:
    inside: Mask = (table >= -tolerance) & (table <= 1 + tolerance)  # false for nan
    return inside


def probability_text(value: float) -> str:
    """Return what stands in place of a probability, for a message."""
    return "nan (a missing probability)" if np.isnan(value) else str(value)


def normalised(table: Table, tolerance: float) -> Table:
    """Return probabilities within [0, 1], in rows that add up to 1 if they were rounded before.

    `tolerance` is that of :func:`coarse_tolerance`, 0 if the numbers are exact enough as they are.
    """
    clipped: Table = np.clip(table, 0.0, 1.0)
    if tolerance or (np.abs(clipped - table) > CLIPPED_SILENTLY).any():
        clipped /= clipped.sum(axis=-1, keepdims=True)
    return clipped
