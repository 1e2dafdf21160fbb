"""Subsets, states of subsets, and the integer that codes both.

A subset A of n units is a bitmask; a state of A is a little-endian mixed-radix
number over the units of A in ascending order. ``offsets[A] + a`` is the *code*
of (A, a): the states of one subset lie side by side, subsets follow each other
in the order of their masks. There are prod_i (k_i + 1) codes; with binary units
3**n. Kernels that walk codes never look at a digit.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import kernel

__all__ = ["popcount", "popcounts", "segment_offsets", "state_codes", "value_offsets"]


@kernel
def popcount(x):
    """Count the units of a mask."""
    c = 0
    while x:
        x &= x - 1
        c += 1
    return c


@kernel
def popcounts(n):
    """Count the units of every mask of n units; (2**n,) int64."""
    out = np.zeros(1 << n, np.int64)
    for x in range(1, 1 << n):
        out[x] = out[x >> 1] + (x & 1)
    return out


@kernel
def segment_offsets(levels):
    """Find where the states of each subset begin.

    levels : (n,) int64      values per unit
    returns (2**n + 1,) int64; ``offsets[A + 1] - offsets[A]`` is the number of states of A.
    """
    n = levels.shape[0]
    sizes = np.ones(1 << n, np.int64)
    for j in range(n):
        for a in range(1 << j):
            sizes[a | (1 << j)] = sizes[a] * levels[j]
    offsets = np.zeros((1 << n) + 1, np.int64)
    for a in range(1 << n):
        offsets[a + 1] = offsets[a] + sizes[a]
    return offsets


@kernel
def value_offsets(levels):
    """Find the column where each unit's values begin; (n + 1,) int64."""
    n = levels.shape[0]
    out = np.zeros(n + 1, np.int64)
    for i in range(n):
        out[i + 1] = out[i] + levels[i]
    return out


@kernel
def state_codes(offsets, state, n):
    """Code of (A, state restricted to A) for every subset A; (2**n,) int64.

    state : (n,) int64, one value per unit.
    """
    out = np.zeros(1 << n, np.int64)
    for j in range(n):
        for a in range(1 << j):
            # unit j is the highest of a | 1 << j, so its weight is the number of states of a
            out[a | (1 << j)] = out[a] + state[j] * (offsets[a + 1] - offsets[a])
    for a in range(1 << n):
        out[a] += offsets[a]
    return out
