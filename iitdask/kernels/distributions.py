"""Marginal tables, and joint distributions of units as products of marginals.

For unit i, a subset A of its inputs and a state a of A, a marginal table holds P(unit i = v | A =
a) with all other inputs uniform and independent: one row per code (A, a), one column per value.
"""

import numpy as np

from iitdask.kernels.jit import ZERO_INT64, index, inner, jitable, kernel, leaf
from iitdask.kernels.subsets import value_offsets, write_units


@kernel
def marginal_table(tpm, levels, offsets, out):
    """Fill the table of marginals over every subset of inputs.

    A code with a free unit is the mean of its children; time prod(k_i + 1) * c.

    Parameters
    ----------
    tpm : (S, c) float64, P(column's unit takes column's value | state), S = prod(levels)
    levels : (n,) int64, values per unit
    offsets : (2**n + 1,) int64, see ``segment_offsets``
    out : (offsets[-1], c) float64, the same given each part of a state, one row per code; filled

    References
    ----------
    mathematics.md 19, Eq. (19.1) and (19.2).
    """
    n = levels.shape[0]
    full = (1 << n) - 1
    width = tpm.shape[1]
    for x in range(tpm.shape[0]):
        for c in range(width):
            out[offsets[full] + x, c] = tpm[x, c]
    for a in range(full - 1, -1, -1):
        j = n - 1
        while a >> j & 1:  # the highest free unit: everything above it is in A
            j -= 1
        low = 1
        for i in range(j):
            if a >> i & 1:
                low *= levels[i]
        size = offsets[a + 1] - offsets[a]
        start = offsets[a]
        parent = offsets[a | (1 << j)]
        scale = 1.0 / levels[j]
        for h in range(size // low):
            for x in range(low):
                row = start + x + low * h
                first = parent + x + low * levels[j] * h
                for c in range(width):
                    out[row, c] = out[first, c]
                for v in range(1, levels[j]):
                    for c in range(width):
                        out[row, c] += out[first + low * v, c]
                for c in range(width):
                    out[row, c] *= scale


@kernel
def state_marginals(tpm, levels, state):
    """Take the marginals given each subset of one state.

    The part of ``marginal_table`` that a system's irreducibility needs, without its memory.

    Parameters
    ----------
    tpm : (S, c) float64, P(unit takes value | state)
    levels : (n,) int64, values per unit
    state : (n,) int64, value of each unit

    Returns
    -------
    (2**n, c) float64, row A is the mean of ``tpm`` over all states that agree with ``state`` on A

    References
    ----------
    mathematics.md 19, Eq. (19.1).
    """
    n = levels.shape[0]
    width = tpm.shape[1]
    states = tpm.shape[0]
    rows = 1
    now = tpm.copy()
    # units are settled from the highest down; row index = settled mask * states left + state left
    for step in range(n):
        j = n - 1 - step
        left = states // levels[j]
        after = np.empty((rows * 2 * left, width))
        scale = 1.0 / levels[j]
        for r in range(rows):
            for x in range(left):
                keep = (2 * r + 1) * left + x
                free = 2 * r * left + x
                old = r * states + x
                for c in range(width):
                    after[keep, c] = now[old + state[j] * left, c]
                    total = now[old, c]
                    for v in range(1, levels[j]):
                        total += now[old + v * left, c]
                    after[free, c] = total * scale
        now = after
        rows *= 2
        states = left
    return now


@leaf
def product_distribution(rows, r, levels, columns, units, begin, end, out):
    """Joint distribution of the units at begin .. end - 1 given row r of a marginal table.

    out : float64, filled up to prod(levels[units]), little-endian
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
def sum_products(rows, begin, end, levels, columns, units, count, scratch, out):
    """Sum, over rows of a marginal table, of the joint each implies of the first ``count`` units.

    rows : (m, c) float64; scratch : see ``make_product_scratch``
    out : (>= prod(levels[units]),) float64, filled, little-endian
    The joint of a row is an outer product of two half joints, so the sum is a matrix
    product done four rows at a time; time (end - begin) * S, two passes per value.
    """
    half = count // 2
    wide, tall = 1, 1
    for k in range(count):
        if k < half:
            wide *= levels[units[k]]
        else:
            tall *= levels[units[k]]
    l0, l1, l2, l3 = scratch[:wide], scratch[wide:], scratch[2 * wide :], scratch[3 * wide :]
    upper = scratch[4 * wide :]
    h0, h1, h2, h3 = upper[:tall], upper[tall:], upper[2 * tall :], upper[3 * tall :]
    for z in range(wide * tall):
        out[z] = 0.0
    for first in range(begin, end, 4):
        for q in range(4):
            low = l0 if q == 0 else (l1 if q == 1 else (l2 if q == 2 else l3))
            high = h0 if q == 0 else (h1 if q == 1 else (h2 if q == 2 else h3))
            if first + q < end:
                product_distribution(rows, first + q, levels, columns, units, ZERO_INT64, half, low)
                product_distribution(rows, first + q, levels, columns, units, half, count, high)
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


@jitable
def make_product_scratch(levels):
    """Scratch of ``sum_products``: four rows of either half of the units, whichever they are."""
    n, top = levels.shape[0], 1
    for i in range(n):
        top = max(top, levels[i])
    return np.empty(8 * top ** (n - n // 2))


@kernel
def forward_probability(tpm, levels, state):
    """P(the system's current state | each earlier state), mathematics.md 3; (S,) float64.

    tpm : (S, c) float64, cause side, P(unit takes value | earlier state)
    """
    columns = value_offsets(levels)
    out = np.ones(tpm.shape[0])
    for i in range(levels.shape[0]):
        for x in range(tpm.shape[0]):
            out[x] *= tpm[x, columns[i] + state[i]]
    return out


@kernel
def write_repertoires(cause, effect, levels, columns, offsets, pairs, begins, first, out):
    """Write cause and effect repertoires of chosen pairs, one after the other.

    Parameters
    ----------
    cause : (n, codes) float64, P(unit in its current state | part of an earlier state)
    effect : (2**n, c) float64, P(unit takes value | part of the current state)
    levels : (n,) int64, values per unit
    columns : (n + 1,) int64, see ``value_offsets``
    offsets : (2**n + 1,) int64, see ``segment_offsets``
    pairs : (p, 3) int64, 1 on the effect side else 0, mechanism, purview
    begins : (p + 1,) int64, where each pair's states begin, little-endian
    first : int, first row that is written
    out : float64, rows first .. first + len(out) - 1; filled.

    References
    ----------
    mathematics.md 3, Eq. (3.1) to (3.3).
    """
    n = levels.shape[0]
    units = np.empty(n, np.int64)
    joint = np.empty(offsets[-1] - offsets[-2])
    for k in range(pairs.shape[0]):
        begin, end = begins[k], begins[k + 1]
        if end <= first or begin >= first + out.shape[0]:
            continue
        mechanism, purview = pairs[k, 1], pairs[k, 2]
        if pairs[k, 0] == 1:
            count = write_units(purview, units)
            product_distribution(
                effect, mechanism, levels, columns, units, ZERO_INT64, count, joint
            )
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
