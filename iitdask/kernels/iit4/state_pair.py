"""Pairs of a specified cause state and effect state: their phi, ties, and the named partition.

Each pair of tied states has its own phi_s, that of the direction with the smaller phi per severed
pair. The pair with the largest is named (mathematics.md 8.3, 8.4 and 21.5).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.iit4.system_partition import (
    candidate_sources,
    set_partition_minima,
    source_minima,
)
from iitdask.kernels.iit4.system_witness import (
    SUM_TOLERANCE_BITS,
    inputs_severed_by_key,
    is_key_at_least,
    optimal_partitions,
    partition_cost,
)
from iitdask.kernels.jit import inner, jitable, kernel
from iitdask.kernels.subsets import PHI_ZERO_BITS, phi_tolerance, popcount

RATIO_TIE_BITS = 1e-12  # up to which both normalized phi tie (mathematics.md 0.2)


class StateMinimum(NamedTuple):
    """Minimum partition of a system in one direction at one specified state."""

    cost: float  # Log-ratio at the minimum partition, bits before selectivity; 0 where reducible
    pairs: int  # Ordered pairs severed; the most among equal ratios
    ways: float  # Partitions that attain the minimum
    key: NDArray[np.uint64]  # (words,) the named partition, see system_witness
    selectivity: float  # Probability of the state, which weighs the costs


class SystemPhi(NamedTuple):
    """What is known of a system at one cause state and one effect state."""

    phi: float  # System integrated information, bits
    normalized: float  # The same per severed pair
    phi_cause: float  # Value of the cause side at the minimum partition, bits
    phi_effect: float  # Value of the effect side at the minimum partition, bits
    n_tied_partitions: float  # Partitions that attain the minimum, of each side; 0 if reducible
    are_sides_tied: bool  # Whether both sides decide: partitions common to them are counted twice
    severed: NDArray[np.int64]  # (n,) masks of the inputs each unit loses under the partition
    n_severed: int  # Ordered pairs that partition severs


@jitable
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


@inner
def fill_pair_phis(c_phi, c_pairs, e_phi, e_pairs, k, out):
    """Fill ``out[j]`` with phi of cause state k and each effect state; returns the largest."""
    top = 0.0
    for j in range(e_phi.shape[0]):
        out[j] = state_pair_phi(c_phi[k], c_pairs[k], e_phi[j], e_pairs[j])[0]
        top = max(top, out[j])
    return top


@kernel
def tied_state_pairs(cause, effect):
    """List the pairs of states that tie for the largest phi, cause states slowest.

    Parameters
    ----------
    cause, effect : DirectionMinima, of the specified states

    Returns
    -------
    (ties, 2) int64, positions of a cause and an effect state

    References
    ----------
    mathematics.md 8.4, Eq. (8.3).
    """
    c_phi, e_phi = np.empty(cause.cost.shape[0]), np.empty(effect.cost.shape[0])
    row, top = np.empty(e_phi.shape[0]), 0.0
    for k in range(c_phi.shape[0]):
        c_phi[k] = cause.cost[k] * cause.selectivity[k]
    for j in range(e_phi.shape[0]):
        e_phi[j] = effect.cost[j] * effect.selectivity[j]
    for k in range(c_phi.shape[0]):
        top = max(top, fill_pair_phis(c_phi, cause.pairs, e_phi, effect.pairs, k, row))
    least = top - phi_tolerance(top)
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


@kernel
def select_state_pair(cause, effect, cause_ranks, effect_ranks):
    """(cause state, effect state, number of pairs that tie for the largest phi), as positions.

    cause_ranks, effect_ranks : (m,) int64, places in the published order; of tied pairs the one
    with the smallest cause rank, then effect rank, then position is named (mathematics.md 8.4).
    """
    pairs = tied_state_pairs(cause, effect)
    best_k, best_j = pairs[0, 0], pairs[0, 1]
    for p in range(1, pairs.shape[0]):
        k, j = pairs[p, 0], pairs[p, 1]
        if cause_ranks[k] < cause_ranks[best_k] or (
            cause_ranks[k] == cause_ranks[best_k] and effect_ranks[j] < effect_ranks[best_j]
        ):
            best_k, best_j = k, j
    return best_k, best_j, pairs.shape[0]


@jitable
def count_common_minima(cause, effect, cause_costs, effect_costs):
    """How many partitions attain the minimum of both directions at once, mathematics.md 21.5."""
    if cause_costs.shape[0] == 1:
        return 1.0
    g = cause_costs * cause.selectivity + effect_costs * effect.selectivity
    ratio = cause.cost * cause.selectivity / cause.pairs
    ratio += effect.cost * effect.selectivity / effect.pairs
    whole, minima = set_partition_minima(g, ratio), np.empty(g.shape[1])
    source_minima(g, ratio, whole, candidate_sources(g, ratio), 0, g.shape[1], minima)
    if minima.min() > 4 * SUM_TOLERANCE_BITS:
        return 0.0
    pairs, ways, _ = optimal_partitions(g, ratio, whole, SUM_TOLERANCE_BITS, minima)
    return float(ways) if pairs == max(cause.pairs, effect.pairs) else 0.0


@jitable
def name_state_pair(cause, effect, n):
    """What ``describe_state_pair`` says of n units as far as no costs of cuts are needed for it."""
    c_phi, e_phi = cause.cost * cause.selectivity, effect.cost * effect.selectivity
    phi, by_cause, by_effect = state_pair_phi(c_phi, cause.pairs, e_phi, effect.pairs)
    from_cause = by_cause and (not by_effect or is_key_at_least(cause.key, effect.key))
    key = cause.key if from_cause else effect.key
    severed = inputs_severed_by_key(key, n)
    n_severed, ways = 0, 0.0
    for i in range(n):
        n_severed += popcount(severed[i])
    if phi > 0.0:
        ways = (cause.ways if by_cause else 0.0) + (effect.ways if by_effect else 0.0)
    pairs = cause.pairs if by_cause else effect.pairs
    is_tied = phi > 0.0 and by_cause and by_effect
    normalized = phi / pairs if pairs > 0 else 0.0
    return SystemPhi(phi, normalized, 0.0, 0.0, ways, is_tied, severed, n_severed)


@jitable
def describe_state_pair(cause, effect, cause_costs, effect_costs):
    """Name the minimum partition of one pair of specified states.

    Parameters
    ----------
    cause, effect : StateMinimum, of either state
    cause_costs, effect_costs : (n, 2**n) float64, see ``state_cut_costs``, at those states, bits

    Returns
    -------
    SystemPhi, phi, partition, and ties

    References
    ----------
    mathematics.md 8.2, 8.3 and 21.5, Eq. (8.1) to (8.3).
    """
    named = name_state_pair(cause, effect, cause_costs.shape[0])
    return SystemPhi(
        named.phi,
        named.normalized,
        max(0.0, cause.selectivity * partition_cost(cause_costs, named.severed)),
        max(0.0, effect.selectivity * partition_cost(effect_costs, named.severed)),
        named.n_tied_partitions,
        named.are_sides_tied,
        named.severed,
        named.n_severed,
    )
