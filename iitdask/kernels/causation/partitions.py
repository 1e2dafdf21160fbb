"""Disintegrating partitions of pairs of occurrences: the least, ties, and the named one.

A disintegrating partition of (M, Z) pairs disjoint blocks of M with disjoint blocks of Z; what is
left of Z is on its own. With ``values[M, Z]`` of :mod:`iitdask.kernels.causation.values`, the best
one follows from the best ones of all smaller pairs (mathematics.md 25.2):

    best(M, Z) = max(parted(M, Z), max over X of values[M, X] + values[0, Z - X])
    parted(M, Z) = max over Y in M with M's first unit, X in Z of values[Y, X] + best(M - Y, Z - X)

and alpha(M, Z) = values[M, Z] - parted(M, Z). A block that falls into pieces, none connected with
another, costs what its pieces cost: only connected blocks are tried. Rows are mechanisms by size,
so that a row needs earlier ones alone. A depth-first walk that only takes blocks whose rest can
still reach the optimum meets nothing but optimal partitions; the one is named whose severed
connections, listed by (from, to), come first in lexicographic order.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import kernel, leaf
from iitdask.kernels.subsets import is_purview, popcount

__all__ = [
    "ALPHA_ZERO_BITS",
    "MAX_COUNTED_TIES",
    "block_weights",
    "connected_pairs",
    "count_row_steps",
    "count_tied_partitions",
    "fill_best_partitions",
    "reached_units",
]

ALPHA_ZERO_BITS = 1e-12
"""A causal strength up to this is zero; sums of many logarithms carry rounding of this size."""
IMPOSSIBLE_BITS = -np.inf
EMPTY_MECHANISM_ROW = np.int64(0)  # a NumPy integer: numba compiles one function and not two


@kernel
def reached_units(children, own, forward):
    """Find the units that share a connection with each set of mechanism units.

    Parameters
    ----------
    children : (a,) int64
        Masks of the effects that each cause feeds.
    own : int
        Number of mechanism units.
    forward : bool
        Whether the mechanism consists of causes.

    Returns
    -------
    (2**own,) int64
        Masks of purview units.
    """
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
    """Tell which pairs of a mechanism and a purview are connected.

    Parameters
    ----------
    masks : (rows,) int64
        Mechanisms.
    children : (a,) int64
        Masks of the effects that each cause feeds.
    reach : (2**own,) int64
        See ``reached_units``.
    size : int
        Number of purviews, the empty one included.
    forward : bool
        Whether the mechanisms consist of causes.

    Returns
    -------
    (rows, size) bool
        Whether they are.

    References
    ----------
    mathematics.md 6.3.
    """
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
def improve_with_block(values, joined, row, near, others, rest, full, out):
    """Offer every partition with one block of this row, the others parted at their best.

    out : (2**z,) raised to values[row, X] + others[rest, R] at X | R, for X joined, R disjoint
    """
    block = near
    while block:
        if joined[row, block]:
            value = values[row, block]
            if value > IMPOSSIBLE_BITS:
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
def extend_to_unreached_units(values, full, out):
    """Complete ``out`` for purviews with units that the mechanism does not reach."""
    for purview in range(out.shape[0]):
        if purview & ~full:
            out[purview] = out[purview & full] + values[0, purview & ~full]


@kernel
def fill_best_partitions(values, joined, masks, rank, reach, wanted, begin, end, best, alpha):
    """Fill rows begin .. end - 1 of the best partitions; earlier rows must be there.

    Parameters
    ----------
    values : (rows, 2**z) float64
        See ``cause_values`` and ``effect_values``, bits.
    joined : (rows, 2**z) bool
        See ``connected_pairs``.
    masks : (rows,) int64
        Mechanism of each row, by size.
    rank : (2**m,) int64
        Row of each mechanism.
    reach : (2**m,) int64
        See ``reached_units``.
    wanted : (rows,) bool
        Rows to fill; the others are left as they are.
    begin, end : int
        Range of rows.
    best : (rows, 2**z) float64
        Bits of the best partition, the whole pair included; filled.
    alpha : (end - begin, 2**z) float64
        Bits the pair loses under its least partition, 0 if reducible; filled.

    References
    ----------
    mathematics.md 13.2 and 25.2, Eq. (13.2), (25.3) and (25.4).
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
                improve_with_block(values, joined, rank[block], reach[block], best, rest, full, out)
                if sub == 0:
                    break
                sub = (sub - 1) & others
        extend_to_unreached_units(values, full, out)
        for purview in range(size):
            strength = 0.0
            if joined[row, purview] and values[row, purview] > IMPOSSIBLE_BITS:
                strength = values[row, purview] - out[purview]
            alpha[row - begin, purview] = strength if strength > ALPHA_ZERO_BITS else 0.0
        improve_with_block(values, joined, row, full, best, EMPTY_MECHANISM_ROW, full, out)
        extend_to_unreached_units(values, full, out)


@kernel
def block_weights(children, reach, own, forward):
    """Count the blocks that ``improve_with_block`` tries for each mechanism.

    Parameters
    ----------
    children : (a,) int64
        Masks of the effects that each cause feeds.
    reach : (2**own,) int64
        See ``reached_units``.
    own : int
        Number of mechanism units.
    forward : bool
        Whether the mechanisms consist of causes.

    Returns
    -------
    (2**own,) float64
        Blocks, in units of 2 to the power of the units reached.
    """
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
def count_row_steps(masks, rows, reach, weights, wanted):
    """Count the partitions and blocks that ``fill_best_partitions`` tries for each row.

    Parameters
    ----------
    masks : (R,) int64
        Mechanism of each row.
    rows : int
        Rows that count.
    reach : (2**m,) int64
        See ``reached_units``.
    weights : (2**m,) float64
        See ``block_weights``.
    wanted : (R,) bool
        Rows that are filled.

    Returns
    -------
    (rows,) float64
        Steps.
    """
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


MAX_COUNTED_TIES = 10_000
"""Tied partitions after which counting stops."""
TIE_SLACK_BITS = 1e-11


@leaf
def is_lexicographically_first(kept, named, mechanism, purview, m, z, forward):
    """Whether the pairs severed by ``kept`` precede those of ``named``, listed by (from, to)."""
    rows, columns = (m, z) if forward else (z, m)
    for a in range(rows):
        for b in range(columns):
            i, j = (a, b) if forward else (b, a)
            if not (mechanism >> i & 1 and purview >> j & 1):
                continue
            ours, theirs = not kept[i] >> j & 1, not named[i] >> j & 1
            if ours == theirs:
                continue
            # the list that goes on is the later one when the other ends here
            if ours:
                return severs_later_pair(named, mechanism, purview, m, z, forward, a, b)
            return not severs_later_pair(kept, mechanism, purview, m, z, forward, a, b)
    return False


@leaf
def severs_later_pair(kept, mechanism, purview, m, z, forward, row, column):
    """Whether a partition severs a pair after the one at (row, column)."""
    rows, columns = (m, z) if forward else (z, m)
    for a in range(row, rows):
        for b in range(columns):
            if a == row and b <= column:
                continue
            i, j = (a, b) if forward else (b, a)
            if mechanism >> i & 1 and purview >> j & 1 and not kept[i] >> j & 1:
                return True
    return False


@kernel
def count_tied_partitions(values, best, rank, mechanism, purview, least, forward, m, z, named):
    """Count the partitions of a pair that attain its best value, and name one.

    Parameters
    ----------
    values, best : (rows, 2**z) float64
        See ``fill_best_partitions``, bits.
    rank : (2**m,) int64
        Row of each mechanism.
    mechanism, purview : int
        Masks.
    least : float
        Value of the best partition, the whole pair excluded, bits.
    forward : bool
        Whether the mechanism consists of causes.
    m, z : int
        Number of mechanism and of purview units.
    named : (m,) int64
        Purview units each mechanism unit keeps, 0 outside the mechanism; filled.

    Returns
    -------
    int
        How many there are, -1 beyond MAX_COUNTED_TIES.

    References
    ----------
    mathematics.md 15.1 and 25.2, Eq. (25.5).
    """
    kept = np.zeros(m, np.int64)
    left = np.empty(m + 1, np.int64)
    spare = np.empty(m + 1, np.int64)
    goal = np.empty(m + 1)
    sub = np.empty(m + 1, np.int64)
    block = np.empty(m + 1, np.int64)
    left[0], spare[0], goal[0] = mechanism, purview, least
    ties, depth = 0, 0
    sub[0], block[0] = mechanism & (mechanism - 1), purview
    while depth >= 0:
        if left[depth] == 0:
            if ties == 0 or is_lexicographically_first(
                kept, named, mechanism, purview, m, z, forward
            ):
                for i in range(m):
                    named[i] = kept[i]
            ties += 1
            if ties > MAX_COUNTED_TIES:
                return -1
            depth -= 1
            continue
        # (sub, block) is the next choice at this depth: the block of the first unit left
        if sub[depth] < 0:
            depth -= 1
            continue
        low = left[depth] & -left[depth]
        own, other = low | sub[depth], block[depth]
        if other:
            block[depth] = (other - 1) & spare[depth]
        else:  # all blocks with this mechanism part are done; alone and with nothing comes once
            rest = left[depth] ^ low
            if sub[depth] == 0:
                sub[depth] = -1
            else:
                sub[depth] = (sub[depth] - 1) & rest
                block[depth] = spare[depth]
            if own != low:
                continue
        if depth == 0 and own == mechanism and other:
            continue
        value = values[rank[own], other] if other else 0.0
        rest = left[depth] ^ own
        reached = value + best[rank[rest], spare[depth] & ~other]
        if not reached >= goal[depth] - TIE_SLACK_BITS:
            continue
        for i in range(m):
            if own >> i & 1:
                kept[i] = other
        depth += 1
        left[depth], spare[depth] = rest, spare[depth - 1] & ~other
        goal[depth] = best[rank[rest], spare[depth]]
        sub[depth] = rest & (rest - 1)
        block[depth] = spare[depth]
    return ties
