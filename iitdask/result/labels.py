"""From masks and numbers to what users call things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

__all__ = ["members", "namer", "partition_text", "state_text", "text", "units_text"]

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


def namer(labels: Sequence[str]) -> Callable[[int], str]:
    """Return what writes a mask as ``units_text`` does, each mask once.

    Examples
    --------
    >>> namer("ABC")(0b101)
    'AC'
    """
    if all(len(label) == 1 for label in labels):
        return cache(lambda mask: "".join([labels[i] for i in members(mask)]) or EMPTY)
    return cache(lambda mask: units_text([labels[i] for i in members(mask)]))


def partition_text(
    name: Callable[[int], str], mechanism: int, purview: int, kept: Sequence[int], cause: bool
) -> str:
    """Write a disintegrating partition as mechanism/purview parts.

    Parameters
    ----------
    name
        Writes a mask of the system's units, see ``namer``.
    mechanism, purview
        Masks.
    kept
        Per unit, the partners it still sees: purview units for a mechanism's unit (cause),
        mechanism units for a purview's unit (effect); -1 elsewhere.
    cause
        Which of the two.

    Examples
    --------
    >>> partition_text(namer("ABC"), 0b011, 0b100, [0b100, 0, -1], True)
    'A/C × B/∅'
    """
    blocks: dict[int, int] = {}  # in the order of their first units
    for unit, block in enumerate(kept):
        if block >= 0:
            blocks[block] = blocks.get(block, 0) | 1 << unit
    left = (purview if cause else mechanism) & ~sum(blocks)
    if left:  # what no unit keeps
        blocks[left] = 0
    parts = [
        f"{name(own)}/{name(block)}" if cause else f"{name(block)}/{name(own)}"
        for block, own in blocks.items()
    ]
    return " × ".join(parts)
