"""Minimum over directed set partitions of a system, without enumerating any.

mathematics.md 21. A partition changes the probability of unit i only through the set of
inputs ``cut`` that it loses; ``g[i, cut]`` is what that costs (bits, before selectivity). Parts
that lose everything outside themselves ("in" or "both") and parts that lose only the other
members of O ("out", O being the union of the out- and both-parts) add up, so the best partition
is a subset dynamic programme: 3**n for the first kind, sum over O of 3**|O| = 4**n for the
second. O = S and partitions without an out-part sever what an all-in partition severs; they are
left out, so every severed set is met exactly once.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import inner, kernel
from iitdask.kernels.subsets import popcounts

__all__ = ["set_partition_minima", "starting_partition"]

HUGE_BITS = 1e300


@kernel
def cut_costs(marginals, columns, target):
    """Bits each unit loses with each set of severed inputs; (n, 2**n) float64.

    marginals : (2**n, c) float64  see distributions.state_marginals, at the source state
    columns   : (n + 1,) int64
    target    : (n,) int64         value each unit takes at the target state
    g[i, cut] = log2 P_i(all inputs) - log2 P_i(inputs outside cut)
    """
    full = marginals.shape[0] - 1
    n = target.shape[0]
    g = np.zeros((n, full + 1))
    for i in range(n):
        col = columns[i] + target[i]
        whole = np.log2(marginals[full, col])
        for cut in range(1, full + 1):
            g[i, cut] = whole - np.log2(marginals[full & ~cut, col])
    return g


@kernel
def part_costs(g, counts, lam):
    """Cost less lam per severed pair of each part P that loses S - P; (2**n,) float64."""
    n, size = g.shape
    full = size - 1
    h = np.zeros(size)
    for part in range(1, size):
        rest = full & ~part
        total = 0.0
        for i in range(n):
            if part >> i & 1:
                total += g[i, rest]
        h[part] = total - lam * counts[part] * counts[rest]
    return h


@kernel
def set_partition_minima(g, lam):
    """Find the least cost less lam per severed pair over set partitions of every subset U.

    Parameters
    ----------
    g : (n, 2**n) float64
        See ``cut_costs``, bits.
    lam : float
        Price of a severed pair, bits.

    Returns
    -------
    (2**n,) float64
        Bits. Each part P loses S - P; no part is S.

    References
    ----------
    mathematics.md 21.2, Eq. (21.3).
    """
    n, size = g.shape
    h = part_costs(g, popcounts(n), lam)
    full = size - 1
    best = np.zeros(size)
    for u in range(1, size):
        low = u & -u
        rest = u ^ low
        least = HUGE_BITS
        sub = rest
        while True:
            part = sub | low
            if part != full:
                value = h[part] + best[u ^ part]
                if value < least:
                    least = value
            if sub == 0:
                break
            sub = (sub - 1) & rest
        best[u] = least
    return best


@inner
def source_part_costs(g, counts, lam, source, h):
    """Fill ``h[P]`` for the parts P of O that lose O - P (same units as ``part_costs``)."""
    part = source
    while part:
        lost = source & ~part
        total = 0.0
        left = part
        i = 0
        while left:
            if left & 1:
                total += g[i, lost]
            left >>= 1
            i += 1
        h[part] = total - lam * counts[part] * counts[lost]
        part = (part - 1) & source


@inner
def source_part_minima(h, source, best):
    """Fill ``best[U]``: least sum of ``h`` over set partitions of each U within O."""
    best[0] = 0.0
    u = 0
    while True:
        u = (u - source) & source  # next subset of O upwards
        if u == 0:
            break
        low = u & -u
        rest = u ^ low
        least = HUGE_BITS
        sub = rest
        while True:
            part = sub | low
            value = h[part] + best[u ^ part]
            if value < least:
                least = value
            if sub == 0:
                break
            sub = (sub - 1) & rest
        best[u] = least


@kernel
def starting_partition(g):
    """Find the best of all two-block partitions and the complete one.

    Severing P -> rest, or everything between P and the rest; 2**n of each.

    Parameters
    ----------
    g : (n, 2**n) float64
        See ``cut_costs``, bits.

    Returns
    -------
    ratio : float
        Cost per severed pair, the least of its kind, bits.
    cost : float
        Cost, bits.
    count : int
        Severed pairs.

    References
    ----------
    mathematics.md 21.3.
    """
    n, size = g.shape
    full = size - 1
    counts = popcounts(n)
    cost = 0.0
    for i in range(n):
        cost += g[i, full & ~(1 << i)]
    count = n * (n - 1)
    for part in range(1, full):
        rest = full & ~part
        one = 0.0  # what the units of ``rest`` lose when P no longer reaches them
        for i in range(n):
            if rest >> i & 1:
                one += g[i, part]
        pairs = counts[part] * counts[rest]
        if one * count < cost * pairs:
            cost, count = one, pairs
    return cost / count, cost, count
