"""The best disintegrating partition of a mechanism and a purview.

algorithms.md section 4. One side's units (``users``: the purview of an effect,
the mechanism of a cause) each keep a block of the other side's units
(``elements``) or nothing; two blocks are equal or disjoint. ``f[u, B]`` is what
it costs user u (bits, before selectivity) to keep only B, and the pairs it
severs number ``elements - |B|``. Minimise the sum of costs per severed pair; of
equal ratios the largest cost wins. Not allowed: on the effect side keeping all
elements (the mechanism would be one part with a purview), on the cause side all
users keeping the same nonempty block.

``f`` is flat, ``f[base[u] + B]``. Kernels here use no slices, reshapes or
built-ins that numba compiles as functions of their own: it halves compilation.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import leaf

__all__ = [
    "NOTHING",
    "ON_CAUSE",
    "ON_EFFECT",
    "cheap_start",
    "cheapest_by_size",
    "is_out_of_reach",
    "minimum_disintegration",
    "named_disintegration",
]

HUGE = 1e300
EPS = 1e-12
NOTHING = -1.0
# NumPy integers, so that numba compiles one function and not one per literal value
BETTER, LARGEST, NAME = np.int64(0), np.int64(1), np.int64(2)
ON_EFFECT, ON_CAUSE = np.int64(0), np.int64(1)
THREE = np.int64(3)
NODE_CAP = 200_000  # naming one of many tied partitions may stop early: any of them is right


@leaf
def severs_first(a, b, pops):
    """Whether keeping block a severs a lexicographically smaller set than b, of the same size."""
    differ = a ^ b
    return pops[a] == pops[b] and (differ & -differ) & b != 0


@leaf
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


@leaf
def assign(f, base, users, elements, pops, lam, blocks, used, side, slack, picks):
    """Let every user keep its cheapest block of a family of disjoint blocks.

    blocks : (>= used,) int64, ``blocks[0] == 0`` (nothing); picks : (users,) int64, filled.
    Within ``slack`` a user prefers to sever more. returns (cost, severed pairs).
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


@leaf
def cheap_start(f, base, users, elements, pops, side, blocks, picks):
    """Best of the complete partition, one detached user, and the partitions {B - k, k}.

    Reads only the costs of keeping nothing, all, all but one, and one element.
    returns (cost, severed pairs)
    """
    full = (1 << elements) - 1
    cost, severed = 0.0, float(users * elements)
    for u in range(users):
        cost += f[base[u]]
    if side == ON_CAUSE:
        if users == 1:
            return cost, severed
        for u in range(users):  # the other users keep everything
            if f[base[u]] * severed < cost * elements:
                cost, severed = f[base[u]], float(elements)
    if elements == 1:
        return cost, severed
    blocks[0] = 0
    for k in range(elements):
        blocks[1] = full ^ (1 << k)
        blocks[2] = 1 << k
        lam = cost / severed
        c, s = assign(f, base, users, elements, pops, lam, blocks, THREE, side, 0.0, picks)
        if s > 0 and c * severed < cost * s:
            cost, severed = c, s
    return cost, severed


@leaf
def two_blocks(f, base, users, elements, pops, lam, side, blocks, bound, picks):
    """Best partition of the elements into two blocks at a fixed ratio; returns (cost, severed).

    bound : scratch, at least 2**(elements - 1)
    """
    full = (1 << elements) - 1
    half = 1 << (elements - 1)
    for b in range(half):
        bound[b] = 0.0
    for u in range(users):
        row = base[u]
        none = f[row] - lam * elements
        for b in range(1, half):
            one = f[row + b] - lam * (elements - pops[b])
            two = f[row + full - b] - lam * pops[b]
            least = min(two, one)
            bound[b] += min(none, least)
    best, least = 0, HUGE
    for b in range(1, half):
        if bound[b] < least:
            best, least = b, bound[b]
    if best == 0:
        return HUGE, 0.0
    blocks[0], blocks[1], blocks[2] = 0, best, full - best
    return assign(f, base, users, elements, pops, lam, blocks, THREE, side, 0.0, picks)


@leaf
def fill_bounds(f, base, users, elements, pops, lam, side, bound):
    """``bound[u, R]``: least value over all blocks within R; the superset-closed minimum."""
    size = 1 << elements
    for u in range(users):
        row, source = u * size, base[u]
        for b in range(size):
            bound[row + b] = f[source + b] - lam * (elements - pops[b])
        if side != ON_CAUSE:
            bound[row + size - 1] = HUGE
        o = 1
        while o < size:
            for hi in range(row, row + size, 2 * o):
                for b in range(hi, hi + o):
                    low = bound[b]
                    bound[b + o] = min(bound[b + o], low)
            o *= 2


@leaf
def highest(mask):
    """Highest element of a nonempty mask, as a mask."""
    high = 1
    while high <= mask >> 1:
        high <<= 1
    return high


@leaf
def first_blocks(f, base, users, elements, pops, lam, bound, child):
    """``child[h]``: bound on the value of every partition with the block half + h.

    The block with the highest element is 2**(elements - 1) + h, the rest of the elements are left
    to be parted: all first choices at once, in contiguous loops.
    """
    half = 1 << (elements - 1)
    for h in range(half):
        child[h] = 0.0
    for u in range(users):
        none = f[base[u]] - lam * elements
        row, rest = base[u] + half, (u << elements) + half - 1
        for h in range(half):
            value = f[row + h] - lam * (elements - 1.0 - pops[h])
            other = bound[rest - h]
            value = min(value, other)
            child[h] += min(value, none)


@leaf
def descend(
    f,
    base,
    users,
    elements,
    pops,
    lam,
    side,
    bound,
    limit,
    goal,
    cost,
    severed,
    now,
    blocks,
    left,
    sub,
    picks,
    named,
    child,
    tally,
):
    """Depth first over families of disjoint blocks, the next one with the highest element left.

    Returns at once with a partition of a smaller ratio than lam, if there is one. Else, with goal
    LARGEST, among the partitions at lam the one of largest cost; with goal NAME, leave in
    ``named`` the picks that sever the lexicographically smallest set of ``severed`` pairs.
    ``limit``: a node whose bound is not below it is cut. returns (better, cost, severed).
    """
    full = (1 << elements) - 1
    half = 1 << (elements - 1)
    first_blocks(f, base, users, elements, pops, lam, bound, child)
    start = 0
    for h in range(1, half):
        start = h if child[h] < child[start] else start
    blocks[0] = 0
    for u in range(users):
        now[0, u] = f[base[u]] - lam * elements
    nodes = 0
    slack = 0.0 if goal == BETTER else EPS
    for step in range(-1, half):
        h = start if step < 0 else step
        if step == start or child[h] >= limit:
            continue
        depth = 0
        block = half + h
        left[0] = full
        while depth >= 0:
            # a block of the elements left at this depth is in hand
            nodes += 1
            if goal == NAME and nodes > NODE_CAP:
                break
            total, least = 0.0, 0.0
            allowed = side == ON_CAUSE or block != full
            remaining = left[depth] & ~block
            if allowed:
                blocks[depth + 1] = block
                keep = lam * (elements - pops[block])
                for u in range(users):
                    value = f[base[u] + block] - keep
                    value = min(now[depth, u], value)
                    now[depth + 1, u] = value
                    total += value
                    other = bound[(u << elements) + remaining]
                    least += min(other, value)
            if allowed and total < limit:
                c, s = assign(
                    f, base, users, elements, pops, lam, blocks, depth + 2, side, slack, picks
                )
                if s > 0 and goal != NAME and c - lam * s < -EPS:
                    tally[1] += nodes
                    return True, c, s
                if s > 0 and goal == LARGEST and c - lam * s <= limit and c > cost:
                    cost, severed = c, s
                if s == severed and goal == NAME and c - lam * s <= limit:
                    if named[0] < 0 or precedes(picks, named, users, elements, side):
                        for u in range(users):
                            named[u] = picks[u]
            if allowed and remaining != 0 and least < limit:
                depth += 1
                left[depth] = remaining
                sub[depth] = remaining ^ highest(remaining)
                block = remaining
                continue
            while depth > 0 and sub[depth] == 0:
                depth -= 1
            if depth == 0:
                break
            high = highest(left[depth])
            sub[depth] = (sub[depth] - 1) & (left[depth] ^ high)
            block = sub[depth] | high
    tally[1] += nodes
    return False, cost, severed


@leaf
def cheapest_by_size(f, row, elements, pops, side, out, begin):
    """``out[begin + k]``: least cost of one user among the blocks that sever k elements."""
    size = 1 << elements
    for k in range(elements + 1):
        out[begin + k] = HUGE
    for b in range(size):
        k = begin + elements - int(pops[b])
        out[k] = min(out[k], f[row + b])
    if side != ON_CAUSE:
        out[begin] = HUGE  # the whole mechanism kept is no partition


@leaf
def is_out_of_reach(least, starts, users, elements, ratio, floor):
    """Whether no partition has a ratio up to ``ratio`` and a cost of at least ``floor``.

    Such a partition would sever C >= floor / ratio pairs, so at any mu > ratio its cost less
    mu * C would be at most -(mu - ratio) * C. The users' own least values, without regard to
    whether their blocks are disjoint, bound that from below. The minimum partition has a ratio
    up to the one in hand: when it is out of reach its cost is below ``floor``.
    least, starts : per user u the array ``least[starts[u] + k]``, see ``cheapest_by_size``
    """
    need = floor / ratio
    for step in range(1, 9):
        mu = ratio * (1.0 + 0.03 * step * step)
        total = (mu - ratio) * need
        for u in range(users):
            best = HUGE
            for k in range(elements + 1):
                value = least[starts[u] + k] - mu * k
                best = min(best, value)
            total += best
        if total > EPS:
            return True
    return False


@leaf
def minimum_disintegration(
    f,
    base,
    users,
    elements,
    pops,
    side,
    cost,
    severed,
    floor,
    zero,
    least,
    starts,
    bound,
    now,
    blocks,
    left,
    sub,
    picks,
    child,
    tally,
):
    """Cost and severed pairs of the minimum information partition.

    f     : float64, ``f[base[u] + B]``; base : (users,) int64
    pops  : popcounts as float64 (integers would cost the inner loops a conversion)
    cost, severed : what ``cheap_start`` found
    floor : float   give up (return ``NOTHING``) once the cost is known to be below this
    zero  : float   a cost up to this is no cost: the pair is reducible, returns (0, pairs)
    least, starts : see ``is_out_of_reach``
    bound : (users * 2**elements,); now : (>= elements + 2, >= users)
    blocks, left, sub, picks, child : scratch; tally : (2,) int64, counts bound tables and nodes
    """
    pairs = float(users * elements)
    whole = 0.0
    for u in range(users):
        whole += f[base[u]]
    trivial = (users == 1 and side == ON_CAUSE) or (elements == 1 and side != ON_CAUSE)
    while True:
        if cost <= zero:
            return 0.0, severed
        if cost / severed * pairs < floor:
            return NOTHING, severed
        if trivial:
            return cost, severed
        lam = cost / severed
        if floor > zero and is_out_of_reach(least, starts, users, elements, lam, floor):
            return NOTHING, severed
        c, s = HUGE, 0.0
        if elements > 1:
            c, s = two_blocks(f, base, users, elements, pops, lam, side, blocks, bound, picks)
        better = s > 0 and c - lam * s < -EPS
        if not better:
            tally[0] += 1
            fill_bounds(f, base, users, elements, pops, lam, side, bound)
            # when the complete partition attains the ratio nothing severs more: ties do not matter
            tied = whole - lam * pairs <= EPS * pairs
            goal, limit = (BETTER, -EPS) if tied else (LARGEST, EPS * pairs)
            better, c, s = descend(
                f,
                base,
                users,
                elements,
                pops,
                lam,
                side,
                bound,
                limit,
                goal,
                cost,
                severed,
                now,
                blocks,
                left,
                sub,
                picks,
                picks,
                child,
                tally,
            )
            if not better:
                return (whole, pairs) if tied else (c, s)
        cost, severed = c, s


@leaf
def named_disintegration(
    f,
    base,
    users,
    elements,
    pops,
    side,
    cost,
    severed,
    bound,
    now,
    blocks,
    left,
    sub,
    picks,
    named,
    child,
    tally,
):
    """Leave in ``named`` what each user keeps under the partition that is named among the best.

    cost, severed : the optimum found by ``minimum_disintegration``; named : (users,) int64 filled.
    """
    pairs = float(users * elements)
    for u in range(users):
        named[u] = 0
    if severed == pairs:
        return
    named[0] = -1
    lam = cost / severed
    fill_bounds(f, base, users, elements, pops, lam, side, bound)
    descend(
        f,
        base,
        users,
        elements,
        pops,
        lam,
        side,
        bound,
        EPS * pairs,
        NAME,
        cost,
        severed,
        now,
        blocks,
        left,
        sub,
        picks,
        named,
        child,
        tally,
    )
