"""The first partitions that are tried of a pair: most pairs need no others."""

from __future__ import annotations

from iitdask.kernels.families import ON_CAUSE, THREE, assign
from iitdask.kernels.jit import merged

__all__ = ["cheap_start"]


@merged
def end_costs(t, f, s, users, elements, code):
    """Costs of a cause's users that keep nothing, and all."""
    logq, size = t.log_cause, 1 << elements
    for u in range(users):
        f[s.base[u]] = logq[code, s.mech[u]] - logq[0, s.mech[u]]
        f[s.base[u] + size - 1] = 0.0


@merged
def side_costs(t, f, s, users, elements, code, k, one, others):
    """Costs of a cause's users that keep element k alone, and all but it.

    code, one, others : of the purview in its state, of the element, of the purview without it
    """
    logq, last = t.log_cause, (1 << elements) - 1
    for u in range(users):
        unit, row = s.mech[u], s.base[u]
        f[row + (1 << k)] = logq[code, unit] - logq[one, unit]
        f[row + last - (1 << k)] = logq[code, unit] - logq[others, unit]


@merged
def part_off(f, s, users, elements, k, lam, side):
    """Best of the partitions at lam in which users keep nothing, element k, or all but k.

    As ``families.assign`` would, but for a few numbers; returns (cost, severed pairs)
    """
    cost, severed, last = 0.0, 0.0, (1 << elements) - 1 - (1 << k)
    few = float(elements - 1)
    all_one, all_rest = side == ON_CAUSE, side == ON_CAUSE
    for u in range(users):
        row = s.base[u]
        none, one, rest = f[row], f[row + (1 << k)], f[row + last]
        least, own, cut = none - lam * elements, none, float(elements)
        value, other = rest - lam, one - lam * few
        if value < least:
            least, own, cut = value, rest, 1.0
        if other < least or (other == least and cut < few):
            own, cut = one, few
        cost += own
        severed += cut
        all_one, all_rest = all_one and own == one, all_rest and own == rest
    if all_one or all_rest:
        s.blocks[0], s.blocks[1], s.blocks[2] = 0, last, 1 << k
        return assign(
            f, s.base, s.blocks, s.picks, s.pops, users, elements, lam, THREE, side, 0.0
        )
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
            value = high % levels
            high //= levels
            one, others = t.offsets[1 << unit] + value, low + high * weight
            others += t.offsets[purview ^ (1 << unit)]
            side_costs(t, f, s, users, elements, code, k, one, others)
            low += value * weight
            weight *= levels
        c, count = part_off(f, s, users, elements, k, lam, side)
        if count > 0 and c * severed < cost * count:
            cost, severed = c, count
    return cost, severed
