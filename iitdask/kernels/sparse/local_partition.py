"""Minimum disintegrating partition of a pair, from costs of which each depends on few elements.

The problem is that of ``iit4/partition_search.py``; but the costs of a user are a table over the
parts of the few elements it sees, and the search places one element after the other in an old or a
new block, by decreasing promise. mathematics.md 27.5.
"""

import numpy as np

from iitdask.kernels.iit4.mechanism_partition import (
    COST_TOLERANCE_BITS,
    HUGE_BITS,
    ON_CAUSE,
    ON_EFFECT,
)
from iitdask.kernels.jit import ONE_INT64, ZERO_INT64, inner, merged
from iitdask.kernels.sparse.local_pair_costs import name_partition, see_blocks, weigh_blocks

BELOW_FLOOR = -1.0
GOAL_BETTER_RATIO, GOAL_LARGEST_COST, GOAL_NAMED_PARTITION = np.int64(0), np.int64(1), np.int64(2)
TWO_BLOCKS = np.int64(2)
MAX_NAMING_NODES = 20_000  # naming one of many ties may stop early: any of them is right
HIGHER_PRICE = 1.001  # times the ratio: at this price a partition that severs more is cheaper


@inner
def fill_least(c, users, lam, which):
    """``c.least[which, u, A, R]``: least over T within R of the cost of A and T, and lam |T|."""
    for u in range(users):
        full = (1 << c.width[u]) - 1
        for a in range(full, -1, -1):
            c.least[which, u, a, 0] = c.cost[u, a]
            rest = full ^ a
            r = -rest & rest
            while r != 0:
                low = r & -r
                without = c.least[which, u, a, r ^ low]
                c.least[which, u, a, r] = min(without, lam + c.least[which, u, a | low, r ^ low])
                r = (r - rest) & rest


@merged
def bound_children(c, users, elements, which, lam, depth):
    """Lower bounds on the values of all partitions that put the next element into each block.

    Fills ``c.child[which]``, at ``c.used[depth]`` with the bound for a new block. A user that does
    not see the element only pays for the block it would keep being larger.
    """
    used, total = c.used[depth], -lam * float(elements * users)
    for b in range(used + 1):
        c.child[which, b] = 0.0
    for u in range(users):
        r, bit = c.rest[depth, u], c.bit[depth, u]
        first, second, at = c.least[which, u, 0, r], HUGE_BITS, -1
        for b in range(used):
            a = c.part[u, b]
            if a != 0:
                value = c.least[which, u, a, r] + lam * c.sizes[b]
                if value < first:
                    first, second, at = value, first, b
                else:
                    second = min(second, value)
        total += first
        if bit == 0:
            if at >= 0:
                c.child[which, at] += min(second, first + lam) - first
            continue
        for b in range(used + 1):
            other = second if b == at else first
            joined = c.least[which, u, c.part[u, b] | bit, r] + lam * (c.sizes[b] + 1)
            c.child[which, b] += min(other, joined) - first
    for b in range(used + 1):
        c.child[which, b] += total


@inner
def toggle_element(c, element, block, step):
    """Put an element into a block (step 1), or take it out (step -1)."""
    for k in range(c.seen_by[element]):
        u = c.seer[element, k]
        c.part[u, block] ^= c.bit[element, u]
    c.sizes[block] += step
    c.blocks[block] ^= 1 << element


@merged
def rank_blocks(c, users, elements, side, lam, lam2, goal, depth):
    """List the blocks that element ``depth`` may join, by increasing bound."""
    found, pairs = 0, float(users * elements)
    slack = 0.0 if goal == GOAL_BETTER_RATIO else COST_TOLERANCE_BITS * pairs
    severed = c.answer[1] + (1.0 if goal == GOAL_LARGEST_COST else 0.0)
    for which in range(1 if goal == GOAL_BETTER_RATIO else 2):
        bound_children(c, users, elements, which, lam2 if which else lam, depth)
    for b in range(c.used[depth] + 1):
        if side == ON_EFFECT and depth == elements - 1 and b == 0 and c.used[depth] < 2:
            continue  # a mechanism kept whole is no partition
        bound = c.child[0, b]
        if goal == GOAL_BETTER_RATIO:
            is_left = bound < -COST_TOLERANCE_BITS
        else:  # a tied partition that severs as much comes up to this at a higher price
            is_left = bound <= slack and c.child[1, b] <= -(lam2 - lam) * severed + slack
            bound = c.child[1, b]
        if is_left:
            k = found
            while k > 0 and c.bounds[k - 1] > bound:
                c.bounds[k] = c.bounds[k - 1]
                c.order[depth, k] = c.order[depth, k - 1]
                k -= 1
            c.bounds[k] = bound
            c.order[depth, k] = b
            found += 1
    c.choices[depth] = found
    c.next[depth] = 0


@merged
def judge_partition(c, users, elements, side, lam, used, goal):
    """Weigh a complete partition; returns whether its ratio is below the price."""
    if goal == GOAL_NAMED_PARTITION:
        name_partition(c, users, elements, side, lam, used)
        return False
    slack = 0.0 if goal == GOAL_BETTER_RATIO else COST_TOLERANCE_BITS
    cost, severed = weigh_blocks(c, users, elements, lam, side, used, slack)
    if severed <= 0.0:
        return False
    value = cost - lam * severed
    if value < -COST_TOLERANCE_BITS:
        c.answer[0], c.answer[1] = cost, severed
        return True
    slack *= float(users * elements)
    if goal == GOAL_LARGEST_COST and value <= slack and severed > c.answer[1]:
        c.answer[0], c.answer[1] = cost, severed
    return False


@inner
def search_partitions(c, users, elements, side, lam, lam2, goal):
    """Depth first over the set partitions of the elements; returns whether a ratio is below lam.

    With another goal ``c.answer`` becomes the partition at lam of largest cost, or it is named.
    """
    for e in range(elements):
        c.seen_by[e] = 0
    for u in range(users):
        for b in range(elements + 2):
            c.part[u, b] = 0
        for e in range(elements):
            c.bit[e, u] = 0
            c.rest[e, u] = 0
        for k in range(c.width[u]):
            seen = c.place[u, k]
            c.bit[seen, u] = 1 << k
            c.seer[seen, c.seen_by[seen]] = u
            c.seen_by[seen] += 1
            for e in range(seen):
                c.rest[e, u] |= 1 << k
    for b in range(elements + 2):
        c.sizes[b] = 0
        c.blocks[b] = 0
    depth, nodes = ZERO_INT64, 0
    c.used[0] = 0
    is_new = True
    while depth >= 0:
        if is_new:
            rank_blocks(c, users, elements, side, lam, lam2, goal, depth)
        is_new = False
        k = c.next[depth]
        if k > 0:  # take the element out of the block tried last
            toggle_element(c, depth, c.order[depth, k - 1], -ONE_INT64)
        nodes += 1
        if k == c.choices[depth] or (goal == GOAL_NAMED_PARTITION and nodes > MAX_NAMING_NODES):
            depth -= 1
            continue
        b = c.order[depth, k]
        c.next[depth] = k + 1
        toggle_element(c, depth, b, ONE_INT64)
        used = max(c.used[depth], b + 1)
        if depth < elements - 1:
            depth += 1
            c.used[depth] = used
            is_new = True
        elif judge_partition(c, users, elements, side, lam, used, goal):
            c.tally[1] += nodes
            return True
    c.tally[1] += nodes
    return False


@inner
def try_first_block(c, users, elements, side, first, cost, severed):
    """Compare with a partition into two blocks; (cost, severed pairs) of the better ratio."""
    see_blocks(c, users, elements, first)
    found, count = weigh_blocks(c, users, elements, cost / severed, side, TWO_BLOCKS, 0.0)
    if count > 0.0 and found * severed < cost * count:
        return found, count
    return cost, severed


@inner
def try_arcs(c, users, elements, side, cost, severed, floor, zero):
    """Try two blocks of elements that lie side by side, balanced ones first, until below floor."""
    full, pairs = (1 << elements) - 1, float(users * elements)
    for length in range(elements // 2, 0, -1):
        for start in range(elements):
            if 2 * length == elements and start >= length:
                break
            arc = ((1 << length) - 1) << start
            arc = (arc | arc >> elements) & full
            found, count = try_first_block(c, users, elements, side, arc, cost, severed)
            if found != cost or count != severed:
                cost, severed = found, count
                c.first_block[0] = arc
                if cost <= zero or cost / severed * pairs < floor:
                    return cost, severed
    return cost, severed


@inner
def minimum_local_partition(c, users, elements, side, floor, zero):
    """Cost and severed pairs of the minimum partition; ``BELOW_FLOOR`` once it is below floor.

    zero : a cost up to this is no cost: the pair is reducible, (0, pairs)
    """
    pairs, whole, least = float(users * elements), 0.0, HUGE_BITS
    for u in range(users):
        whole += c.cost[u, 0]
        least = min(least, c.cost[u, 0])
    cost, severed = whole, pairs
    if cost <= zero:
        return 0.0, severed
    if (side == ON_CAUSE and users == 1) or (side == ON_EFFECT and elements == 1):
        return (cost, severed) if cost >= floor else (BELOW_FLOOR, severed)
    if side == ON_CAUSE and least * pairs < cost * elements:
        cost, severed = least, float(elements)
    if elements > 1 and cost > zero and cost / severed * pairs >= floor:
        first_block = c.first_block[0]
        if 0 < first_block < (1 << elements) - 1:
            cost, severed = try_first_block(c, users, elements, side, first_block, cost, severed)
        if cost > zero and cost / severed * pairs >= floor:
            cost, severed = try_arcs(c, users, elements, side, cost, severed, floor, zero)
    while cost > zero and cost / severed * pairs >= floor:
        c.tally[0] += 1
        c.answer[0], c.answer[1] = cost, severed
        lam = cost / severed
        lam2, goal = lam * HIGHER_PRICE, GOAL_BETTER_RATIO
        fill_least(c, users, lam, ZERO_INT64)
        better = search_partitions(c, users, elements, side, lam, lam2, goal)
        if not better:
            if whole - lam * pairs <= COST_TOLERANCE_BITS * pairs:
                return whole, pairs
            fill_least(c, users, lam2, ONE_INT64)
            goal = GOAL_LARGEST_COST
            better = search_partitions(c, users, elements, side, lam, lam2, goal)
            if not better:
                return c.answer[0], c.answer[1]
        cost, severed = c.answer[0], c.answer[1]
    return (0.0 if cost <= zero else BELOW_FLOOR), severed


@merged
def name_local_partition(c, users, elements, side, cost, severed):
    """Leave in ``c.named`` what each user keeps under the partition named among the best ones."""
    for u in range(users):
        c.named[u] = 0
    if severed == float(users * elements):
        return
    c.named[0] = -1
    lam = cost / severed
    lam2, goal = lam * HIGHER_PRICE, GOAL_NAMED_PARTITION
    c.answer[0], c.answer[1] = cost, severed
    fill_least(c, users, lam, ZERO_INT64)
    fill_least(c, users, lam2, ONE_INT64)
    search_partitions(c, users, elements, side, lam, lam2, goal)
