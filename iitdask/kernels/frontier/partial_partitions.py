"""Partial partitions of the units taken up so far, told apart by what later units can notice.

A **frontier state** says which units of the frontier share a part, the direction of each open part,
whether the part has met one of the opposite direction, what half-seen units have kept of their
inputs, and whether there were two parts at all (mathematics.md 26.3). One step takes up one unit.
States are packed into words and compared whole.

Word 0: the part of each frontier unit, four bits each, in order of first appearance. Word 1: three
bits for each open part (direction, and from it ``MET``), then the number of parts and ``MANY``. The
words after these: what each half-seen unit has kept, a bit per input.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.frontier.frontier_states import (
    COUNT_SHIFT,
    WORD_BITS,
    cut_level,
    make_level,
)
from iitdask.kernels.frontier.local_costs import PART_BOTH, PART_IN, PART_OUT
from iitdask.kernels.jit import inner, kernel

MAX_WIDTH = 13  # Units in a frontier: four bits number their parts, one more, and none
MAX_OWN_INPUTS = 12  # of a unit
NO_PART = 15
MET, MANY = 4, 1 << 56
TIE_BITS = 2e-12  # equal sums of logarithms differ by less (mathematics.md 0.2)
MIXER, SPREADER, FIRST_TABLE = -7046029254386353131, -4417276706812531889, 1 << 10


class Scratch(NamedTuple):
    """Working memory of one transition."""

    part: NDArray[np.int64]  # (16,) of each frontier unit
    kept: NDArray[np.int64]  # (16,)
    now_kept: NDArray[np.int64]  # (16,) the same after the step
    direction: NDArray[np.int64]  # (17,) of each part
    met: NDArray[np.int64]  # (17,)
    now_met: NDArray[np.int64]  # (17,)
    number: NDArray[np.int64]  # (17,) of each part after the step
    key: NDArray[np.int64]  # (words,)
    here: NDArray[np.int64]  # (3, 16) where the kept bits of frontier units lie before the step
    there: NDArray[np.int64]  # (3, 16) and after it
    column: NDArray[np.int64]  # (n,) place of a unit in the frontier before the step


@inner
def lay_out_kept(units, costs, step, layout):
    """Place the bits that half-seen units keep: word (-1: none), shift and number of each."""
    at, used = 2, 0
    for c in range(units.shape[0]):
        u, size = units[c], 0
        layout[0, c] = -1
        if costs.known[u] > step:
            while size < costs.inputs.shape[1] and costs.inputs[u, size] >= 0:
                size += 1
            if used + size > WORD_BITS:
                at, used = at + 1, 0
            layout[0, c], layout[1, c], layout[2, c] = at, used, size
            used += size


@inner
def unpack_state(keys, state, count, s):
    """Leave a packed state in the working memory; returns its number of open parts."""
    for c in range(count):
        s.part[c] = keys[state, 0] >> 4 * c & 15
        s.kept[c] = 0
        if s.here[0, c] >= 0:
            s.kept[c] = keys[state, s.here[0, c]] >> s.here[1, c] & ((1 << s.here[2, c]) - 1)
    parts = keys[state, 1] >> COUNT_SHIFT & 15
    for p in range(parts):
        s.direction[p] = keys[state, 1] >> 3 * p & 3
        s.met[p] = keys[state, 1] >> 3 * p & MET
    return parts


@inner
def take_up_unit(costs, v, before, own, parts, s):
    """Let unit v join part ``own``: what units keep and which parts have met; returns bits lost."""
    count, way = before.shape[0], s.direction[own]
    for c in range(count):
        s.now_kept[c] = s.kept[c]
    s.now_kept[count] = 0
    for p in range(parts + 1):
        s.now_met[p] = s.met[p]
    for a in range(costs.inputs.shape[1]):
        u = costs.inputs[v, a]
        if u < 0 or u > v:
            break
        if u == v:
            s.now_kept[count] |= 1 << a
            continue
        other = s.part[s.column[u]]
        if other == own:
            s.now_kept[count] |= 1 << a
        elif way == PART_OUT and s.direction[other] == PART_IN:
            s.now_kept[count] |= 1 << a
            s.now_met[other] = s.now_met[own] = MET
    lost = costs.bits[v, s.now_kept[count]] if costs.known[v] == v else 0.0
    for c in range(count):
        j = before[c]
        if costs.known[j] < v:
            continue
        for a in range(costs.inputs.shape[1]):
            if costs.inputs[j, a] == v:
                other = s.part[c]
                if other == own:
                    s.now_kept[c] |= 1 << a
                elif way == PART_IN and s.direction[other] == PART_OUT:
                    s.now_kept[c] |= 1 << a
                    s.now_met[other] = s.now_met[own] = MET
        if costs.known[j] == v:
            lost += costs.bits[j, s.now_kept[c]]
    return lost


@inner
def pack_state(before, after, own, parts, many, s):
    """Pack the state after a step; returns the new numbers of the parts, 0 if one closed unmet."""
    count = before.shape[0]
    for w in range(s.key.shape[0]):
        s.key[w] = 0
    for p in range(parts):
        s.number[p] = NO_PART
    fresh = 0
    for x in range(after.shape[0]):
        c = s.column[after[x]]
        p = own if c == count else s.part[c]
        if s.number[p] == NO_PART:
            s.number[p] = fresh
            s.key[1] |= (s.direction[p] + s.now_met[p]) << 3 * fresh
            fresh += 1
        s.key[0] |= s.number[p] << 4 * x
        if s.there[0, x] >= 0:
            s.key[s.there[0, x]] |= s.now_kept[c] << s.there[1, x]
    s.key[1] |= fresh << COUNT_SHIFT | many
    packed = -1 << 4 * parts  # all ones: no part beyond these
    for p in range(parts):
        if s.number[p] == NO_PART and s.now_met[p] == 0:
            return 0
        packed |= s.number[p] << 4 * p
    return packed


@inner
def find_image(guide, image, image_parts, own, is_new, direction):
    """Transition of the guide that looks like joining part ``own``; -1 where it has none."""
    there = NO_PART if is_new else image_parts >> 4 * own & 15
    for e in range(guide.edges[image], guide.edges[image + 1]):
        move = guide.move[e]
        if there == NO_PART:
            if move & 1 and move >> 1 & 3 == direction:
                return e
        elif move & 1 == 0 and move >> 3 == there:
            return e
    return -1


@inner
def follow_parts(guide, edge, image_parts, own, parts, s):
    """Numbers that the open parts have in the guide after a transition of it."""
    out = (1 << WORD_BITS) - 1
    for p in range(parts):
        if s.number[p] == NO_PART:
            continue
        there = guide.move[edge] >> 3 if p == own else image_parts >> 4 * p & 15
        if there != NO_PART:
            there = guide.parts[edge] >> 4 * there & 15
        out ^= (NO_PART ^ there) << 4 * s.number[p]
    return out


@inner
def find_slot(table, keys, key):
    """Place of a packed state in a table of states, or the free place where it belongs."""
    mixed = 0
    for w in range(key.shape[0]):
        mixed = (mixed ^ key[w]) * MIXER
        mixed ^= mixed >> 29 & ((1 << 35) - 1)
    mixed *= SPREADER
    mixed ^= mixed >> 32 & ((1 << 32) - 1)
    last = table.shape[0] - 1
    at = mixed & last
    while table[at] >= 0:
        is_same = True
        for w in range(key.shape[0]):
            if keys[table[at], w] != key[w]:
                is_same = False
                break
        if is_same:
            return at
        at = (at + 1) & last
    return at


@kernel
def larger_table(keys, count, size):
    """Table of a new size of the states there are; s. ``find_slot``."""
    table = np.full(size, -1)
    for state in range(count):
        table[find_slot(table, keys, keys[state])] = state
    return table


@inner
def is_beyond(chords, state, lost, is_new, pruning, image):
    """Whether every way through a transition costs more than its price, by one of the chords."""
    for k in range(chords.shape[1]):
        value = chords[state, k] + lost + pruning.gains[0, k] + pruning.bounds[image, k]
        if is_new:
            value -= pruning.gains[1, k]
        if value - pruning.offset > TIE_BITS:
            return True
    return False


@inner
def add_state(out, target, image, edge, image_parts, own, parts, pruning, s):
    """Write the state in the working memory, and what it looks like in the guide."""
    for w in range(s.key.shape[0]):
        out.keys[target, w] = s.key[w]
    if edge >= 0:
        out.images[target] = image
        out.image_parts[target] = follow_parts(pruning.guide, edge, image_parts, own, parts, s)


@inner
def keep_least(out, target, is_first, level, state, lost, is_new, gains):
    """Keep the least of what the ways to a state cost."""
    cost = level.least[state] + lost
    out.least[target] = cost if is_first else min(out.least[target], cost)
    for k in range(out.chords.shape[1]):
        value = level.chords[state, k] + lost + gains[0, k]
        if is_new:
            value -= gains[1, k]
        out.chords[target, k] = value if is_first else min(out.chords[target, k], value)


@kernel
def make_scratch(costs, v, before, after, words):
    """Working memory of a step that takes up unit v."""
    sixteen, column = np.zeros((2, 3, 16), np.int64), np.zeros(costs.inputs.shape[0], np.int64)
    s = Scratch(
        np.zeros(16, np.int64),
        np.zeros(16, np.int64),
        np.zeros(16, np.int64),
        np.zeros(17, np.int64),
        np.zeros(17, np.int64),
        np.zeros(17, np.int64),
        np.zeros(17, np.int64),
        np.zeros(words, np.int64),
        sixteen[0],
        sixteen[1],
        column,
    )
    lay_out_kept(before, costs, v - 1, s.here)
    lay_out_kept(after, costs, v, s.there)
    for c in range(before.shape[0]):
        s.column[before[c]] = c
    s.column[v] = before.shape[0]
    return s


@kernel
def expand_level(costs, v, before, after, level, pruning, is_strict, limit):
    """Take up unit v: find the frontier states that those of a level lead to.

    Parameters
    ----------
    costs : LocalCosts
    v : int, the unit
    before, after : (f,) int64, units of the frontier before and after, ascending
    level : Level, states before the step
    pruning : Pruning
    is_strict : bool, whether in- and out-parts have to meet and there have to be two parts; else a
        state is that of a guide
    limit : int, states at most

    Returns
    -------
    level : Level, states after the step and the transitions
    tried : int, transitions tried; negative where there would be more states than the limit

    References
    ----------
    mathematics.md 26.3 and 26.4.
    """
    states, words = level.keys.shape
    s, n, count = make_scratch(costs, v, before, after, words), costs.last.shape[0], before.shape[0]
    tried = 0
    for state in range(states):
        tried += (level.keys[state, 1] >> COUNT_SHIFT & 15) + 3
    out = make_level(min(tried, limit), words, level.chords.shape[1], tried)
    table, made, edges, is_guided = np.full(FIRST_TABLE, -1), 0, 0, pruning.guide.edges.shape[0] > 1
    for state in range(states):
        parts = unpack_state(level.keys, state, count, s)
        for choice in range(parts + 3):
            is_new, own = choice >= parts, min(choice, parts)
            if is_new:
                s.direction[own] = choice - parts
                s.met[own] = 0 if is_strict and choice != parts + PART_BOTH else MET
            lost, many = take_up_unit(costs, v, before, own, parts, s), level.keys[state, 1] & MANY
            if level.least[state] + lost + costs.rest[v] > pruning.budget:
                continue
            if not is_strict or (is_new and v > 0):
                many = MANY
            number = pack_state(before, after, own, parts + is_new, many, s)
            if number == 0 or (v == n - 1 and many == 0):
                continue
            edge, image = -1, 0
            if is_guided:
                there, way = level.image_parts[state], s.direction[own]
                edge = find_image(pruning.guide, level.images[state], there, own, is_new, way)
                if edge < 0:
                    continue
                image = pruning.guide.target[edge]
                if is_beyond(level.chords, state, lost, is_new, pruning, image):
                    continue
            at = find_slot(table, out.keys, s.key)
            target, is_first = table[at], table[at] < 0
            if is_first:
                if made == limit:
                    return cut_level(out, made, edges), -tried
                target, table[at], made = made, made, made + 1
                there = level.image_parts[state]
                add_state(out, target, image, edge, there, own, parts + is_new, pruning, s)
            keep_least(out, target, is_first, level, state, lost, is_new, pruning.gains)
            out.source[edges], out.target[edges] = state, target
            out.move[edges] = 8 * own + 2 * s.direction[own] + is_new
            out.parts[edges], out.bits[edges] = number, lost
            edges += 1
            if 2 * made > table.shape[0]:
                table = larger_table(out.keys, made, 4 * table.shape[0])
    return cut_level(out, made, edges), tried
