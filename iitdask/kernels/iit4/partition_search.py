"""Branch-and-bound search for the minimum disintegrating partition of a pair.

mathematics.md 22. One side's units (``users``: the purview of an effect, the mechanism of a
cause) each keep a block of the other side's units (``elements``) or nothing; two blocks are equal
or disjoint. ``f[work.base[u] + B]`` is what it costs user u (bits, before selectivity) to keep only
B, and the pairs it severs number ``elements - |B|``. Minimise the sum of costs per severed pair;
of equal ratios the largest cost wins. Not allowed: on the effect side keeping all elements (the
mechanism would be one part with a purview), on the cause side all users keeping the same nonempty
block.

``work`` is the working memory (pair.PairScratch). Kernels here use no slices, reshapes or built-ins
that numba compiles as functions of their own: it halves compilation.
"""

import numpy as np

from iitdask.kernels.iit4.mechanism_partition import (
    COST_TOLERANCE_BITS,
    HUGE_BITS,
    ON_CAUSE,
    assign_blocks,
    best_two_blocks,
    highest_element,
    is_below_floor,
    picks_sever_first,
)
from iitdask.kernels.jit import ZERO_INT64, index, inner, merged

BELOW_FLOOR = -1.0
# NumPy integers, so that numba compiles one function and not one per literal value
GOAL_BETTER_RATIO, GOAL_LARGEST_COST = np.int64(0), np.int64(1)
GOAL_NAMED_PARTITION, GOAL_EXISTENCE = np.int64(2), np.int64(3)
ONE, TWO, THREE, FOUR = index(1), index(2), index(3), index(4)
MAX_NAMING_NODES = 200_000  # naming one of many ties may stop early: any of them is right


@inner
def minimise_over_subsets(bound, row, size, o):
    """Make a table over sets hold the least over all subsets, from the element of weight o on."""
    begin, end = index(row), index(row + size)
    while o < end - begin:
        for hi in range(begin, end, o + o):
            for b in range(hi, hi + o):
                low = bound[b]
                bound[b + o] = min(bound[b + o], low)
        o += o


@inner
def fill_block_bounds(f, work, users, elements, lam, side):
    """``work.bound[u, R]``: least value over all blocks within R; the superset-closed minimum.

    The first two elements are dealt with while the values are made: loops of one or two steps
    would cost more than all the rest.
    """
    size = 1 << elements
    bound, pops = work.bound, work.pops
    for u in range(users):
        row, source = u * size, work.base[u]
        work.over[u] = row
        if elements < 2:
            for b in range(size):
                bound[row + b] = f[source + b] - lam * (elements - pops[b])
            bound[row + 1] = min(bound[row], bound[row + 1] if side == ON_CAUSE else HUGE_BITS)
            continue
        to, at = index(row), index(source)
        for b in range(index(0), index(size), FOUR):
            none = f[at + b] - lam * (elements - pops[b])
            one = f[at + b + ONE] - lam * (elements - pops[b + ONE])
            two = f[at + b + TWO] - lam * (elements - pops[b + TWO])
            both = f[at + b + THREE] - lam * (elements - pops[b + THREE])
            one, two = min(one, none), min(two, none)
            bound[to + b], bound[to + b + ONE], bound[to + b + TWO] = none, one, two
            lesser = min(one, two)
            bound[to + b + THREE] = min(both, lesser)
        if side != ON_CAUSE:  # all elements kept is no partition, but those within are
            bound[row + size - 1] = min(bound[row + size - 2], bound[row + size - 3])
        minimise_over_subsets(bound, row, size, FOUR)


@merged
def bound_first_blocks(f, work, users, elements, lam):
    """``work.child[h]``: bound on the value of every partition with the block half + h.

    The block with the highest element is half + h, half being 2**(elements - 1); the rest of the
    elements are left to be parted: all first choices at once, in contiguous loops.
    """
    half = 1 << (elements - 1)
    child, bound, pops = work.child, work.bound, work.pops
    for h in range(half):
        child[h] = 0.0
    for u in range(users):
        none = f[work.base[u]] - lam * elements
        row, rest = index(work.base[u] + half), index(work.over[u] + half - 1)
        for h in range(index(half)):
            value = f[row + h] - lam * (elements - 1.0 - pops[h])
            other = bound[rest - h]
            value = min(value, other)
            child[h] += min(value, none)


@inner
def add_block(f, work, users, elements, lam, depth, block, remaining):
    """Let a block join the family at a depth; returns (its value, bound of all it can grow to).

    Row depth + 1 of ``work.now`` is filled with the cheapest value of each user so far.
    """
    total, least = 0.0, 0.0
    keep = lam * (elements - work.pops[block])
    here, rest, row, last = index(block), index(remaining), index(depth), index(users)
    for u in range(last):
        value = f[index(work.base[u]) + here] - keep
        value = min(work.now[row, u], value)
        work.now[row + ONE, u] = value
        total += value
        other = work.bound[index(work.over[u]) + rest]
        least += min(other, value)
    return total, least


@merged
def evaluate_family(f, work, users, elements, lam, side, limit, goal, used, named):
    """Weigh the partition a family gives; returns whether its ratio is smaller than lam.

    ``work.answer``, cost and severed pairs, is replaced by a better partition, or with goal LARGEST
    by one at lam of a larger cost; with goal NAME ``named`` may be replaced.
    """
    slack = 0.0 if goal == GOAL_BETTER_RATIO else COST_TOLERANCE_BITS
    answer = work.answer
    cost, severed = assign_blocks(
        f, work.base, work.blocks, work.picks, work.pops, users, elements, lam, used, side, slack
    )
    if severed <= 0:
        return False
    if goal != GOAL_NAMED_PARTITION and cost - lam * severed < -COST_TOLERANCE_BITS:
        answer[0], answer[1] = cost, severed
        return True
    if goal == GOAL_LARGEST_COST and cost - lam * severed <= limit and cost > answer[0]:
        answer[0], answer[1] = cost, severed
    if goal == GOAL_NAMED_PARTITION and severed == answer[1] and cost - lam * severed <= limit:
        if named[0] < 0 or picks_sever_first(work.picks, named, users, elements, side):
            for u in range(users):
                named[u] = work.picks[u]
    return False


@inner
def search_from_block(f, work, users, elements, lam, side, limit, goal, start, named, nodes):
    """Depth first over the families with one given first block; returns (better, nodes).

    With goal EXISTS any family whose value is below ``limit`` is what is looked for.
    """
    full = (1 << elements) - 1
    depth, block = ZERO_INT64, start
    work.left[0] = full
    while True:
        # a block of the elements left at this depth is in hand
        nodes += 1
        if goal == GOAL_NAMED_PARTITION and nodes > MAX_NAMING_NODES:
            return False, nodes
        remaining = work.left[depth] & ~block
        least = HUGE_BITS
        if side == ON_CAUSE or block != full:  # a mechanism kept whole is no partition
            work.blocks[depth + 1] = block
            total, least = add_block(f, work, users, elements, lam, depth, block, remaining)
            if total < limit:
                if goal == GOAL_EXISTENCE:
                    return True, nodes
                used = depth + 2
                if evaluate_family(f, work, users, elements, lam, side, limit, goal, used, named):
                    return True, nodes
        if remaining != 0 and least < limit:
            depth += 1
            work.left[depth] = remaining
            work.sub[depth] = remaining ^ highest_element(remaining)
            block = remaining
            continue
        while depth > 0 and work.sub[depth] == 0:
            depth -= 1
        if depth == 0:
            return False, nodes
        high = highest_element(work.left[depth])
        work.sub[depth] = (work.sub[depth] - 1) & (work.left[depth] ^ high)
        block = work.sub[depth] | high


@inner
def search_families(f, work, users, elements, lam, side, limit, goal, named, tally):
    """Search all families, the next block always holding the highest element left.

    Stops at a partition of a smaller ratio than lam, if there is one, and returns True. Else, with
    goal LARGEST, ``work.answer`` is the partition at lam of largest cost; with goal NAME ``named``
    are the picks that sever the lexicographically smallest set of ``work.answer[1]`` pairs.
    ``limit``: families whose bound is not below it are not looked at.
    """
    half = 1 << (elements - 1)
    bound_first_blocks(f, work, users, elements, lam)
    best = 0
    for h in range(1, half):
        best = h if work.child[h] < work.child[best] else best
    work.blocks[0] = 0
    for u in range(users):
        work.now[0, u] = f[work.base[u]] - lam * elements
    nodes = ZERO_INT64
    for step in range(-1, half):  # the most promising first block first
        h = best if step < 0 else step
        if step == best or work.child[h] >= limit:
            continue
        start = half + h
        better, nodes = search_from_block(
            f, work, users, elements, lam, side, limit, goal, start, named, nodes
        )
        if better:
            tally[1] += nodes
            return True
    tally[1] += nodes
    return False


@merged
def minimum_disintegrating_partition(
    f, work, users, elements, side, cost, severed, floor, zero, tally
):
    """Cost and severed pairs of the minimum information partition.

    cost, severed : of the best partition found so far; ``work.least``, ``work.starts`` are filled
    floor : give up (return ``BELOW_FLOOR``) once the cost is known to be below this
    zero : a cost up to this is no cost: the pair is reducible, returns (0, pairs)
    tally : (2,) int64, counts bound tables and nodes
    """
    pairs = float(users * elements)
    whole = 0.0
    for u in range(users):
        whole += f[work.base[u]]
    trivial = (users == 1 and side == ON_CAUSE) or (elements == 1 and side != ON_CAUSE)
    while True:
        if cost <= zero:
            return 0.0, severed
        lam = cost / severed
        if lam * pairs < floor:
            return BELOW_FLOOR, severed
        if trivial:
            return cost, severed
        if floor > zero and is_below_floor(work.least, work.starts, users, elements, lam, floor):
            return BELOW_FLOOR, severed
        better = False
        if elements > 1:
            c, count = best_two_blocks(f, work, users, elements, lam, side)
            better = count > 0 and c - lam * count < -COST_TOLERANCE_BITS
            work.answer[0], work.answer[1] = c, count
        if not better:
            tally[0] += 1
            fill_block_bounds(f, work, users, elements, lam, side)
            # when the complete partition attains the ratio nothing severs more: no ties matter
            tied = whole - lam * pairs <= COST_TOLERANCE_BITS * pairs
            goal, limit = GOAL_LARGEST_COST, COST_TOLERANCE_BITS * pairs
            if tied:
                goal, limit = GOAL_BETTER_RATIO, -COST_TOLERANCE_BITS
            work.answer[0], work.answer[1] = cost, severed
            if not search_families(
                f, work, users, elements, lam, side, limit, goal, work.picks, tally
            ):
                return (whole, pairs) if tied else (work.answer[0], work.answer[1])
        cost, severed = work.answer[0], work.answer[1]


@merged
def name_disintegrating_partition(f, work, users, elements, side, cost, severed, named, tally):
    """Leave in ``named`` what each user keeps under the partition that is named among the best.

    cost, severed : the optimum that ``minimum_disintegrating_partition`` found
    """
    pairs = float(users * elements)
    for u in range(users):
        named[u] = 0
    if severed == pairs:
        return
    named[0] = -1
    lam = cost / severed
    fill_block_bounds(f, work, users, elements, lam, side)
    work.answer[0], work.answer[1] = cost, severed
    limit = COST_TOLERANCE_BITS * pairs
    search_families(f, work, users, elements, lam, side, limit, GOAL_NAMED_PARTITION, named, tally)
