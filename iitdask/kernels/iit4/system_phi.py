"""System phi of candidate systems of one substrate, and their conditional probability tables.

A substrate is given as what each unit depends on: for unit b its ``parents``, the rows of its
table over them (little-endian, the first parent fastest), and with the same rows the joint
posterior of the parents given the current state of everything. A candidate is a row of unit
numbers, ascending, padded with -1.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.distributions import forward_probability, state_marginals, sum_all_products
from iitdask.kernels.iit4.system_partition import cut_costs, starting_partition
from iitdask.kernels.iit4.system_witness import minimum_partition
from iitdask.kernels.jit import kernel, merged
from iitdask.kernels.subsets import PHI_ZERO_BITS, STATE_TIE_BITS, STATE_TIE_RELATIVE, phi_tolerance

__all__ = [
    "IRREDUCIBLE",
    "NO_CAUSE",
    "NO_EFFECT",
    "REDUCIBLE",
    "UNREACHABLE",
    "ZERO_COST_CUT",
    "candidate_phi",
    "candidate_phis",
    "candidate_tables",
]

IRREDUCIBLE, UNREACHABLE, NO_CAUSE, NO_EFFECT, REDUCIBLE, ZERO_COST_CUT = 0, 1, 2, 3, 4, 5
"""Verdicts on a candidate; each but the first means that its phi is 0."""
# NumPy values, so that numba compiles one function and not one per literal
BACKWARDS, FORWARDS, ZERO_INT64 = np.bool_(True), np.bool_(False), np.int64(0)


@kernel
def state_row_offsets(units, strides, out):
    """Fill ``out`` with sum_j x_j * strides[j] for every state x; units: (m,) levels."""
    out[0] = 0
    size = 1
    for j in range(units.shape[0]):
        for v in range(1, units[j]):
            for x in range(size):
                out[v * size + x] = out[x] + v * strides[j]
        size *= units[j]
    return size


@kernel
def fill_unit_columns(b, local, levels, state, net, inner, effect, cause, column):
    """Columns of one unit of a candidate in both tables; see ``candidate_tables``."""
    starts, parents, table_starts, tables, posterior_starts, posteriors = net
    first, count = starts[b], starts[b + 1] - starts[b]
    k = levels[b]
    ins, in_strides, in_local = np.zeros(count, np.int64), np.zeros(count, np.int64), 0
    outs, out_strides, out_local = np.zeros(count, np.int64), np.zeros(count, np.int64), 0
    of_unit = np.zeros(local.shape[0], np.int64)  # strides by local unit, over inside states
    rows, inside, now = 1, 1, 0
    for j in range(count):
        p = parents[first + j]
        where = -1
        for i in range(local.shape[0]):
            if local[i] == p:
                where = i
        if where >= 0:
            ins[in_local], in_strides[in_local] = levels[p], rows
            of_unit[where] = inside
            inside *= levels[p]
            in_local += 1
        else:
            outs[out_local], out_strides[out_local] = levels[p], rows
            now += state[p] * rows
            out_local += 1
        rows *= levels[p]
    offset_in, offset_out = np.empty(inside, np.int64), np.empty(rows // inside, np.int64)
    state_row_offsets(ins[:in_local], in_strides[:in_local], offset_in)
    state_row_offsets(outs[:out_local], out_strides[:out_local], offset_out)
    table = tables[table_starts[b] : table_starts[b + 1]]
    posterior = posteriors[posterior_starts[b] : posterior_starts[b + 1]]
    weights = np.zeros(offset_out.shape[0])
    total = 0.0
    for r in range(offset_out.shape[0]):
        for c in range(inside):
            weights[r] += posterior[offset_out[r] + offset_in[c]]
        total += weights[r]
    mean = np.zeros((inside, k))
    for r in range(offset_out.shape[0]):
        w = weights[r] / total
        if w > 0.0:
            for c in range(inside):
                row = (offset_out[r] + offset_in[c]) * k
                for v in range(k):
                    mean[c, v] += w * table[row + v]
    sizes = np.empty(local.shape[0], np.int64)
    for i in range(local.shape[0]):
        sizes[i] = levels[local[i]]
    states = state_row_offsets(sizes, of_unit, inner)
    for x in range(states):
        c = inner[x]
        row = (now + offset_in[c]) * k
        for v in range(k):
            effect[x, column + v] = table[row + v]
            cause[x, column + v] = mean[c, v]


@kernel
def candidate_tables(units, levels, state, net):
    """Effect and cause table of a candidate.

    units  : (n,) int64    unit numbers, ascending
    levels : (N,) int64    values of every unit of the substrate
    state  : (N,) int64    current state
    net    : starts (N + 1,), parents, table starts (N + 1,), tables, posterior starts (N + 1,),
             posteriors; a table has its unit's values side by side
    returns (S, c) float64 twice: P(unit takes value | state of the candidate) with the units
    outside held at their current values (effect, mathematics.md 2), and averaged with the posterior
    of their previous values given the current state of all units (cause, eq. 3 and 4).
    """
    states, columns = 1, 0
    for i in range(units.shape[0]):
        states *= levels[units[i]]
        columns += levels[units[i]]
    effect, cause = np.empty((states, columns)), np.empty((states, columns))
    inner = np.empty(states, np.int64)
    column = ZERO_INT64
    for i in range(units.shape[0]):
        fill_unit_columns(units[i], units, levels, state, net, inner, effect, cause, column)
        column += levels[units[i]]
    return effect, cause


@kernel
def decode_state(code, levels, out):
    """Write the value of every unit in a state."""
    for i in range(levels.shape[0]):
        out[i] = code % levels[i]
        code //= levels[i]


@kernel
def direction_phi(costs, weight):
    """(phi, severed pairs, whether a two-block cut alone shows that phi is 0) of one direction.

    A minimum partition loses at most what any one partition loses. So when a single cut between
    two blocks, or the complete partition, loses nothing (``PHI_ZERO_BITS`` weighed by the selectivity),
    phi is 0 and the search over all partitions is left out: 2**n cuts instead of 4**n steps.
    """
    zero = PHI_ZERO_BITS / weight
    if costs.shape[0] == 1:
        return (costs[0, 1] * weight if costs[0, 1] > zero else 0.0), 1, costs[0, 1] <= zero
    if starting_partition(costs)[1] <= zero:
        return 0.0, 0, True
    cost, pairs, _, _, _ = minimum_partition(costs, zero)
    return (cost * weight if cost > zero else 0.0), pairs, False


@kernel
def direction_phis(table, levels, columns, current, states, weights, is_cause, phi, pairs):
    """Minimum partition for each of the specified states of one direction.

    weights : selectivity of every state of the system
    phi, pairs : (ties,) filled
    returns whether two-block cuts alone show that phi is 0 for all of them. Symmetric systems
    specify many states with the same costs: a run of equal ones is searched once.
    """
    other = np.empty(levels.shape[0], np.int64)
    before = np.empty((0, 0))
    certain = True
    for k in range(states.shape[0]):
        decode_state(states[k], levels, other)
        source, target = (other, current) if is_cause else (current, other)
        costs = cut_costs(state_marginals(table, levels, source), columns, target)
        weight = weights[states[k]]
        if k > 0 and weight == weights[states[k - 1]] and np.array_equal(costs, before):
            phi[k], pairs[k] = phi[k - 1], pairs[k - 1]
        else:
            phi[k], pairs[k], shown = direction_phi(costs, weight)
            certain = certain and shown
        before = costs
    return certain


@kernel
def state_pair_phi(cause, cause_pairs, effect, effect_pairs):
    """Phi of a cause with an effect state: the smaller ratio decides, at a tie the larger cut."""
    if cause <= PHI_ZERO_BITS or effect <= PHI_ZERO_BITS:
        return 0.0
    difference = cause / cause_pairs - effect / effect_pairs
    if abs(difference) <= 1e-12:
        return cause if cause_pairs >= effect_pairs else effect
    return cause if difference < 0 else effect


@kernel
def candidate_phi(effect, cause, levels, current, out):
    """How irreducible one candidate is, IIT 4.0 (2023): mathematics.md 8.

    effect, cause : (S, c) float64  see ``candidate_tables``
    levels, current : (n,) int64    of its units
    out : (7,) float64  phi_s; intrinsic information of the specified cause and effect state;
          p(current state | current state), cause and effect side; selectivity of the specified
          cause and effect state of the first pair with the largest phi
    returns (verdict, number of pairs of specified states tied for the largest phi)
    """
    n, states = levels.shape[0], effect.shape[0]
    columns = np.zeros(n + 1, np.int64)
    code, weight = 0, 1
    for i in range(n):
        columns[i + 1] = columns[i] + levels[i]
        code += current[i] * weight
        weight *= levels[i]
    out[:] = 0.0
    if forward_probability(effect, levels, current).max() <= 0.0:
        return UNREACHABLE, 0
    backward = forward_probability(cause, levels, current)
    total, top = backward.sum(), backward.max()
    if total <= 0.0:
        return UNREACHABLE, 0
    forward, mean = np.empty(states), np.empty(states)
    sum_all_products(effect, code, code + 1, levels, forward)
    sum_all_products(effect, ZERO_INT64, states, levels, mean)
    information = np.zeros(states)
    for z in range(states):
        if forward[z] > 0.0:
            information[z] = forward[z] * np.log2(forward[z] / (mean[z] / states))
    most = information.max()
    out[1] = top / total * np.log2(top / (total / states))
    out[2] = most
    out[3], out[4] = backward[code], forward[code]
    if out[1] <= PHI_ZERO_BITS:
        return NO_CAUSE, 0
    if most <= PHI_ZERO_BITS:
        return NO_EFFECT, 0
    causes = np.flatnonzero(backward >= top * (1.0 - STATE_TIE_RELATIVE))
    effects = np.flatnonzero(information >= most - STATE_TIE_RELATIVE * abs(most) - STATE_TIE_BITS)
    return best_state_pair(
        effect, cause, levels, columns, current, causes, effects, backward, forward, out
    )


@merged
def best_state_pair(
    effect, cause, levels, columns, current, causes, effects, backward, forward, out
):
    """Search every specified state, and combine them; fills phi and selectivities of ``out``."""
    cause_phi, effect_phi = np.zeros(causes.shape[0]), np.zeros(effects.shape[0])
    cause_pairs = np.ones(causes.shape[0], np.int64)
    effect_pairs = np.ones(effects.shape[0], np.int64)
    posterior = backward / backward.sum()
    certain = direction_phis(
        cause, levels, columns, current, causes, posterior, BACKWARDS, cause_phi, cause_pairs
    )
    if cause_phi.max() <= PHI_ZERO_BITS:
        return (ZERO_COST_CUT if certain else REDUCIBLE), 0
    certain = direction_phis(
        effect, levels, columns, current, effects, forward, FORWARDS, effect_phi, effect_pairs
    )
    if effect_phi.max() <= PHI_ZERO_BITS:
        return (ZERO_COST_CUT if certain else REDUCIBLE), 0
    best = 0.0
    for k in range(causes.shape[0]):
        for j in range(effects.shape[0]):
            best = max(
                best, state_pair_phi(cause_phi[k], cause_pairs[k], effect_phi[j], effect_pairs[j])
            )
    ties = 0
    for k in range(causes.shape[0]):
        for j in range(effects.shape[0]):
            phi = state_pair_phi(cause_phi[k], cause_pairs[k], effect_phi[j], effect_pairs[j])
            if phi >= best - phi_tolerance(best):
                if ties == 0:
                    out[0] = phi
                    out[5], out[6] = posterior[causes[k]], forward[effects[j]]
                ties += 1
    return (IRREDUCIBLE if out[0] > PHI_ZERO_BITS else REDUCIBLE), ties


@kernel
def candidate_phis(candidates, begin, end, levels, state, net, verdicts, ties, values):
    """Fill row k - begin of the outputs for candidates begin .. end - 1; see ``candidate_phi``.

    candidates : (C, m) int64  unit numbers, ascending, padded with -1
    verdicts, ties : (end - begin,) int64; values : (end - begin, 7) float64
    """
    for k in range(begin, end):
        n = 0
        while n < candidates.shape[1] and candidates[k, n] >= 0:
            n += 1
        units = candidates[k, :n].copy()
        own, now = np.empty(n, np.int64), np.empty(n, np.int64)
        for i in range(n):
            own[i], now[i] = levels[units[i]], state[units[i]]
        effect, cause = candidate_tables(units, levels, state, net)
        verdicts[k - begin], ties[k - begin] = candidate_phi(
            effect, cause, own, now, values[k - begin]
        )
