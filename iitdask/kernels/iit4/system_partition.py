"""Minimum over directed set partitions of a system, without enumerating any.

mathematics.md 21. A partition changes the probability of unit i only through the set of
inputs ``cut`` that it loses; ``g[i, cut]`` is what that costs (bits, before selectivity). Parts
that lose everything outside themselves ("in" or "both") and parts that lose only the other
members of O ("out", O being the union of the out- and both-parts) add up, so the best partition
is a subset dynamic programme: 3**n for the first kind, sum over O of 3**|O| = 4**n for the
second. O = S and partitions without an out-part sever what an all-in partition severs; they are
left out, so every severed set is met exactly once.

Sets O of as many units are parted alike once their units are numbered from the highest down:
subset U of one is subset U of the other. So sixteen go through the programme together, entry ``U
* LANES + lane`` of every table belonging to one of them, and each step is a few vector
instructions. Sums are made in the order in which one O alone would make them.
"""

import numpy as np

from iitdask.kernels.jit import index, inner, kernel, merged
from iitdask.kernels.subsets import popcounts

HUGE_BITS = 1e300
LANES = 16
R1, R2, R3, R4, R5, R6, R7 = (index(LANES * row) for row in range(1, 8))
MIN_BOUNDED_UNITS = 8  # from this many units on, bounds cost less than what they save
ZERO_COST_MARGIN_BITS = 1e-9  # where some partition costs nothing, this much is not the least


@kernel
def cut_costs(marginals, columns, target):
    """Bits each unit loses with each set of severed inputs; (n, 2**n) float64.

    marginals : (2**n, c) float64, see distributions.state_marginals, at the source state
    target : (n,) int64, value each unit takes at the target state
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


@inner
def fill_part_costs_within(g, counts, lam, source, h):
    """Fill ``h[P]``: cost less lam per severed pair of each part P of a set that loses the rest."""
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
def fill_partition_minima(h, source, best):
    """Fill ``best[U]``: least sum of ``h`` over set partitions of each subset U of a set."""
    best[0] = 0.0
    u = 0
    while True:
        u = (u - source) & source  # next subset upwards
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


@inner
def fill_part_costs_of_system(g, counts, lam, h):
    """The same of all units, of which no part may be all: that costs infinitely much."""
    full = g.shape[1] - 1
    fill_part_costs_within(g, counts, lam, full, h)
    h[full] = np.inf


@kernel
def set_partition_minima(g, lam):
    """Find the least cost less lam per severed pair over set partitions of every subset U.

    Parameters
    ----------
    g : (n, 2**n) float64, see ``cut_costs``, bits
    lam : float, price of a severed pair, bits

    Returns
    -------
    (2**n,) float64, bits. Each part P loses S - P; no part is S.

    References
    ----------
    mathematics.md 21.2, Eq. (21.3).
    """
    h, best = np.empty(g.shape[1]), np.empty(g.shape[1])
    fill_part_costs_of_system(g, popcounts(g.shape[0]), lam, h)
    fill_partition_minima(h, g.shape[1] - 1, best)
    return best


@kernel
def starting_partition(g):
    """(ratio, cost, pairs) of the best two-block or complete partition, mathematics.md 21.3.

    Two blocks: severing P -> rest, or everything between P and the rest; 2**n of each.
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


@kernel
def candidate_sources(g, lam):
    """Tell which O may have a partition that costs lam per severed pair, or less.

    The partitions of an O cost, less lam per pair, at least what each unit costs by itself with
    the cheapest cut that its place allows. Outside O it loses a set that holds O; inside it loses
    part of O, or a set that holds everything outside O.

    Parameters
    ----------
    g : (n, 2**n) float64, see ``cut_costs``, bits
    lam : float, price of a severed pair, bits

    Returns
    -------
    (2**n,) bool

    References
    ----------
    mathematics.md 21.4, Eq. (21.6).
    """
    n, size = g.shape
    if n < MIN_BOUNDED_UNITS:
        return np.ones(size, np.bool_)
    full, counts, bounds = size - 1, popcounts(n), np.zeros(size)
    within, around = np.empty(size), np.empty(size)  # least over the subsets, the supersets
    for i in range(n):
        own = 1 << i
        for cut in range(size):
            within[cut] = HUGE_BITS if cut & own else g[i, cut] - lam * counts[cut]
            around[cut] = within[cut]
        for j in range(n):
            step = 1 << j
            for start in range(0, size, 2 * step):
                for cut in range(start, start + step):
                    within[cut + step] = min(within[cut + step], within[cut])
                    around[cut] = min(around[cut], around[cut + step])
        for source in range(size):
            if source & own:
                bounds[source] += min(within[source ^ own], around[full ^ source])
            else:
                bounds[source] += around[source]
    chosen = np.empty(size, np.bool_)
    for source in range(size):
        chosen[source] = bounds[source] <= ZERO_COST_MARGIN_BITS
    return chosen


@merged
def number_units(sources, m, size, masks, rows):
    """Number the m units of each O from the highest down.

    masks, rows : filled; units of subset U of each O, and where the costs of unit j of each O begin
    """
    for lane in range(LANES):
        left, unit, j = sources[lane], 0, m
        while left:
            if left & 1:
                j -= 1
                rows[j * LANES + lane] = unit
            left >>= 1
            unit += 1
        masks[lane] = 0
    for j in range(m):
        for u in range(1 << j):
            for lane in range(LANES):
                unit = rows[j * LANES + lane]
                masks[(u + (1 << j)) * LANES + lane] = masks[u * LANES + lane] | 1 << unit
    for at in range(m * LANES):
        rows[at] *= size


@merged
def fill_part_costs(g, lam, m, masks, rows, h):
    """Cost less lam per severed pair of each part of O that loses the rest of O."""
    full = (1 << m) - 1
    for part in range(1, full + 1):
        here, rest = index(part * LANES), index((full ^ part) * LANES)
        for lane in range(index(LANES)):
            h[here + lane] = 0.0
        count = 0
        for j in range(m - 1, -1, -1):
            if part >> j & 1:
                row = index(j * LANES)
                for lane in range(index(LANES)):
                    h[here + lane] += g[rows[row + lane] + masks[rest + lane]]
                count += 1
        gain = lam * count * (m - count)
        for lane in range(index(LANES)):
            h[here + lane] -= gain


@merged
def minimise_subset(h, u, best):
    """Least sum of ``h`` over the set partitions of subset u, from those of smaller ones."""
    top = 1
    while top * 2 <= u:
        top *= 2
    rest = u ^ top
    for lane in range(LANES):
        best[u * LANES + lane] = HUGE_BITS
    sub = rest
    while True:
        for lane in range(LANES):
            value = h[(sub | top) * LANES + lane] + best[(rest ^ sub) * LANES + lane]
            best[u * LANES + lane] = min(best[u * LANES + lane], value)
        if sub == 0:
            break
        sub = (sub - 1) & rest


@merged
def minimise_eight_subsets(h, part, best, rest, least):
    """Let a part and the rest it leaves compete for their union, eight of each at once.

    The eight differ in their lowest three units; ``part`` and ``rest`` say where they begin.
    Twenty-seven sums for twenty-four numbers that are read: the innermost step of 4**n / 2 sums.
    """
    for lane in range(R1):
        p, r = part + lane, rest + lane
        h0, h1, h2, h3 = h[p], h[p + R1], h[p + R2], h[p + R3]
        h4, h5, h6, h7 = h[p + R4], h[p + R5], h[p + R6], h[p + R7]
        b0, b1, b2, b3 = best[r], best[r + R1], best[r + R2], best[r + R3]
        b4, b5, b6, b7 = best[r + R4], best[r + R5], best[r + R6], best[r + R7]
        u1, u2, u3, u4 = lane + R1, lane + R2, lane + R3, lane + R4
        u5, u6, u7 = lane + R5, lane + R6, lane + R7
        least[lane] = min(least[lane], h0 + b0)
        least[u1] = min(least[u1], h0 + b1, h1 + b0)
        least[u2] = min(least[u2], h0 + b2, h2 + b0)
        least[u3] = min(least[u3], h0 + b3, h1 + b2, h2 + b1, h3 + b0)
        least[u4] = min(least[u4], h0 + b4, h4 + b0)
        least[u5] = min(least[u5], h0 + b5, h1 + b4, h4 + b1, h5 + b0)
        least[u6] = min(least[u6], h0 + b6, h2 + b4, h4 + b2, h6 + b0)
        low = min(h0 + b7, h1 + b6, h2 + b5, h3 + b4)
        least[u7] = min(least[u7], low, h4 + b3, h5 + b2, h6 + b1, h7 + b0)


@merged
def minimise_all_subsets(h, m, best, least):
    """Least sum of ``h`` over the set partitions of every subset of each O; least : scratch."""
    for lane in range(LANES):
        best[lane] = 0.0
    for u in range(1, min(1 << m, 8)):
        minimise_subset(h, u, best)
    for unit in range(3, m):
        top = 1 << unit
        for upper in range(0, top, 8):
            for at in range(8 * LANES):
                least[at] = HUGE_BITS
            sub = upper
            while True:
                part, rest = index((sub | top) * LANES), index((upper ^ sub) * LANES)
                minimise_eight_subsets(h, part, best, rest, least)
                if sub == 0:
                    break
                sub = (sub - 1) & upper
            begin = index((top | upper) * LANES)
            for at in range(index(8 * LANES)):
                best[begin + at] = least[at]


@inner
def minimise_sources(g, lam, whole, sources, m, masks, rows, h, best, least):
    """Leave in ``least[:LANES]`` the least cost less lam per pair of each O of ``sources``.

    g : (n * 2**n,) float64  see system_partition.cut_costs
    m : units of each O; masks, h, best : (2**m * LANES,), rows : (m * LANES,) scratch
    """
    size = whole.shape[0]
    number_units(sources, m, size, masks, rows)
    fill_part_costs(g, lam, m, masks, rows, h)
    minimise_all_subsets(h, m, best, least)
    for lane in range(LANES):
        least[lane] = HUGE_BITS
    for u in range(1, 1 << m):
        begin = index(u * LANES)
        for lane in range(index(LANES)):
            value = best[begin + lane] + whole[sources[lane] ^ masks[begin + lane]]
            least[lane] = min(least[lane], value)
    for lane in range(LANES):
        least[lane] += whole[(size - 1) & ~sources[lane]]


@kernel
def source_minima(g, lam, whole, searched, begin, end, out):
    """Find the least cost less lam per severed pair of each O, begin <= O < end.

    Parameters
    ----------
    g : (n, 2**n) float64, see ``cut_costs``, bits
    lam : float, price of a severed pair, bits
    whole : (2**n,) float64, see ``set_partition_minima``, at the same lam
    searched : (2**n,) bool, O to search; the minimum of others is infinite
    begin, end : int, range of O
    out : (end - begin,) float64, bits, filled; infinite for O = S, which severs what O = 0 does

    References
    ----------
    mathematics.md 21.2, Eq. (21.4) and (21.5).
    """
    n, size = g.shape
    counts = popcounts(n)
    flat = g.reshape(-1)
    rows, sources = np.empty(n * LANES, np.int64), np.empty(LANES, np.int64)
    masks, least = np.empty(size // 2 * LANES, np.int64), np.empty(8 * LANES)
    h, best = np.empty(size // 2 * LANES), np.empty(size // 2 * LANES)
    out[:] = np.inf
    if begin == 0:
        out[0] = whole[size - 1]
    last = min(end, size - 1)
    for m in range(1, n):
        found = 0
        for source in range(max(begin, 1), last + 1):
            if source < last:
                if counts[source] != m or not searched[source]:
                    continue
                sources[found] = source
                found += 1
            if found == LANES or (source == last and found > 0):
                sources[found:] = sources[0]
                minimise_sources(flat, lam, whole, sources, m, masks, rows, h, best, least)
                for lane in range(found):
                    out[sources[lane] - begin] = least[lane]
                found = 0
