"""System phi of many small systems in one call, with tied states ordered as published.

Where units can be exchanged, the published rule (mathematics.md 8.4) writes the substrate in every
numbering of its units that keeps the declared graph, takes the numberings with the smallest form,
and names the pair of states that is smallest in one of those.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.batch_tables import (
    DISCONNECTED,
    NO_SELF_LOOP,
    STATE_UNREACHABLE,
    SYSTEM_UNREACHABLE,
)
from iitdask.kernels.distributions import state_marginals
from iitdask.kernels.iit4.system_partition import (
    candidate_sources,
    cut_costs,
    set_partition_minima,
    source_minima,
)
from iitdask.kernels.iit4.system_phi import decode_state
from iitdask.kernels.iit4.system_witness import (
    SUM_TOLERANCE_BITS,
    inputs_severed_by_key,
    minimum_partition,
    optimal_partitions,
    partition_cost,
)
from iitdask.kernels.jit import kernel, merged
from iitdask.kernels.subsets import (
    PHI_ZERO_BITS,
    STATE_TIE_BITS,
    STATE_TIE_RELATIVE,
    phi_tolerance,
    popcount,
    value_offsets,
)

__all__ = [
    "NO_CAUSE",
    "NO_EFFECT",
    "REDUCIBLE",
    "byte_order_keys",
    "canonical_relabellings",
    "canonical_state_rank",
    "fill_system_phis",
]


@kernel
def byte_order_keys(table, levels):
    """Rounded probabilities as numbers that order as the published bytes do; (S, n, most).

    table : (S, c) float64, all units; states little-endian
    """
    n, states = levels.shape[0], table.shape[0]
    most = levels.max()
    rounded = np.zeros((states, n, most))
    column = 0
    for i in range(n):
        for v in range(levels[i]):
            for x in range(states):
                rounded[x, i, v] = np.rint(table[x, column] * 1e12) / 1e12 + 0.0
            column += 1
    keys = rounded.view(np.uint64)
    for x in range(states):
        for i in range(n):
            for v in range(most):
                word, swapped = keys[x, i, v], np.uint64(0)
                for _ in range(8):
                    swapped = (swapped << np.uint64(8)) | (word & np.uint64(255))
                    word >>= np.uint64(8)
                keys[x, i, v] = swapped
    return keys


@kernel
def next_permutation(order):
    """Turn a permutation into the next in lexicographic order; False after the last."""
    i = order.shape[0] - 2
    while i >= 0 and order[i] > order[i + 1]:
        i -= 1
    if i < 0:
        return False
    j = order.shape[0] - 1
    while order[j] < order[i]:
        j -= 1
    order[i], order[j] = order[j], order[i]
    low, high = i + 1, order.shape[0] - 1
    while low < high:
        order[low], order[high] = order[high], order[low]
        low += 1
        high -= 1
    return True


@kernel
def is_graph_automorphism(order, levels, children):
    """Whether a renumbering leaves numbers of values and declared connections as they are."""
    n = levels.shape[0]
    for a in range(n):
        if levels[order[a]] != levels[a]:
            return False
        for b in range(n):
            if children[order[a]] >> order[b] & 1 != children[a] >> b & 1:
                return False
    return True


@kernel
def compare_forms(keys, levels, one, other):
    """-1, 0 or 1: the form under one renumbering against that under another."""
    n, most = levels.shape[0], keys.shape[2]
    strides = np.ones(n, np.int64)
    for i in range(1, n):
        strides[i] = strides[i - 1] * levels[i - 1]
    digits = np.zeros(n, np.int64)  # states with the first axis slowest
    while True:
        x, y = 0, 0
        for a in range(n):
            x += digits[a] * strides[one[a]]
            y += digits[a] * strides[other[a]]
        for a in range(n):
            for v in range(most):
                p, q = keys[x, one[a], v], keys[y, other[a], v]
                if p != q:
                    return -1 if p < q else 1
        a = n - 1
        while a >= 0:
            digits[a] += 1
            if digits[a] < levels[a]:
                break
            digits[a] = 0
            a -= 1
        if a < 0:
            return 0


@kernel
def canonical_relabellings(table, levels, children):
    """Renumberings with the smallest form; (m, n) int64, the identity's equals among them."""
    n = levels.shape[0]
    keys = byte_order_keys(table, levels)
    order = np.arange(n)
    count = 1
    for i in range(2, n + 1):
        count *= i
    kept = np.empty((count, n), np.int64)
    found = 0
    while True:
        if is_graph_automorphism(order, levels, children):
            verdict = compare_forms(keys, levels, order, kept[0]) if found else -1
            if verdict < 0:
                found = 0
            if verdict <= 0:
                kept[found] = order
                found += 1
        if not next_permutation(order):
            return kept[:found].copy()


@kernel
def canonical_state_rank(code, levels, forms):
    """Place of a state in the published order: the smallest of its renumbered writings."""
    n = levels.shape[0]
    digits = np.empty(n, np.int64)
    for i in range(n):
        digits[i] = code % levels[i]
        code //= levels[i]
    base = levels.max()
    best = np.int64(-1)
    for f in range(forms.shape[0]):
        rank = np.int64(0)
        for a in range(n):
            rank = rank * base + digits[forms[f, a]]
        if best < 0 or rank < best:
            best = rank
    return best


NO_CAUSE, NO_EFFECT, REDUCIBLE = 8, 16, 32
"""Why phi_s is 0, beside what kernels.batches knows; the first two can come together."""
MAX_RELABELLED_UNITS = 8  # units up to which the published rule tries all renumberings
# NumPy values, so that numba compiles one function and not one per literal
BACKWARDS, FORWARDS = np.bool_(True), np.bool_(False)


@kernel
def direction_minima(table, levels, columns, current, codes, weights, backwards):
    """Minimum partition at each specified state of one direction.

    codes : (m,) states; weights : (m,) selectivities; backwards : the cause side
    returns costs (m, n, 2**n), least (m,) cost or 0 where reducible, pairs (m,), ways (m,), keys
    """
    n, count = levels.shape[0], codes.shape[0]
    costs = np.empty((count, n, 1 << n))
    least, pairs, ways = np.empty(count), np.ones(count, np.int64), np.ones(count)
    keys = np.zeros((count, (n * n + 63) // 64), np.uint64)
    other = np.empty(n, np.int64)
    for k in range(count):
        decode_state(codes[k], levels, other)
        if backwards:
            costs[k] = cut_costs(state_marginals(table, levels, other), columns, current)
        else:
            costs[k] = cut_costs(state_marginals(table, levels, current), columns, other)
        if n == 1:
            cost = costs[k, 0, 1]
            keys[k, 0] = np.uint64(1) << np.uint64(63)
        else:
            cost, pairs[k], ways[k], key, _ = minimum_partition(
                costs[k], PHI_ZERO_BITS / weights[k]
            )
            keys[k] = key
        least[k] = cost if cost * weights[k] > PHI_ZERO_BITS else 0.0
    return costs, least, pairs, ways, keys


@kernel
def state_pair_value(c_phi, c_pairs, e_phi, e_pairs):
    """(phi, normalized, whether the cause side decides, whether the effect side does)."""
    if c_phi <= PHI_ZERO_BITS or e_phi <= PHI_ZERO_BITS:
        return 0.0, 0.0, c_phi <= PHI_ZERO_BITS, e_phi <= PHI_ZERO_BITS
    c_ratio, e_ratio = c_phi / c_pairs, e_phi / e_pairs
    if abs(c_ratio - e_ratio) <= 1e-12:
        by_cause, by_effect = c_pairs >= e_pairs, e_pairs >= c_pairs
    else:
        by_cause, by_effect = c_ratio < e_ratio, e_ratio < c_ratio
    if by_cause:
        return c_phi, c_ratio, by_cause, by_effect
    return e_phi, e_ratio, by_cause, by_effect


@kernel
def is_largest_key(one, other):
    """Whether a key is at least as large as another."""
    for w in range(one.shape[0]):
        if one[w] != other[w]:
            return one[w] > other[w]
    return True


@merged
def count_common_minima(c_costs, c_weight, c_ratio, e_costs, e_weight, e_ratio, most):
    """How many partitions attain the minimum of both directions at once."""
    g, ratio = c_costs * c_weight + e_costs * e_weight, c_ratio + e_ratio
    whole, minima = set_partition_minima(g, ratio), np.empty(g.shape[1])
    source_minima(g, ratio, whole, candidate_sources(g, ratio), 0, g.shape[1], minima)
    if minima.min() > 4 * SUM_TOLERANCE_BITS:
        return 0.0
    pairs, ways, _ = optimal_partitions(g, ratio, whole, SUM_TOLERANCE_BITS, minima)
    return ways if pairs == most else 0.0


@merged
def select_answer(
    cause, effect, levels, current, causes, c_weights, effects, e_weights, ranks, out, note
):
    """Search all tied states of one system and name the answer; see ``fill_system_phis`` for out, note.

    causes, effects : (m,) specified states; ranks : two (m,) places in the published order
    """
    columns = value_offsets(levels)
    c_costs, c_least, c_pairs, c_ways, c_keys = direction_minima(
        cause, levels, columns, current, causes, c_weights, BACKWARDS
    )
    e_costs, e_least, e_pairs, e_ways, e_keys = direction_minima(
        effect, levels, columns, current, effects, e_weights, FORWARDS
    )
    c_phi, e_phi = c_least * c_weights, e_least * e_weights
    top = 0.0
    for k in range(causes.shape[0]):
        for j in range(effects.shape[0]):
            top = max(top, state_pair_value(c_phi[k], c_pairs[k], e_phi[j], e_pairs[j])[0])
    ties, best_k, best_j = 0, -1, -1
    for k in range(causes.shape[0]):
        for j in range(effects.shape[0]):
            if state_pair_value(c_phi[k], c_pairs[k], e_phi[j], e_pairs[j])[
                0
            ] < top - phi_tolerance(top):
                continue
            ties += 1
            better = best_k < 0 or ranks[0][k] < ranks[0][best_k]
            if not better and ranks[0][k] == ranks[0][best_k]:
                better = ranks[1][j] < ranks[1][best_j]
            if better:
                best_k, best_j = k, j
    k, j = best_k, best_j
    phi, ratio, by_cause, by_effect = state_pair_value(c_phi[k], c_pairs[k], e_phi[j], e_pairs[j])
    from_cause = by_cause and (not by_effect or is_largest_key(c_keys[k], e_keys[j]))
    key = c_keys[k] if from_cause else e_keys[j]
    if levels.shape[0] == 1:
        lost = np.ones(1, np.int64)
    else:
        lost = inputs_severed_by_key(key, levels.shape[0])
    out[0], out[1] = phi, ratio
    out[2] = max(0.0, c_weights[k] * partition_cost(c_costs[k], lost))
    out[3] = max(0.0, e_weights[j] * partition_cost(e_costs[j], lost))
    ways = 0.0
    if phi > 0.0:
        ways = (c_ways[k] if by_cause else 0.0) + (e_ways[j] if by_effect else 0.0)
        if by_cause and by_effect:
            if levels.shape[0] == 1:
                ways -= 1.0
            else:
                ways -= count_common_minima(
                    c_costs[k],
                    c_weights[k],
                    c_phi[k] / c_pairs[k],
                    e_costs[j],
                    e_weights[j],
                    e_phi[j] / e_pairs[j],
                    max(c_pairs[k], e_pairs[j]),
                )
    out[4] = ways
    out[5], out[6] = c_weights[k], e_weights[j]
    severed = 0
    for i in range(lost.shape[0]):
        severed += popcount(lost[i])
    note[1], note[2], note[3], note[4] = ties, causes[k], effects[j], severed
    return REDUCIBLE if phi == 0.0 else 0


@kernel
def fill_system_phis(points, begin, end, net, own, tables, states, out, notes):
    """Analyse the candidates begin .. end - 1, IIT 4.0 (2023), mathematics.md 8.

    points, net, own : see kernels.batches.system_tables
    tables : effect, cause, current, standing, as that filled them
    states : forward (B, 2, S), totals (B,) of the cause side, information (B, 2, S)
    out    : (B, 7) float64 phi_s; the same per severed pair; cause and effect value at the
             minimum partition; tied partitions; selectivity of the cause and the effect state
    notes  : (B, 5) int64 why phi_s is 0; pairs of states tied; cause state, effect state, -1
             where none is specified; pairs that the minimum partition severs
    """
    effects, causes, currents, standing, children = tables
    forward, totals, information = states
    seen, forms = np.int64(-1), np.empty((0, own.shape[0]), np.int64)
    for p in range(begin, end):
        b = p - begin
        notes[b, 0], notes[b, 1] = standing[b], 0
        notes[b, 2], notes[b, 3], notes[b, 4] = -1, -1, 0
        out[b, :] = 0.0
        out[b, 2], out[b, 3] = np.nan, np.nan
        if standing[b] == STATE_UNREACHABLE or standing[b] == SYSTEM_UNREACHABLE:
            out[b, 0], out[b, 1] = np.nan, np.nan
            continue
        backward = forward[b, 0]
        top, most = backward.max(), information[b, 1].max()
        cause = np.flatnonzero(backward >= top * (1 - STATE_TIE_RELATIVE))
        effect = np.flatnonzero(
            information[b, 1] >= most - STATE_TIE_RELATIVE * abs(most) - STATE_TIE_BITS
        )
        notes[b, 2], notes[b, 3] = cause[0], effect[0]
        if standing[b] == DISCONNECTED or standing[b] == NO_SELF_LOOP:
            continue
        if information[b, 0, cause[0]] <= PHI_ZERO_BITS:
            notes[b, 0] |= NO_CAUSE
        if most <= PHI_ZERO_BITS:
            notes[b, 0] |= NO_EFFECT
        if notes[b, 0]:
            continue
        ranks = (np.zeros(cause.shape[0], np.int64), np.zeros(effect.shape[0], np.int64))
        whole = net[1][points[0][p]] == own.shape[0]
        if cause.shape[0] * effect.shape[0] > 1 and whole and own.shape[0] <= MAX_RELABELLED_UNITS:
            if points[0][p] != seen:
                seen = points[0][p]
                forms = canonical_relabellings(effects[b], own, children[b])
            for k in range(cause.shape[0]):
                ranks[0][k] = canonical_state_rank(cause[k], own, forms)
            for k in range(effect.shape[0]):
                ranks[1][k] = canonical_state_rank(effect[k], own, forms)
        c_weights, e_weights = backward[cause] / totals[b], forward[b, 1][effect]
        notes[b, 0] = select_answer(
            causes[b],
            effects[b],
            own,
            currents[b],
            cause,
            c_weights,
            effect,
            e_weights,
            ranks,
            out[b],
            notes[b],
        )
