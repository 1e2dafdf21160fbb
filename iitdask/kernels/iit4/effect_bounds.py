"""Effect purviews of a mechanism bounded by partitions into two blocks, and by first blocks.

At one price a partition into the blocks B and the rest has the value
sum over the purview's units of min(nothing, B, rest): for all B a sum of vectors that belong to
the mechanism and the price. The same holds of the bound on all partitions that the first block
gives (partition_search.bound_first_blocks). The vectors are summed over the subsets of either
half of the units; a purview then costs one addition of two vectors (mathematics.md 22.4).
"""

from iitdask.kernels.iit4.leading_bounds import MIN_PRICE_FACTOR, ROUNDING_FACTOR
from iitdask.kernels.iit4.mechanism_partition import COST_TOLERANCE_BITS, ON_EFFECT
from iitdask.kernels.iit4.partition_search import (
    GOAL_EXISTENCE,
    minimise_over_subsets,
    search_from_block,
)
from iitdask.kernels.jit import ONE_INT64, ZERO_INT64, index, inner, merged
from iitdask.kernels.subsets import PHI_ZERO_BITS, phi_tolerance

PRICE_STEP = 1.4  # from a price to the next
SEARCH_PRICE_FACTOR = 1.15  # a purview is searched at the first price above so many times its ratio
MIN_TABLED_PURVIEWS = 24  # purviews left for which tables of vectors would not pay
TWO_BLOCKS, FIRST_BLOCK = ZERO_INT64, ONE_INT64


@inner
def fill_two_block_vector(work, row, elements, mu, out, begin):
    """``out[begin + b]``: least value of one unit at mu, that keeps nothing, b, or all but b."""
    f, pops, half = work.effects, work.pops, 1 << (elements - 1)
    none = f[row] - mu * elements
    out[begin] = none
    first, last, to = index(row), index(row + 2 * half - 1), index(begin)
    for b in range(index(1), index(half)):
        one = f[first + b] - mu * (elements - pops[b])
        two = f[last - b] - mu * pops[b]
        least = min(two, one)
        out[to + b] = min(none, least)


@inner
def fill_first_block_vector(work, row, over, elements, mu, out, begin):
    """``out[begin + h]``: a bound on one unit's value, the first block being half + h.

    That is nothing, the block, or any part of the elements left: the least over these parts is
    left in ``work.bound`` from ``over`` on.
    """
    f, pops, half, below = work.effects, work.pops, 1 << (elements - 1), work.bound
    first, place, to = index(row), index(over), index(begin)
    for b in range(index(half)):
        below[place + b] = f[first + b] - mu * (elements - pops[b])
    minimise_over_subsets(below, over, half, index(1))
    first, place = index(row + half), index(over + half - 1)
    for h in range(index(half - 1)):
        block = f[first + h] - mu * (elements - 1.0 - pops[h])
        least = below[place - h]
        out[to + h] = min(block, least)
    out[begin + half - 1] = below[over]  # the mechanism kept whole is no partition


@inner
def fill_vectors(tables, work, leads, elements, mu, kind):
    """Fill ``leads.low`` and ``leads.high``: sums of one kind of vector over sets of units."""
    n, half = tables.levels.shape[0], 1 << (elements - 1)
    for j in range(n):
        table, place = (leads.low, j) if j < n // 2 else (leads.high, j - n // 2)
        begin = half << place
        if place == 0:
            for b in range(half):
                table[b] = 0.0
        if kind == TWO_BLOCKS:
            fill_two_block_vector(work, leads.base[j], elements, mu, table, begin)
        else:
            fill_first_block_vector(work, leads.base[j], j << elements, elements, mu, table, begin)
        own, width = index(begin), index(half)
        for a in range(width, own, width):
            for b in range(width):
                table[own + a + b] = table[a + b] + table[own + b]


@inner
def least_entry(lower, upper, sums, n, purview, half, first):
    """Least entry, from ``first`` on, of the sum of vectors over a purview's units.

    lower, upper, sums : ``leads.low``, ``leads.high`` and scratch
    Takes the arrays, not ``leads``: handing over all of that costs more than the work.
    """
    low, high = index((purview & ((1 << n // 2) - 1)) * half), index((purview >> n // 2) * half)
    if half < 4:
        least = 1e300
        for b in range(index(first), index(half)):
            value = lower[low + b] + upper[high + b]
            least = min(least, value)
        return least
    # quartered, then halved again and again: only so the minimum is taken of whole vectors
    rest = index(half // 4)
    for b in range(rest):
        at, to = low + b, high + b
        one, two = lower[at] + upper[to], lower[at + rest] + upper[to + rest]
        at, to = at + rest + rest, to + rest + rest
        three, four = lower[at] + upper[to], lower[at + rest] + upper[to + rest]
        one, three = min(one, two), min(three, four)
        sums[b] = min(one, three)
    if first > 0:
        sums[0] = 1e300
        for b in range(rest, index(half), rest):
            value = lower[low + b] + upper[high + b]
            sums[0] = min(sums[0], value)
    while rest > index(1):
        rest = rest // index(2)
        for b in range(rest):
            other = sums[rest + b]
            sums[b] = min(sums[b], other)
    return sums[0]


@merged
def two_block_ratio(work, leads, n, purview, elements, mu, least):
    """Cost per severed pair of the partition into two blocks whose value is ``least``."""
    half, full = 1 << (elements - 1), (1 << elements) - 1
    low, high = (purview & ((1 << n // 2) - 1)) * half, (purview >> n // 2) * half
    best = 1
    while best < half - 1 and leads.low[low + best] + leads.high[high + best] > least:
        best += 1
    cost, severed = 0.0, 0.0
    for j in range(n):
        if purview >> j & 1:
            keep, top, row = 0, work.effects[leads.base[j]] - mu * elements, leads.base[j]
            one = work.effects[row + best] - mu * (elements - work.pops[best])
            two = work.effects[row + full - best] - mu * work.pops[best]
            if one < top:
                keep, top = best, one
            if two < top:
                keep = full - best
            cost += work.effects[row + keep]
            severed += elements - work.pops[keep]
    return cost / severed if severed > 0.0 else 1e300


@merged
def is_limit_undercut(work, leads, n, purview, elements, mu, limit, tally):
    """Whether some partition's value at mu is below ``limit``; after ``fill_vectors`` of CHILD."""
    half, users = 1 << (elements - 1), ZERO_INT64
    low, high = (purview & ((1 << n // 2) - 1)) * half, (purview >> n // 2) * half
    for j in range(n):
        if purview >> j & 1:
            work.base[users], work.over[users] = leads.base[j], j << elements
            work.now[0, users] = work.effects[leads.base[j]] - mu * elements
            users += 1
    f, picks, found, nodes = work.effects, work.picks, False, ZERO_INT64
    for h in range(half):
        if leads.low[low + h] + leads.high[high + h] < limit:
            start = half + h
            found, nodes = search_from_block(
                f, work, users, elements, mu, ON_EFFECT, limit, GOAL_EXISTENCE, start, picks, nodes
            )
            if found:
                break
    tally[1] += nodes
    return found


@merged
def tighten_at_price(tables, work, leads, elements, mu, best, left, count):
    """Tighten the bounds of the purviews ``left`` at one price; returns how many remain."""
    n, half = tables.levels.shape[0], 1 << (elements - 1)
    fill_vectors(tables, work, leads, elements, mu, TWO_BLOCKS)
    for k in range(count):
        purview = left[k]
        if half > 1 and leads.ratio[purview] * PRICE_STEP > mu:
            least = least_entry(leads.low, leads.high, leads.sums, n, purview, half, ONE_INT64)
            if least < 0.0:
                ratio = two_block_ratio(work, leads, n, purview, elements, mu, least)
                if ratio < leads.ratio[purview]:
                    leads.ratio[purview] = max(ratio, 0.0)
                    pairs = elements * work.pops[purview]
                    bound = leads.ratio[purview] * pairs * leads.weight[purview] * ROUNDING_FACTOR
                    leads.upper[purview] = min(leads.upper[purview], bound)
    fill_vectors(tables, work, leads, elements, mu, FIRST_BLOCK)
    kept = ZERO_INT64
    for k in range(count):
        purview = left[k]
        ratio = leads.ratio[purview]
        if mu > MIN_PRICE_FACTOR * ratio and ratio > 0.3 * mu and leads.upper[purview] >= best:
            least = least_entry(leads.low, leads.high, leads.sums, n, purview, half, ZERO_INT64)
            bound = leads.weight[purview] * ratio * (COST_TOLERANCE_BITS - least)
            bound = bound / (mu - ratio) * ROUNDING_FACTOR
            leads.upper[purview] = min(leads.upper[purview], bound)
        leads.upper[purview] = max(leads.upper[purview], 2.0 * PHI_ZERO_BITS)
        if leads.upper[purview] >= best:
            left[kept] = purview
            kept += 1
    return kept


@merged
def search_at_price(tables, work, leads, elements, mu, best, left, count, tally):
    """Search the purviews ``left`` whose ratio goes with a price; returns how many remain."""
    n, kept, filled = tables.levels.shape[0], ZERO_INT64, False
    for k in range(count):
        purview = left[k]
        ratio = leads.ratio[purview]
        if mu > SEARCH_PRICE_FACTOR * ratio and mu <= SEARCH_PRICE_FACTOR * PRICE_STEP * ratio:
            if not filled:
                fill_vectors(tables, work, leads, elements, mu, FIRST_BLOCK)
                filled = True
            limit = COST_TOLERANCE_BITS - best / leads.weight[purview] * (mu - ratio) / ratio
            if not is_limit_undercut(work, leads, n, purview, elements, mu, limit, tally):
                leads.upper[purview] = 2.0 * PHI_ZERO_BITS
                continue
        left[kept] = purview
        kept += 1
    return kept


@inner
def tighten_bounds(tables, work, leads, elements, best, left, tally):
    """Tighten ``leads.upper`` where it reaches the best phi found.

    left : (2**n,) int64 scratch: the purviews not below it, those looked at having no bound
    """
    floor, size = best - phi_tolerance(best), leads.upper.shape[0]
    count, smallest, largest = ZERO_INT64, 1e300, 0.0
    for purview in range(1, size):
        upper, ratio = leads.upper[purview], leads.ratio[purview]
        if upper >= floor and upper > 2.0 * PHI_ZERO_BITS and ratio > 0.0:
            left[count] = purview
            count += 1
            smallest, largest = min(smallest, ratio), max(largest, ratio)
    mu, last = 0.6 * max(smallest, 0.02 * largest), 2.0 * largest
    first = mu
    while mu < last and count > MIN_TABLED_PURVIEWS:
        count = tighten_at_price(tables, work, leads, elements, mu, floor, left, count)
        mu *= PRICE_STEP
    mu = first
    while mu < last and count > MIN_TABLED_PURVIEWS:
        count = search_at_price(tables, work, leads, elements, mu, floor, left, count, tally)
        mu *= PRICE_STEP
