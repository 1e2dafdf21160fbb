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


def spread(
    codes: Sequence[int], levels: Sequence[int], purviews: Sequence[int]
) -> NDArray[np.int64]:
    """(count, n) state of each unit of purviews in given states, -1 outside the purview.

    Examples
    --------
    >>> spread([2, 1], (2, 2, 2), [0b011, 0b100]).tolist()
    [[0, 1, -1], [-1, -1, 1]]
    """
    masks, rest = np.array(purviews, np.int64), np.array(codes, np.int64)
    out = np.full((len(masks), len(levels)), -1)
    for i, k in enumerate(levels):
        inside = (masks >> i & 1).astype(bool)
        out[inside, i] = rest[inside] % k
        rest[inside] //= k
    return out
