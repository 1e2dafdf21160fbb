"""Effects: what a mechanism's state makes of each purview.

Per mechanism, one matrix product gives the unconstrained joint distribution over
all units: the mean over the mechanism's states of the joint each implies. A
purview's own is summed out of it only when its bound, which needs no joint,
reaches the best phi found. The current state is one term of the mean, hence
ii(z) <= p(z|m) * log2(states of the mechanism), which spares most logarithms.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import index, inner, leaf, merged
from iitdask.kernels.purviews import STATE_FLOOR, STATE_TIE

__all__ = [
    "coarse_bounds",
    "cost_bound",
    "effect_costs",
    "effect_states",
    "marginalise",
    "state_rows",
    "sum_out",
]


@merged
def sum_out(joint, levels, purview, work):
    """Sum a joint distribution over the units outside a purview.

    joint : (S,) float64, little-endian; work : (S,) float64, filled up to the purview's states
    """
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
        top = largest(rows, r, columns, j)
        half = index(1 << j)
        for a in range(half):
            best[half + a] = best[a] * top
    for option in range(elements + 1):
        # the last is the complete partition; none of the others when there is one unit
        block = size - 1 - (1 << option) if option < elements else 0
        times = float(elements) if option < elements else 1.0
        gains[0] = 0.0
        for j in range(n):
            top = largest(rows, r, columns, j)
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
def largest(rows, r, columns, j):
    """Largest marginal among the values of unit j."""
    top = 0.0
    for c in range(columns[j], columns[j + 1]):
        top = max(top, rows[r, c])
    return top


@inner
def effect_states(p, states, w, begin, scale, weights):
    """Specified effect states of a purview: largest ii = p log2(p / unconstrained), all ties kept.

    p       : (>= states,) float64  p(z|m)
    w       : float64, ``w[begin + z]``: the sum of p(z|m') over the mechanism's states m'
    scale   : how many those are
    weights : (>= states,) float64  filled with the selectivity of specified states, 0 elsewhere
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
        if p[z] > 0.0 and p[z] * span >= best * (1.0 - STATE_TIE) - STATE_FLOOR:
            weights[z] = p[z] * np.log2(p[z] * scale / w[begin + z])
            best = max(best, weights[z])
    least = best - STATE_TIE * best - STATE_FLOOR
    begin, end = states, 0
    for z in range(states):
        if weights[z] >= least and p[z] > 0.0:
            weights[z] = p[z]
            begin, end = min(begin, z), z + 1
        else:
            weights[z] = 0.0
    return best, begin, end


@merged
def marginalise(joint, levels, offsets, out):
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
    """``out[r * 2**mechs + B]``: bits column r loses when its unit sees only B of the mechanism.

    logs : (2**n, c) float64   log2 of the marginals given each subset of the current state
    """
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
