"""How irreducible each of many small systems is, with everything that names the answer."""

from __future__ import annotations

import numpy as np

from iitdask.kernels.batches import DISCONNECTED, LONELY, STATE_UNREACHABLE, SYSTEM_UNREACHABLE
from iitdask.kernels.candidates import digits_of
from iitdask.kernels.codes import popcount, value_offsets
from iitdask.kernels.irreducibility import (
    EPS,
    lost_inputs,
    minimum_partition,
    total_cost,
)
from iitdask.kernels.jit import kernel, merged
from iitdask.kernels.marginals import state_marginals
from iitdask.kernels.partitions import cut_costs, whole_minima
from iitdask.kernels.purviews import STATE_FLOOR, STATE_TIE, ZERO, tolerance
from iitdask.kernels.renaming import smallest_forms, state_rank
from iitdask.kernels.sources import open_sources, source_minima
from iitdask.kernels.witness import optimal_partitions

__all__ = ["NO_CAUSE", "NO_EFFECT", "REDUCIBLE", "verdicts"]

NO_CAUSE, NO_EFFECT, REDUCIBLE = 8, 16, 32
"""Why phi_s is 0, beside what kernels.batches knows; the first two can come together."""
LARGEST = 8  # units up to which the published rule tries all renumberings
# NumPy values, so that numba compiles one function and not one per literal
BACKWARDS, FORWARDS = np.bool_(True), np.bool_(False)


@kernel
def side_minima(table, levels, columns, current, codes, weights, backwards):
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
        digits_of(codes[k], levels, other)
        if backwards:
            costs[k] = cut_costs(state_marginals(table, levels, other), columns, current)
        else:
            costs[k] = cut_costs(state_marginals(table, levels, current), columns, other)
        if n == 1:
            cost = costs[k, 0, 1]
            keys[k, 0] = np.uint64(1) << np.uint64(63)
        else:
            cost, pairs[k], ways[k], key, _ = minimum_partition(costs[k], ZERO / weights[k])
            keys[k] = key
        least[k] = cost if cost * weights[k] > ZERO else 0.0
    return costs, least, pairs, ways, keys


@kernel
def pair_value(c_phi, c_pairs, e_phi, e_pairs):
    """(phi, normalized, whether the cause side decides, whether the effect side does)."""
    if c_phi <= ZERO or e_phi <= ZERO:
        return 0.0, 0.0, c_phi <= ZERO, e_phi <= ZERO
    c_ratio, e_ratio = c_phi / c_pairs, e_phi / e_pairs
    if abs(c_ratio - e_ratio) <= 1e-12:
        by_cause, by_effect = c_pairs >= e_pairs, e_pairs >= c_pairs
    else:
        by_cause, by_effect = c_ratio < e_ratio, e_ratio < c_ratio
    if by_cause:
        return c_phi, c_ratio, by_cause, by_effect
    return e_phi, e_ratio, by_cause, by_effect


@kernel
def first_leads(one, other):
    """Whether a key is at least as large as another."""
    for w in range(one.shape[0]):
        if one[w] != other[w]:
            return one[w] > other[w]
    return True


@merged
def common_ways(c_costs, c_weight, c_ratio, e_costs, e_weight, e_ratio, most):
    """How many partitions attain the minimum of both directions at once."""
    g, ratio = c_costs * c_weight + e_costs * e_weight, c_ratio + e_ratio
    whole, minima = whole_minima(g, ratio), np.empty(g.shape[1])
    source_minima(g, ratio, whole, open_sources(g, ratio), 0, g.shape[1], minima)
    if minima.min() > 4 * EPS:
        return 0.0
    pairs, ways, _ = optimal_partitions(g, ratio, whole, EPS, minima)
    return ways if pairs == most else 0.0


@merged
def decide(cause, effect, levels, current, causes, c_weights, effects, e_weights, ranks, out, note):
    """Search all tied states of one system and name the answer; see ``verdicts`` for out, note.

    causes, effects : (m,) specified states; ranks : two (m,) places in the published order
    """
    columns = value_offsets(levels)
    c_costs, c_least, c_pairs, c_ways, c_keys = side_minima(
        cause, levels, columns, current, causes, c_weights, BACKWARDS
    )
    e_costs, e_least, e_pairs, e_ways, e_keys = side_minima(
        effect, levels, columns, current, effects, e_weights, FORWARDS
    )
    c_phi, e_phi = c_least * c_weights, e_least * e_weights
    top = 0.0
    for k in range(causes.shape[0]):
        for j in range(effects.shape[0]):
            top = max(top, pair_value(c_phi[k], c_pairs[k], e_phi[j], e_pairs[j])[0])
    ties, best_k, best_j = 0, -1, -1
    for k in range(causes.shape[0]):
        for j in range(effects.shape[0]):
            if pair_value(c_phi[k], c_pairs[k], e_phi[j], e_pairs[j])[0] < top - tolerance(top):
                continue
            ties += 1
            better = best_k < 0 or ranks[0][k] < ranks[0][best_k]
            if not better and ranks[0][k] == ranks[0][best_k]:
                better = ranks[1][j] < ranks[1][best_j]
            if better:
                best_k, best_j = k, j
    k, j = best_k, best_j
    phi, ratio, by_cause, by_effect = pair_value(c_phi[k], c_pairs[k], e_phi[j], e_pairs[j])
    from_cause = by_cause and (not by_effect or first_leads(c_keys[k], e_keys[j]))
    key = c_keys[k] if from_cause else e_keys[j]
    if levels.shape[0] == 1:
        lost = np.ones(1, np.int64)
    else:
        lost = lost_inputs(key, levels.shape[0])
    out[0], out[1] = phi, ratio
    out[2] = max(0.0, c_weights[k] * total_cost(c_costs[k], lost))
    out[3] = max(0.0, e_weights[j] * total_cost(e_costs[j], lost))
    ways = 0.0
    if phi > 0.0:
        ways = (c_ways[k] if by_cause else 0.0) + (e_ways[j] if by_effect else 0.0)
        if by_cause and by_effect:
            if levels.shape[0] == 1:
                ways -= 1.0
            else:
                ways -= common_ways(
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
def verdicts(points, begin, end, net, own, tables, states, out, notes):
    """Analyse the candidates begin .. end - 1, IIT 4.0 (2023), spec.md 8.

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
        cause = np.flatnonzero(backward >= top * (1 - STATE_TIE))
        effect = np.flatnonzero(information[b, 1] >= most - STATE_TIE * abs(most) - STATE_FLOOR)
        notes[b, 2], notes[b, 3] = cause[0], effect[0]
        if standing[b] == DISCONNECTED or standing[b] == LONELY:
            continue
        if information[b, 0, cause[0]] <= ZERO:
            notes[b, 0] |= NO_CAUSE
        if most <= ZERO:
            notes[b, 0] |= NO_EFFECT
        if notes[b, 0]:
            continue
        ranks = (np.zeros(cause.shape[0], np.int64), np.zeros(effect.shape[0], np.int64))
        whole = net[1][points[0][p]] == own.shape[0]
        if cause.shape[0] * effect.shape[0] > 1 and whole and own.shape[0] <= LARGEST:
            if points[0][p] != seen:
                seen = points[0][p]
                forms = smallest_forms(effects[b], own, children[b])
            for k in range(cause.shape[0]):
                ranks[0][k] = state_rank(cause[k], own, forms)
            for k in range(effect.shape[0]):
                ranks[1][k] = state_rank(effect[k], own, forms)
        c_weights, e_weights = backward[cause] / totals[b], forward[b, 1][effect]
        notes[b, 0] = decide(
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
