"""Minimum partition of a system in one direction, the number of ties, and the named one.

The witness runs once a ratio, over the few source sets O that attain its minimum and, of their
subproblems, over the few that an optimum leads to: those are marked first. Every one keeps
(value, severed pairs, number of ways, key); the key is the severed set as a big number whose
leading bits are the first ordered pairs (from, to), so that the largest key is the
lexicographically smallest set. Keys add over parts, hence the same dynamic programme finds the
best one.
"""

import numpy as np

from iitdask.kernels.iit4.system_partition import (
    candidate_sources,
    fill_part_costs_of_system,
    fill_part_costs_within,
    fill_partition_minima,
    set_partition_minima,
    source_minima,
    starting_partition,
)
from iitdask.kernels.jit import ZERO_INT64, inner, jitable, kernel
from iitdask.kernels.subsets import popcounts

HUGE_BITS = 1e300
SUM_TOLERANCE_BITS = 2e-12  # equal sums of logarithms differ by less (mathematics.md 0.2)
SLACK_TOLERANCES = 64  # tolerances that a subproblem may be off its least sum, one for each part


@inner
def add_severed_pairs(key, n, lost, part):
    """Set the bits of the pairs from ``lost`` to ``part``."""
    for a in range(n):
        if lost >> a & 1:
            for i in range(n):
                if part >> i & 1:
                    rank = a * n + i
                    key[rank >> 6] |= np.uint64(1) << np.uint64(63 - (rank & 63))


@jitable
def is_key_at_least(one, other):
    """Whether a key is at least as large as another; (words,) uint64 each."""
    for w in range(one.shape[0]):
        if one[w] != other[w]:
            return one[w] > other[w]
    return True


@inner
def update_optimum(u, value, count, ways, key, best, counted, many, keys, eps):
    """Let a candidate compete for subproblem u: least value, then most pairs, then key."""
    if value < best[u] - eps or (value <= best[u] + eps and count > counted[u]):
        best[u] = value
        counted[u] = count
        many[u] = ways
        for w in range(key.shape[0]):
            keys[u, w] = key[w]
    elif value <= best[u] + eps and count == counted[u]:
        many[u] += ways
        if is_key_at_least(key, keys[u]):
            for w in range(key.shape[0]):
                keys[u, w] = key[w]


@inner
def mark_subproblems(h, source, best, marked, slack):
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
                if h[part] + best[u ^ part] <= best[u] + slack:
                    marked[u ^ part] = True
                if sub == 0:
                    break
                sub = (sub - 1) & rest
        u = (u - 1) & source


@inner
def solve_subproblems(h, counts, n, source, marked, best, counted, many, keys, key, eps):
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
        best[u], counted[u], many[u] = HUGE_BITS, -1, 0.0
        low = u & -u
        rest = u ^ low
        sub = rest
        while True:
            part = sub | low
            value = h[part] + best[u ^ part]
            if value <= best[u] + eps:
                lost = source & ~part
                for w in range(key.shape[0]):
                    key[w] = keys[u ^ part, w]
                add_severed_pairs(key, n, lost, part)
                pairs = counted[u ^ part] + counts[part] * counts[lost]
                update_optimum(u, value, pairs, many[u ^ part], key, best, counted, many, keys, eps)
            if sub == 0:
                break
            sub = (sub - 1) & rest


@inner
def mark_first_subproblems(sums, whole, source, limit, within, outside):
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
def may_attain_minimum(source, n, counts, minimum, least, eps, top, top_count):
    """Whether a partition with sources O may attain the minimum with as many pairs as the first.

    Some unit of O loses other members of O alone, so that n - |O| pairs at least stay. Where
    everything costs the same per pair, as in AND gates that are all on, this spares all O.
    """
    if minimum > least + eps:
        return False
    return top[0] > least + eps or top_count[0] <= n * (n - 1) - (n - counts[source])


@kernel
def optimal_partitions(g, lam, whole, eps, minima):
    """Find, among partitions with the least cost - lam * count, those with most pairs.

    lam : float, price of a severed pair, bits; whole, minima : see ``set_partition_minima`` and
    ``source_minima``, at the same lam; eps : difference up to which two sums are equal, bits
    returns (severed pairs, number of such partitions, exact below 2**53, key of the
    lexicographically smallest severed set). mathematics.md 21.5.
    """
    n, size = g.shape
    full = size - 1
    words = (n * n + 63) // 64
    counts = popcounts(n)
    parts, best, h, sums = np.empty(size), whole.copy(), np.empty(size), np.empty(size)
    fill_part_costs_of_system(g, counts, lam, parts)
    least = HUGE_BITS
    for source in range(size):
        least = min(least, minima[source])
    slack = SLACK_TOLERANCES * eps
    within, marked = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    counted, many = np.zeros(size, np.int64), np.zeros(size)
    keys, key = np.zeros((size, words), np.uint64), np.zeros(words, np.uint64)
    marked[full] = True
    mark_subproblems(parts, full, best, marked, slack)
    solve_subproblems(parts, counts, n, full, marked, best, counted, many, keys, key, eps)
    top, top_count, top_many = np.full(1, HUGE_BITS), np.full(1, -1), np.zeros(1)
    top_key, whole_key = np.zeros((1, words), np.uint64), keys[full]
    least_sum, pairs, ways = best[full], counted[full], many[full]
    update_optimum(
        ZERO_INT64, least_sum, pairs, ways, whole_key, top, top_count, top_many, top_key, eps
    )
    for source in range(1, full):
        if may_attain_minimum(source, n, counts, minima[source], least, eps, top, top_count):
            fill_part_costs_within(g, counts, lam, source, h)
            fill_partition_minima(h, source, sums)
            mark_first_subproblems(sums, best, source, least + slack, within, marked)
    mark_subproblems(parts, full, best, marked, slack)
    solve_subproblems(parts, counts, n, full, marked, best, counted, many, keys, key, eps)
    icount, imany = np.zeros(size, np.int64), np.zeros(size)
    ikeys = np.zeros((size, words), np.uint64)
    for source in range(1, full):
        if not may_attain_minimum(source, n, counts, minima[source], least, eps, top, top_count):
            continue
        fill_part_costs_within(g, counts, lam, source, h)
        fill_partition_minima(h, source, sums)
        mark_first_subproblems(sums, best, source, least + slack, within, marked)
        mark_subproblems(h, source, sums, within, slack)
        solve_subproblems(h, counts, n, source, within, sums, icount, imany, ikeys, key, eps)
        rest = full & ~source
        sub = source
        while sub:
            value = sums[sub] + best[source ^ sub] + best[rest]
            for w in range(words):
                key[w] = ikeys[sub, w] | keys[source ^ sub, w] | keys[rest, w]
            pairs = icount[sub] + counted[source ^ sub] + counted[rest]
            ways = imany[sub] * many[source ^ sub] * many[rest]
            update_optimum(
                ZERO_INT64, value, pairs, ways, key, top, top_count, top_many, top_key, eps
            )
            sub = (sub - 1) & source
    return top_count[0], top_many[0], top_key[0].copy()


@jitable
def minimum_partition(g, zero):
    """Find the minimum information partition of a system in one direction.

    Parameters
    ----------
    g : (n, 2**n) float64, see ``cut_costs``, bits
    zero : float, a cost up to this is no cost: the system is reducible

    Returns
    -------
    cost : float, of the partitions with the least cost / count the largest cost, bits
    count : int, pairs that these sever
    ways : float, how many there are
    key : (words,) uint64, the named one

    References
    ----------
    mathematics.md 8.3 and 21.3, Eq. (8.3).
    """
    size = g.shape[1]
    if size == 2:
        return g[0, 1], 1, 1.0, np.full(1, np.uint64(1) << np.uint64(63))
    lam, cost, count = starting_partition(g)
    minima = np.empty(size)
    while True:
        lam = max(0.0, lam)
        whole = set_partition_minima(g, lam)
        source_minima(g, lam, whole, candidate_sources(g, lam), 0, size, minima)
        pairs, ways, key = optimal_partitions(g, lam, whole, SUM_TOLERANCE_BITS, minima)
        least = minima.min()
        cost = least + lam * pairs
        count = pairs
        if cost <= zero or least >= -SUM_TOLERANCE_BITS:
            return cost, count, ways, key
        lam = cost / count


@kernel
def inputs_severed_by_key(key, n):
    """Inputs each unit loses under the partition a key names; (n,) int64 masks."""
    out = np.zeros(n, np.int64)
    for a in range(n):
        for i in range(n):
            rank = a * n + i
            if key[rank >> 6] >> np.uint64(63 - (rank & 63)) & np.uint64(1):
                out[i] |= 1 << a
    return out


@jitable
def partition_cost(g, lost):
    """Bits all units lose together, before selectivity."""
    total = 0.0
    for i in range(lost.shape[0]):
        total += g[i, lost[i]]
    return total
