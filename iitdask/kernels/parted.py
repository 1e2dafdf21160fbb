"""Which partitions attain the least cost of a pair: how many, and the one that is named.

``parting.part_rows`` leaves the best value of every smaller pair, so a depth-first walk that only
takes blocks whose rest can still reach the optimum meets nothing but optimal partitions. Every
family of paired blocks severs another set of (mechanism, purview) pairs; among them the one is
named whose severed connections, listed by (from, to), come first in lexicographic order.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import kernel, leaf

__all__ = ["MOST_TIES", "tied_partitions"]

MOST_TIES = 10_000
"""Tied partitions after which counting stops."""
SLACK = 1e-11


@leaf
def comes_first(kept, named, mechanism, purview, m, z, forward):
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
                return has_later(named, mechanism, purview, m, z, forward, a, b)
            return not has_later(kept, mechanism, purview, m, z, forward, a, b)
    return False


@leaf
def has_later(kept, mechanism, purview, m, z, forward, row, column):
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
def tied_partitions(values, best, rank, mechanism, purview, least, forward, m, z, named):
    """Count the partitions of a pair that attain its best value; leave one in ``named``.

    values, best : (rows, 2**z)  see parting.part_rows
    least  : float     value of the best partition, the whole pair excluded
    named  : (m,)      filled: purview units each mechanism unit keeps, 0 outside the mechanism
    returns how many there are, -1 beyond MOST_TIES
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
            if ties == 0 or comes_first(kept, named, mechanism, purview, m, z, forward):
                for i in range(m):
                    named[i] = kept[i]
            ties += 1
            if ties > MOST_TIES:
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
        if not reached >= goal[depth] - SLACK:
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
