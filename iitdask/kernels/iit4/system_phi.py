"""System integrated information phi_s (IIT 4.0): specified states, minimum partitions, ties.

The analysis of one system, the evaluation of candidate systems and the batches of a sweep all go
through these kernels (mathematics.md 8): the probabilities of a system's states, the states that it
specifies, the minimum partition at each of them in one direction, the phi of a cause state with an
effect state, and everything that names the pair with the largest phi.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.distributions import forward_probability, state_marginals, sum_all_products
from iitdask.kernels.iit4.system_partition import (
    candidate_sources,
    cut_costs,
    set_partition_minima,
    source_minima,
    starting_partition,
)
from iitdask.kernels.iit4.system_witness import (
    SUM_TOLERANCE_BITS,
    inputs_severed_by_key,
    is_key_at_least,
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
    "CAPPED",
    "IRREDUCIBLE",
    "MONAD_WITH_NO_SELFLOOP",
    "NO_CAUSE",
    "NO_EFFECT",
    "NO_STRONG_CONNECTIVITY",
    "REDUCIBLE",
    "SUBSTRATE_UNREACHABLE",
    "SYSTEM_UNREACHABLE",
    "UNREACHABLE",
    "ZERO_CUT",
    "DirectionMinima",
    "SystemPhi",
    "describe_state_pair",
    "direction_minima",
    "fill_state_probabilities",
    "select_state_pair",
    "specified_states",
    "state_cut_costs",
    "tied_state_pairs",
]

# Why phi_s is 0, one bit each; iitdask.theory.reasons has the texts. NO_CAUSE and NO_EFFECT can
# come together, every other reason is alone.
IRREDUCIBLE = 0
NO_STRONG_CONNECTIVITY = 1
MONAD_WITH_NO_SELFLOOP = 2
SUBSTRATE_UNREACHABLE = 4  # no past state of all units leads to the current one
SYSTEM_UNREACHABLE = 8  # none of the system's own units, with the outside as it is
NO_CAUSE = 16
NO_EFFECT = 32
ZERO_CUT = 64  # a cut between two blocks alone shows that phi is 0
REDUCIBLE = 128
CAPPED = 256
UNREACHABLE = SUBSTRATE_UNREACHABLE | SYSTEM_UNREACHABLE

RATIO_TIE_BITS = 1e-12
"""Difference up to which the normalized phi of the two directions ties (mathematics.md 0.2)."""
# NumPy value, so that numba compiles one function and not one per literal
ZERO_INT64 = np.int64(0)


class DirectionMinima(NamedTuple):
    """Minimum partition of a system in one direction, at each of m specified states."""

    cost: NDArray[np.float64]
    """(m,) log-ratio at the minimum partition, bits before selectivity; 0 where reducible."""
    pairs: NDArray[np.int64]
    """(m,) ordered pairs severed; the most among equal ratios."""
    ways: NDArray[np.float64]
    """(m,) partitions that attain the minimum."""
    key: NDArray[np.uint64]
    """(m, words) the named partition, see system_witness."""
    selectivity: NDArray[np.float64]
    """(m,) probability of the state, which weighs the costs."""


class SystemPhi(NamedTuple):
    """What is known of a system at one cause state and one effect state."""

    phi: float
    """System integrated information, bits."""
    normalized: float
    """The same per severed pair."""
    phi_cause: float
    """Value of the cause side at the minimum partition, bits."""
    phi_effect: float
    """Value of the effect side at the minimum partition, bits."""
    n_tied_partitions: float
    """Partitions that attain the minimum; 0 where the system is reducible."""
    severed: NDArray[np.int64]
    """(n,) masks of the inputs each unit loses under the minimum partition."""
    n_severed: int
    """Ordered pairs that partition severs."""


@kernel
def decode_state(code, levels, out):
    """Write the value of every unit in a state, mathematics.md, Eq. (0.1)."""
    for i in range(levels.shape[0]):
        out[i] = code % levels[i]
        code //= levels[i]


@kernel
def fill_state_probabilities(effect, cause, levels, current, forward, mean):
    """Fill the probabilities of a system's states, mathematics.md, Eq. (3.1) and (3.2).

    effect, cause : (S, c) float64  P(unit takes value | state of the system)
    levels  : (n,) int64    values per unit
    current : (n,) int64    current state
    forward : (2, S) filled p(current state | state), cause side; p(state | current state)
    mean    : (S,) filled   p(state | past state), summed over all past states
    returns the code of the current state
    """
    code, weight = ZERO_INT64, 1
    for i in range(levels.shape[0]):
        code += current[i] * weight
        weight *= levels[i]
    likely = forward_probability(cause, levels, current)
    for x in range(likely.shape[0]):
        forward[0, x] = likely[x]
    sum_all_products(effect, code, code + 1, levels, forward[1])
    sum_all_products(effect, ZERO_INT64, np.int64(effect.shape[0]), levels, mean)
    return code


@kernel
def specified_states(likelihood, information):
    """Find the cause and the effect states of largest intrinsic information, all ties kept.

    likelihood  : (S,) float64  p(current state | state)
    information : (S,) float64  intrinsic information of the effect states, bits
    returns two (m,) int64 arrays in state order, mathematics.md 4. The information of a cause grows
    with its likelihood, which needs no logarithm.
    """
    most = information.max()
    least = most - STATE_TIE_RELATIVE * abs(most) - STATE_TIE_BITS
    causes = np.flatnonzero(likelihood >= likelihood.max() * (1.0 - STATE_TIE_RELATIVE))
    return causes, np.flatnonzero(information >= least)


@kernel
def state_cut_costs(table, levels, current, state, is_cause):
    """Bits each unit loses with each set of severed inputs, at one specified state.

    table : (S, c) float64  of the direction; state : code; returns (n, 2**n), see ``cut_costs``
    """
    other = np.empty(levels.shape[0], np.int64)
    decode_state(state, levels, other)
    source, target = (other, current) if is_cause else (current, other)
    return cut_costs(state_marginals(table, levels, source), value_offsets(levels), target)


@kernel
def direction_minimum(costs, zero, is_named, key):
    """(cost, severed pairs, ways, whether one cut alone shows that phi is 0); fills ``key``.

    costs : (n, 2**n) float64; zero : a cost up to this is no cost
    A minimum partition loses at most what any one partition loses. So when a cut between two
    blocks, or the complete partition, loses nothing, phi is 0. Unless the partition is to be named
    the search over all partitions is left out then: 2**n cuts instead of 4**n steps.
    """
    if costs.shape[0] == 1:
        key[0] = np.uint64(1) << np.uint64(63)
        return costs[0, 1], 1, 1.0, costs[0, 1] <= zero
    if not is_named and starting_partition(costs)[1] <= zero:
        return 0.0, 1, 0.0, True
    cost, pairs, ways, named, _ = minimum_partition(costs, zero)
    for w in range(named.shape[0]):
        key[w] = named[w]
    return cost, pairs, ways, False


@kernel
def direction_minima(table, levels, current, states, selectivity, is_cause, is_named):
    """Find the minimum partition at each specified state of one direction.

    table       : (S, c) float64  of this direction
    states      : (m,) int64      specified states, in state order
    selectivity : (m,) float64    their probabilities
    is_named    : bool            whether reducible systems need their partition, too
    returns DirectionMinima, the costs (m, n, 2**n) where partitions are named, else (0, n, 2**n),
    and whether two-block cuts alone show that phi is 0 at every state. Symmetric systems specify
    many states with the same costs: a run of equal ones is searched once.

    References: mathematics.md 8.2 and 8.3, Eq. (8.1) to (8.3).
    """
    n, count = levels.shape[0], states.shape[0]
    found = DirectionMinima(
        np.zeros(count),
        np.ones(count, np.int64),
        np.ones(count),
        np.zeros((count, (n * n + 63) // 64), np.uint64),
        selectivity,
    )
    kept = np.empty((count if is_named else 0, n, 1 << n))
    previous, is_shown = np.empty((0, 0)), True
    for k in range(count):
        weight = selectivity[k]
        costs = state_cut_costs(table, levels, current, states[k], is_cause)
        if k > 0 and weight == selectivity[k - 1] and np.array_equal(costs, previous):
            found.cost[k], found.pairs[k] = found.cost[k - 1], found.pairs[k - 1]
            found.ways[k] = found.ways[k - 1]
            found.key[k] = found.key[k - 1]
        else:
            cost, pairs, ways, by_cut = direction_minimum(
                costs, PHI_ZERO_BITS / weight, is_named, found.key[k]
            )
            found.cost[k] = cost if cost * weight > PHI_ZERO_BITS else 0.0
            found.pairs[k], found.ways[k] = pairs, ways
            is_shown = is_shown and by_cut
        previous = costs
        if is_named:
            kept[k] = costs
    return found, kept, is_shown


@kernel
def state_pair_phi(cause_phi, cause_pairs, effect_phi, effect_pairs):
    """(phi, whether the cause side decides, whether the effect side does) of a pair of states.

    The direction with the smaller phi per severed pair decides; where these tie, the partition
    that severs more has the larger phi. mathematics.md, Eq. (8.3).
    """
    if cause_phi <= PHI_ZERO_BITS or effect_phi <= PHI_ZERO_BITS:
        return 0.0, cause_phi <= PHI_ZERO_BITS, effect_phi <= PHI_ZERO_BITS
    cause_ratio, effect_ratio = cause_phi / cause_pairs, effect_phi / effect_pairs
    if abs(cause_ratio - effect_ratio) <= RATIO_TIE_BITS:
        by_cause, by_effect = cause_pairs >= effect_pairs, effect_pairs >= cause_pairs
    else:
        by_cause, by_effect = cause_ratio < effect_ratio, effect_ratio < cause_ratio
    return (cause_phi if by_cause else effect_phi), by_cause, by_effect


@kernel
def fill_pair_phis(c_phi, c_pairs, e_phi, e_pairs, k, out):
    """Fill ``out[j]`` with phi of cause state k and each effect state; returns the largest."""
    top = 0.0
    for j in range(e_phi.shape[0]):
        out[j] = state_pair_phi(c_phi[k], c_pairs[k], e_phi[j], e_pairs[j])[0]
        top = max(top, out[j])
    return top


@kernel
def least_tied_phi(c_phi, c_pairs, e_phi, e_pairs, row):
    """Least phi that ties with the largest of all pairs of states; row : (m,) scratch."""
    top = 0.0
    for k in range(c_phi.shape[0]):
        top = max(top, fill_pair_phis(c_phi, c_pairs, e_phi, e_pairs, k, row))
    return top - phi_tolerance(top)


@kernel
def select_state_pair(cause, effect, cause_ranks, effect_ranks):
    """(cause state, effect state, number of pairs that tie for the largest phi).

    cause, effect : DirectionMinima
    cause_ranks, effect_ranks : (m,) int64, places in the published order; of tied pairs the one
    with the smallest cause rank, then effect rank is named, of equal ones the first.
    The states are given by their position. mathematics.md 8.4.
    """
    c_phi, e_phi = cause.cost * cause.selectivity, effect.cost * effect.selectivity
    row = np.empty(e_phi.shape[0])
    least = least_tied_phi(c_phi, cause.pairs, e_phi, effect.pairs, row)
    n_ties, best_k, best_j = 0, -1, -1
    for k in range(c_phi.shape[0]):
        fill_pair_phis(c_phi, cause.pairs, e_phi, effect.pairs, k, row)
        for j in range(e_phi.shape[0]):
            if row[j] < least:
                continue
            n_ties += 1
            is_better = best_k < 0 or cause_ranks[k] < cause_ranks[best_k]
            if not is_better and cause_ranks[k] == cause_ranks[best_k]:
                is_better = effect_ranks[j] < effect_ranks[best_j]
            if is_better:
                best_k, best_j = k, j
    return best_k, best_j, n_ties


@kernel
def tied_state_pairs(cause, effect):
    """List the pairs of states that tie for the largest phi, by position; (ties, 2) int64."""
    c_phi, e_phi = cause.cost * cause.selectivity, effect.cost * effect.selectivity
    row = np.empty(e_phi.shape[0])
    least = least_tied_phi(c_phi, cause.pairs, e_phi, effect.pairs, row)
    n_ties, out = 0, np.empty((0, 2), np.int64)
    for is_counted in (False, True):
        if is_counted:
            out, n_ties = np.empty((n_ties, 2), np.int64), 0
        for k in range(c_phi.shape[0]):
            fill_pair_phis(c_phi, cause.pairs, e_phi, effect.pairs, k, row)
            for j in range(e_phi.shape[0]):
                if row[j] >= least:
                    if is_counted:
                        out[n_ties, 0], out[n_ties, 1] = k, j
                    n_ties += 1
    return out


@merged
def count_common_minima(c_costs, c_weight, c_ratio, e_costs, e_weight, e_ratio, most):
    """How many partitions attain the minimum of both directions at once, mathematics.md 21.5."""
    g, ratio = c_costs * c_weight + e_costs * e_weight, c_ratio + e_ratio
    whole, minima = set_partition_minima(g, ratio), np.empty(g.shape[1])
    source_minima(g, ratio, whole, candidate_sources(g, ratio), 0, g.shape[1], minima)
    if minima.min() > 4 * SUM_TOLERANCE_BITS:
        return 0.0
    pairs, ways, _ = optimal_partitions(g, ratio, whole, SUM_TOLERANCE_BITS, minima)
    return ways if pairs == most else 0.0


@kernel
def describe_state_pair(cause, effect, k, j, cause_costs, effect_costs):
    """Name the minimum partition of one pair of specified states; returns SystemPhi.

    cause, effect : DirectionMinima; k, j : positions of the cause and the effect state
    cause_costs, effect_costs : (n, 2**n) float64, see ``state_cut_costs``, at those states
    """
    n = cause_costs.shape[0]
    c_weight, e_weight = cause.selectivity[k], effect.selectivity[j]
    c_phi, e_phi = cause.cost[k] * c_weight, effect.cost[j] * e_weight
    c_pairs, e_pairs = cause.pairs[k], effect.pairs[j]
    phi, by_cause, by_effect = state_pair_phi(c_phi, c_pairs, e_phi, e_pairs)
    from_cause = by_cause and (not by_effect or is_key_at_least(cause.key[k], effect.key[j]))
    key = cause.key[k] if from_cause else effect.key[j]
    severed = inputs_severed_by_key(key, n) if n > 1 else np.ones(1, np.int64)
    c_ratio, e_ratio = c_phi / c_pairs, e_phi / e_pairs
    n_severed, ways = 0, 0.0
    for i in range(n):
        n_severed += popcount(severed[i])
    if phi > 0.0:
        ways = (cause.ways[k] if by_cause else 0.0) + (effect.ways[j] if by_effect else 0.0)
        if by_cause and by_effect:
            if n == 1:
                ways -= 1.0
            else:
                most = max(c_pairs, e_pairs)
                ways -= count_common_minima(
                    cause_costs, c_weight, c_ratio, effect_costs, e_weight, e_ratio, most
                )
    normalized = c_ratio if by_cause else e_ratio
    return SystemPhi(
        phi,
        normalized if phi > 0.0 else 0.0,
        max(0.0, c_weight * partition_cost(cause_costs, severed)),
        max(0.0, e_weight * partition_cost(effect_costs, severed)),
        ways,
        severed,
        n_severed,
    )
