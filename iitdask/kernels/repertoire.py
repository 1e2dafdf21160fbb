"""Joint distributions over next states: products of marginals and their mixtures."""

from __future__ import annotations

import numpy as np

from iitdask.kernels.codes import value_offsets
from iitdask.kernels.jit import index, inner, kernel, leaf
from iitdask.kernels.purviews import members

__all__ = [
    "add_products",
    "forward_probability",
    "mixture",
    "product_states",
    "room_of_products",
    "write_repertoires",
]


@leaf
def product_states(rows, r, levels, columns, units, begin, end, out):
    """Joint distribution of some units given their marginals.

    rows, r : (m, c) float64  a marginal table, and which of its rows
    columns : (n + 1,) int64  see codes.value_offsets
    units   : int64           the units, ascending: those at begin .. end - 1
    out     : float64         filled up to prod(levels[units]), little-endian
    """
    out[0] = 1.0
    size = index(1)
    for k in range(begin, end):
        i = units[k]
        for v in range(levels[i] - 1, -1, -1):
            p, to = rows[r, columns[i] + v], index(v) * size
            for x in range(size):
                out[to + x] = out[x] * p
        size *= index(levels[i])


@inner
def add_products(rows, begin, end, levels, columns, units, count, room, out):
    """Sum, over rows of a marginal table, of the joint each implies of the first ``count`` units.

    rows  : (m, c) float64   marginals of every unit's values; begin, end : the rows to sum
    room  : float64 scratch, see ``room_of_products``
    out   : (>= prod(levels[units]),) float64, filled, little-endian
    The joint of a row is an outer product of two half joints, so the sum is a matrix
    product done four rows at a time; time (end - begin) * S, two passes per value.
    """
    half = count // 2
    start = np.int64(0)  # a literal 0 would compile the callee once more
    wide, tall = 1, 1
    for k in range(count):
        if k < half:
            wide *= levels[units[k]]
        else:
            tall *= levels[units[k]]
    l0, l1, l2, l3 = room[:wide], room[wide:], room[2 * wide :], room[3 * wide :]
    upper = room[4 * wide :]
    h0, h1, h2, h3 = upper[:tall], upper[tall:], upper[2 * tall :], upper[3 * tall :]
    for z in range(wide * tall):
        out[z] = 0.0
    for first in range(begin, end, 4):
        for q in range(4):
            low = l0 if q == 0 else (l1 if q == 1 else (l2 if q == 2 else l3))
            high = h0 if q == 0 else (h1 if q == 1 else (h2 if q == 2 else h3))
            if first + q < end:
                product_states(rows, first + q, levels, columns, units, start, half, low)
                product_states(rows, first + q, levels, columns, units, half, count, high)
            else:
                for b in range(tall):
                    high[b] = 0.0
                for x in range(wide):
                    low[x] = 0.0
        for b in range(tall):
            a0, a1, a2, a3 = h0[b], h1[b], h2[b], h3[b]
            line = out[b * wide :]
            for x in range(wide):
                line[x] += (a0 * l0[x] + a1 * l1[x]) + (a2 * l2[x] + a3 * l3[x])


@kernel
def room_of_products(levels):
    """Scratch of ``add_products``: four rows of either half of the units, whichever they are."""
    half, most = len(levels) - len(levels) // 2, 1
    for _ in range(half):
        most *= levels.max()
    return np.empty(8 * most)


@kernel
def mixture(rows, begin, end, levels, out):
    """``add_products`` of all units; out : (S,) float64."""
    units = np.arange(len(levels))
    columns, count = value_offsets(levels), np.int64(len(levels))
    add_products(rows, begin, end, levels, columns, units, count, room_of_products(levels), out)


@kernel
def forward_probability(tpm, levels, state):
    """P(the system's current state | each earlier state); (S,) float64.

    tpm   : (S, c) float64   cause side, P(unit takes value | earlier state)
    state : (n,) int64       current state
    spec.md section 3, p_c(m | z) with M = Z = S.
    """
    columns = value_offsets(levels)
    out = np.ones(tpm.shape[0])
    for i in range(levels.shape[0]):
        for x in range(tpm.shape[0]):
            out[x] *= tpm[x, columns[i] + state[i]]
    return out


@kernel
def write_repertoires(cause, effect, levels, columns, offsets, pairs, begins, first, out):
    """Cause and effect repertoires of chosen pairs, one after the other.

    cause   : (n, codes) float64   P(unit in its current state | part of an earlier state)
    effect  : (2**n, c) float64    P(unit takes value | part of the current state)
    columns, offsets : see codes.value_offsets, codes.segment_offsets
    pairs   : (p, 3) int64         1 on the effect side else 0, mechanism, purview
    begins  : (p + 1,) int64       where each pair's states begin, little-endian
    out     : float64              filled with the rows first .. first + len(out) - 1
    """
    n = levels.shape[0]
    units = np.empty(n, np.int64)
    joint = np.empty(offsets[-1] - offsets[-2])
    start = np.int64(0)  # a literal 0 would compile the callee once more
    for k in range(pairs.shape[0]):
        begin, end = begins[k], begins[k + 1]
        if end <= first or begin >= first + out.shape[0]:
            continue
        mechanism, purview = pairs[k, 1], pairs[k, 2]
        if pairs[k, 0] == 1:
            count = members(purview, units)
            product_states(effect, mechanism, levels, columns, units, start, count, joint)
        else:
            total = 0.0
            for z in range(end - begin):
                value = 1.0
                for i in range(n):
                    if mechanism >> i & 1:
                        value *= cause[i, offsets[purview] + z]
                joint[z] = value
                total += value
            for z in range(end - begin):
                joint[z] /= total
        for row in range(max(begin, first), min(end, first + out.shape[0])):
            out[row - first] = joint[row - begin]
