"""The marginal tables every repertoire is a product of.

algorithms.md section 1: for unit i, a subset A of its inputs and a state a of A,
P(unit i = v | A = a, all other inputs uniform and independent). One row per code
(A, a), one column per value of each unit.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import kernel

__all__ = ["marginal_table", "state_marginals"]


@kernel
def marginal_table(tpm, levels, offsets, out):
    """Fill the table of marginals over every subset of inputs.

    tpm     : (S, c) float64     P(column's unit takes column's value | state), S = prod(levels)
    levels  : (n,) int64
    offsets : (2**n + 1,) int64  see codes.segment_offsets
    out     : (offsets[-1], c) float64
    A code with a free unit is the mean of its children; time prod(k_i + 1) * c.
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
    """Marginals given each subset of one state; (2**n, c) float64.

    tpm   : (S, c) float64
    state : (n,) int64
    Row A is the mean of ``tpm`` over all states that agree with ``state`` on A: the part of
    ``marginal_table`` that a system's irreducibility needs, without its memory.
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
