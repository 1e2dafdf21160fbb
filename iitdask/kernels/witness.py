"""Which partitions attain the optimum: how many, and the one that is named.

Run once, at the optimal ratio, over the few source sets O that attain it. Every
subproblem keeps (value, severed pairs, number of ways, key); the key is the
severed set as a big number whose leading bits are the first ordered pairs
(from, to), so that the largest key is the lexicographically smallest set. Keys
add over parts, hence the same dynamic programme finds the best one.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.codes import popcounts
from iitdask.kernels.jit import kernel
from iitdask.kernels.partitions import out_costs, part_costs

__all__ = ["optimal_partitions"]

HUGE = 1e300
NOWHERE, FIRST = np.int64(-1), np.int64(0)  # NumPy integers: one compiled function, not two


@kernel
def add_key(key, n, lost, part):
    """Set the bits of the pairs from ``lost`` to ``part``."""
    for a in range(n):
        if lost >> a & 1:
            for i in range(n):
                if part >> i & 1:
                    rank = a * n + i
                    key[rank >> 6] |= np.uint64(1) << np.uint64(63 - (rank & 63))


@kernel
def leads(key, keys, u):
    """Whether a key is larger than that of subproblem u."""
    for w in range(key.shape[0]):
        if key[w] != keys[u, w]:
            return key[w] > keys[u, w]
    return False


@kernel
def settle(u, value, count, ways, key, best, counted, many, keys, eps):
    """Let a candidate compete for subproblem u: least value, then most pairs, then key."""
    if value < best[u] - eps or (value <= best[u] + eps and count > counted[u]):
        best[u] = value
        counted[u] = count
        many[u] = ways
        for w in range(key.shape[0]):
            keys[u, w] = key[w]
    elif value <= best[u] + eps and count == counted[u]:
        many[u] += ways
        if leads(key, keys, u):
            for w in range(key.shape[0]):
                keys[u, w] = key[w]


@kernel
def solve(h, counts, n, source, forbidden, best, counted, many, keys, eps):
    """Settle every subset of ``source`` with parts that lose ``source`` less themselves."""
    key = np.zeros(keys.shape[1], np.uint64)
    best[0], counted[0], many[0] = 0.0, 0, 1.0
    for w in range(key.shape[0]):
        keys[0, w] = 0
    u = 0
    while True:
        u = (u - source) & source
        if u == 0:
            break
        best[u], counted[u], many[u] = HUGE, -1, 0.0
        low = u & -u
        rest = u ^ low
        sub = rest
        while True:
            part = sub | low
            value = h[part] + best[u ^ part]
            if part != forbidden and value <= best[u] + eps:
                lost = source & ~part
                for w in range(key.shape[0]):
                    key[w] = keys[u ^ part, w]
                add_key(key, n, lost, part)
                pairs = counted[u ^ part] + counts[part] * counts[lost]
                settle(u, value, pairs, many[u ^ part], key, best, counted, many, keys, eps)
            if sub == 0:
                break
            sub = (sub - 1) & rest


@kernel
def optimal_partitions(g, lam, eps, minima):
    """Among partitions with cost - lam * count at its minimum, the ones with most pairs.

    g      : (n, 2**n) float64   see partitions.cut_costs
    minima : (2**n,) float64     source_minimum of every O (HUGE where not applicable)
    returns (count, ways, key): severed pairs, number of such partitions (float, exact below
    2**53), key of the lexicographically smallest severed set as uint64 words.
    """
    n, size = g.shape
    full = size - 1
    words = (n * n + 63) // 64
    counts = popcounts(n)
    best, counted, many = np.empty(size), np.zeros(size, np.int64), np.zeros(size)
    keys = np.zeros((size, words), np.uint64)
    solve(part_costs(g, counts, lam), counts, n, full, full, best, counted, many, keys, eps)
    top, top_count, top_many = np.empty(1), np.zeros(1, np.int64), np.zeros(1)
    top[0], top_count[0] = HUGE, -1
    top_key, key = np.zeros((1, words), np.uint64), np.zeros(words, np.uint64)
    for w in range(words):
        key[w] = keys[full, w]
    settle(
        FIRST, best[full], counted[full], many[full], key, top, top_count, top_many, top_key, eps
    )
    least = HUGE
    for source in range(size):
        least = min(least, minima[source])
    h, inner = np.empty(size), np.empty(size)
    icount, imany = np.zeros(size, np.int64), np.zeros(size)
    ikeys = np.zeros((size, words), np.uint64)
    for source in range(1, full):
        if minima[source] > least + eps:
            continue
        out_costs(g, counts, lam, source, h)
        solve(h, counts, n, source, NOWHERE, inner, icount, imany, ikeys, eps)
        rest = full & ~source
        sub = source
        while sub:
            value = inner[sub] + best[source ^ sub] + best[rest]
            for w in range(words):
                key[w] = ikeys[sub, w] | keys[source ^ sub, w] | keys[rest, w]
            pairs = icount[sub] + counted[source ^ sub] + counted[rest]
            ways = imany[sub] * many[source ^ sub] * many[rest]
            settle(FIRST, value, pairs, ways, key, top, top_count, top_many, top_key, eps)
            sub = (sub - 1) & source
    for w in range(words):
        key[w] = top_key[0, w]
    return top_count[0], top_many[0], key
