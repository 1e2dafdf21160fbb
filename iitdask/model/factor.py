"""One unit's conditional probabilities over its own inputs, and what makes them acceptable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.errors import SubstrateError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Factor", "Table", "as_array", "checked", "frozen", "pruned", "shaped", "within"]

Table = NDArray[np.float64]

SUM_TOLERANCE = 1e-8
"""How far the probabilities of one row may sum from 1."""
UNDECLARED = 1e-13
"""How much a table may vary with an input that the connectivity omits."""
ROUNDING = 1e-13
"""How far outside [0, 1] a probability counts as a rounding error."""


class Factor(NamedTuple):
    """P(unit = value at t+1 | its inputs at t)."""

    parents: tuple[int, ...]
    """Unit numbers of the inputs the table varies with, ascending."""
    table: Table
    """``table[x_p0, x_p1, ..., value]``."""


def as_array(values: Any, where: str) -> Table:
    """Return ``values`` as float64, or say that they are no table of numbers."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise SubstrateError(
            f"{where}: expected numbers in rows of equal length, got {_short(values)}"
        ) from None
    return array + 0.0  # -0.0 and 0.0 must have the same fingerprint


def _short(values: Any) -> str:
    text = " ".join(repr(values).split())
    return text if len(text) <= 60 else text[:57] + "..."


def frozen(array: NDArray[Any], dtype: type = np.float64) -> NDArray[Any]:
    """Return a private, contiguous, read-only copy."""
    copy: NDArray[Any] = np.array(array, dtype=dtype, order="C")
    copy.setflags(write=False)
    return copy


def row_name(index: Sequence[int], inputs: Sequence[str], levels: Sequence[int]) -> str:
    """Return ``row 3 (A=1, B=1, C=0)``: the little-endian number of a row and its meaning."""
    row, stride = 0, 1
    for value, level in zip(index, levels, strict=True):
        row, stride = row + int(value) * stride, stride * level
    if len(inputs) > 8:
        return f"row {row} (state {''.join(str(int(value)) for value in index)})"
    meaning = ", ".join(f"{name}={int(v)}" for name, v in zip(inputs, index, strict=True))
    return f"row {row} ({meaning})" if meaning else "its only row"


def within(table: Table, bad: NDArray[np.bool_]) -> tuple[int, ...] | None:
    """Return the first index where ``bad``, or None."""
    if not bad.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), table.shape))


def checked(table: Table, unit: str, inputs: Sequence[str], where: str) -> Table:
    """Return the table with rounding errors outside [0, 1] clipped; refuse anything worse.

    Parameters
    ----------
    table
        ``(k_in0, k_in1, ..., k)``: P(value | inputs).
    unit, inputs
        Labels for the message.
    where
        File or argument for the message.
    """
    levels = table.shape[:-1]
    outside = ~((table >= -ROUNDING) & (table <= 1 + ROUNDING))  # true for nan
    if (index := within(table, outside)) is not None:
        raise SubstrateError(
            f"{where}: unit {unit!r}, {row_name(index[:-1], inputs, levels)}, value {index[-1]}: "
            f"expected a probability from 0 to 1, got {table[index]}"
        )
    sums = table.sum(axis=-1)
    off = np.abs(sums - 1) > SUM_TOLERANCE
    if off.any():
        index = tuple(int(i) for i in np.unravel_index(int(np.argmax(off)), off.shape))
        raise SubstrateError(
            f"{where}: unit {unit!r}, {row_name(index, inputs, levels)}: "
            f"expected probabilities that sum to 1, got {sums[index]}"
        )
    clipped: Table = np.clip(table, 0.0, 1.0)
    return clipped


def shaped(table: Table, inputs: Sequence[int], levels: int, where: str) -> Table:
    """Return the table with one axis per input.

    Parameters
    ----------
    table
        ``(k_in0, k_in1, ..., k)`` or, for two or more inputs, also the
        state-by-value form ``(k_in0 * k_in1 * ..., k)`` with little-endian rows;
        the two have different numbers of axes, so nothing is guessed.
    inputs
        How many values each input has.
    levels
        How many values the unit has.
    """
    wanted = (*inputs, levels)
    if table.shape == wanted:
        return table
    rows = int(np.prod(inputs, dtype=object)) if inputs else 1
    if len(inputs) != 1 and table.shape == (rows, levels):
        return table.reshape(wanted, order="F")
    raise SubstrateError(
        f"{where}: expected a table of shape {wanted} (inputs' values, own values) "
        f"or {(rows, levels)} (little-endian rows, own values), got {table.shape}"
    )


def pruned(parents: Sequence[int], table: Table) -> Factor:
    """Return the factor over ascending parents, without inputs that make no difference.

    An input is dropped only when the table is bitwise the same for all its
    values, so that no probability changes.
    """
    order = sorted(range(len(parents)), key=lambda axis: parents[axis])
    table = table.transpose(*order, len(parents))
    kept: list[int] = []
    for position in order:
        axis = len(kept)
        first: Table = np.take(table, 0, axis=axis)
        if (table == np.expand_dims(first, axis)).all():
            table = first
        else:
            kept.append(parents[position])
    return Factor(tuple(kept), frozen(table))


def declared(
    factor: Factor, allowed: NDArray[np.bool_], unit: int, labels: Sequence[str], where: str
) -> Factor:
    """Return the factor over declared inputs only.

    Parameters
    ----------
    factor
        Over all inputs it varies with.
    allowed
        ``(N,)``: whether the connectivity declares an edge from each unit.

    Raises
    ------
    SubstrateError
        The table varies with an omitted input by more than rounding.
    """
    omitted = tuple(a for a, parent in enumerate(factor.parents) if not allowed[parent])
    for axis in omitted:
        size = float(np.ptp(factor.table, axis=axis).max())
        if size > UNDECLARED:
            source = labels[factor.parents[axis]]
            raise SubstrateError(
                f"{where}: connectivity omits the edge {source!r} -> {labels[unit]!r}, but "
                f"{labels[unit]!r} depends on {source!r} by {size:.3g}; declare the edge"
            )
    if not omitted:
        return factor
    kept = tuple(parent for parent in factor.parents if allowed[parent])
    return Factor(kept, frozen(factor.table.mean(axis=omitted)))
