"""System phi of many candidate systems of one substrate, from what each unit depends on.

For unit b a substrate lists its ``parents``, the rows of its table over them (little-endian, the
first parent fastest), and with the same rows the joint posterior of the parents given the current
state of everything. A candidate is a row of unit numbers, ascending, padded with -1.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.distributions import forward_probability
from iitdask.kernels.iit4.state_pair import state_pair_phi, tied_state_pairs
from iitdask.kernels.iit4.system_phi import (
    IRREDUCIBLE,
    NO_CAUSE,
    NO_EFFECT,
    REDUCIBLE,
    SYSTEM_UNREACHABLE,
    ZERO_CUT,
    direction_minima,
    fill_state_probabilities,
    specified_states,
)
from iitdask.kernels.jit import FALSE, TRUE, ZERO_INT64, kernel, merged
from iitdask.kernels.subsets import PHI_ZERO_BITS

IS_CAUSE, IS_EFFECT, IS_NAMED = TRUE, FALSE, FALSE


class UnitFactors(NamedTuple):
    """A substrate of N units as one flat array of each kind."""

    levels: NDArray[np.int64]  # (N,) values per unit
    state: NDArray[np.int64]  # (N,) current state
    starts: NDArray[np.int64]  # (N + 1,) where the parents of each unit begin
    parents: NDArray[np.int64]  # Unit numbers
    table_starts: NDArray[np.int64]  # (N + 1,) where the table of each unit begins
    tables: NDArray[np.float64]  # P(unit takes value | parents), the values of a row together
    posterior_starts: NDArray[np.int64]  # (N + 1,) where the posterior of its parents begins
    posteriors: NDArray[np.float64]  # P(previous state of the parents | current state of all units)


class CandidatePhis(NamedTuple):
    """phi_s of B candidates; the columns are the cause and the effect side."""

    phi: NDArray[np.float64]  # (B,) system integrated information, bits
    information: NDArray[np.float64]  # (B, 2) intrinsic information of the specified states, bits
    now: NDArray[np.float64]  # (B, 2) p(current state | current state)
    selectivity: NDArray[np.float64]  # (B, 2) of the states of the first pair with the largest phi
    reason: NDArray[np.int64]  # (B,) why phi is 0, see system_phi
    n_tied_states: NDArray[np.int64]  # (B,) pairs of specified states tied for the largest phi


def make_candidate_phis(count: int) -> CandidatePhis:
    """Allocate the outputs of B candidates, with zeros."""
    information, now, selectivity = np.zeros((3, count, 2))
    reason, n_tied_states = np.zeros((2, count), np.int64)
    return CandidatePhis(np.zeros(count), information, now, selectivity, reason, n_tied_states)


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
def fill_unit_columns(b, local, factors, inner, effect, cause, column):
    """Columns of one unit of a candidate in both tables; see ``candidate_tables``."""
    levels, first = factors.levels, factors.starts[b]
    count = factors.starts[b + 1] - first
    k = levels[b]
    ins, in_strides, in_local = np.zeros(count, np.int64), np.zeros(count, np.int64), 0
    outs, out_strides, out_local = np.zeros(count, np.int64), np.zeros(count, np.int64), 0
    of_unit = np.zeros(local.shape[0], np.int64)  # strides by local unit, over inside states
    rows, inside, now = 1, 1, 0
    for j in range(count):
        p = factors.parents[first + j]
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
            now += factors.state[p] * rows
            out_local += 1
        rows *= levels[p]
    offset_in, offset_out = np.empty(inside, np.int64), np.empty(rows // inside, np.int64)
    state_row_offsets(ins[:in_local], in_strides[:in_local], offset_in)
    state_row_offsets(outs[:out_local], out_strides[:out_local], offset_out)
    table = factors.tables[factors.table_starts[b] : factors.table_starts[b + 1]]
    first, last = factors.posterior_starts[b], factors.posterior_starts[b + 1]
    posterior = factors.posteriors[first:last]
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
def candidate_tables(units, factors):
    """Effect and cause table of a candidate, (S, c) float64, mathematics.md, Eq. (2.1) to (2.3).

    P(unit takes value | state of the candidate) with the units outside held at their current values
    (effect), and averaged with the posterior of their previous values given the current state of
    all units (cause).
    """
    states, columns = 1, 0
    for i in range(units.shape[0]):
        states *= factors.levels[units[i]]
        columns += factors.levels[units[i]]
    effect, cause = np.empty((states, columns)), np.empty((states, columns))
    inner = np.empty(states, np.int64)
    column = ZERO_INT64
    for i in range(units.shape[0]):
        fill_unit_columns(units[i], units, factors, inner, effect, cause, column)
        column += factors.levels[units[i]]
    return effect, cause


@kernel
def fill_candidate_phi(effect, cause, levels, current, b, out):
    """Fill row b of ``out``, zeros, with phi of one candidate; see ``fill_candidate_phis``."""
    states = effect.shape[0]
    out.reason[b] = SYSTEM_UNREACHABLE
    if forward_probability(effect, levels, current).max() <= 0.0:
        return
    forward, mean, information = np.empty((2, states)), np.empty(states), np.zeros(states)
    code = fill_state_probabilities(effect, cause, levels, current, forward, mean)
    total, top = forward[0].sum(), forward[0].max()
    if total <= 0.0:
        return
    for z in range(states):
        if forward[1, z] > 0.0:
            information[z] = forward[1, z] * np.log2(forward[1, z] / (mean[z] / states))
    out.information[b, 0] = top / total * np.log2(top / (total / states))
    out.information[b, 1] = information.max()
    out.now[b, 0], out.now[b, 1] = forward[0, code], forward[1, code]
    if out.information[b, 0] <= PHI_ZERO_BITS:
        out.reason[b] = NO_CAUSE
    elif out.information[b, 1] <= PHI_ZERO_BITS:
        out.reason[b] = NO_EFFECT
    else:
        causes, effects = specified_states(forward[0], information)
        c_selectivity, e_selectivity = forward[0][causes] / total, forward[1][effects]
        fill_largest_phi(
            effect, cause, levels, current, causes, effects, c_selectivity, e_selectivity, b, out
        )


@merged
def fill_largest_phi(
    effect, cause, levels, current, causes, effects, c_selectivity, e_selectivity, b, out
):
    """Search every specified state of a candidate and combine them; fills row b of ``out``."""
    c_found, _, by_cut = direction_minima(
        cause, levels, current, causes, c_selectivity, IS_CAUSE, IS_NAMED
    )
    out.reason[b] = ZERO_CUT if by_cut else REDUCIBLE
    if (c_found.cost * c_selectivity).max() <= PHI_ZERO_BITS:
        return
    e_found, _, by_cut = direction_minima(
        effect, levels, current, effects, e_selectivity, IS_EFFECT, IS_NAMED
    )
    out.reason[b] = ZERO_CUT if by_cut else REDUCIBLE
    if (e_found.cost * e_selectivity).max() <= PHI_ZERO_BITS:
        return
    pairs = tied_state_pairs(c_found, e_found)
    k, j, out.n_tied_states[b] = pairs[0, 0], pairs[0, 1], pairs.shape[0]
    c_phi, e_phi = c_found.cost[k] * c_selectivity[k], e_found.cost[j] * e_selectivity[j]
    out.phi[b] = state_pair_phi(c_phi, c_found.pairs[k], e_phi, e_found.pairs[j])[0]
    out.selectivity[b, 0], out.selectivity[b, 1] = c_selectivity[k], e_selectivity[j]
    out.reason[b] = IRREDUCIBLE if out.phi[b] > PHI_ZERO_BITS else REDUCIBLE


@kernel
def fill_candidate_phis(candidates, begin, end, factors, out):
    """Fill phi_s of the candidates begin .. end - 1, IIT 4.0 (2023), mathematics.md 2.1, 8 and 9.

    candidates : (C, m) unit numbers, ascending, padded with -1
    out : zeros, row ``k - begin`` of candidate k; filled
    """
    for k in range(begin, end):
        n = 0
        while n < candidates.shape[1] and candidates[k, n] >= 0:
            n += 1
        units = candidates[k, :n].copy()
        levels, current = np.empty(n, np.int64), np.empty(n, np.int64)
        for i in range(n):
            levels[i], current[i] = factors.levels[units[i]], factors.state[units[i]]
        effect, cause = candidate_tables(units, factors)
        fill_candidate_phi(effect, cause, levels, current, k - begin, out)
