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

from iitdask.kernels.jit import kernel
from iitdask.kernels.purviews import STATE_TIE

__all__ = ["cause_costs", "cause_scan", "cause_states", "reversed_bits"]


@kernel
def reversed_bits(x, width):
    """Mirror the lowest ``width`` bits."""
    out = 0
    for b in range(width):
        out |= (x >> b & 1) << (width - 1 - b)
    return out


@kernel
def cause_scan(q, free, offsets, first, width, product, total, top, bounds):
    """Upper bound on phi of every purview for the mechanisms first .. first + 2**width - 1.

    q      : (codes, n) float64     P(unit i in its current state | code)
    free   : (n,) float64           log2 of the same given nothing
    product, total, top : (2**width,) float64 scratch
    bounds : (2**n, 2**width)       filled; lane l is mechanism first | reversed_bits(l, width)
    Products run from the highest unit down whatever the width, so the bits of a bound do not
    depend on how mechanisms are cut into blocks.
    """
    n = q.shape[1]
    lanes = 1 << width
    for purview in range(1, 1 << n):
        for x in range(lanes):
            total[x] = 0.0
            top[x] = 0.0
        for code in range(offsets[purview], offsets[purview + 1]):
            p = 1.0
            for i in range(n - 1, width - 1, -1):
                if first >> i & 1:
                    p *= q[code, i]
            product[0] = p
            size = 1
            for i in range(width - 1, -1, -1):
                p = q[code, i]
                for x in range(size):
                    product[size + x] = product[x] * p
                size *= 2
            for x in range(lanes):
                total[x] += product[x]
                top[x] = max(top[x], product[x])
        for x in range(lanes):
            bounds[purview, x] = 0.0
            if top[x] > 0.0:
                bounds[purview, x] = top[x] / total[x] * np.log2(top[x])
                product[x] = top[x] / total[x]
            else:
                product[x] = 0.0
        # less selectivity * log2 p(m), unit by unit
        for lane in range(lanes):
            mechanism = first | reversed_bits(lane, width)
            base = 0.0
            for i in range(n):
                if mechanism >> i & 1:
                    base += free[i]
            if product[lane] > 0.0:
                bounds[purview, lane] -= product[lane] * base


@kernel
def cause_states(q, offsets, mechanism, purview, like, weights):
    """Specified cause states: ii grows with p(m | z), so the largest are; all ties are kept.

    like    : (>= states,) float64, filled with p(m | z)
    weights : (>= states,) float64, filled with the selectivity of specified states, 0 elsewhere
    returns the intrinsic information, bits; negative when the cause repertoire is zero
    """
    states = offsets[purview + 1] - offsets[purview]
    for z in range(states):
        like[z] = 1.0
    for i in range(q.shape[1] - 1, -1, -1):
        if mechanism >> i & 1:
            for z in range(states):
                like[z] *= q[offsets[purview] + z, i]
    total, top = 0.0, 0.0
    for z in range(states):
        total += like[z]
        top = max(top, like[z])
    if top <= 0.0:
        return -1.0
    for z in range(states):
        weights[z] = like[z] / total if like[z] >= top * (1.0 - STATE_TIE) else 0.0
    return top / total * np.log2(top * states / total)


@kernel
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
        for b in range(1 << k):
            # j is the highest unit so far: its weight is the number of states of the rest
            masks[b | (1 << k)] = masks[b] | (1 << j)
            codes[b | (1 << k)] = codes[b] + value * (offsets[masks[b] + 1] - offsets[masks[b]])
    size = 1 << purvs
    for b in range(size):
        codes[b] += offsets[masks[b]]
    for r in range(mechs):
        whole = logq[codes[size - 1], mech[r]]
        for b in range(size):
            f[r * size + b] = whole - logq[codes[b], mech[r]]
