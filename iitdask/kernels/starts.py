"""The first partitions that are tried of a pair: most pairs need no others.

They are the complete partition, one user detached from all elements, and for each element k
those in which users keep nothing, k, or all but k.
"""

from __future__ import annotations

from iitdask.kernels.families import HUGE
from iitdask.kernels.jit import index, inner, merged

__all__ = ["cause_start", "effect_start"]


@inner
def least_block(none, one, rest, lam, few, all_):
    """What a user keeps at lam: nothing, one element, or all but it; (cost, severed pairs).

    As ``families.assign`` would choose, but for a few numbers.
    """
    value, other, least = rest - lam, one - lam * few, none - lam * all_
    own, cut = (rest, 1.0) if value < least else (none, all_)
    least = min(value, least)
    if other < least or (other == least and cut < few):
        own, cut = one, few
    return own, cut


@merged
def spread_out(logq, code, one, others, mech, users, elements, lam):
    """As ``least_block`` for all users of a cause, when these may all keep the same.

    Where they do, the one takes its second best that loses least by it, as ``families.assign``
    has it. returns (cost, severed pairs)
    """
    few, all_, zero = float(elements - 1), float(elements), index(0)
    cost, severed, same, common = 0.0, 0.0, True, -1
    regret, swap, back = HUGE, 0.0, 0.0
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
        if regret >= HUGE:
            return HUGE, 0.0
        cost += swap
        severed += back
    return cost, severed


@merged
def cause_start(t, s, users, elements, purview, z, floor):
    """Best of the first partitions of a cause; no further one once the cost is below floor.

    purview, z : mask and state of the purview, whose units are in ``s.purv``; fills ``s.base``
    returns (cost, severed pairs)
    """
    logq, offsets, mech = t.log_cause, t.offsets, s.mech
    code, zero = index(offsets[purview] + z), index(0)
    few, all_, pairs = float(elements - 1), float(elements), float(users * elements)
    cost, least = 0.0, 1e300
    for u in range(users):
        s.base[u] = u << elements
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
        unit = s.purv[k]
        size = t.levels[unit]
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
            own, cut = least_block(
                whole - logq[zero, i], whole - logq[one, i], whole - logq[others, i], lam, few, all_
            )
            c += own
            count += cut
        if count == users or count == users * few:
            c, count = spread_out(logq, code, one, others, mech, users, elements, lam)
        if count > 0 and c * severed < cost * count:
            cost, severed = c, count
    return cost, severed


@merged
def effect_start(f, base, users, elements, floor):
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
            own, cut = least_block(f[row], f[row + first], f[row + last], lam, few, all_)
            c += own
            count += cut
        if count > 0 and c * severed < cost * count:
            cost, severed = c, count
    return cost, severed
