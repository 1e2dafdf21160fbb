"""Costs of one pair, of which each depends on few elements, and what partitions take and leave.

One side's units (``users``) each keep a block of the other side's units (``elements``) or nothing.
mathematics.md 22.1 and 27.5.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.iit4.mechanism_partition import COST_TOLERANCE_BITS, HUGE_BITS, ON_CAUSE
from iitdask.kernels.jit import inner
from iitdask.kernels.subsets import popcount


class LocalCosts(NamedTuple):
    """Costs of one pair, and the working memory of the search; n units, K inputs at most."""

    width: NDArray[np.int64]  # (n,) how many elements the costs of each user depend on
    place: NDArray[np.int64]  # (n, K) which elements, ascending
    cost: NDArray[np.float64]  # (n, 2**K) bits each user loses by keeping only a part of them
    least: NDArray[np.float64]  # (2, n, 2**K, 2**K) see ``fill_least``
    bit: NDArray[np.int64]  # (n, n) at [element, user]: the element's bit among those of the user
    seen_by: NDArray[np.int64]  # (n,) how many users see each element
    seer: NDArray[np.int64]  # (n, n) and which, at [element, k]
    part: NDArray[np.int64]  # (n, n + 2) what each user sees of each block
    rest: NDArray[np.int64]  # (n + 1, n) what each user sees of the elements after each
    sizes: NDArray[np.int64]  # (n + 2,) elements of each block
    blocks: NDArray[np.int64]  # (n + 2,) the same as masks, while a partition is named
    order: NDArray[np.int64]  # (n + 1, n + 2) blocks to try at each depth, the most promising first
    bounds: NDArray[np.float64]  # (n + 2,) their bounds
    child: NDArray[
        np.float64
    ]  # (2, n + 2) bounds with the next element in each, ``bound_children``
    choices: NDArray[np.int64]  # (n + 1,) how many
    next: NDArray[np.int64]  # (n + 1,) how many of these have been tried
    used: NDArray[np.int64]  # (n + 2,) blocks in use at each depth
    answer: NDArray[np.float64]  # (2,) cost and severed pairs of the best partition
    first_block: NDArray[np.int64]  # (1,) to try first: it ruled out a pair before, an element mask
    units: NDArray[np.int64]  # (2, n) numbers by which users and elements are named
    named: NDArray[np.int64]  # (n,) mask of element numbers that each user keeps
    trial: NDArray[np.int64]  # (n,) the same of the partition in hand
    tally: NDArray[np.int64]  # (2,) searches and nodes


def make_local_costs(n: int, inputs: int) -> LocalCosts:
    """Allocate the working memory of a search, one for each thread."""
    size, more = 1 << inputs, n + 2
    arrays: list[Any] = [
        np.zeros(n, np.int64),
        np.zeros((n, max(inputs, 1)), np.int64),
        np.zeros((n, size)),
        np.zeros((2, n, size, size)),
        *(np.zeros(shape, np.int64) for shape in ((n, n), n, (n, n), (n, more), (n + 1, n))),
        *(np.zeros(more, np.int64) for _ in range(2)),
        np.zeros((n + 1, more), np.int64),
        *(np.zeros(shape) for shape in (more, (2, more))),
        *(np.zeros(size, np.int64) for size in (n + 1, n + 1, more)),
        np.zeros(2),
        *(np.zeros(shape, np.int64) for shape in (1, (2, n), n, n, 2)),
    ]
    return LocalCosts(*arrays)


@inner
def costs_nothing(cost, values, part, others):
    """Whether a user loses nothing, at any value, if it keeps a part and any of the others."""
    more = others
    while True:
        for v in range(values):
            if cost[v, part | more] > 0.0:
                return False
        if more == 0:
            return True
        more = (more - 1) & others


@inner
def needed_elements(cost, values, width, place):
    """Few elements with which a user loses nothing, whatever it keeps beside them; a mask.

    Where those of all users do not connect the elements, some partition costs nothing.

    cost : (v, 2**K) bits lost at each value if only a part is kept; place : (K,) the elements
    """
    full = (1 << width) - 1
    part, needed = full, 0
    for k in range(width):
        if costs_nothing(cost, values, part ^ 1 << k, full ^ part):
            part ^= 1 << k
    for k in range(width):
        needed |= (part >> k & 1) << place[k]
    return needed


@inner
def see_blocks(c, users, elements, first):
    """Let every user see its part of two blocks, ``first`` and the others."""
    for u in range(users):
        one = 0
        for k in range(c.width[u]):
            one |= (first >> c.place[u, k] & 1) << k
        c.part[u, 0] = one
        c.part[u, 1] = ((1 << c.width[u]) - 1) ^ one
    c.sizes[0] = popcount(first)
    c.sizes[1] = elements - c.sizes[0]


@inner
def weigh_blocks(c, users, elements, lam, side, used, slack):
    """Let every user keep its cheapest block at a price; (cost, severed pairs), 0 if not allowed.

    Of those within ``slack`` it keeps the smallest. Where all users of a cause keep the same block,
    the one that loses least by it takes its second best.
    """
    cost, severed, same, common = 0.0, 0.0, True, -1
    regret, swap, back = HUGE_BITS, 0.0, 0.0
    all_ = float(elements)
    for u in range(users):
        own, cut, kept = c.cost[u, 0], all_, -1
        first, second, other, more = own - lam * all_, HUGE_BITS, own, all_
        for b in range(used):
            price, few = c.cost[u, c.part[u, b]], float(elements - c.sizes[b])
            value = price - lam * few
            if value < first - slack or (value <= first + slack and few > cut):
                second, other, more = first, own, cut
                first, own, cut, kept = value, price, few, b
            elif value < second:
                second, other, more = value, price, few
        cost += own
        severed += cut
        common = kept if u == 0 else common
        same = same and kept == common
        if second - first < regret:
            regret, swap, back = second - first, other - own, more - cut
    if side == ON_CAUSE and same and common >= 0:
        if users == 1 or regret >= HUGE_BITS:
            return HUGE_BITS, 0.0
        cost += swap
        severed += back
    return cost, severed


@inner
def name_of_block(c, elements, block):
    """Numbers of the elements of a block, as a mask."""
    mask = 0
    for e in range(elements):
        if c.blocks[block] >> e & 1:
            mask |= 1 << c.units[1, e]
    return mask


@inner
def trial_severs_first(c, users, side):
    """Whether the partition in hand severs a lexicographically smaller set, mechanism first."""
    best_row, best_column, before = 64, 64, False
    for u in range(users):
        differ = c.trial[u] ^ c.named[u]
        unit, e = c.units[0, u], 0
        while differ >> e:
            if differ >> e & 1:
                row, column = (unit, e) if side == ON_CAUSE else (e, unit)
                if row < best_row or (row == best_row and column < best_column):
                    best_row, best_column, before = row, column, (c.named[u] >> e & 1) != 0
            e += 1
    return before


@inner
def name_partition(c, users, elements, side, lam, used):
    """Name the partition in hand if it attains the answer and severs pairs that come first.

    Of blocks that cost the same a user keeps the one that severs most, then what comes first.
    """
    cost, severed, same, common = 0.0, 0.0, True, 0
    regret, who, instead, swap, back = HUGE_BITS, 0, 0, 0.0, 0.0
    for u in range(users):
        own, cut, kept = c.cost[u, 0], float(elements), 0
        first, second = own - lam * elements, HUGE_BITS
        spare, other, more = 0, own, cut
        for b in range(used):
            price, few = c.cost[u, c.part[u, b]], float(elements - c.sizes[b])
            value, mask = price - lam * few, name_of_block(c, elements, b)
            differ = mask ^ kept
            is_tied = abs(value - first) <= COST_TOLERANCE_BITS
            is_tied = is_tied and (few > cut or (few == cut and differ & -differ & kept != 0))
            if value < first - COST_TOLERANCE_BITS or is_tied:
                second, spare, other, more = first, kept, own, cut
                first, kept, own, cut = value, mask, price, few
            elif value < second:
                second, spare, other, more = value, mask, price, few
        c.trial[u] = kept
        cost += own
        severed += cut
        common = kept if u == 0 else common
        same = same and kept == common
        if second - first < regret:
            regret, who, instead = second - first, u, spare
            swap, back = other - own, more - cut
    if side == ON_CAUSE and same and common != 0:
        c.trial[who] = instead
        cost += swap
        severed += back
    slack = COST_TOLERANCE_BITS * float(users * elements)
    if severed == c.answer[1] and cost - lam * severed <= slack:
        if c.named[0] < 0 or trial_severs_first(c, users, side):
            for u in range(users):
                c.named[u] = c.trial[u]
