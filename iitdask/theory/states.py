"""States of units and of purviews as numbers: little-endian, mixed radix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["digits", "restrictions", "spread"]


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


def restrictions(code: int, levels: Sequence[int]) -> NDArray[Any]:
    """(2**n,) state of every purview that a state of all units implies.

    Examples
    --------
    >>> restrictions(0b10, (2, 2)).tolist()
    [0, 0, 1, 2]
    """
    out, weight = np.zeros(1, np.int64), np.ones(1, np.int64)
    for value, k in zip(digits(code, levels), levels, strict=True):
        out = np.concatenate([out, out + value * weight])
        weight = np.concatenate([weight, weight * k])
    return out


def spread(code: int, levels: Sequence[int], purview: int) -> NDArray[Any]:
    """(n,) state of each purview unit, -1 outside the purview."""
    out = np.full(len(levels), -1)
    for i, k in enumerate(levels):
        if purview >> i & 1:
            out[i] = code % k
            code //= k
    return out
