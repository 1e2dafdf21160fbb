"""From masks and numbers to what users call things."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["members", "partition_text", "state_text", "text", "units_text"]

EMPTY = "\N{EMPTY SET}"


def text(values: Iterable[str]) -> np.ndarray[Any, np.dtype[Any]]:
    """Text as objects: Zarr has no settled form for fixed-width unicode."""
    given = list(values)
    # Of no text at all, an array of objects would be kept as numbers.
    return np.array(given, dtype=object if given else np.dtypes.StringDType())


def members(mask: int) -> list[int]:
    """Units of a mask, ascending."""
    return [i for i in range(mask.bit_length()) if mask >> i & 1]


def units_text(labels: Sequence[str]) -> str:
    """Write a set of units: ``AB``, or ``T0R0,T1R1`` when names are long; empty is an empty set.

    Examples
    --------
    >>> units_text(["A", "B"]), units_text(["T0", "T1"])
    ('AB', 'T0,T1')
    """
    if not labels:
        return EMPTY
    return ("" if all(len(label) == 1 for label in labels) else ",").join(labels)


def state_text(values: Sequence[int]) -> str:
    """Write a state, first unit first: ``100``, or ``1,10,0`` when a value needs two digits.

    Examples
    --------
    >>> state_text([1, 0, 0]), state_text([1, 10])
    ('100', '1,10')
    """
    return ("" if all(0 <= v < 10 for v in values) else ",").join(str(int(v)) for v in values)


def partition_text(
    labels: Sequence[str], mechanism: int, purview: int, kept: Sequence[int], cause: bool
) -> str:
    """Write a disintegrating partition as mechanism/purview parts.

    Parameters
    ----------
    labels
        Names of the system's units.
    mechanism, purview
        Masks.
    kept
        Per unit, the partners it still sees: purview units for a mechanism's unit (cause),
        mechanism units for a purview's unit (effect); -1 elsewhere.
    cause
        Which of the two.

    Examples
    --------
    >>> partition_text("ABC", 0b011, 0b100, [0b100, 0, -1], True)
    'A/C × B/∅'
    """
    users, partners = (mechanism, purview) if cause else (purview, mechanism)
    blocks: dict[int, int] = {}
    for unit in members(users):
        blocks[kept[unit]] = blocks.get(kept[unit], 0) | 1 << unit
    parts = [(own, block) for block, own in sorted(blocks.items(), key=lambda b: b[1] & -b[1])]
    left = partners & ~sum(blocks)
    if left:
        parts.append((0, left))
    sides = parts if cause else [(block, own) for own, block in parts]
    return " × ".join(
        "/".join(units_text([labels[i] for i in members(mask)]) for mask in side) for side in sides
    )
