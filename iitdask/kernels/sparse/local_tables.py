"""Tables of every unit over the parts of its own inputs, and helpers on local masks.

The units of a system are numbered along a narrow linear order. A *local mask* is over the inputs of
one unit: bit k is its k-th input. A *local state* is little-endian over the inputs in a local mask.
Tables of a few inputs each replace those over all 3**n codes. mathematics.md 27.1.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.jit import inner


class LocalTables(NamedTuple):
    """P(unit takes a value | part of its inputs) on one side; n units, K inputs at most."""

    width: NDArray[np.int64]  # (n,) inputs of each unit
    inputs: NDArray[np.int64]  # (n, K) these, ascending
    offsets: NDArray[np.int64]  # (n, 2**K) row of the first state of each part of a unit's inputs
    current: NDArray[np.int64]  # (n, 2**K) row of the current state
    probability: NDArray[np.float64]  # (rows, values)
    logs: NDArray[np.float64]  # (rows, values) log2 of it


class SparseNetwork(NamedTuple):
    """A system in a state, its units along a linear order."""

    units: NDArray[np.int64]  # (n,) number of each unit in the system
    levels: NDArray[np.int64]  # (n,) values of each unit
    sources: NDArray[np.int64]  # (n,) masks of the units with a declared edge to each
    targets: NDArray[np.int64]  # (n,) masks of the units that each has a declared edge to
    effect: LocalTables  # P(value at t+1 | part of the present state), all values
    cause: LocalTables  # P(current value | part of an earlier state), one column
    # (n, 2**K) most that each unit's current value loses without a part of its inputs, bits
    losses: NDArray[np.float64]


@inner
def local_mask(tables, unit, mask):
    """Local mask of a set of units among the inputs of one."""
    out = 0
    for k in range(tables.width[unit]):
        out |= (mask >> tables.inputs[unit, k] & 1) << k
    return out


@inner
def expanded_mask(part, local):
    """Local mask of a part of the inputs in ``local``, of which bit k is the k-th of these."""
    out = 0
    while part != 0:
        low = local & -local
        if part & 1:
            out |= low
        local ^= low
        part >>= 1
    return out


@inner
def is_connecting(full, edges, kept):
    """Whether the hyperedges of the candidates in ``kept`` cover and connect ``full``."""
    if kept == 0:
        return False
    seen, left = full & -full, kept
    while seen != full:
        grown, rest = seen, left
        while rest != 0:
            low = rest & -rest
            rest ^= low
            edge = edges[index_of(low)]
            if edge & grown:
                grown |= edge
                left ^= low
        if grown == seen:
            return False
        seen = grown
    return True


@inner
def index_of(bit):
    """Number of the one bit that is set, below 2**62."""
    bit -= 1
    bit -= bit >> 1 & 0x5555555555555555
    bit = (bit & 0x3333333333333333) + (bit >> 2 & 0x3333333333333333)
    bit = (bit + (bit >> 4)) & 0x0F0F0F0F0F0F0F0F
    return bit * 0x0101010101010101 >> 56
