"""Partial partitions with the sizes of their open parts, and the units of in- and out-parts.

These decide how many pairs the partition severs in the end. Equal ones keep the least value, at
equal values the fewest pairs that stay (mathematics.md 26.3).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.frontier.frontier_states import COUNT_SHIFT
from iitdask.kernels.frontier.local_costs import HUGE_BITS, PART_IN, PART_OUT
from iitdask.kernels.frontier.partial_partitions import (
    FIRST_TABLE,
    MIXER,
    NO_PART,
    SPREADER,
    TIE_BITS,
)
from iitdask.kernels.jit import inner, kernel

SIZE_BITS, SIZE_MASK, SIZES_PER_WORD = 6, 63, 10
OUTS_SHIFT, INS_SHIFT = 48, 54  # Of the second word of sizes: units of out-parts, of in-parts
DOMINATING = 64  # states of equal frontier that one is compared with


class SizedStates(NamedTuple):
    """Frontier states with sizes, and how the best ways to them came about."""

    state: NDArray[np.int64]  # (m,) frontier state
    sizes: NDArray[np.int64]  # (m, 2) units of each open part; of out-parts; of in-parts
    bits: NDArray[np.float64]  # (m,) lost so far
    whole: NDArray[np.int64]  # (m,) pairs not severed so far, a unit with itself included


class Ways(NamedTuple):
    """Transitions between states with sizes, of tied ones all."""

    source: NDArray[np.int64]  # (w,) position of the state with sizes before the step
    target: NDArray[np.int64]  # (w,) and after it
    edge: NDArray[np.int64]  # (w,) transition of the level
    value: NDArray[np.float64]  # (w,) bits plus price of the pairs that stay
    whole: NDArray[np.int64]  # (w,) pairs that stay


class Goal(NamedTuple):
    """What a step looks for: partitions of a value below zero, or that tie."""

    price: float  # of a severed pair, bits
    n: int  # Units
    allowed: int  # pairs that may stay where a partition can only tie
    bounds: NDArray[np.float64]  # (states of the guide, c)
    chords: NDArray[np.int64]  # (c, 3)


@inner
def size_of(sizes, s, p):
    """Units of an open part."""
    if p < SIZES_PER_WORD:
        return sizes[s, 0] >> SIZE_BITS * p & SIZE_MASK
    return sizes[s, 1] >> SIZE_BITS * (p - SIZES_PER_WORD) & SIZE_MASK


@inner
def fill_sizes(sizes, s, move, packed, open_parts, out):
    """Sizes after a transition; returns the pairs that stay because of it."""
    own, way = move >> 3, move >> 1 & 3
    outs, ins = sizes[s, 1] >> OUTS_SHIFT & SIZE_MASK, sizes[s, 1] >> INS_SHIFT & SIZE_MASK
    stay, out[0], out[1] = 1, 0, 0
    if way == PART_IN:
        stay += outs
        ins += 1
    elif way == PART_OUT:
        stay += ins
        outs += 1
    for p in range(open_parts + (move & 1)):
        size = 0 if p == own and move & 1 else size_of(sizes, s, p)
        if p == own:
            stay += 2 * size
            size += 1
        there = packed >> 4 * p & NO_PART
        if there < SIZES_PER_WORD:
            out[0] |= size << SIZE_BITS * there
        elif there != NO_PART:
            out[1] |= size << SIZE_BITS * (there - SIZES_PER_WORD)
    out[1] |= outs << OUTS_SHIFT | ins << INS_SHIFT
    return stay


@inner
def least_value(base, image, row, sizes, open_parts, goal):
    """Bound on the value of every partition that a state with sizes can become."""
    outs, ins = sizes[row, 1] >> OUTS_SHIFT & SIZE_MASK, sizes[row, 1] >> INS_SHIFT & SIZE_MASK
    total, squares, most = 0, 0, -HUGE_BITS
    for p in range(open_parts):
        size = size_of(sizes, row, p)
        total += size
        squares += size * size
    for x in range(goal.chords.shape[0] - 1, -1, -1):
        if goal.chords[x, 1] > outs or goal.chords[x, 2] > ins:
            continue
        k = goal.chords[x, 0]
        missing = (2 * k + 1) * total - k * (k + 1) * open_parts - squares
        most = max(most, goal.bounds[image, x] + goal.price * missing)
        if base + most > TIE_BITS:
            break
    return base + most


@inner
def find_sized(table, state, sizes, target, first, second):
    """Place of a state with sizes in a table, or the free place where it belongs."""
    mixed = (((target * MIXER) ^ first) * MIXER ^ (first >> 31)) + second
    mixed = (mixed ^ mixed >> 29 & ((1 << 35) - 1)) * SPREADER
    mixed ^= mixed >> 32 & ((1 << 32) - 1)
    last = table.shape[0] - 1
    at = mixed & last
    while table[at] >= 0:
        there = table[at]
        if state[there] == target and sizes[there, 0] == first and sizes[there, 1] == second:
            return at
        at = (at + 1) & last
    return at


@kernel
def larger_sized_table(state, sizes, count, size):
    """Table of a new size of the states with sizes there are; see ``find_sized``."""
    table = np.full(size, -1)
    for s in range(count):
        table[find_sized(table, state, sizes, state[s], sizes[s, 0], sizes[s, 1])] = s
    return table


@kernel
def make_sized(count):
    """Room for states with sizes."""
    return SizedStates(
        np.zeros(count, np.int64),
        np.zeros((count, 2), np.int64),
        np.zeros(count),
        np.zeros(count, np.int64),
    )


@kernel
def make_ways(count):
    """Room for transitions between states with sizes."""
    return Ways(
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count),
        np.empty(count, np.int64),
    )


@kernel
def count_ways(sized, edges):
    """Transitions that lead on from states with sizes; edges: where those of each begin."""
    total = 0
    for s in range(sized.state.shape[0]):
        total += edges[sized.state[s] + 1] - edges[sized.state[s]]
    return total


@inner
def replaces(value, whole, best, best_whole):
    """Whether a way is better than the best so far: in value, or equal and with fewer pairs."""
    return value < best - TIE_BITS or (value <= best + TIE_BITS and whole < best_whole)


@kernel
def step_sizes(sized, before, edges, level, v, goal, limit):
    """Take up unit v: the states with sizes after it that may become what is looked for.

    Parameters
    ----------
    sized : SizedStates
    before : (m,) int64, open parts of each frontier state before the step
    edges : (m + 1,) int64, where the transitions of each frontier state begin
    level : Level, states after the step and transitions
    v : int, the unit
    goal : Goal
    limit : int, states with sizes at most

    Returns
    -------
    out : SizedStates, after the step
    ways : Ways, all best ways to them
    tried : int, transitions tried; negative where there would be more states than the limit

    References
    ----------
    mathematics.md 26.3 and 26.4.
    """
    tried = count_ways(sized, edges)
    out, ways = make_sized(min(tried, limit) + 1), make_ways(tried)
    table, made, listed = np.full(FIRST_TABLE, -1), 0, 0
    pairs, left = goal.n * goal.n, goal.n - v - 1
    for s in range(sized.state.shape[0]):
        state = sized.state[s]
        for e in range(edges[state], edges[state + 1]):
            move, target = level.move[e], level.target[e]
            room = out.sizes[made]
            stay = fill_sizes(sized.sizes, s, move, level.parts[e], before[state], room)
            whole, bits = sized.whole[s] + stay, sized.bits[s] + level.bits[e]
            base = bits + goal.price * (whole - pairs)
            open_parts = level.keys[target, 1] >> COUNT_SHIFT & 15
            least = least_value(base, level.images[target], made, out.sizes, open_parts, goal)
            if least > TIE_BITS or (least > -TIE_BITS and whole + left > goal.allowed):
                continue
            at = find_sized(table, out.state, out.sizes, target, room[0], room[1])
            to = table[at]
            if to < 0:
                if made == limit:
                    return out, ways, -tried
                to, table[at], made = made, made, made + 1
                out.state[to], out.bits[to], out.whole[to] = target, bits, whole
                if 2 * made > table.shape[0]:
                    table = larger_sized_table(out.state, out.sizes, made, 4 * table.shape[0])
            else:
                best = out.bits[to] + goal.price * (out.whole[to] - pairs)
                if replaces(base, whole, best, out.whole[to]):
                    out.bits[to], out.whole[to] = bits, whole
            ways.source[listed], ways.target[listed], ways.edge[listed] = s, to, e
            ways.value[listed], ways.whole[listed] = base, whole
            listed += 1
    return cut_sized(out, made), tied_ways(ways, listed, out, goal.price, pairs), tried


@kernel
def cut_sized(sized, count):
    """Keep the first states with sizes."""
    return SizedStates(
        sized.state[:count].copy(),
        sized.sizes[:count].copy(),
        sized.bits[:count].copy(),
        sized.whole[:count].copy(),
    )


@kernel
def tied_ways(ways, listed, out, price, pairs):
    """Keep the ways that tie with the best one to the same state."""
    count = 0
    for w in range(listed):
        to = ways.target[w]
        best = out.bits[to] + price * (out.whole[to] - pairs)
        if ways.whole[w] == out.whole[to] and ways.value[w] <= best + TIE_BITS:
            ways.source[count], ways.target[count] = ways.source[w], to
            ways.edge[count], ways.value[count] = ways.edge[w], ways.value[w]
            ways.whole[count] = ways.whole[w]
            count += 1
    return Ways(
        ways.source[:count].copy(),
        ways.target[:count].copy(),
        ways.edge[:count].copy(),
        ways.value[:count].copy(),
        ways.whole[:count].copy(),
    )


@kernel
def mark_dominated(sized, order, open_parts, price, slack):
    """Tell which states with sizes another one of the same frontier makes superfluous.

    Every later unit adds no less to the pairs that stay where parts, in- and out-units are no
    fewer.

    Parameters
    ----------
    sized : SizedStates
    order : (m,) int64, positions by frontier state, then value
    open_parts : (states,) int64, of each frontier state
    price : float, of a severed pair, bits
    slack : float, how much better the other has to be, bits

    Returns
    -------
    (m,) bool

    References
    ----------
    mathematics.md 26.4.
    """
    out, begin = np.zeros(order.shape[0], np.bool_), 0
    for y in range(order.shape[0]):
        j = order[y]
        if sized.state[order[begin]] != sized.state[j]:
            begin = y
        value, seen = sized.bits[j] + price * sized.whole[j] - slack, 0
        for x in range(begin, y):
            i = order[x]
            if seen == DOMINATING or sized.bits[i] + price * sized.whole[i] > value:
                break
            if not out[i]:
                seen += 1
                if has_no_more(sized, i, j, open_parts[sized.state[j]]):
                    out[j] = True
                    break
    return out


@inner
def has_no_more(sized, i, j, open_parts):
    """Whether no count of state i is larger than that of state j."""
    if sized.whole[i] > sized.whole[j]:
        return False
    for shift in (OUTS_SHIFT, INS_SHIFT):
        if sized.sizes[i, 1] >> shift & SIZE_MASK > sized.sizes[j, 1] >> shift & SIZE_MASK:
            return False
    for p in range(open_parts):
        if size_of(sized.sizes, i, p) > size_of(sized.sizes, j, p):
            return False
    return True
