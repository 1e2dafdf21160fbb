"""States of units and of purviews as numbers: little-endian, mixed radix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["digits", "restricted", "spread"]


def digits(code: int, levels: Sequence[int]) -> tuple[int, ...]:
    """Value of each unit in a state.

    Examples
    --------
    >>> digits(5, (2, 3))
    (1, 2)
    """
    out = []
    for k in levels:
        out.append(code % k)
        code //= k
    return tuple(out)


def restricted(code: int, levels: Sequence[int], purview: int) -> int:
    """Return the state of a purview that a state of all units implies.

    Examples
    --------
    >>> restricted(0b110, (2, 2, 2), 0b101)
    2
    """
    out, weight = 0, 1
    for k in levels:
        if purview & 1:
            out += code % k * weight
            weight *= k
        code //= k
        purview >>= 1
    return out


def spread(code: int, levels: Sequence[int], purview: int) -> NDArray[Any]:
    """(n,) state of each purview unit, -1 outside the purview."""
    out = np.full(len(levels), -1)
    for i, k in enumerate(levels):
        if purview >> i & 1:
            out[i] = code % k
            code //= k
    return out
