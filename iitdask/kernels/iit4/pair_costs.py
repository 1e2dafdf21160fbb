"""Specified states and costs of severed inputs of a pair, on the cause and the effect side.

Causes: p(m | z) is a product over the mechanism's units of marginals. One scan over all codes (Z,
z) serves many mechanisms at once: those that differ in their lowest units lie side by side in a
vector that is doubled unit by unit, so the inner loops are contiguous. The scan gives, for every
mechanism and purview, the phi of the complete partition, an upper bound.

Effects: per mechanism, one matrix product gives the unconstrained joint distribution over all
units. A purview's own is summed out of it only when its bound, which needs no joint, reaches the
best phi found. The current state is one term of the mean, hence ii(z) <= p(z|m) * log2(states of
the mechanism), which spares most logarithms.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.jit import index, inner, jitable, leaf, merged
from iitdask.kernels.subsets import STATE_TIE_BITS, STATE_TIE_RELATIVE, reversed_bits


class CauseScan(NamedTuple):
    """What one scan says of the causes of the 2**width mechanisms of as many lanes."""

    weights: NDArray[np.float64]  # (2**n, lanes) selectivity of the specified state of each purview
    states: NDArray[np.int64]  # (2**n, lanes) specified state of the purview, -1 where states tie
    bounds: NDArray[np.float64]  # (2**n, lanes) bound on phi, bits


@jitable
def make_cause_scan(size, lanes):
    """Allocate what a scan of causes fills, with zeros; size : 2**n subsets."""
    return CauseScan(
        np.zeros((size, lanes)), np.zeros((size, lanes), np.int64), np.zeros((size, lanes))
    )


@inner
def lane_products(q, code, first, width, out):
    """``out[l]``: product over the units of mechanism ``first | reversed_bits(l, width)``.

    From the highest unit down whatever the width: its bits do not depend on how mechanisms are cut.
    """
    p = 1.0
    for i in range(q.shape[0] - 1, width - 1, -1):
        if first >> i & 1:
            p *= q[i, code]
    out[0] = p
    size = 1
    for i in range(width - 1, -1, -1):
        p = q[i, code]
        for x in range(size):
            out[size + x] = out[x] * p
        size *= 2


@leaf
def cause_scan(q, logq, offsets, first, width, vectors, out):
    """Bound phi of every cause purview, for 2**width mechanisms from ``first`` on.

    The bound is the least of the complete partition and of one mechanism unit detached from the
    whole purview.

    Parameters
    ----------
    q : (n, codes) float64, P(unit in its current state | code)
    logq : (codes, n) float64, log2 of it
    offsets : (2**n + 1,) int64, see ``segment_offsets``
    first : int, first mechanism
    width : int, log2 of their number
    vectors : (6, 2**width) float64, scratch
    out : CauseScan, lane l is mechanism ``first | reversed_bits(l, width)``; filled

    References
    ----------
    mathematics.md 20 and 22.3, Eq. (20.1) and (22.5).
    """
    lanes, weights, states, bounds = 1 << width, out.weights, out.states, out.bounds
    one, two, total = vectors[0], vectors[1], vectors[2]
    top, second, where = vectors[3], vectors[4], vectors[5]
    for purview in range(1, 1 << q.shape[0]):
        for x in range(lanes):
            total[x] = 0.0
            top[x] = 0.0
            second[x] = 0.0
            where[x] = 0.0
        end = offsets[purview + 1]
        for code in range(offsets[purview], end, 2):  # two at a time: half the loads and stores
            lane_products(q, code, first, width, one)
            if code + 1 < end:
                lane_products(q, code + 1, first, width, two)
            else:
                two[:] = 0.0
            here, there = float(code), float(code + 1)
            # three loops: over more arrays at once LLVM gives up proving that none overlap
            for x in range(lanes):
                total[x] = total[x] + one[x] + two[x]
            for x in range(lanes):
                p, r, most, place = one[x], two[x], top[x], where[x]
                better = there if r > p else here
                where[x] = better if max(p, r) > most else place
            for x in range(lanes):
                p, r, most = one[x], two[x], top[x]
                more, less = max(p, r), min(p, r)
                lesser = min(most, more)
                lesser = max(lesser, less)
                second[x] = max(second[x], lesser)
                top[x] = max(most, more)
        for lane in range(lanes):
            mechanism = first | reversed_bits(lane, width)
            bounds[purview, lane] = 0.0
            if top[lane] <= 0.0 or mechanism == 0:
                continue
            weight = top[lane] / total[lane]
            code = int(where[lane])
            tied = second[lane] >= top[lane] * (1.0 - STATE_TIE_RELATIVE)
            weights[purview, lane] = weight
            states[purview, lane] = -1 if tied else code - offsets[purview]
            bounds[purview, lane] = weight * detached_bound(logq, mechanism, code, tied)


@merged
def detached_bound(logq, mechanism, code, tied):
    """Cost of the complete partition, or of the cheapest detached unit times all units.

    With ``tied`` states only the first, which they share.
    """
    total, least, count = 0.0, 1e300, 0
    i = 0
    while mechanism >> i:
        if mechanism >> i & 1:
            cost = logq[code, i] - logq[0, i]
            total += cost
            least = min(least, cost)
            count += 1
        i += 1
    single = least * count
    return single if single < total and count > 1 and not tied else total


@inner
def cause_states(q, offsets, mechanism, purview, like, weights):
    """Specified cause states: ii grows with p(m | z), so the largest are; all ties are kept.

    like : (>= states,) float64, filled with p(m | z)
    weights : (>= states,) float64, filled with the selectivity of specified states, 0 elsewhere
    returns the intrinsic information, bits; negative when the cause repertoire is zero
    """
    states = offsets[purview + 1] - offsets[purview]
    for z in range(states):
        like[z] = 1.0
    for i in range(q.shape[0] - 1, -1, -1):
        if mechanism >> i & 1:
            for z in range(states):
                like[z] *= q[i, offsets[purview] + z]
    total, top = 0.0, 0.0
    for z in range(states):
        total += like[z]
        top = max(top, like[z])
    if top <= 0.0:
        return -1.0
    for z in range(states):
        weights[z] = like[z] / total if like[z] >= top * (1.0 - STATE_TIE_RELATIVE) else 0.0
    return top / total * np.log2(top * states / total)


@inner
def cause_costs(tables, work, mechs, purvs, z):
    """``work.costs[i * 2**purvs + B]``: bits lost when mechanism unit i sees only the part B.

    mechs, purvs : units in ``work.mech`` and ``work.purv``; z : state of the purview
    """
    logq, offsets, levels, f = tables.log_cause, tables.offsets, tables.levels, work.costs
    mech, purv, masks, codes = work.mech, work.purv, work.masks, work.codes
    masks[0], codes[0] = 0, 0
    for k in range(purvs):
        j = purv[k]
        value = z % levels[j]
        z //= levels[j]
        half, unit = index(1 << k), 1 << j
        for b in range(half):
            masks[half + b] = masks[b] | unit
        # j is the highest unit so far: its weight is the number of states of the rest
        for b in range(half):
            mask = index(masks[b])
            codes[half + b] = codes[b] + value * (offsets[mask + index(1)] - offsets[mask])
    size = index(1 << purvs)
    for b in range(size):
        codes[b] += offsets[index(masks[b])]
    whole = codes[size - index(1)]
    for r in range(mechs):
        i, row = index(mech[r]), index(r) * size
        all_ = logq[whole, i]
        for b in range(size):
            f[row + b] = all_ - logq[index(codes[b]), i]


@merged
def marginalise_to_purview(joint, levels, purview, work):
    """Sum a joint distribution, little-endian, over the units outside a purview into ``work``."""
    n = levels.shape[0]
    states = joint.shape[0]
    for z in range(states):
        work[z] = joint[z]
    below = states
    for j in range(n - 1, -1, -1):
        below //= levels[j]  # states of the units below j
        if purview >> j & 1:
            continue
        out = 0
        for h in range(states // (below * levels[j])):
            begin = h * below * levels[j]
            for x in range(below):
                total = work[begin + x]
                for v in range(1, levels[j]):
                    total += work[begin + v * below + x]
                work[out + x] = total
            out += below
        states //= levels[j]


@merged
def coarse_bounds(rows, r, costs, elements, levels, columns, bounds, best, gains):
    """Upper bound on phi of every purview, without looking at its states.

    rows, r : marginals given the mechanism's state; costs : see ``effect_costs``
    bounds  : (2**n,) float64 filled; best, gains : (2**n,) float64 scratch
    phi <= p(z|m) * ratio * pairs for any partition; taken are the complete one, and those that
    detach one mechanism unit from everything. As p(z|m) = prod_j p_j and the cost is a sum over
    the purview's units, phi is at most prod_j max p_j times sum_j max(p_j f_j) / max p_j: one
    factor and one summand a unit.
    """
    size, n = 1 << elements, levels.shape[0]
    best[0] = 1.0
    for j in range(n):
        top = largest_marginal(rows, r, columns, j)
        half = index(1 << j)
        for a in range(half):
            best[half + a] = best[a] * top
    for option in range(elements + 1):
        # the last is the complete partition; none of the others when there is one unit
        block = size - 1 - (1 << option) if option < elements else 0
        times = float(elements) if option < elements else 1.0
        gains[0] = 0.0
        for j in range(n):
            top = largest_marginal(rows, r, columns, j)
            gain = 0.0
            for v in range(levels[j]):
                share = rows[r, columns[j] + v] * costs[(columns[j] + v) * size + block]
                gain = max(gain, share)
            gain *= times / top
            half = index(1 << j)
            for a in range(half):
                gains[half + a] = gains[a] + gain
        for a in range(1 << n):
            bounds[a] = gains[a] if option == 0 or gains[a] < bounds[a] else bounds[a]
    for a in range(1 << n):
        # the same sum in another order may be larger by its rounding
        bounds[a] *= best[a] * (1.0 + 1e-13)


@leaf
def largest_marginal(rows, r, columns, j):
    """Largest marginal among the values of unit j."""
    top = 0.0
    for c in range(columns[j], columns[j + 1]):
        top = max(top, rows[r, c])
    return top


@inner
def effect_states(p, states, w, begin, scale, weights):
    """Specified effect states of a purview: largest ii = p log2(p / unconstrained), all ties kept.

    w : float64, ``w[begin + z]``: the sum of p(z|m') over the ``scale`` states m' of the mechanism
    weights : (>= states,) float64, filled with the selectivity of specified states, 0 elsewhere
    returns (intrinsic information in bits, first specified state, last specified state + 1)
    """
    span = np.log2(scale)
    top = 0
    for z in range(1, states):
        top = z if p[z] > p[top] else top
    best = p[top] * np.log2(p[top] * scale / w[begin + top])
    for z in range(states):
        weights[z] = -1.0
        # p * span bounds ii(z): skip the logarithm when it cannot win or tie
        if p[z] > 0.0 and p[z] * span >= best * (1.0 - STATE_TIE_RELATIVE) - STATE_TIE_BITS:
            weights[z] = p[z] * np.log2(p[z] * scale / w[begin + z])
            best = max(best, weights[z])
    least = best - STATE_TIE_RELATIVE * best - STATE_TIE_BITS
    begin, end = states, 0
    for z in range(states):
        if weights[z] >= least and p[z] > 0.0:
            weights[z] = p[z]
            begin, end = min(begin, z), z + 1
        else:
            weights[z] = 0.0
    return best, begin, end


@merged
def marginalise_to_all_purviews(joint, levels, offsets, out):
    """Sum a joint distribution down to every purview; out : (codes,) float64."""
    n = levels.shape[0]
    full = (1 << n) - 1
    for z in range(joint.shape[0]):
        out[offsets[full] + z] = joint[z]
    for a in range(full - 1, -1, -1):
        j = n - 1
        while a >> j & 1:
            j -= 1
        low = 1
        for i in range(j):
            if a >> i & 1:
                low *= levels[i]
        start, parent = offsets[a], offsets[a | (1 << j)]
        width = index(low)
        for h in range((offsets[a + 1] - start) // low):
            line, begin = index(start + low * h), index(parent + low * levels[j] * h)
            for x in range(width):
                out[line + x] = out[begin + x] + out[begin + width + x]
            for v in range(2, levels[j]):
                other = begin + index(v) * width
                for x in range(width):
                    out[line + x] += out[other + x]


@inner
def effect_costs(logs, mech, mechs, mechanism, out):
    """``out[r * 2**mechs + B]``: bits column r loses when its unit sees only B of the mechanism."""
    size = 1 << mechs
    for b in range(size):
        mask = 0
        for k in range(mechs):
            if b >> k & 1:
                mask |= 1 << mech[k]
        for r in range(logs.shape[1]):
            out[r * size + b] = logs[mechanism, r] - logs[mask, r]


@inner
def state_rows(purv, purvs, levels, columns, z, size, base):
    """Where in ``effect_costs`` the values begin that a purview's units take in state z."""
    for k in range(purvs):
        base[k] = (columns[purv[k]] + z % levels[purv[k]]) * size
        z //= levels[purv[k]]


@inner
def cost_bound(costs, base, users, elements):
    """Upper bound on the cost: complete partition, or one mechanism unit detached from all."""
    size = 1 << elements
    best = 0.0
    for u in range(users):
        best += costs[base[u]]
    if elements > 1:
        for k in range(elements):
            total = 0.0
            for u in range(users):
                total += costs[base[u] + size - 1 - (1 << k)]
            best = min(best, total * elements)
    return best
