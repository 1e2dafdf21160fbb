"""The least that parting a mechanism and a purview costs, for all pairs at once.

A disintegrating partition of (M, Z) (spec.md 5) pairs some disjoint blocks of M with disjoint
blocks of Z; what is left of Z is on its own. The log-probability of Z's state under it is the sum
of ``values[Y, X]`` over the paired blocks and ``values[0, rest]``, and nothing is normalised, so
the best partition of (M, Z) follows from the best ones of all smaller pairs:

    best(M, Z) = max(parted(M, Z), max over X of values[M, X] + values[0, Z - X])
    parted(M, Z) = max over Y in M with M's first unit, X in Z of values[Y, X] + best(M - Y, Z - X)

and alpha(M, Z) = values[M, Z] - parted(M, Z). A block that falls into pieces, none connected with
another, costs what its pieces cost: only connected blocks are tried. Rows are mechanisms by size
(occurrences.masks_by_size), so that a row needs earlier ones alone.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.codes import popcount
from iitdask.kernels.jit import kernel, leaf
from iitdask.kernels.purviews import is_purview

__all__ = [
    "ALPHA_ZERO",
    "connected_pairs",
    "joined_weights",
    "part_rows",
    "reached_units",
    "row_costs",
]

ALPHA_ZERO = 1e-12
"""A causal strength up to this is zero; sums of many logarithms carry rounding of this size."""
NEVER = -np.inf
NOTHING = np.int64(0)  # a NumPy integer: numba compiles one function and not two


@kernel
def reached_units(children, own, forward):
    """Units that share a connection with each mask of mechanism units; (2**own,) masks."""
    single = np.zeros(own, np.int64)
    for a in range(children.shape[0]):
        if forward:
            single[a] = children[a]
        else:
            for b in range(own):
                if children[a] >> b & 1:
                    single[b] |= 1 << a
    out = np.zeros(1 << own, np.int64)
    for i in range(own):
        for rest in range(1 << i):
            out[1 << i | rest] = out[rest] | single[i]
    return out


@kernel
def connected_pairs(masks, children, reach, size, forward):
    """Whether each pair of a mechanism (row) and a purview is connected; (rows, size) bool."""
    rows = masks.shape[0]
    out = np.zeros((rows, size), np.bool_)
    for row in range(rows):
        full = reach[masks[row]]
        purview = full
        while purview:
            out[row, purview] = is_purview(masks[row], purview, children, forward)
            purview = (purview - 1) & full
    return out


@leaf
def take_block(values, joined, row, near, others, rest, full, out):
    """Offer every partition with one block of this row, the others parted at their best.

    out : (2**z,) raised to values[row, X] + others[rest, R] at X | R, for X joined, R disjoint
    """
    block = near
    while block:
        if joined[row, block]:
            value = values[row, block]
            if value > NEVER:
                left = full & ~block
                spare = left
                while True:
                    total = value + others[rest, spare]
                    if total > out[block | spare]:
                        out[block | spare] = total
                    if spare == 0:
                        break
                    spare = (spare - 1) & left
        block = (block - 1) & near


@leaf
def spread_free(values, full, out):
    """Complete ``out`` for purviews with units that the mechanism does not reach."""
    for purview in range(out.shape[0]):
        if purview & ~full:
            out[purview] = out[purview & full] + values[0, purview & ~full]


@kernel
def part_rows(values, joined, masks, rank, reach, wanted, begin, end, best, alpha):
    """Fill rows begin .. end - 1 of ``best`` and ``alpha``; earlier rows must be there.

    values, joined : (rows, 2**z)  see occurrences and ``connected_pairs``
    masks  : (rows,), rank : (2**m,)  mechanism of each row, row of each mechanism
    reach  : (2**m,)               purview units that share a connection with each mechanism
    wanted : (rows,) bool          rows to fill; the others are left as they are
    best   : (rows, 2**z)          bits of the best partition, the whole pair included
    alpha  : (end - begin, 2**z)   bits the pair loses under its least partition, 0 if reducible
    """
    size = values.shape[1]
    for row in range(begin, end):
        if not wanted[row]:
            continue
        if row == 0:
            for purview in range(size):
                best[0, purview], alpha[0, purview] = values[0, purview], 0.0
            continue
        mechanism = masks[row]
        full = reach[mechanism]
        low = mechanism & -mechanism
        others = mechanism ^ low
        out = best[row]
        for purview in range(size):
            out[purview] = best[rank[others], purview]
        if others:
            sub = (others - 1) & others
            while True:
                block = low | sub
                rest = rank[mechanism ^ block]
                take_block(values, joined, rank[block], reach[block], best, rest, full, out)
                if sub == 0:
                    break
                sub = (sub - 1) & others
        spread_free(values, full, out)
        for purview in range(size):
            strength = 0.0
            if joined[row, purview] and values[row, purview] > NEVER:
                strength = values[row, purview] - out[purview]
            alpha[row - begin, purview] = strength if strength > ALPHA_ZERO else 0.0
        take_block(values, joined, row, full, best, NOTHING, full, out)
        spread_free(values, full, out)


@kernel
def joined_weights(children, reach, own, forward):
    """Blocks that ``take_block`` tries for each mechanism, in units of 2**wide; (2**own,)."""
    out = np.zeros(1 << own)
    for mechanism in range(1, 1 << own):
        full = reach[mechanism]
        purview = full
        while purview:
            if is_purview(mechanism, purview, children, forward):
                out[mechanism] += 0.5 ** popcount(purview)
            purview = (purview - 1) & full
    return out


@kernel
def row_costs(masks, rows, reach, weights, wanted):
    """Partitions that ``part_rows`` tries for each row, and blocks it looks at; (rows,) float64."""
    out = np.zeros(rows)
    for row in range(1, rows):
        mechanism = masks[row]
        wide = popcount(reach[mechanism])
        if not wanted[row]:
            continue
        low = mechanism & -mechanism
        others = mechanism ^ low
        sub = others
        while True:
            block = low | sub
            out[row] += 2.0 ** popcount(reach[block]) + weights[block] * 2.0**wide
            if sub == 0:
                break
            sub = (sub - 1) & others
    return out
