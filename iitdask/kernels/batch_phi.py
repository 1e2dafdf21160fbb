"""System phi of many small systems in one call, with tied states ordered as published.

Where units can be exchanged, the published rule (mathematics.md 8.4) writes the substrate in every
numbering of its units that keeps the declared graph, takes the numberings with the smallest form,
and names the pair of states that is smallest in one of those.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.iit4.state_pair import (
    StateMinimum,
    count_common_minima,
    describe_state_pair,
    select_state_pair,
)
from iitdask.kernels.iit4.system_phi import (
    IRREDUCIBLE,
    NO_CAUSE,
    NO_EFFECT,
    REDUCIBLE,
    UNREACHABLE,
    decode_state,
    direction_minima,
    specified_states,
)
from iitdask.kernels.jit import FALSE, TRUE, ZERO_INT64, kernel, merged
from iitdask.kernels.subsets import PHI_ZERO_BITS

MAX_RELABELLED_UNITS = 8  # Units up to which the published rule tries all renumberings
IS_CAUSE, IS_EFFECT, IS_NAMED = TRUE, FALSE, TRUE


class BatchPhis(NamedTuple):
    """phi_s of B systems and what names it; columns of two are the cause and the effect side."""

    phi: NDArray[np.float64]  # (B,) phi_s, bits; nan where a state is unreachable
    normalized: NDArray[np.float64]  # (B,) the same per severed pair
    phi_sides: NDArray[np.float64]  # (B, 2) at the minimum partition, bits; nan where there is none
    n_tied_partitions: NDArray[np.float64]  # (B,) partitions that attain the minimum
    n_severed: NDArray[np.int64]  # (B,) ordered pairs that the minimum partition severs
    reason: NDArray[np.int64]  # (B,) why phi is 0, see system_phi
    n_tied_states: NDArray[np.int64]  # (B,) pairs tied for the largest phi; 0: none was searched
    states: NDArray[np.int64]  # (B, 2) named states, -1 where none is specified
    selectivity: NDArray[np.float64]  # (B, 2) probabilities of the named states
    information: NDArray[np.float64]  # (B, 2) intrinsic information of the specified states, bits
    now: NDArray[np.float64]  # (B, 2) p(current state | current state)


def make_batch_phis(count: int) -> BatchPhis:
    """Allocate the outputs of B systems, nan, -1 and 0 as where a state is unreachable."""
    phi, normalized = np.full((2, count), np.nan)
    phi_sides, information = np.full((2, count, 2), np.nan)
    n_severed, reason, n_tied_states = np.zeros((3, count), np.int64)
    states, (selectivity, now) = np.full((count, 2), -1), np.zeros((2, count, 2))
    minimum = (phi, normalized, phi_sides, np.zeros(count), n_severed, reason)
    return BatchPhis(*minimum, n_tied_states, states, selectivity, information, now)


@kernel
def byte_order_keys(table, levels):
    """Rounded probabilities, (S, n, most), as numbers that order as the published bytes do."""
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
    n, base, best = levels.shape[0], levels.max(), np.int64(-1)
    digits = np.empty(n, np.int64)
    decode_state(code, levels, digits)
    for f in range(forms.shape[0]):
        rank = ZERO_INT64
        for a in range(n):
            rank = rank * base + digits[forms[f, a]]
        if best < 0 or rank < best:
            best = rank
    return best


@merged
def fill_named_pair(b, systems, own, causes, effects, total, c_ranks, e_ranks, out):
    """Search all specified states of one system and name the answer in row b of ``out``."""
    levels, current = own, systems.current[b]
    c_selectivity = systems.forward[b, 0][causes] / total
    e_selectivity = systems.forward[b, 1][effects]
    c_found, c_costs, _ = direction_minima(
        systems.cause[b], levels, current, causes, c_selectivity, IS_CAUSE, IS_NAMED
    )
    e_found, e_costs, _ = direction_minima(
        systems.effect[b], levels, current, effects, e_selectivity, IS_EFFECT, IS_NAMED
    )
    k, j, n_ties = 0, 0, 1
    if causes.shape[0] * effects.shape[0] > 1:
        k, j, n_ties = select_state_pair(c_found, e_found, c_ranks, e_ranks)
    out.n_tied_states[b] = n_ties
    cause = StateMinimum(
        c_found.cost[k], c_found.pairs[k], c_found.ways[k], c_found.key[k], c_selectivity[k]
    )
    effect = StateMinimum(
        e_found.cost[j], e_found.pairs[j], e_found.ways[j], e_found.key[j], e_selectivity[j]
    )
    found = describe_state_pair(cause, effect, c_costs[k], e_costs[j])
    ways = found.n_tied_partitions
    if found.are_sides_tied:
        ways -= count_common_minima(cause, effect, c_costs[k], e_costs[j])
    out.phi[b], out.normalized[b] = found.phi, found.normalized
    out.phi_sides[b, 0], out.phi_sides[b, 1] = found.phi_cause, found.phi_effect
    out.n_tied_partitions[b], out.n_severed[b] = ways, found.n_severed
    out.states[b, 0], out.states[b, 1] = causes[k], effects[j]
    out.selectivity[b, 0], out.selectivity[b, 1] = c_selectivity[k], e_selectivity[j]
    out.reason[b] = REDUCIBLE if found.phi == 0.0 else IRREDUCIBLE


@kernel
def fill_system_phis(points, batch, own, systems, totals, information, out):
    """Fill phi_s of systems and what names it, IIT 4.0 (2023).

    Parameters
    ----------
    points : BatchPoints, the systems
    batch : BatchSubstrates, the substrates
    own : (n,) int64, values of the systems' units
    systems : BatchSystems, see ``fill_system_tables``
    totals : (B,) float64, sum over the states of p(current state | state)
    information : (B, 2, S) float64, intrinsic information of every state, bits
    out : BatchPhis, as ``make_batch_phis`` makes it; filled

    References
    ----------
    mathematics.md 8 and 8.4, Eq. (8.1) to (8.4).
    """
    n = own.shape[0]
    seen, forms = np.int64(-1), np.empty((0, n), np.int64)
    unranked = np.zeros(information.shape[2], np.int64)
    for b in range(points.code.shape[0]):
        k, reason = points.substrate[b], systems.reason[b]
        out.reason[b] = reason
        if reason & UNREACHABLE:
            continue
        out.phi[b], out.normalized[b] = 0.0, 0.0
        causes, effects = specified_states(systems.forward[b, 0], information[b, 1])
        out.states[b, 0], out.states[b, 1] = causes[0], effects[0]
        if reason != IRREDUCIBLE:
            continue
        for side in range(2):
            out.now[b, side] = systems.forward[b, side, systems.code[b]]
        out.information[b, 0] = information[b, 0, causes[0]]
        out.information[b, 1] = information[b, 1].max()
        if out.information[b, 0] <= PHI_ZERO_BITS:
            reason |= NO_CAUSE
        if out.information[b, 1] <= PHI_ZERO_BITS:
            reason |= NO_EFFECT
        out.reason[b] = reason
        if reason != IRREDUCIBLE:
            continue
        c_ranks, e_ranks = unranked, unranked
        is_whole = batch.n_units[k] == n
        if causes.shape[0] * effects.shape[0] > 1 and is_whole and n <= MAX_RELABELLED_UNITS:
            if k != seen:
                seen, forms = k, canonical_relabellings(systems.effect[b], own, systems.children[b])
            c_ranks = np.zeros(causes.shape[0], np.int64)
            e_ranks = np.zeros(effects.shape[0], np.int64)
            for c in range(causes.shape[0]):
                c_ranks[c] = canonical_state_rank(causes[c], own, forms)
            for e in range(effects.shape[0]):
                e_ranks[e] = canonical_state_rank(effects[e], own, forms)
        fill_named_pair(b, systems, own, causes, effects, totals[b], c_ranks, e_ranks, out)
