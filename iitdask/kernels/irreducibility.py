"""How irreducible a system is: minimum over directed set partitions, with its witness."""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import kernel
from iitdask.kernels.partitions import two_block_start, whole_minima
from iitdask.kernels.sources import open_sources, source_minima
from iitdask.kernels.witness import optimal_partitions

__all__ = ["EPS", "lost_inputs", "minimum_partition", "total_cost"]

EPS = 2e-12  # two sums of logarithms that are mathematically equal differ by less


@kernel
def minimum_partition(g, zero):
    """Minimum information partition of a system in one direction.

    g    : (n, 2**n) float64  see partitions.cut_costs, n >= 2
    zero : float              a cost up to this is no cost: the system is reducible
    returns (cost, count, ways, key, rounds): of the partitions with the least cost / count,
    those with the largest cost; how many there are; the named one as a key (see witness);
    how many searches at a fixed ratio it took (Dinkelbach).
    """
    size = g.shape[1]
    lam, cost, count = two_block_start(g)
    minima = np.empty(size)
    rounds = 0
    while True:
        lam = max(0.0, lam)
        whole = whole_minima(g, lam)
        source_minima(g, lam, whole, open_sources(g, lam), 0, size, minima)
        rounds += 1
        pairs, ways, key = optimal_partitions(g, lam, whole, EPS, minima)
        least = minima[0]
        for source in range(1, size):
            least = min(least, minima[source])
        cost = least + lam * pairs
        count = pairs
        if cost <= zero or least >= -EPS:
            return cost, count, ways, key, rounds
        lam = cost / count


@kernel
def lost_inputs(key, n):
    """Inputs each unit loses under the partition a key names; (n,) int64 masks."""
    out = np.zeros(n, np.int64)
    for a in range(n):
        for i in range(n):
            rank = a * n + i
            if key[rank >> 6] >> np.uint64(63 - (rank & 63)) & np.uint64(1):
                out[i] |= 1 << a
    return out


@kernel
def total_cost(g, lost):
    """Bits all units lose together, before selectivity."""
    total = 0.0
    for i in range(lost.shape[0]):
        total += g[i, lost[i]]
    return total
