"""The partitions that tie for the minimum, walked back from the last step: how many, the named one.

Which pairs a partition severs depends on units of parts that are closed long since, so that the
first severed set in lexicographic order is found among the partitions, one by one
(mathematics.md 26.6).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.frontier.chord_bounds import follow_move
from iitdask.kernels.frontier.local_costs import PART_IN, PART_OUT
from iitdask.kernels.iit4.system_witness import is_key_at_least
from iitdask.kernels.jit import inner, kernel

MAX_LISTED = 20_000  # Tied partitions compared; beyond, the first of as many is named


class TiedWays(NamedTuple):
    """Ways of all steps that lead to tied optima, by the state with sizes that they lead to."""

    begin: NDArray[np.int64]  # (states + 1,) where the ways to each state begin
    source: NDArray[np.int64]  # (w,)
    move: NDArray[np.int64]  # (w,) see partial_partitions.Level
    parts: NDArray[np.int64]  # (w,)
    ends: NDArray[np.int64]  # States after the last step that tie


@kernel
def count_tied_ways(ways):
    """Number of partial partitions that tie on the way to each state; (states,) float64."""
    out = np.zeros(ways.begin.shape[0] - 1)
    out[0] = 1.0
    for state in range(1, out.shape[0]):
        for w in range(ways.begin[state], ways.begin[state + 1]):
            out[state] += out[ways.source[w]]
    return out


@inner
def replay(ways, chosen, part, direction, open_parts, numbers):
    """Fill in the partition that a list of ways makes; chosen: (n + 1,), from 1 on."""
    count = 0
    for t in range(part.shape[0] - 1):
        move = ways.move[chosen[t + 1]]
        if move & 1:
            open_parts[move >> 3] = count
            direction[count] = move >> 1 & 3
            count += 1
        part[t] = follow_move(move, ways.parts[chosen[t + 1]], open_parts, numbers)


@kernel
def severed_key(part, direction, units):
    """Key of the pairs that a partition severs; see system_witness.

    part : (n + 1,) of the units in order; units : (n,) the number of each
    """
    n = units.shape[0]
    key = np.zeros((n * n + 63) // 64, np.uint64)
    for x in range(n):
        for y in range(n):
            ins, outs = direction[part[x]] == PART_IN, direction[part[y]] == PART_OUT
            if part[x] != part[y] and not (ins and outs):
                rank = units[x] * n + units[y]
                key[rank >> 6] |= np.uint64(1) << np.uint64(63 - (rank & 63))
    return key


@kernel
def first_tied_partition(ways, units, part, direction):
    """Name the tied partition whose severed pairs come first in lexicographic order.

    Parameters
    ----------
    ways : TiedWays
    units : (n,) int64, the number of each unit in order
    part, direction : (n + 1,) int64, filled with the named partition

    Returns
    -------
    key : (words,) uint64, its severed pairs; see system_witness

    References
    ----------
    mathematics.md 26.6.
    """
    n, listed = units.shape[0], 0
    key, trial, way = np.zeros((n * n + 63) // 64, np.uint64), part.copy(), direction.copy()
    state, at, chosen = np.zeros((3, n + 1), np.int64)
    open_parts, numbers = np.zeros(16, np.int64), np.zeros(16, np.int64)
    for end in ways.ends:
        state[n], at[n], t = end, ways.begin[end], n
        while t <= n and listed < MAX_LISTED:
            if t == 0:
                listed += 1
                replay(ways, chosen, trial, way, open_parts, numbers)
                other = severed_key(trial, way, units)
                if listed == 1 or not is_key_at_least(key, other):
                    key = other
                    part[:], direction[:] = trial, way
                t = 1
            elif at[t] < ways.begin[state[t] + 1]:
                chosen[t] = at[t]
                at[t] += 1
                t -= 1
                state[t] = ways.source[chosen[t + 1]]
                at[t] = ways.begin[state[t]]
            else:
                t += 1
    return key
