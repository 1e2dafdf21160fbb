"""The first partitions that are tried of a pair: most pairs need no others."""

from __future__ import annotations

from iitdask.kernels.families import ON_CAUSE, THREE, assign
from iitdask.kernels.jit import index, merged

__all__ = ["cheap_start"]


@merged
def end_costs(t, f, s, users, elements, code):
    """Costs of a cause's users that keep nothing, and all."""
    logq, code, zero = t.log_cause, index(code), index(0)
    last = index((1 << elements) - 1)
    for u in range(users):
        unit, row = index(s.mech[u]), index(s.base[u])
        f[row] = logq[code, unit] - logq[zero, unit]
        f[row + last] = 0.0


@merged
def side_costs(t, f, s, users, elements, code, k, one, others):
    """Costs of a cause's users that keep element k alone, and all but it.

    code, one, others : of the purview in its state, of the element, of the purview without it
    """
    logq, code, one, others = t.log_cause, index(code), index(one), index(others)
    first = index(1 << k)
    last = index((1 << elements) - 1) - first
    for u in range(users):
        unit, row = index(s.mech[u]), index(s.base[u])
        f[row + first] = logq[code, unit] - logq[one, unit]
        f[row + last] = logq[code, unit] - logq[others, unit]


@merged
def part_off(f, s, users, elements, k, lam, side):
    """Best of the partitions at lam in which users keep nothing, element k, or all but k.

    As ``families.assign`` would, but for a few numbers; returns (cost, severed pairs)
    """
    cost, severed, few, all_ = 0.0, 0.0, float(elements - 1), float(elements)
    first = index(1 << k)
    last = index((1 << elements) - 1) - first
    for u in range(users):
        row = index(s.base[u])
        none, one, rest = f[row], f[row + first], f[row + last]
        value, other, least = rest - lam, one - lam * few, none - lam * all_
        own, cut = (rest, 1.0) if value < least else (none, all_)
        least = min(value, least)
        if other < least or (other == least and cut < few):
            own, cut = one, few
        cost += own
        severed += cut
    if side == ON_CAUSE and (severed == users or severed == users * few):
        # when all keep the same, one of them has to take the next best
        s.blocks[0], s.blocks[1], s.blocks[2] = 0, int(last), 1 << k
        return assign(f, s.base, s.blocks, s.picks, s.pops, users, elements, lam, THREE, side, 0.0)
    return cost, severed


@merged
def cheap_start(t, f, s, users, elements, side, purview, z, floor):
    """Best of the complete partition, one detached user, and the partitions {B - k, k}.

    purview, z : mask and state of a cause's purview, whose costs are filled as far as they are
                 read; an effect's are there
    floor      : float, no further partition is tried once the cost is known to be below
    returns (cost, severed pairs)
    """
    code = t.offsets[purview] + z
    if side == ON_CAUSE:
        end_costs(t, f, s, users, elements, code)
    cost, severed, pairs = 0.0, float(users * elements), float(users * elements)
    for u in range(users):
        cost += f[s.base[u]]
    if side == ON_CAUSE:
        if users == 1:
            return cost, severed
        for u in range(users):  # the other users keep everything
            if f[s.base[u]] * severed < cost * elements:
                cost, severed = f[s.base[u]], float(elements)
    if elements == 1:
        return cost, severed
    low, high, weight = 0, z, 1  # the state of the elements before k, of those from it on
    for k in range(elements):
        lam = cost / severed
        if lam * pairs < floor:
            return cost, severed
        if side == ON_CAUSE:
            unit = s.purv[k]
            levels = t.levels[unit]
            value = high % levels if levels > 2 else high & 1
            high = high // levels if levels > 2 else high >> 1
            one, others = t.offsets[1 << unit] + value, low + high * weight
            others += t.offsets[purview ^ (1 << unit)]
            side_costs(t, f, s, users, elements, code, k, one, others)
            low += value * weight
            weight *= levels
        c, count = part_off(f, s, users, elements, k, lam, side)
        if count > 0 and c * severed < cost * count:
            cost, severed = c, count
    return cost, severed
