"""Which partitions attain the optimum: how many, and the one that is named.

Run once a ratio, over the few source sets O that attain its minimum and, of their
subproblems, over the few that an optimum leads to: those are marked first. Every
one keeps (value, severed pairs, number of ways, key); the key is the
severed set as a big number whose leading bits are the first ordered pairs
(from, to), so that the largest key is the lexicographically smallest set. Keys
add over parts, hence the same dynamic programme finds the best one.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.codes import popcounts
from iitdask.kernels.jit import inner, kernel
from iitdask.kernels.partitions import out_costs, out_minima, part_costs

__all__ = ["optimal_partitions"]

HUGE = 1e300
SLACK = 64  # tolerances that a subproblem may be off its least sum, one for each part
NOWHERE, FIRST = np.int64(-1), np.int64(0)  # NumPy integers: one compiled function, not two


@inner
def add_key(key, n, lost, part):
    """Set the bits of the pairs from ``lost`` to ``part``."""
    for a in range(n):
        if lost >> a & 1:
            for i in range(n):
                if part >> i & 1:
                    rank = a * n + i
                    key[rank >> 6] |= np.uint64(1) << np.uint64(63 - (rank & 63))


@inner
def leads(key, keys, u):
    """Whether a key is larger than that of subproblem u."""
    for w in range(key.shape[0]):
        if key[w] != keys[u, w]:
            return key[w] > keys[u, w]
    return False


@inner
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


@inner
def mark(h, source, forbidden, best, marked, slack):
    """Mark every subset that a marked one's best parts leave, down to the smallest.

    best : least sum of ``h`` over the set partitions of each subset of ``source``
    """
    u = source
    while u:
        if marked[u]:
            low = u & -u
            rest = u ^ low
            sub = rest
            while True:
                part = sub | low
                if part != forbidden and h[part] + best[u ^ part] <= best[u] + slack:
                    marked[u ^ part] = True
                if sub == 0:
                    break
                sub = (sub - 1) & rest
        u = (u - 1) & source


@inner
def solve(h, counts, n, source, forbidden, marked, best, counted, many, keys, key, eps):
    """Settle the marked subsets of ``source`` with parts that lose ``source`` less themselves.

    The others keep their least sum; it takes part in no optimum. ``key`` is scratch.
    """
    best[0], counted[0], many[0] = 0.0, 0, 1.0
    for w in range(key.shape[0]):
        keys[0, w] = 0
    u = 0
    while True:
        u = (u - source) & source
        if u == 0:
            break
        if not marked[u]:
            continue
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


@inner
def mark_ends(sums, whole, source, limit, within, outside):
    """Mark where the best partitions with sources O begin: U of O, and what is left to others.

    sums, whole  : (2**n,) float64  least sums over set partitions, of subsets of O and of S
    limit        : float            a sum up to this is among the best
    within, outside : (2**n,) bool  ``within`` is filled for the subsets of O, ``outside`` added to
    """
    rest = (whole.shape[0] - 1) & ~source
    within[0] = False
    sub = source
    while sub:
        within[sub] = sums[sub] + whole[source ^ sub] + whole[rest] <= limit
        if within[sub]:
            outside[source ^ sub] = True
            outside[rest] = True
        sub = (sub - 1) & source


@inner
def may_lead(source, n, counts, minimum, least, eps, top, top_count):
    """Whether a partition with sources O may attain the minimum with as many pairs as the first.

    Some unit of O loses other members of O alone, so that n - |O| pairs at least stay. Where
    everything costs the same per pair, as in AND gates that are all on, this spares all O.
    """
    if minimum > least + eps:
        return False
    return top[0] > least + eps or top_count[0] <= n * (n - 1) - (n - counts[source])


@kernel
def optimal_partitions(g, lam, whole, eps, minima):
    """Among partitions with cost - lam * count at its minimum, the ones with most pairs.

    g      : (n, 2**n) float64   see partitions.cut_costs
    whole  : (2**n,) float64     see partitions.whole_minima, at the same lam
    minima : (2**n,) float64     see sources.source_minima, of all O
    returns (count, ways, key): severed pairs, number of such partitions (float, exact below
    2**53), key of the lexicographically smallest severed set as uint64 words.
    """
    n, size = g.shape
    full = size - 1
    words = (n * n + 63) // 64
    counts = popcounts(n)
    parts = part_costs(g, counts, lam)
    best, h, sums = whole.copy(), np.empty(size), np.empty(size)
    least = HUGE
    for source in range(size):
        least = min(least, minima[source])
    slack = SLACK * eps
    within, marked = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    counted, many = np.zeros(size, np.int64), np.zeros(size)
    keys, key = np.zeros((size, words), np.uint64), np.zeros(words, np.uint64)
    marked[full] = True
    mark(parts, full, full, best, marked, slack)
    solve(parts, counts, n, full, full, marked, best, counted, many, keys, key, eps)
    top, top_count, top_many = np.full(1, HUGE), np.full(1, -1), np.zeros(1)
    top_key, first = np.zeros((1, words), np.uint64), keys[full]
    settle(
        FIRST, best[full], counted[full], many[full], first, top, top_count, top_many, top_key, eps
    )
    for source in range(1, full):
        if may_lead(source, n, counts, minima[source], least, eps, top, top_count):
            out_costs(g, counts, lam, source, h)
            out_minima(h, source, sums)
            mark_ends(sums, best, source, least + slack, within, marked)
    mark(parts, full, full, best, marked, slack)
    solve(parts, counts, n, full, full, marked, best, counted, many, keys, key, eps)
    icount, imany = np.zeros(size, np.int64), np.zeros(size)
    ikeys = np.zeros((size, words), np.uint64)
    for source in range(1, full):
        if not may_lead(source, n, counts, minima[source], least, eps, top, top_count):
            continue
        out_costs(g, counts, lam, source, h)
        out_minima(h, source, sums)
        mark_ends(sums, best, source, least + slack, within, marked)
        mark(h, source, NOWHERE, sums, within, slack)
        solve(h, counts, n, source, NOWHERE, within, sums, icount, imany, ikeys, key, eps)
        rest = full & ~source
        sub = source
        while sub:
            value = sums[sub] + best[source ^ sub] + best[rest]
            for w in range(words):
                key[w] = ikeys[sub, w] | keys[source ^ sub, w] | keys[rest, w]
            pairs = icount[sub] + counted[source ^ sub] + counted[rest]
            ways = imany[sub] * many[source ^ sub] * many[rest]
            settle(FIRST, value, pairs, ways, key, top, top_count, top_many, top_key, eps)
            sub = (sub - 1) & source
    return top_count[0], top_many[0], top_key[0].copy()
