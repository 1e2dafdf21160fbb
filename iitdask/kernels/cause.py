"""Causes: how probable a mechanism's state is, given each state of a purview.

p(m | z) is a product over the mechanism's units of marginals. One scan over all
codes (Z, z) serves many mechanisms at once: mechanisms that differ in their
lowest units lie side by side in a vector that is doubled unit by unit, so the
inner loops are contiguous multiplications, additions and maxima. The scan gives,
for every mechanism and purview, the phi of the complete partition, an upper
bound; only purviews whose bound reaches the best phi found are looked at again.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import index, inner, leaf, merged
from iitdask.kernels.purviews import STATE_TIE

__all__ = ["cause_costs", "cause_scan", "cause_states", "reversed_bits"]


@leaf
def reversed_bits(x, width):
    """Mirror the lowest ``width`` bits."""
    out = 0
    for b in range(width):
        out |= (x >> b & 1) << (width - 1 - b)
    return out


@inner
def lane_products(q, code, first, width, out):
    """``out[l]``: product over the units of mechanism ``first | reversed_bits(l, width)``.

    Products run from the highest unit down whatever the width, so their bits do not depend on
    how mechanisms are cut into blocks.
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
def cause_scan(q, logq, offsets, first, width, vectors, bounds, weights, states):
    """Bound on phi and specified state of every purview, for 2**width mechanisms from ``first`` on.

    q       : (n, codes) float64      P(unit i in its current state | code)
    logq    : (codes, n) float64      log2 of it
    vectors : (6, 2**width) float64   scratch
    bounds  : (2**n, 2**width)        filled; lane l is mechanism first | reversed_bits(l, width)
    weights : (2**n, 2**width)        filled, selectivity of the specified state
    states  : (2**n, 2**width) int64  filled, specified state of the purview, -1 where states tie
    The bound is the least of the complete partition and of one mechanism unit detached from the
    whole purview.
    """
    lanes = 1 << width
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
            tied = second[lane] >= top[lane] * (1.0 - STATE_TIE)
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

    q       : (n, codes) float64, see ``cause_scan``
    like    : (>= states,) float64, filled with p(m | z)
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
        weights[z] = like[z] / total if like[z] >= top * (1.0 - STATE_TIE) else 0.0
    return top / total * np.log2(top * states / total)


@inner
def cause_costs(logq, offsets, levels, mech, mechs, purv, purvs, z, masks, codes, f):
    """``f[i * 2**purvs + B]``: bits lost when mechanism unit i sees only the part B of the purview.

    logq : (codes, n) float64, log2 of ``q``; mech, purv : units, of which
    the first mechs, purvs count; z : state of the purview
    masks, codes : (>= 2**purvs,) int64 scratch
    """
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
