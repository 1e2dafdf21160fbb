"""Directed bipartitions of a system: the minimum over them alone, an upper bound of the ratio.

References: docs/mathematics.md 7 and 8.6.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.iit4.state_pair import StateMinimum
from iitdask.kernels.iit4.system_witness import SUM_TOLERANCE_BITS
from iitdask.theory.stage import Array


def directed_bipartitions(n: int) -> Array:
    """Return (3 (2**(n-1) - 1), n) masks of the inputs that each unit loses, from A, to A, both.

    For n = 1 the connection of the unit to itself, as section 7 of docs/mathematics.md says.
    """
    if n == 1:
        return np.ones((1, 1), np.int64)
    every = (1 << n) - 1
    blocks = np.arange(1, 1 << (n - 1), dtype=np.int64)[:, None]  # never with the last unit
    inside = (blocks >> np.arange(n) & 1).astype(bool)
    from_outside, from_inside = every & ~blocks, blocks
    lost_inside, lost_outside = np.where(inside, from_outside, 0), np.where(inside, 0, from_inside)
    return np.concatenate([lost_outside, lost_inside, lost_inside + lost_outside])


def minimum_bipartition(costs: Array, zero: float) -> tuple[float, int, float, Array]:
    """Find the minimum among the directed bipartitions of a system in one direction.

    Parameters
    ----------
    costs : (n, 2**n) float64, what each unit loses with each set of severed inputs, bits
    zero : a cost up to this is no cost

    Returns
    -------
    cost, pairs, ways, key : as ``minimum_partition`` of the kernels returns them

    References
    ----------
    docs/mathematics.md 8.6, Eq. (8.8).
    """
    severed = directed_bipartitions(len(costs))
    cost, pairs = _costs_and_pairs(costs, severed)
    least = float((np.where(cost > zero, cost, 0.0) / pairs).min())
    best, count = _best_at(np.where(cost > zero, cost, 0.0), pairs, least, SUM_TOLERANCE_BITS)
    keys = [_key_of(severed[k]) for k in best.tolist()]
    first = max(range(len(best)), key=lambda k: keys[k].tolist())
    return float(cost[best[first]]), count, float(len(best)), keys[first]


def count_common_bipartitions(
    cause: StateMinimum, effect: StateMinimum, cause_costs: Array, effect_costs: Array
) -> float:
    """Count the bipartitions that attain the minimum of both directions at once."""
    costs = cause_costs * cause.selectivity + effect_costs * effect.selectivity
    ratio = cause.cost * cause.selectivity / cause.pairs
    ratio += effect.cost * effect.selectivity / effect.pairs
    cost, pairs = _costs_and_pairs(costs, directed_bipartitions(len(costs)))
    if (cost - ratio * pairs).min() > 4 * SUM_TOLERANCE_BITS:
        return 0.0
    best, count = _best_at(cost, pairs, ratio, 4 * SUM_TOLERANCE_BITS)
    return float(len(best)) if count == max(cause.pairs, effect.pairs) else 0.0


def _costs_and_pairs(costs: Array, severed: Array) -> tuple[Array, Array]:
    """Return the bits and the number of severed pairs of each partition, (p,) each."""
    bits: Array = costs[np.arange(len(costs)), severed].sum(axis=1)
    return bits, np.bitwise_count(severed).sum(axis=1, dtype=np.int64)


def _best_at(cost: Array, pairs: Array, ratio: float, tolerance: float) -> tuple[Array, int]:
    """Return where the ratio is attained with the most severed pairs, and how many these are."""
    attained = np.flatnonzero(cost - ratio * pairs <= tolerance)
    most = int(pairs[attained].max())
    return attained[pairs[attained] == most], most


def _key_of(severed: Array) -> Array:
    """Return severed pairs as a number in words, the first pairs (from, to) leading."""
    n = len(severed)
    key = np.zeros((n * n + 63) // 64, np.uint64)
    for unit, mask in enumerate(severed.tolist()):
        for source in range(n):
            if mask >> source & 1:
                rank = source * n + unit
                key[rank >> 6] |= np.uint64(1) << np.uint64(63 - (rank & 63))
    return key
