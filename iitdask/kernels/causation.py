"""Probabilities of occurrences, and disintegrating partitions: the least, ties, the named one.

An occurrence is a set of units in their actual state. ``values[M, Z]`` is log2 of the probability
of the purview Z's actual state in the repertoire of mechanism M; minus infinity when it is 0.

A disintegrating partition of (M, Z) pairs disjoint blocks of M with disjoint blocks of Z; what is
left of Z is on its own. The best one follows from the best ones of all smaller pairs
(mathematics.md 25.2):

    best(M, Z) = max(parted(M, Z), max over X of values[M, X] + values[0, Z - X])
    parted(M, Z) = max over Y in M with M's first unit, X in Z of values[Y, X] + best(M - Y, Z - X)

and alpha(M, Z) = values[M, Z] - parted(M, Z). A block that falls into pieces, none connected with
another, costs what its pieces cost: only connected blocks are tried. Rows are mechanisms by size,
so that a row needs earlier ones alone. A depth-first walk that only takes blocks whose rest can
still reach the optimum meets nothing but optimal partitions; the one is named whose severed
connections, listed by (from, to), come first in lexicographic order.
"""

import numpy as np

from iitdask.kernels.jit import ZERO_INT64, kernel, leaf
from iitdask.kernels.subsets import is_purview, popcount, write_units

ALPHA_ZERO_BITS = 1e-12  # a causal strength up to this is zero: rounding of many logarithms
IMPOSSIBLE_BITS, UNDEFINED = -np.inf, np.nan


@kernel
def cause_values(marginals, offsets, codes, mechanism, out):
    """Fill the log-probability of every set Z of causes, given the state of a mechanism.

    Parameters
    ----------
    marginals : (c, b) float64, P(unit takes its actual value | code's causes in code's states)
    offsets : (2**a + 1,) int64, where the states of each set of causes begin
    codes : (2**a,) int64, row of the actual state of each set
    mechanism : int, mask of effect units; 0: nothing is known
    out : (2**a,) float64
        Log2 pi_c(x_Z | y_M), bits; filled. Not a number where no state of Z leads to the
        mechanism's state.

    References
    ----------
    mathematics.md 13.1, Eq. (13.1); Albantakis et al. 2019, Eq. (3) to (6).
    """
    units = np.empty(marginals.shape[1], np.int64)
    count = write_units(mechanism, units)
    out[0] = 0.0
    for purview in range(1, codes.shape[0]):
        total, actual = 0.0, 0.0
        for row in range(offsets[purview], offsets[purview + 1]):
            p = 1.0
            for k in range(count):
                p *= marginals[row, units[k]]
            total += p
            if row == codes[purview]:
                actual = p
        if mechanism == 0:
            out[purview] = -np.log2(float(offsets[purview + 1] - offsets[purview]))
        elif total > 0.0:
            out[purview] = np.log2(actual / total)
        else:
            out[purview] = UNDEFINED


@kernel
def effect_values(logs, mechanism, out):
    """Fill the log-probability of every set Z of effects, given the state of a mechanism.

    Parameters
    ----------
    logs : (2**a, b) float64, log2 P(unit takes its actual value | some causes in their states)
    mechanism : int, mask of cause units
    out : (2**b,) float64, log2 pi_e(y_Z | x_M), bits; filled

    References
    ----------
    mathematics.md 13.1, Eq. (13.1); Albantakis et al. 2019, Eq. (3) to (6).
    """
    out[0] = 0.0
    for i in range(logs.shape[1]):
        for rest in range(1 << i):
            out[1 << i | rest] = out[rest] + logs[mechanism, i]


@kernel
def reached_units(children, own, forward):
    """Find the purview units that share a connection with each mechanism; (2**own,) masks."""
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
    """Tell which pairs of a mechanism of ``masks`` and a purview are connected, mathematics.md 6.3.

    children : (a,) masks of the effects that each cause feeds; returns (rows, size) bool
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
    values : (rows, 2**z) float64, see ``cause_values`` and ``effect_values``, bits
    joined : (rows, 2**z) bool, see ``connected_pairs``
    masks : (rows,) int64, mechanism of each row, by size
    rank : (2**m,) int64, row of each mechanism
    reach : (2**m,) int64, see ``reached_units``
    wanted : (rows,) bool, rows to fill; the others are left as they are
    begin, end : int, range of rows
    best : (rows, 2**z) float64, bits of the best partition, the whole pair included; filled
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
        improve_with_block(values, joined, row, full, best, ZERO_INT64, full, out)
        extend_to_unreached_units(values, full, out)


@kernel
def block_weights(children, reach, own, forward):
    """Count the blocks that ``improve_with_block`` tries for each mechanism; (2**own,) float64.

    The unit is 2 to the power of the units that the mechanism reaches.
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
    """Count the partitions and blocks that ``fill_best_partitions`` tries; (rows,) float64.

    weights : (2**m,) float64, see ``block_weights``; the others as for ``fill_best_partitions``
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


MAX_COUNTED_TIES = 10_000  # Tied partitions after which counting stops
TIE_SLACK_BITS = 1e-11


@leaf
def is_lexicographically_first(kept, named, mechanism, purview, m, z, forward):
    """Whether the pairs severed by ``kept`` precede those of ``named``, listed by (from, to)."""
    rows, columns = (m, z) if forward else (z, m)
    differ, ours_first = False, False
    for a in range(rows):
        for b in range(columns):
            i, j = (a, b) if forward else (b, a)
            if not (mechanism >> i & 1 and purview >> j & 1):
                continue
            ours, theirs = not kept[i] >> j & 1, not named[i] >> j & 1
            # the list with the first pair that is not in both is the earlier one if the other goes
            # on, and the later one if the other ends there
            if differ and (theirs if ours_first else ours):
                return ours_first
            if not differ and ours != theirs:
                differ, ours_first = True, ours
    return differ and not ours_first


@kernel
def count_tied_partitions(values, best, rank, mechanism, purview, least, forward, m, z, named):
    """Count the partitions of a pair that attain its best value, and name one.

    Parameters
    ----------
    values, best : (rows, 2**z) float64, see ``fill_best_partitions``, bits
    rank : (2**m,) int64, row of each mechanism
    mechanism, purview : int, masks
    least : float, value of the best partition, the whole pair excluded, bits
    forward : bool, whether the mechanism consists of causes
    m, z : int, number of mechanism and of purview units
    named : (m,) int64, purview units each mechanism unit keeps, 0 outside the mechanism; filled

    Returns
    -------
    int, how many there are, -1 beyond MAX_COUNTED_TIES

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
