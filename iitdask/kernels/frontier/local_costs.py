"""Directed partitions of a system whose units depend on few inputs: what each unit loses.

A partition is given by the part of every unit and the direction of every part. A unit loses bits by
its own inputs alone; the pairs severed are counted among all units (mathematics.md 26.2).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.jit import inner, kernel

PART_IN, PART_BOTH, PART_OUT = (
    0,
    1,
    2,
)  # Which edges of a part are severed: into it, both, out of it
HUGE_BITS = 1e300
LEAST_GAIN = 1e-15  # of a ratio, for a step of the descent
MAX_DESCENT_STEPS = 30


class LocalCosts(NamedTuple):
    """What the units of a system lose in one direction at one specified state, by their inputs."""

    inputs: NDArray[np.int64]  # (n, K) inputs of each unit, ascending, padded with -1
    bits: NDArray[np.float64]  # (n, 2**K) lost where only these of its own inputs are kept
    last: NDArray[np.int64]  # (n,) the last neighbour of each unit, or itself
    known: NDArray[np.int64]  # (n,) the last input of each unit, or itself
    rest: NDArray[np.float64]  # (n,) least bits that units lose which are known after each step


def make_local_costs(inputs: NDArray[np.int64], bits: NDArray[np.float64]) -> LocalCosts:
    """Add to inputs and costs what a programme in the order of the units asks for."""
    units = np.arange(len(inputs))
    known = np.maximum(inputs.max(axis=1, initial=-1), units)
    last = known.copy()
    for i, row in enumerate(inputs):
        own = row[row >= 0]
        last[own] = np.maximum(last[own], i)
    lows = np.minimum(bits.min(axis=1), 0.0)
    rest = np.array([lows[known > v].sum() for v in units])
    return LocalCosts(np.ascontiguousarray(inputs), np.ascontiguousarray(bits), last, known, rest)


@inner
def count_members(part, members):
    """Count the units of each part; returns the number of pairs within parts."""
    pairs = 0
    for p in range(members.shape[0]):
        members[p] = 0
    for i in range(members.shape[0] - 1):
        pairs += 2 * members[part[i]] + 1
        members[part[i]] += 1
    return pairs


@inner
def partition_loss(costs, part, direction, members):
    """(bits, severed pairs) of a directed partition.

    part : (n + 1,) part of each unit; direction : of each part; members : filled, units in each
    """
    n, most = costs.inputs.shape
    total, ins, outs, within = 0.0, 0, 0, count_members(part, members)
    for i in range(n):
        own = direction[part[i]]
        ins += own == PART_IN
        outs += own == PART_OUT
        kept = 0
        for a in range(most):
            j = costs.inputs[i, a]
            if j < 0:
                break
            if part[j] == part[i] or (own == PART_OUT and direction[part[j]] == PART_IN):
                kept |= 1 << a
        total += costs.bits[i, kept]
    return total, n * n - within - ins * outs


@kernel
def partition_bits(costs, part, direction):
    """(bits, severed pairs) of a directed partition; see ``partition_loss``."""
    return partition_loss(costs, part, direction, np.zeros(part.shape[0], np.int64))


@kernel
def best_interval(costs, part, direction):
    """Find the partition of least ratio into an interval of the order and the rest, or complete.

    Parameters
    ----------
    costs : LocalCosts
    part, direction : (n + 1,) int64, filled with the partition

    Returns
    -------
    cost, pairs : bits and severed pairs of the partition

    References
    ----------
    mathematics.md 26.5.
    """
    n = costs.inputs.shape[0]
    trial, way, members = np.arange(n + 1), np.full(n + 1, PART_BOTH), np.zeros(n + 1, np.int64)
    part[:], direction[:] = trial, way
    cost, pairs = partition_loss(costs, trial, way, members)
    for first in range(n):
        for last in range(first, n):
            if last - first + 1 == n:
                continue
            for i in range(n):
                trial[i] = first <= i <= last
            for k in range(3):
                way[0], way[1] = 2 - k, k
                bits, severed = partition_loss(costs, trial, way, members)
                if bits * pairs < cost * severed:
                    cost, pairs = bits, severed
                    part[:], direction[:] = trial, way
    return cost, pairs


@kernel
def descend(costs, part, direction):
    """Improve the ratio of a partition by its best single step until there is none.

    A step puts a unit into another or a new part, or turns a part.

    Parameters
    ----------
    costs : LocalCosts
    part, direction : (n + 1,) int64, the partition; replaced by the better one

    Returns
    -------
    cost, pairs : bits and severed pairs of the partition reached

    References
    ----------
    mathematics.md 26.5.
    """
    n = costs.inputs.shape[0]
    members, tried = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    for _ in range(MAX_DESCENT_STEPS):
        cost, pairs = partition_loss(costs, part, direction, members)
        empty = 0
        while members[empty]:
            empty += 1
        best, unit, to, way = cost / pairs - LEAST_GAIN, -1, 0, 0
        for i in range(2 * n):  # units, then the parts that they are in
            was = part[i % n]
            for p in range(n + 1):
                if i >= n and (p != was or members[p] == 0):
                    continue
                if i < n and ((p != empty and members[p] == 0) or p == was):
                    continue
                held = direction[p]
                if i < n:
                    part[i] = p
                for k in range(3):
                    if p == empty or i >= n:
                        direction[p] = k
                    elif k > 0:
                        break
                    bits, severed = partition_loss(costs, part, direction, tried)
                    if severed > 0 and bits / severed < best:
                        best, unit, to, way = bits / severed, i, p, direction[p]
                direction[p] = held
                part[i % n] = was
        if unit < 0:
            break
        if unit < n:
            part[unit] = to
        direction[to] = way
    return partition_loss(costs, part, direction, members)
