"""System integrated information phi_s (IIT 4.0): specified states and their minimum partitions.

The analysis of one system, the evaluation of candidate systems and the batches of a sweep all go
through these kernels (mathematics.md 8): the probabilities of a system's states, the states that it
specifies, and the minimum partition at each of them in one direction. What a cause state and an
effect state make together is in :mod:`iitdask.kernels.iit4.state_pair`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.distributions import (
    forward_probability,
    make_product_scratch,
    state_marginals,
    sum_products,
)
from iitdask.kernels.iit4.system_partition import cut_costs, starting_partition
from iitdask.kernels.iit4.system_witness import minimum_partition
from iitdask.kernels.jit import ONE_INT64, ZERO_INT64, jitable, kernel
from iitdask.kernels.subsets import PHI_ZERO_BITS, STATE_TIE_BITS, STATE_TIE_RELATIVE, value_offsets

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


class DirectionMinima(NamedTuple):
    """Minimum partition of a system in one direction, at each of m specified states."""

    cost: NDArray[np.float64]  # (m,) minimum log-ratio, bits before selectivity; 0 where reducible
    pairs: NDArray[np.int64]  # (m,) ordered pairs severed; the most among equal ratios
    ways: NDArray[np.float64]  # (m,) partitions that attain the minimum
    key: NDArray[np.uint64]  # (m, words) the named partition, see system_witness
    selectivity: NDArray[np.float64]  # (m,) probability of the state, which weighs the costs


@kernel
def decode_state(code, levels, out):
    """Write the value of every unit in a state, mathematics.md, Eq. (0.1)."""
    for i in range(levels.shape[0]):
        out[i] = code % levels[i]
        code //= levels[i]


@kernel
def fill_state_probabilities(effect, cause, levels, current, forward, mean):
    """Fill the probabilities of a system's states.

    Parameters
    ----------
    effect, cause : (S, c) float64, P(unit takes value | state of the system)
    levels : (n,) int64, values per unit
    current : (n,) int64, current state
    forward : (2, S) float64, p(current state | state), cause side; p(state | current state); filled
    mean : (S,) float64, p(state | past state), summed over all past states; filled

    Returns
    -------
    int, code of the current state

    References
    ----------
    mathematics.md 3 and 20, Eq. (3.1) to (3.3).
    """
    n, states = levels.shape[0], forward.shape[1]
    columns, units, scratch = value_offsets(levels), np.arange(n), make_product_scratch(levels)
    likely, code, weight = forward_probability(cause, levels, current), ZERO_INT64, 1
    for x in range(states):
        forward[0, x] = likely[x]
    for i in range(n):
        code += current[i] * weight
        weight *= levels[i]
    count, last = np.int64(n), np.int64(states)
    sum_products(effect, code, code + 1, levels, columns, units, count, scratch, forward[1])
    sum_products(effect, ZERO_INT64, last, levels, columns, units, count, scratch, mean)
    return code


@kernel
def positions_of(values, least):
    """Positions of the values that are at least so large; (m,) int64."""
    count = 0
    for z in range(values.shape[0]):
        count += values[z] >= least
    out, count = np.empty(count, np.int64), 0
    for z in range(values.shape[0]):
        if values[z] >= least:
            out[count] = z
            count += 1
    return out


@kernel
def specified_states(likelihood, information):
    """Find the cause and the effect states of largest intrinsic information, all ties kept.

    The information of a cause grows with its likelihood, which needs no logarithm.

    Parameters
    ----------
    likelihood : (S,) float64, p(current state | state)
    information : (S,) float64, intrinsic information of the effect states, bits

    Returns
    -------
    causes : (m,) int64, codes, ascending
    effects : (k,) int64, codes, ascending

    References
    ----------
    mathematics.md 4, Eq. (4.1) and (4.2).
    """
    most = information.max()
    least = most - STATE_TIE_RELATIVE * abs(most) - STATE_TIE_BITS
    causes = positions_of(likelihood, likelihood.max() * (1.0 - STATE_TIE_RELATIVE))
    return causes, positions_of(information, least)


@jitable
def state_cut_costs(table, levels, current, state, is_cause):
    """Compute what each unit loses with each set of severed inputs, at a specified state.

    Parameters
    ----------
    table : (S, c) float64, P(unit takes value | state) of the direction
    levels : (n,) int64, values per unit
    current : (n,) int64, current state
    state : int, code of the specified state
    is_cause : bool, whether it is a cause

    Returns
    -------
    (n, 2**n) float64, see ``cut_costs``, bits

    References
    ----------
    mathematics.md 21.1, Eq. (21.1) and (21.2).
    """
    other = np.empty(levels.shape[0], np.int64)
    decode_state(state, levels, other)
    source, target = (other, current) if is_cause else (current, other)
    return cut_costs(state_marginals(table, levels, source), value_offsets(levels), target)


@kernel
def have_equal_values(one, other):
    """Whether two (r, c) tables agree; np.array_equal takes seconds to compile."""
    for i in range(one.shape[0]):
        for k in range(one.shape[1]):
            if one[i, k] != other[i, k]:
                return False
    return True


@kernel
def direction_minima(table, levels, current, states, selectivity, is_cause, is_named):
    """Find the minimum partition at each specified state of one direction.

    Symmetric systems specify many states with the same costs: a run of equal ones is searched once.
    A minimum partition loses at most what any one partition loses. So when a cut between two
    blocks, or the complete partition, loses nothing, phi is 0. Unless the partition is to be named
    the search over all partitions is left out then: 2**n cuts instead of 4**n steps.

    Parameters
    ----------
    table : (S, c) float64, P(unit takes value | state) of the direction
    levels : (n,) int64, values per unit
    current : (n,) int64, current state
    states : (m,) int64, codes of the specified states
    selectivity : (m,) float64, their probabilities
    is_cause : bool, whether they are causes
    is_named : bool, whether reducible systems need their partition, too

    Returns
    -------
    found : DirectionMinima, the minima
    costs : (m, n, 2**n) or (0, n, 2**n) float64, see ``cut_costs``; where partitions are named
    is_shown : bool, whether two-block cuts alone show that phi is 0 at every state

    References
    ----------
    mathematics.md 8.2, 8.3 and 21, Eq. (8.1) to (8.3).
    """
    n, count, words = levels.shape[0], states.shape[0], (levels.shape[0] ** 2 + 63) // 64
    found = DirectionMinima(
        np.zeros(count),
        np.ones(count, np.int64),
        np.ones(count),
        np.zeros((count, words), np.uint64),
        selectivity,
    )
    kept = np.empty((count if is_named else 0, n, 1 << n))
    previous, key, is_shown = np.empty((0, 0)), np.zeros(words, np.uint64), True
    cost, pairs, ways, by_cut = 0.0, ONE_INT64, 1.0, True
    for k in range(count):
        costs = state_cut_costs(table, levels, current, states[k], is_cause)
        if k == 0 or selectivity[k] != selectivity[k - 1] or not have_equal_values(costs, previous):
            zero = PHI_ZERO_BITS / selectivity[k]
            cost, pairs = 0.0, ONE_INT64
            by_cut = n > 1 and not is_named and starting_partition(costs)[1] <= zero
            if not by_cut:
                cost, pairs, ways, key = minimum_partition(costs, zero)
                by_cut = n == 1 and cost <= zero
            is_shown = is_shown and by_cut
        found.cost[k] = cost if cost * selectivity[k] > PHI_ZERO_BITS else 0.0
        found.pairs[k], found.ways[k] = pairs, ways
        for w in range(words):
            found.key[k, w] = key[w]
        if is_named:
            for i in range(n):
                for cut in range(1 << n):
                    kept[k, i, cut] = costs[i, cut]
        previous = costs
    return found, kept, is_shown
