"""Effects: what a mechanism's state makes of each purview.

Per mechanism, one matrix product gives the unconstrained joint distribution over
all units (the mean over the mechanism's states of the joint each implies), and
sums over one unit at a time give it for every purview (algorithms.md section 2).
The current state is one term of that mean, hence ii(z) <= p(z|m) * log2(states of
the mechanism), which spares nearly all logarithms.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import kernel
from iitdask.kernels.purviews import STATE_FLOOR, STATE_TIE, ZERO, members

__all__ = [
    "effect_bounds",
    "effect_costs",
    "effect_states",
    "marginalise",
    "purview_probabilities",
    "state_rows",
]


@kernel
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
        for h in range((offsets[a + 1] - start) // low):
            line, begin = start + low * h, parent + low * levels[j] * h
            for x in range(low):
                out[line + x] = out[begin + x] + out[begin + low + x]
            for v in range(2, levels[j]):
                for x in range(low):
                    out[line + x] += out[begin + v * low + x]


@kernel
def purview_probabilities(row, levels, columns, offsets, out):
    """p(z | m) for every purview and state, from one row of marginals; out : (codes,)."""
    n = levels.shape[0]
    out[0] = 1.0
    for j in range(n):
        for a in range(1 << j):
            size = offsets[a + 1] - offsets[a]
            source, start = offsets[a], offsets[a | (1 << j)]
            for v in range(levels[j]):
                p = row[columns[j] + v]
                for x in range(size):
                    out[start + v * size + x] = out[source + x] * p


@kernel
def effect_states(p, w, begin, end, scale, weights):
    """Specified effect states of a purview: largest ii = p log2(p / unconstrained), all ties kept.

    p, w    : float64         p(z|m) at begin .. end - 1, and its sum over the mechanism's states
    scale   : how many those are
    weights : (>= s,) float64 filled with the selectivity of specified states, 0 elsewhere
    returns the intrinsic information, bits
    """
    best = -1.0
    span = np.log2(scale)
    for z in range(end - begin):
        weights[z] = -1.0
        one = p[begin + z]
        # one * span bounds ii(z): skip the logarithm when it cannot win or tie
        if one > 0.0 and one * span >= best * (1.0 - STATE_TIE) - STATE_FLOOR:
            weights[z] = one * np.log2(one * scale / w[begin + z])
            best = max(best, weights[z])
    least = best - STATE_TIE * best - STATE_FLOOR
    for z in range(end - begin):
        weights[z] = p[begin + z] if weights[z] >= least and p[begin + z] > 0.0 else 0.0
    return best


@kernel
def effect_costs(logs, mech, mechs, mechanism, out):
    """``out[r * 2**mechs + B]``: bits lost by column r when its unit sees only the part B of the mechanism.

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


@kernel
def state_rows(purv, purvs, levels, columns, z, rows):
    """Columns of the values that the units of a purview take in state z; fills ``rows``."""
    for k in range(purvs):
        rows[k] = columns[purv[k]] + z % levels[purv[k]]
        z //= levels[purv[k]]


@kernel
def cost_bound(costs, rows, users, elements):
    """Upper bound on the cost: complete partition, and one mechanism unit detached from everything."""
    size = 1 << elements
    best = 0.0
    for u in range(users):
        best += costs[rows[u] * size]
    if elements > 1:
        for k in range(elements):
            total = 0.0
            for u in range(users):
                total += costs[rows[u] * size + size - 1 - (1 << k)]
            best = min(best, total * elements)
    return best


@kernel
def effect_bounds(
    probs, sums, scale, costs, elements, offsets, levels, columns, units, rows, weights, bounds
):
    """Upper bound on phi of every purview of one mechanism, at its specified states."""
    for purview in range(1, bounds.shape[0]):
        a, b = offsets[purview], offsets[purview + 1]
        bounds[purview] = 0.0
        ii = effect_states(probs, sums, a, b, scale, weights)
        if ii <= ZERO:
            continue
        users = members(purview, units)
        for z in range(b - a):
            if weights[z] > 0.0:
                state_rows(units, users, levels, columns, z, rows)
                limit = weights[z] * cost_bound(costs, rows, users, elements)
                bounds[purview] = max(bounds[purview], limit)
