"""Conditional probability and marginal tables of many small systems in one call.

Substrates are given by whole tables, one after the other: ``tables`` holds for every state of the
substrate (little-endian) the values of all its units side by side. All systems of one call have
units with the same numbers of values, so that what belongs to a system is a row of an array.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.distributions import forward_probability, marginal_table
from iitdask.kernels.iit4.system_phi import (
    IRREDUCIBLE,
    MONAD_WITH_NO_SELFLOOP,
    NO_STRONG_CONNECTIVITY,
    SUBSTRATE_UNREACHABLE,
    SYSTEM_UNREACHABLE,
    decode_state,
    fill_state_probabilities,
)
from iitdask.kernels.jit import kernel
from iitdask.kernels.subsets import is_strongly_connected, state_codes, value_offsets


class BatchPoints(NamedTuple):
    """B candidate systems in states."""

    substrate: NDArray[np.int64]  # (B,) number of the substrate
    code: NDArray[np.int64]  # (B,) state of all its units, little-endian
    units: NDArray[np.int64]  # (B,) mask of the candidate's units


class BatchSubstrates(NamedTuple):
    """K substrates of at most N units, one after the other."""

    starts: NDArray[np.int64]  # (K + 1,) where the tables of each substrate begin
    n_units: NDArray[np.int64]  # (K,) how many units each has
    levels: NDArray[np.int64]  # (K, N) values of each unit
    effect: NDArray[np.float64]  # P(unit takes value | past state), the values of all together
    cause: NDArray[np.float64]  # the same for the cause side; the same array but for macro units
    children: NDArray[np.int64]  # (K, N) masks of the units that each unit feeds


class BatchSystems(NamedTuple):
    """Tables of B systems whose n units have the same numbers of values."""

    effect: NDArray[np.float64]  # (B, S, c) P(unit takes value | state), the outside as it is now
    cause: NDArray[np.float64]  # (B, S, c) the same, averaged over the past of the units outside
    current: NDArray[np.int64]  # (B, n) current state
    code: NDArray[np.int64]  # (B,) the same as a number
    children: NDArray[np.int64]  # (B, n) masks of the units that each unit feeds
    reason: NDArray[np.int64]  # (B,) why phi is 0 whatever the states are, see system_phi
    forward: NDArray[np.float64]  # (B, 2, S) p(current state | state), and p(state | current state)
    mean: NDArray[np.float64]  # (B, S) the latter, summed over all past states


class SystemShape(NamedTuple):
    """What systems of n units with the same numbers of values share."""

    levels: NDArray[np.int64]  # (n,) values per unit
    columns: NDArray[np.int64]  # (n + 1,) see subsets.value_offsets
    offsets: NDArray[np.int64]  # (2**n + 1,) see subsets.segment_offsets


class BatchMarginals(NamedTuple):
    """Marginal tables of B systems, see pair.MarginalTables."""

    codes: NDArray[np.int64]  # (B, 2**n) code of every subset in the current state
    cause: NDArray[np.float64]  # (B, n, codes) P(unit in its state | part of an earlier state)
    log_cause: NDArray[np.float64]  # (B, codes, n) log2 of the same
    effect: NDArray[np.float64]  # (B, codes, c) P(unit takes value | part of the present state)
    log_effect: NDArray[np.float64]  # (B, 2**n, c) log2 of ``effect`` at the current state


def make_batch_systems(count: int, levels: NDArray[np.int64]) -> BatchSystems:
    """Allocate the tables of B systems whose units have the same values, with zeros."""
    n, states, width = len(levels), int(levels.prod()), int(levels.sum())
    effect, cause = np.zeros((2, count, states, width))
    current, children = np.zeros((2, count, n), np.int64)
    code, reason = np.zeros((2, count), np.int64)
    forward, mean = np.zeros((count, 2, states)), np.zeros((count, states))
    return BatchSystems(effect, cause, current, code, children, reason, forward, mean)


def make_batch_marginals(count: int, shape: SystemShape) -> BatchMarginals:
    """Allocate the marginal tables of B systems, without the logarithms, not filled."""
    n, codes = len(shape.levels), int(shape.offsets[-1])
    return BatchMarginals(
        codes=np.empty((count, 1 << n), np.int64),
        cause=np.empty((count, n, codes)),
        log_cause=np.empty((0, codes, n)),
        effect=np.empty((count, codes, int(shape.columns[-1]))),
        log_effect=np.empty((0, 1 << n, int(shape.columns[-1]))),
    )


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
def condition_on_outside(all_effect, all_cause, levels, columns, state, units, effect, cause):
    """Fill both tables of a candidate with units outside, mathematics.md, Eq. (2.1) to (2.3).

    all_effect, all_cause : (S_N, c) tables of all units; state : (N,) current; units : mask
    effect, cause : (S, c') zeros, see candidate_phi.candidate_tables
    returns whether some past state leads to the current state of all units
    """
    total = all_cause.shape[0]
    inner, outer = np.empty(total, np.int64), np.empty(total, np.int64)
    outside = split_states(levels, units, inner, outer)
    posterior, whole = np.zeros(outside), 0.0
    likely = forward_probability(all_cause, levels, state)
    for x in range(total):
        posterior[outer[x]] += likely[x]
        whole += likely[x]
    if whole <= 0.0:
        return False
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
                    cause[inner[x], column] += share * all_cause[x, columns[j] + v]
                    if outer[x] == now:
                        effect[inner[x], column] = all_effect[x, columns[j] + v]
                    column += 1
    return True


@kernel
def read_state(code, units, levels, feeds, current, children):
    """Split the state of all N units; returns it, and the code of the candidate's own state.

    code, units : state and mask of the candidate; levels, feeds : (N,) values, children of all
    current, children : (n,) filled for the candidate's units
    """
    count = levels.shape[0]
    state = np.empty(count, np.int64)
    decode_state(code, levels, state)
    local, own, weight = 0, 0, 1
    for j in range(count):
        if units >> j & 1:
            current[local] = state[j]
            own += state[j] * weight
            weight *= levels[j]
            place = 0
            for i in range(count):
                if units >> i & 1:
                    children[local] |= (feeds[j] >> i & 1) << place
                    place += 1
            local += 1
    return state, own


@kernel
def disconnection_reason(children):
    """Why phi of a system is 0 whatever its states are, mathematics.md 8.1."""
    n = children.shape[0]
    connectivity = np.empty((n, n), np.bool_)
    for i in range(n):
        for j in range(n):
            connectivity[i, j] = children[i] >> j & 1
    if not is_strongly_connected(connectivity):
        return NO_STRONG_CONNECTIVITY
    if n == 1 and children[0] == 0:
        return MONAD_WITH_NO_SELFLOOP
    return IRREDUCIBLE


@kernel
def fill_system_tables(points, batch, own, out):
    """Fill tables, states and connections of systems.

    Parameters
    ----------
    points : BatchPoints, the systems
    batch : BatchSubstrates, the substrates
    own : (n,) int64, values of the systems' units
    out : BatchSystems, zeros; filled

    References
    ----------
    mathematics.md 2.1 and 8.1, Eq. (2.1) to (2.3).
    """
    n, states = own.shape[0], out.mean.shape[1]
    seen, seen_units, disconnection = -1, -1, IRREDUCIBLE
    for b in range(points.code.shape[0]):
        k, units = points.substrate[b], points.units[b]
        count = batch.n_units[k]
        levels = batch.levels[k, :count].copy()
        columns = value_offsets(levels)
        width = columns[count]
        all_effect = batch.effect[batch.starts[k] : batch.starts[k + 1]].reshape(-1, width)
        all_cause = batch.cause[batch.starts[k] : batch.starts[k + 1]].reshape(-1, width)
        current, children = out.current[b], out.children[b]
        state, out.code[b] = read_state(
            points.code[b], units, levels, batch.children[k], current, children
        )
        effect, cause = out.effect[b], out.cause[b]
        if count == n:
            for x in range(states):
                for c in range(width):
                    effect[x, c] = all_effect[x, c]
                    cause[x, c] = all_cause[x, c]
        elif not condition_on_outside(
            all_effect, all_cause, levels, columns, state, units, effect, cause
        ):
            out.reason[b] = SUBSTRATE_UNREACHABLE
            continue
        if forward_probability(effect, own, current).max() <= 0.0:
            out.reason[b] = SUBSTRATE_UNREACHABLE if count == n else SYSTEM_UNREACHABLE
            continue
        if k != seen or units != seen_units:
            seen, seen_units, disconnection = k, units, disconnection_reason(children)
        out.reason[b] = disconnection
        fill_state_probabilities(effect, cause, own, current, out.forward[b], out.mean[b])


@kernel
def fill_marginal_tables(systems, shape, out):
    """Fill the marginal tables of systems of one shape, the logarithms left out.

    Parameters
    ----------
    systems : BatchSystems, the systems
    shape : SystemShape, what they share
    out : BatchMarginals, filled

    References
    ----------
    mathematics.md 19, Eq. (19.1) and (19.2).
    """
    levels, columns, offsets = shape
    for b in range(systems.code.shape[0]):
        whole = out.effect[b]
        marginal_table(systems.cause[b], levels, offsets, whole)
        for i in range(levels.shape[0]):
            column = columns[i] + systems.current[b, i]
            for code in range(offsets[-1]):
                out.cause[b, i, code] = whole[code, column]
        marginal_table(systems.effect[b], levels, offsets, whole)
        out.codes[b] = state_codes(offsets, systems.current[b], levels.shape[0])


@kernel
def mark_reachable_states(tables, starts, begin, end, levels, out):
    """Mark, in ``out``, (S,) bool, every state that some state of one of the substrates leads to.

    tables : float64, of the substrates, one after the other; starts : (K + 1,) where each begins
    """
    columns, states = value_offsets(levels), out.shape[0]
    digits = np.empty(levels.shape[0], np.int64)
    for k in range(begin, end):
        table = tables[starts[k] : starts[k + 1]].reshape(states, -1)
        for target in range(states):
            if out[target]:
                continue
            decode_state(target, levels, digits)
            x = 0
            while x < states and not out[target]:
                out[target] = True
                for j in range(levels.shape[0]):
                    if table[x, columns[j] + digits[j]] <= 0.0:
                        out[target] = False
                x += 1
