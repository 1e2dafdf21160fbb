"""Effect purviews bounded all at once, as if each were specified in its leading state.

The leading state of a purview is the one in which every unit takes its likeliest value. It is
the specified state of most purviews, and then everything that bounds phi is a sum over the
purview's units of terms that belong to the mechanism alone: one addition a purview, or one
addition of short vectors. Whether it is the specified state is only asked of purviews that
would be searched otherwise.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.iit4.mechanism_partition import COST_TOLERANCE_BITS
from iitdask.kernels.iit4.pair import fill_effect_repertoire
from iitdask.kernels.jit import index, inner
from iitdask.kernels.subsets import PHI_ZERO_BITS, STATE_TIE_BITS

ROUNDING_FACTOR = 1.0 + 1e-12  # a sum in another order may be larger by its rounding
MIN_PRICE_FACTOR = 1.02  # prices nearer to the ratio say nothing: both sides of the quotient vanish
N_PRICES = np.int64(8)


class LeadingStates(NamedTuple):
    """Leading states of all purviews of one mechanism, and room to bound them."""

    column: NDArray[np.int64]  # (n,) column of each unit's likeliest value
    second: NDArray[np.float64]  # (n,) its second largest probability over the largest
    base: NDArray[np.int64]  # (n,) where the costs of that value begin
    state: NDArray[np.int64]  # (2**n,) leading state, little-endian over the purview
    weight: NDArray[np.float64]  # (2**n,) its probability given the mechanism's state
    rival: NDArray[np.float64]  # (2**n,) the second largest probability over that
    ratio: NDArray[np.float64]  # (2**n,) cost per severed pair of the best partition known
    upper: NDArray[np.float64]  # (2**n,) bound on phi if the leading state is the specified one
    sums: NDArray[np.float64]  # (2**n,) scratch
    low: NDArray[np.float64]  # Sums of vectors over every set of units of the lower half
    high: NDArray[np.float64]  # The same of the upper half
    inside: NDArray[np.float64]  # (S,) see ``sum_leading_states``, summed over mechanism states
    summed: NDArray[np.int64]  # (1,) purviews whose sums were asked for
    at: NDArray[np.int64]  # (S,) state of all units of each state of a purview, the others in 0
    free: NDArray[np.int64]  # (S,) the same of the other units


def make_leading_states(n: int, states: int) -> LeadingStates:
    """Allocate room for systems of n units with so many states."""
    size, half = 1 << n, 1 << max(n - 1, 0)
    weight, rival, ratio, upper, sums = np.empty((5, size))
    column, base = np.zeros((2, n), np.int64)
    at, free = np.zeros((2, states), np.int64)
    second, state, summed = np.empty(n), np.zeros(size, np.int64), np.zeros(1, np.int64)
    low, high = np.empty(half << n // 2), np.empty(half << n - n // 2)
    inside = np.empty(max(size, states))
    leading = (column, second, base, state, weight, rival, ratio, upper, sums)
    return LeadingStates(*leading, low, high, inside, summed, at, free)


@inner
def fill_leading_states(tables, leads, mechanism, elements):
    """Fill everything about the leading states but the bounds."""
    n, row = tables.levels.shape[0], tables.codes[mechanism]
    leads.state[0], leads.rival[0], leads.weight[0], leads.summed[0] = 0, 0.0, 1.0, 0
    for j in range(n):
        lead, first, second = tables.columns[j], -1.0, 0.0
        for c in range(tables.columns[j], tables.columns[j + 1]):
            p = tables.effect[row, c]
            if p > first:
                lead, first, second = c, p, max(first, 0.0)
            else:
                second = max(second, p)
        leads.column[j], leads.second[j], leads.base[j] = lead, second / first, lead << elements
        value, rival, size = lead - tables.columns[j], leads.second[j], index(1 << j)
        state, rivals, weight, offsets = leads.state, leads.rival, leads.weight, tables.offsets
        for a in range(size):
            state[size + a] = state[a] + value * (offsets[a + index(1)] - offsets[a])
        for a in range(size):
            rivals[size + a] = max(rivals[a], rival)
        for a in range(size):
            weight[size + a] = weight[a] * first


@inner
def sum_over_purviews(terms, n, out):
    """``out[Z]``: sum over the units of Z of their terms."""
    out[0] = 0.0
    for j in range(n):
        term, size = terms[j], index(1 << j)
        for a in range(size):
            out[size + a] = out[a] + term


@inner
def bound_leading_states(tables, work, leads, mechanism, elements, bounds):
    """Fill ``leads`` for one mechanism: leading states, ratios and bounds on phi of all purviews.

    bounds : (2**n,) bounds that hold whatever the state; ``leads.upper`` is never above them.
    ``work.effects`` and ``work.least`` are filled, see pair.fill_mechanism_costs.
    """
    fill_leading_states(tables, leads, mechanism, elements)
    n, block = tables.levels.shape[0], (1 << elements) - 1
    size, f, sums = 1 << n, work.effects, leads.sums
    for option in range(elements + 1 if elements > 1 else 1):
        # the first is the complete partition; the others detach one unit from everything
        kept = block ^ (1 << (option - 1)) if option > 0 else 0
        times = float(elements) if option > 0 else 1.0
        for j in range(n):
            work.now[0, j] = f[leads.base[j] + kept] * times
        sum_over_purviews(work.now[0], n, sums)
        for a in range(size):
            leads.ratio[a] = sums[a] if option == 0 or sums[a] < leads.ratio[a] else leads.ratio[a]
    for a in range(1, size):
        upper = leads.ratio[a] * leads.weight[a] * ROUNDING_FACTOR
        leads.upper[a] = min(upper, bounds[a])
    for a in range(1, size):
        leads.ratio[a] /= elements * work.pops[a]
    smallest, largest = 1e300, 0.0
    for a in range(1, size):
        if leads.upper[a] > PHI_ZERO_BITS:
            smallest, largest = min(smallest, leads.ratio[a]), max(largest, leads.ratio[a])
    if elements > 1 and largest > 0.0:
        price, last = 1.1 * max(smallest, 0.01 * largest), 2.5 * largest
        step = (last / price) ** (1.0 / (N_PRICES - 1.0)) if last > price else 1.5
        for _ in range(N_PRICES):
            lower_bounds_at_price(tables, work, leads, elements, price)
            price *= step
    for a in range(1, size):  # not zero: what is reducible is found out in the usual way
        leads.upper[a] = (
            max(leads.upper[a], 2.0 * PHI_ZERO_BITS) if bounds[a] > PHI_ZERO_BITS else 0.0
        )
    leads.upper[0] = 0.0


@inner
def lower_bounds_at_price(tables, work, leads, elements, mu):
    """Lower ``leads.upper`` by what the users' least values at one price say of all purviews.

    Let C pairs be severed by the minimum partition, at a ratio that is at most r < mu. Its cost
    less mu * C is at least the sum L of the users' least values, so C <= -L / (mu - r), and the
    cost is at most -L * r / (mu - r). See mechanism_partition.is_below_floor.
    """
    n, size, sums = tables.levels.shape[0], 1 << tables.levels.shape[0], leads.sums
    for j in range(n):
        least, start = 1e300, leads.column[j] * (elements + 1)
        for k in range(elements + 1):
            value = work.least[start + k] - mu * k
            least = min(least, value)
        work.now[0, j] = least
    sum_over_purviews(work.now[0], n, sums)
    for a in range(1, size):
        ratio, apart = leads.ratio[a], mu - leads.ratio[a]
        bound = leads.weight[a] * ratio * (COST_TOLERANCE_BITS - sums[a]) / apart * ROUNDING_FACTOR
        bound = bound if mu > MIN_PRICE_FACTOR * ratio and ratio > 0.0 else 1e300
        leads.upper[a] = min(leads.upper[a], bound)


@inner
def sum_leading_states(joint, levels, column, columns, out):
    """``out[Z]``: sum of a joint over the states in which Z is in its leading state."""
    n = levels.shape[0]
    states, sets = joint.shape[0], 1
    for z in range(states):
        out[z] = joint[z]
    below = states
    for j in range(n - 1, -1, -1):
        # unit by unit from the highest, its values are replaced by: any, the leading one
        below //= levels[j]
        width, lead = index(below), index((column[j] - columns[j]) * below)
        for h in range(sets):
            begin, to = index(h * levels[j] * below), index(2 * h * below)
            if levels[j] == 2:
                for x in range(width):
                    one, two = out[begin + x], out[begin + width + x]
                    value = two if lead > 0 else one
                    out[begin + x], out[begin + width + x] = one + two, value
                continue
            for x in range(width):
                total, value = out[begin + x], out[begin + lead + x]
                for v in range(1, levels[j]):
                    total += out[begin + index(v) * width + x]
                out[to + x], out[to + width + x] = total, value
        sets *= 2


@inner
def log2_lower_bound(x):
    """Less than log2 of a positive number by at most 0.09, in a tenth of the time."""
    bits = np.float64(x).view(np.int64)
    return float((bits >> 52) - 1023) + float(bits & ((1 << 52) - 1)) * 2.0**-52


@inner
def is_leading_specified_by_bound(top, rival, mean, scale, span):
    """As ``is_leading_specified_by_sums``, which it spares most purviews; span is log2 of scale."""
    least = top * log2_lower_bound(top * scale / mean) * (1.0 - 1e-9) - STATE_TIE_BITS
    return least >= 1e-9 and top * rival * span < least


@inner
def is_leading_specified_by_sums(levels, purv, purvs, top, rival, second, inside, purview, scale):
    """As ``is_leading_specified``, from what ``sum_leading_states`` fills; may miss some.

    purv : units of the purview; top, rival, second : ``leads.weight`` and ``leads.rival`` of the
    purview, ``leads.second``; scale : states of the mechanism
    Takes what it reads, not ``tables``, ``work``, ``leads``: handing over all of these costs more.
    """
    span, mean = np.log2(scale), inside[purview]
    least = top * np.log2(top * scale / mean) * (1.0 - 1e-9) - STATE_TIE_BITS
    if least < 1e-9:
        return False
    if top * rival * span < least:
        return True
    most, next_ = 0.0, 0.0
    for k in range(purvs):
        j = purv[k]
        other = second[j]
        next_ = max(next_, min(other, most))
        most = max(most, other)
        p = top * other
        if p * span >= least:
            if levels[j] > 2:
                return False
            # the other value of unit j alone; its mean holds the current state's own term
            others = max(p, inside[purview ^ (1 << j)] - mean)
            if p * np.log2(p * scale / others) >= least:
                return False
    return top * most * next_ * span < least


@inner
def enumerate_states(leads, levels, purview):
    """Fill ``leads.at`` and ``leads.free``; returns how many states the other units have."""
    leads.at[0], leads.free[0] = 0, 0
    states, others, weight = 1, 1, 1
    for j in range(levels.shape[0]):
        if purview >> j & 1:
            for v in range(1, levels[j]):
                for z in range(states):
                    leads.at[v * states + z] = leads.at[z] + v * weight
            states *= levels[j]
        else:
            for v in range(1, levels[j]):
                for x in range(others):
                    leads.free[v * others + x] = leads.free[x] + v * weight
            others *= levels[j]
        weight *= levels[j]
    return others


@inner
def is_leading_specified(tables, work, leads, mechanism, purview, purvs, joint):
    """Whether a purview's leading state is certainly the only one specified.

    joint : (S,) float64, the sum over mechanism states of p(all units | m')
    A state's information is at most p * log2(states of the mechanism).
    """
    lead, top = leads.state[purview], leads.weight[purview]
    scale = float(tables.offsets[mechanism + 1] - tables.offsets[mechanism])
    span = np.log2(scale)
    least = top * np.log2(top * scale / leads.inside[purview]) * (1.0 - 1e-9) - STATE_TIE_BITS
    if least < 1e-9:
        return False
    fill_effect_repertoire(tables, work, mechanism, purvs)
    others = enumerate_states(leads, tables.levels, purview)
    for z in range(tables.offsets[purview + 1] - tables.offsets[purview]):
        p = work.like[z]
        if p * span >= least and z != lead:
            mean = 0.0
            for x in range(others):
                mean += joint[leads.at[z] + leads.free[x]]
            if p * np.log2(p * scale / mean) >= least:
                return False
    return True
