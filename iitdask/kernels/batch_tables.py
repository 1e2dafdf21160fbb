"""Conditional probability tables and connectivity of many small systems in one call.

Substrates are given by whole tables, one after the other: ``tables`` holds for every state of the
substrate (little-endian) the values of all its units side by side. All systems of one call have
units with the same numbers of values, so that what belongs to a system is a row of an array.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.distributions import forward_probability, sum_all_products
from iitdask.kernels.jit import kernel
from iitdask.kernels.subsets import value_offsets

__all__ = [
    "CONNECTED",
    "DISCONNECTED",
    "NO_SELF_LOOP",
    "STATE_UNREACHABLE",
    "SYSTEM_UNREACHABLE",
    "fill_system_tables",
    "mark_reachable_states",
]

CONNECTED, DISCONNECTED, NO_SELF_LOOP, STATE_UNREACHABLE, SYSTEM_UNREACHABLE = 0, 1, 2, 3, 4
"""What is known of a candidate before its states are looked at: fine; not strongly connected;
one unit without a connection to itself; no past state of all units; none of its own units."""


@kernel
def is_strongly_connected(children):
    """Whether every unit reaches every other; children : (n,) int64, units that each feeds."""
    n = children.shape[0]
    full = (1 << n) - 1
    seen, grown = 0, 1
    while grown != seen:
        seen = grown
        for i in range(n):
            if seen >> i & 1:
                grown |= children[i]
    if seen & full != full:
        return False
    seen, grown = 0, 1
    while grown != seen:
        seen = grown
        for i in range(n):
            if children[i] & seen:
                grown |= 1 << i
    return seen & full == full


@kernel
def split_states(levels, units, inner, outer):
    """State of the candidate and of the other units in every state of all; both little-endian."""
    total = inner.shape[0]
    for x in range(total):
        inner[x], outer[x] = 0, 0
    step, inside, outside = 1, 1, 1
    for j in range(levels.shape[0]):
        k = levels[j]
        mine = units >> j & 1
        weight = inside if mine else outside
        for x in range(total):
            value = x // step % k
            if mine:
                inner[x] += value * weight
            else:
                outer[x] += value * weight
        step *= k
        if mine:
            inside *= k
        else:
            outside *= k
    return outside


@kernel
def condition_on_outside(table, levels, columns, state, units, effect, cause):
    """Fill both tables of a candidate with units outside; returns what is wrong, or CONNECTED.

    table : (S_N, c) all units; state : (N,) current; units : mask
    effect, cause : (S, c') zeros, see kernels.candidates.candidate_tables
    """
    total = table.shape[0]
    inner, outer = np.empty(total, np.int64), np.empty(total, np.int64)
    outside = split_states(levels, units, inner, outer)
    posterior = np.zeros(outside)
    whole = 0.0
    for x in range(total):
        likely = 1.0
        for j in range(levels.shape[0]):
            likely *= table[x, columns[j] + state[j]]
        posterior[outer[x]] += likely
        whole += likely
    if whole <= 0.0:
        return STATE_UNREACHABLE
    now, weight = 0, 1
    for j in range(levels.shape[0]):
        if not units >> j & 1:
            now += state[j] * weight
            weight *= levels[j]
    for x in range(total):
        share = posterior[outer[x]] / whole
        column = 0
        for j in range(levels.shape[0]):
            if units >> j & 1:
                for v in range(levels[j]):
                    value = table[x, columns[j] + v]
                    cause[inner[x], column] += share * value
                    if outer[x] == now:
                        effect[inner[x], column] = value
                    column += 1
    return CONNECTED


@kernel
def fill_system_tables(points, begin, end, net, own, out):
    """Tables, states and connections of the candidates begin .. end - 1.

    points : substrate (P,), code (P,) state of all units, units (P,) mask
    net    : starts (K + 1,) where each substrate's table begins, sizes (K,) its units,
             levels (K, N) their values, tables, children (K, N) masks of the units each feeds
    own    : (n,) int64 values of the candidates' units
    out    : effect, cause (B, S, c) float64; current (B, n), code (B,), children (B, n) int64;
             standing (B,) int64, see ``CONNECTED``; forward (B, 2, S), mean (B, S) float64:
             p(current state | state), p(state | current state), and the latter summed over all
    """
    substrate, codes, masks = points
    starts, sizes, every_levels, tables, feeds = net
    effects, causes, currents, locals_, children, standing, forward, mean = out
    n, states = own.shape[0], effects.shape[1]
    for p in range(begin, end):
        b, k = p - begin, substrate[p]
        count = sizes[k]
        levels = every_levels[k, :count].copy()
        columns = value_offsets(levels)
        width = columns[count]
        table = tables[starts[k] : starts[k + 1]].reshape(-1, width)
        state, left = np.empty(count, np.int64), codes[p]
        local, code, weight = 0, 0, 1
        for j in range(count):
            state[j] = left % levels[j]
            left //= levels[j]
            if masks[p] >> j & 1:
                currents[b, local] = state[j]
                code += state[j] * weight
                weight *= levels[j]
                place = 0
                for i in range(count):
                    if masks[p] >> i & 1:
                        children[b, local] |= (feeds[k, j] >> i & 1) << place
                        place += 1
                local += 1
        locals_[b] = code
        effect, cause, current = effects[b], causes[b], currents[b]
        if count == n:
            for x in range(states):
                for c in range(width):
                    effect[x, c] = table[x, c]
                    cause[x, c] = table[x, c]
            verdict = CONNECTED
        else:
            verdict = condition_on_outside(table, levels, columns, state, masks[p], effect, cause)
        if verdict == CONNECTED:
            if forward_probability(effect, own, current).max() <= 0.0:
                verdict = STATE_UNREACHABLE if count == n else SYSTEM_UNREACHABLE
            elif not is_strongly_connected(children[b]):
                verdict = DISCONNECTED
            elif n == 1 and children[b, 0] == 0:
                verdict = NO_SELF_LOOP
        standing[b] = verdict
        if verdict == STATE_UNREACHABLE or verdict == SYSTEM_UNREACHABLE:
            continue
        likely = forward_probability(cause, own, current)
        for x in range(states):
            forward[b, 0, x] = likely[x]
        sum_all_products(effect, code, code + 1, own, forward[b, 1])
        sum_all_products(effect, 0, states, own, mean[b])


@kernel
def mark_reachable_states(tables, starts, begin, end, levels, out):
    """Set ``out[x]`` for every state that some state of one of the substrates leads to.

    levels : (N,) int64, of all of them; out : (S,) bool
    """
    columns = value_offsets(levels)
    states = out.shape[0]
    digits = np.empty(levels.shape[0], np.int64)
    for k in range(begin, end):
        table = tables[starts[k] : starts[k + 1]].reshape(states, -1)
        for target in range(states):
            if out[target]:
                continue
            code = target
            for j in range(levels.shape[0]):
                digits[j] = columns[j] + code % levels[j]
                code //= levels[j]
            for x in range(states):
                possible = True
                for j in range(levels.shape[0]):
                    if table[x, digits[j]] <= 0.0:
                        possible = False
                        break
                if possible:
                    out[target] = True
                    break
