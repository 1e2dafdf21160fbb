"""The first partitions that are tried of a pair: most pairs need no others.

They are the complete partition, one user detached from all elements, and for each element k
those in which users keep nothing, k, or all but k.
"""

from __future__ import annotations

from iitdask.kernels.families import ON_CAUSE, THREE, assign
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
def spread_out(t, s, code, one, others, users, elements, k, lam):
    """Best partition of a cause in which the users keep two of the three blocks at least.

    Where all would keep the same, one of them has to take the next best.
    """
    logq, f, unit, last = t.log_cause, s.costs, index(1 << k), index((1 << elements) - 1)
    for u in range(users):
        i, row = index(s.mech[u]), index(s.base[u])
        all_ = logq[code, i]
        f[row] = all_ - logq[index(0), i]
        f[row + unit] = all_ - logq[one, i]
        f[row + last - unit] = all_ - logq[others, i]
    s.blocks[0], s.blocks[1], s.blocks[2] = 0, int(last - unit), 1 << k
    return assign(f, s.base, s.blocks, s.picks, s.pops, users, elements, lam, THREE, ON_CAUSE, 0.0)


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
            c, count = spread_out(t, s, code, one, others, users, elements, k, lam)
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
