"""Disintegrating partitions of a mechanism and a purview: blocks, first ones, bounds.

One side's units (``users``) each keep a block of the other side's units (``elements``) or
nothing; ``f[work.base[u] + B]`` is what it costs user u (bits, before selectivity) to keep only the
block B. The first partitions that are tried, enough for most pairs, are the complete one, one
user detached from all elements, and for each element k those in which users keep nothing, k, or
all but k.
"""

import numpy as np

from iitdask.kernels.jit import index, inner, leaf, merged

HUGE_BITS = 1e300
COST_TOLERANCE_BITS = 1e-12
# NumPy integers, so that numba compiles one function and not one per literal value
ON_EFFECT, ON_CAUSE = np.int64(0), np.int64(1)
TWO_BLOCK_FAMILY_SIZE = np.int64(3)  # Blocks of the families of nothing and two blocks


@leaf
def highest_element(mask):
    """Highest element of a nonempty mask below 2**32, as a mask: no branch to be guessed wrong."""
    mask |= mask >> 1
    mask |= mask >> 2
    mask |= mask >> 4
    mask |= mask >> 8
    mask |= mask >> 16
    return mask ^ mask >> 1


@merged
def block_severs_first(a, b, pops):
    """Whether keeping block a severs a lexicographically smaller set than b, of the same size."""
    differ = a ^ b
    return pops[a] == pops[b] and (differ & -differ) & b != 0


@merged
def picks_sever_first(a, b, users, elements, side):
    """Whether picks a sever a lexicographically smaller set of pairs than b, mechanism first."""
    for k in range(users * elements):
        if side == ON_CAUSE:
            u, e = k // elements, k % elements
        else:
            e, u = k // users, k % users
        if (a[u] ^ b[u]) >> e & 1:
            return (b[u] >> e & 1) != 0
    return False


@inner
def assign_blocks(f, base, blocks, picks, pops, users, elements, lam, used, side, slack):
    """Let every user keep its cheapest block of a family of disjoint blocks; (cost, severed pairs).

    The family is the first ``used`` of ``blocks``, ``blocks[0] == 0`` being nothing; what each
    keeps is left in ``picks``. Within ``slack`` a user prefers to sever more.
    Takes the arrays, not ``work``: handing over all of that costs more than the work.
    """
    cost, severed = 0.0, 0.0
    same = True
    regret, who, instead = HUGE_BITS, -1, blocks[0]
    for u in range(users):
        first, second = HUGE_BITS, HUGE_BITS
        pick, other = blocks[0], blocks[0]
        row = base[u]
        for e in range(used):
            b = blocks[e]
            value = f[row + b] - lam * (elements - pops[b])
            tied = value <= first + slack and value >= first - slack
            tied = tied and (
                pops[b] < pops[pick] or (slack > 0.0 and block_severs_first(b, pick, pops))
            )
            if value < first - slack or tied:
                second, other = first, pick
                first, pick = value, b
            elif value < second:
                second, other = value, b
        picks[u] = pick
        cost += f[row + pick]
        severed += elements - pops[pick]
        if pick != picks[0]:
            same = False
        if second - first < regret:
            regret, who, instead = second - first, u, other
    if side == ON_CAUSE and same and picks[0] != 0:
        if used < 2 or who < 0 or users == 1:
            return HUGE_BITS, 0.0
        row = base[who]
        cost += f[row + instead] - f[row + picks[who]]
        severed += pops[picks[who]] - pops[instead]
        picks[who] = instead
    return cost, severed


@merged
def best_two_blocks(f, work, users, elements, lam, side):
    """Best partition of the elements into two blocks at a fixed ratio; returns (cost, severed)."""
    full = (1 << elements) - 1
    half = 1 << (elements - 1)
    total, pops, blocks, picks = work.child, work.pops, work.blocks, work.picks
    for b in range(half):
        total[b] = 0.0
    for u in range(users):
        row, last = index(work.base[u]), index(work.base[u] + full)
        none = f[row] - lam * elements
        for b in range(index(1), index(half)):
            one = f[row + b] - lam * (elements - pops[b])
            two = f[last - b] - lam * pops[b]
            least = min(two, one)
            total[b] += min(none, least)
    best, least = 0, HUGE_BITS
    for b in range(1, half):
        if total[b] < least:
            best, least = b, total[b]
    if best == 0:
        return HUGE_BITS, 0.0
    blocks[0], blocks[1], blocks[2] = 0, best, full - best
    size = TWO_BLOCK_FAMILY_SIZE
    return assign_blocks(f, work.base, blocks, picks, pops, users, elements, lam, size, side, 0.0)


@inner
def cheapest_simple_block(none, one, rest, lam, few, all_):
    """As ``assign_blocks`` for one user that keeps nothing, one element, or all but it, at lam."""
    value, other, least = rest - lam, one - lam * few, none - lam * all_
    own, cut = (rest, 1.0) if value < least else (none, all_)
    least = min(value, least)
    if other < least or (other == least and cut < few):
        own, cut = one, few
    return own, cut


@merged
def cheapest_distinct_blocks(logq, code, one, others, mech, users, elements, lam):
    """As ``cheapest_simple_block`` for all users of a cause, when these may all keep the same.

    Where they do, the one takes its second best that loses least by it.
    """
    few, all_, zero = float(elements - 1), float(elements), index(0)
    cost, severed, same, common = 0.0, 0.0, True, -1
    regret, swap, back = HUGE_BITS, 0.0, 0.0
    for u in range(users):
        i = index(mech[u])
        whole = logq[code, i]
        own, alone, rest = whole - logq[zero, i], whole - logq[one, i], whole - logq[others, i]
        kept, cut, first = 0, all_, own - lam * all_
        other, more, second = rest, 1.0, rest - lam
        if second < first:
            other, more, second, first = own, all_, first, second
            kept, cut, own = 1, 1.0, rest
        value = alone - lam * few
        if value < first or (value == first and cut < few):
            other, more, second = own, cut, first
            kept, cut, own, first = 2, few, alone, value
        elif value < second:
            other, more, second = alone, few, value
        cost += own
        severed += cut
        common = kept if u == 0 else common
        same = same and kept == common
        if second - first < regret:
            regret, swap, back = second - first, other - own, more - cut
    if same and common != 0:
        if regret >= HUGE_BITS:
            return HUGE_BITS, 0.0
        cost += swap
        severed += back
    return cost, severed


@merged
def cause_starting_partition(tables, work, users, elements, purview, z, floor):
    """(cost, severed pairs) of the best first partition of a cause; fills ``work.base``.

    No further one is tried once the cost is below floor. z : state of the purview in ``work.purv``
    """
    logq, offsets, mech = tables.log_cause, tables.offsets, work.mech
    code, zero = index(offsets[purview] + z), index(0)
    few, all_, pairs = float(elements - 1), float(elements), float(users * elements)
    cost, least = 0.0, 1e300
    for u in range(users):
        work.base[u] = u << elements
        i = index(mech[u])
        own = logq[code, i] - logq[zero, i]
        cost += own
        least = min(least, own)
    severed = pairs
    if users == 1:
        return cost, severed
    if least * severed < cost * all_:  # the other users keep everything
        cost, severed = least, all_
    if elements == 1:
        return cost, severed
    low, high, weight = 0, z, 1  # the state of the elements before k, of those from it on
    for k in range(elements):
        lam = cost / severed
        if lam * pairs < floor:
            return cost, severed
        unit = work.purv[k]
        size = tables.levels[unit]
        value = high % size if size > 2 else high & 1
        high = high // size if size > 2 else high >> 1
        one = index(offsets[1 << unit] + value)
        others = index(offsets[purview ^ (1 << unit)] + low + high * weight)
        low += value * weight
        weight *= size
        c, count = 0.0, 0.0
        for u in range(users):
            i = index(mech[u])
            whole = logq[code, i]
            own, cut = cheapest_simple_block(
                whole - logq[zero, i], whole - logq[one, i], whole - logq[others, i], lam, few, all_
            )
            c += own
            count += cut
        if count == users or count == users * few:
            c, count = cheapest_distinct_blocks(logq, code, one, others, mech, users, elements, lam)
        if count > 0 and c * severed < cost * count:
            cost, severed = c, count
    return cost, severed


@merged
def effect_starting_partition(f, base, users, elements, floor):
    """The same of an effect, whose costs are all there."""
    few, all_, pairs = float(elements - 1), float(elements), float(users * elements)
    cost, severed = 0.0, pairs
    for u in range(users):
        cost += f[base[u]]
    if elements == 1:
        return cost, severed
    for k in range(elements):
        lam = cost / severed
        if lam * pairs < floor:
            return cost, severed
        first = index(1 << k)
        last = index((1 << elements) - 1) - first
        c, count = 0.0, 0.0
        for u in range(users):
            row = index(base[u])
            own, cut = cheapest_simple_block(f[row], f[row + first], f[row + last], lam, few, all_)
            c += own
            count += cut
        if count > 0 and c * severed < cost * count:
            cost, severed = c, count
    return cost, severed


ONE, TWO, THREE, FOUR = index(1), index(2), index(3), index(4)
FIVE, SIX, SEVEN, EIGHT = index(5), index(6), index(7), index(8)


@inner
def cheapest_by_size(f, row, elements, pops, side, out, begin):
    """``out[begin + k]``: least cost of one user among the blocks that sever k elements."""
    for k in range(elements + 1):
        out[begin + k] = HUGE_BITS
    if elements < 3:
        for b in range(1 << elements):
            k = begin + elements - int(pops[b])
            out[k] = min(out[k], f[row + b])
    else:
        # eight blocks at a time, that differ in the three lowest elements
        at, last = index(row), index(begin + elements)
        for high in range(index(1 << (elements - 3))):
            k = last - index(pops[high])
            out[k] = min(out[k], f[at])
            one, two = min(f[at + ONE], f[at + TWO]), min(f[at + THREE], f[at + FIVE])
            one, two = min(one, f[at + FOUR]), min(two, f[at + SIX])
            out[k - ONE] = min(out[k - ONE], one)
            out[k - TWO] = min(out[k - TWO], two)
            out[k - THREE] = min(out[k - THREE], f[at + SEVEN])
            at += EIGHT
    if side != ON_CAUSE:
        out[begin] = HUGE_BITS  # the whole mechanism kept is no partition


@inner
def raised_price(ratio, trial):
    """A price of a severed pair above the ratio, farther with every trial."""
    return ratio * (1.0 + 0.03 * float(trial * trial))


@inner
def is_below_floor(sizes, starts, users, elements, ratio, floor):
    """Whether no partition has a ratio up to ``ratio`` and a cost of at least ``floor``.

    Such a partition would sever C >= floor / ratio pairs, so at any mu > ratio its cost less
    mu * C would be at most -(mu - ratio) * C. The users' own least values, without regard to
    whether their blocks are disjoint, bound that from below. The minimum partition has a ratio
    up to the one in hand: when it is out of reach its cost is below ``floor``.
    sizes, starts : per user u ``sizes[starts[u] + k]``, see ``cheapest_by_size``
    """
    need = floor / ratio
    for first in range(1, 3):  # four prices at a time, held in registers
        one, two = raised_price(ratio, first), raised_price(ratio, first + 2)
        three, four = raised_price(ratio, first + 4), raised_price(ratio, first + 6)
        total1, total2 = (one - ratio) * need, (two - ratio) * need
        total3, total4 = (three - ratio) * need, (four - ratio) * need
        for u in range(users):
            least1, least2, least3, least4 = HUGE_BITS, HUGE_BITS, HUGE_BITS, HUGE_BITS
            start = index(starts[u])
            for k in range(index(elements + 1)):
                cost, severed = sizes[start + k], float(k)
                least1 = min(least1, cost - one * severed)
                least2 = min(least2, cost - two * severed)
                least3 = min(least3, cost - three * severed)
                least4 = min(least4, cost - four * severed)
            total1 += least1
            total2 += least2
            total3 += least3
            total4 += least4
        most, other = max(total1, total2), max(total3, total4)
        if max(most, other) > COST_TOLERANCE_BITS:
            return True
    return False
