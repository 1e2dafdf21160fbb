"""Families of disjoint blocks, and what each user keeps of one.

The vocabulary of disintegrating partitions, see ``disintegration``: ``f[s.base[u] + B]`` is what it
costs user u to keep only the block B of the elements. ``s`` is the working memory of the search,
see pairs.Scratch; its ``pops`` are popcounts as float64, since integers would cost the inner loops
a conversion.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import index, inner, leaf, merged

__all__ = [
    "EPS",
    "HUGE",
    "ON_CAUSE",
    "ON_EFFECT",
    "THREE",
    "assign",
    "highest",
    "precedes",
    "two_blocks",
]

HUGE = 1e300
EPS = 1e-12
# NumPy integers, so that numba compiles one function and not one per literal value
ON_EFFECT, ON_CAUSE = np.int64(0), np.int64(1)
THREE = np.int64(3)
"""Blocks of the families of nothing and two blocks."""


@leaf
def highest(mask):
    """Highest element of a nonempty mask below 2**32, as a mask: no branch to be guessed wrong."""
    mask |= mask >> 1
    mask |= mask >> 2
    mask |= mask >> 4
    mask |= mask >> 8
    mask |= mask >> 16
    return mask ^ mask >> 1


@merged
def severs_first(a, b, pops):
    """Whether keeping block a severs a lexicographically smaller set than b, of the same size."""
    differ = a ^ b
    return pops[a] == pops[b] and (differ & -differ) & b != 0


@merged
def precedes(a, b, users, elements, side):
    """Whether picks a sever a lexicographically smaller set of pairs than b, mechanism first."""
    for k in range(users * elements):
        if side == ON_CAUSE:
            u, e = k // elements, k % elements
        else:
            e, u = k // users, k % users
        if (a[u] ^ b[u]) >> e & 1:
            return (b[u] >> e & 1) != 0
    return False


@inner
def assign(f, base, blocks, picks, pops, users, elements, lam, used, side, slack):
    """Let every user keep its cheapest block of a family of disjoint blocks.

    The family is the first ``used`` of ``blocks``, ``blocks[0] == 0`` being nothing; what each
    keeps is left in ``picks``. Within ``slack`` a user prefers to sever more.
    Takes the arrays, not ``s``: handing over all of that costs more than the work.
    returns (cost, severed pairs)
    """
    cost, severed = 0.0, 0.0
    same = True
    regret, who, instead = HUGE, -1, blocks[0]
    for u in range(users):
        first, second = HUGE, HUGE
        pick, other = blocks[0], blocks[0]
        row = base[u]
        for e in range(used):
            b = blocks[e]
            value = f[row + b] - lam * (elements - pops[b])
            tied = value <= first + slack and value >= first - slack
            tied = tied and (pops[b] < pops[pick] or (slack > 0.0 and severs_first(b, pick, pops)))
            if value < first - slack or tied:
                second, other = first, pick
                first, pick = value, b
            elif value < second:
                second, other = value, b
        picks[u] = pick
        cost += f[row + pick]
        severed += elements - pops[pick]
        if pick != picks[0]:
            same = False
        if second - first < regret:
            regret, who, instead = second - first, u, other
    if side == ON_CAUSE and same and picks[0] != 0:
        if used < 2 or who < 0 or users == 1:
            return HUGE, 0.0
        row = base[who]
        cost += f[row + instead] - f[row + picks[who]]
        severed += pops[picks[who]] - pops[instead]
        picks[who] = instead
    return cost, severed


@merged
def two_blocks(f, s, users, elements, lam, side):
    """Best partition of the elements into two blocks at a fixed ratio; returns (cost, severed)."""
    full = (1 << elements) - 1
    half = 1 << (elements - 1)
    total, pops = s.child, s.pops
    for b in range(half):
        total[b] = 0.0
    for u in range(users):
        row, last = index(s.base[u]), index(s.base[u] + full)
        none = f[row] - lam * elements
        for b in range(index(1), index(half)):
            one = f[row + b] - lam * (elements - pops[b])
            two = f[last - b] - lam * pops[b]
            least = min(two, one)
            total[b] += min(none, least)
    best, least = 0, HUGE
    for b in range(1, half):
        if total[b] < least:
            best, least = b, total[b]
    if best == 0:
        return HUGE, 0.0
    s.blocks[0], s.blocks[1], s.blocks[2] = 0, best, full - best
    return assign(f, s.base, s.blocks, s.picks, pops, users, elements, lam, THREE, side, 0.0)
