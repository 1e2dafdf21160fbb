"""Ranges of mechanisms, and chosen pairs in detail, from local tables: the entries from Python."""

from typing import NamedTuple

import numpy as np

from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE, ON_EFFECT
from iitdask.kernels.jit import FALSE, inner, leaf, merged
from iitdask.kernels.sparse.cause_purviews import (
    CauseScratch,
    best_local_causes,
    bound_cause_branches,
    enter_cause_branch,
    make_cause_scratch,
    prepare_causes,
)
from iitdask.kernels.sparse.cause_states import (
    choose_cause_purview,
    choose_cause_state,
    list_cause_states,
)
from iitdask.kernels.sparse.effect_purviews import (
    EffectScratch,
    best_local_effects,
    choose_effect_state,
    choose_purview,
    find_states,
    make_effect_scratch,
    prepare_effects,
)
from iitdask.kernels.sparse.effect_states import StateScratch, make_state_scratch
from iitdask.kernels.sparse.elimination import Elimination, make_elimination
from iitdask.kernels.sparse.local_pair_costs import LocalCosts, make_local_costs
from iitdask.kernels.sparse.local_partition import minimum_local_partition, name_local_partition
from iitdask.kernels.sparse.local_tables import SparseNetwork
from iitdask.kernels.sparse.tied_purviews import TiedPurviews, make_tied_purviews
from iitdask.kernels.subsets import PHI_ZERO_BITS, phi_tolerance

FIRST_CAPACITY = 1 << 10  # tied states for which there is scratch at first


class LocalScratch(NamedTuple):
    """Working memory of the search from local tables, one for each thread."""

    effects: EffectScratch
    causes: CauseScratch
    costs: LocalCosts
    elimination: Elimination
    states: StateScratch
    ties: TiedPurviews


def make_local_scratch(
    net: SparseNetwork, states: int, most: int, capacity: int = FIRST_CAPACITY
) -> LocalScratch:
    """Allocate the working memory of a search.

    states : of the widest frontier; most : tied purviews that are listed; capacity : tied states
    """
    n, values = len(net.levels), net.effect.probability.shape[1]
    inputs = max(net.effect.inputs.shape[1], net.cause.inputs.shape[1])
    return LocalScratch(
        make_effect_scratch(n, values, inputs),
        make_cause_scratch(n, inputs, states),
        make_local_costs(n, inputs),
        make_elimination(n, states),
        make_state_scratch(n, capacity),
        make_tied_purviews(most),
    )


@merged
def search_side(net, work, side, mechanism, known, tally):
    """Largest phi of one mechanism in one direction; its purviews are left in ``work.ties``."""
    c, t, ties = work.costs, work.states, work.ties
    if side == ON_CAUSE:
        return best_local_causes(net, work.causes, c, t, mechanism, known, ties, tally)
    w = work.elimination
    return best_local_effects(net, work.effects, c, w, t, mechanism, known, ties, tally)


@leaf
def search_local_mechanisms(net, work, mechanisms, known, start, phis, counts, purviews, tally):
    """Search the purviews of mechanisms, effects first: causes only of those that have effects.

    Parameters
    ----------
    net : SparseNetwork
    work : LocalScratch
    mechanisms : (m,) int64, masks of connected mechanisms
    known : (2, m) float64, a phi that is known to be attained, or 0, bits
    start : int, where to begin
    phis : (2, m) float64, largest phi as cause and as effect, bits; filled. A cause that is not
        searched has phi 0
    counts : (2, m) int64, how many purviews attain it; filled
    purviews : (2, m, T) int64, the first T of them; filled
    tally : (2, m, 4) int64, purviews and branches, searches and nodes of partitions; filled

    Returns
    -------
    int, the mechanism for whose tied states there was no room, or m

    References
    ----------
    mathematics.md 27.
    """
    for k in range(start, mechanisms.shape[0]):
        for turn in range(2):
            row, side = (1, ON_EFFECT) if turn == 0 else (0, ON_CAUSE)
            phis[row, k], counts[row, k] = 0.0, 0
            if row == 0 and phis[1, k] <= 0.0:
                continue
            work.states.overflow[0] = 0
            work.costs.tally[0], work.costs.tally[1] = 0, 0
            steps = tally[row, k]
            steps[0], steps[1] = 0, 0
            phi = search_side(net, work, side, mechanisms[k], known[row, k], steps)
            if work.states.overflow[0] != 0:
                return k
            steps[2], steps[3] = work.costs.tally[0], work.costs.tally[1]
            phis[row, k], counts[row, k] = phi, work.ties.found[0]
            for p in range(min(work.ties.found[0], purviews.shape[2])):
                purviews[row, k, p] = work.ties.purviews[p]
    return mechanisms.shape[0]


@merged
def open_effect(net, work, mechanism, purview):
    """Find the specified states of an effect; (users, elements, states, information)."""
    s, c, w, t = work.effects, work.costs, work.elimination, work.states
    elements, count, _ = prepare_effects(net, s, c, w, mechanism)
    kept = 0
    for k in range(count):
        kept |= (purview >> s.candidates[k] & 1) << k
    users = choose_purview(net, s, c, t, count, kept)
    information, states = find_states(net, s, c, w, t, users, elements)
    for u in range(users):
        c.units[0, u] = net.units[s.candidates[s.member[u]]]
    for i in range(net.levels.shape[0]):
        if mechanism >> i & 1:
            c.units[1, s.position[i]] = net.units[i]
    return users, elements, states, information


@merged
def open_cause(net, work, mechanism, purview):
    """Find the specified states of a cause; (users, elements, states, information)."""
    s, c, t = work.causes, work.costs, work.states
    users, count, alone = prepare_causes(net, s, mechanism)
    for depth in range(count):
        take = purview >> s.candidates[depth] & 1
        bound_cause_branches(net, s, depth, users, count, alone, -1.0)
        enter_cause_branch(s, depth, take)
    elements = choose_cause_purview(net, s, c, t, users, count, s.kept[count])
    branch = s.branch[count]
    top, total = s.tops[count, branch, 0], s.sums[count, branch, 0]
    states = list_cause_states(net, s, c, t, users, elements, count, FALSE)
    size = 1.0
    for e in range(elements):
        size *= s.element_levels[e]
    for k in range(states):
        t.weights[k] = top / total
    for u in range(users):
        c.units[0, u] = net.units[s.units[u]]
    for x in range(count):
        if s.kept[count] >> x & 1:
            c.units[1, s.element[x]] = net.units[s.candidates[x]]
    return users, elements, states, top / total * np.log2(top / (total / size))


@inner
def weigh_state(net, work, side, k, users, elements, best):
    """(cost, severed pairs) at the k-th specified state, see ``minimum_local_partition``."""
    c, t = work.costs, work.states
    if side == ON_CAUSE:
        choose_cause_state(net, work.causes, c, t, t.codes[k], users, elements)
    else:
        choose_effect_state(work.effects, c, t, t.codes[k], users)
    floor = (best - phi_tolerance(best)) / t.weights[k]
    return minimum_local_partition(c, users, elements, side, floor, PHI_ZERO_BITS / t.weights[k])


@leaf
def open_local_pair(net, work, side, mechanism, purview, values, numbers):
    """Find the specified states of a pair and phi at each.

    values : (2,) float64, phi and intrinsic information, bits; filled
    numbers : (3,) int64, specified states, users and elements; filled. The states are left in
    ``work.states``: ``codes``, little-endian over the purview along the linear order, and ``phis``
    """
    t, c = work.states, work.costs
    t.overflow[0] = 0
    if side == ON_CAUSE:
        users, elements, states, information = open_cause(net, work, mechanism, purview)
    else:
        users, elements, states, information = open_effect(net, work, mechanism, purview)
    best = 0.0
    c.first_block[0] = 0
    for k in range(states):
        cost, _ = weigh_state(net, work, side, k, users, elements, best)
        t.phis[k] = cost * t.weights[k]
        best = max(best, t.phis[k])
    values[0], values[1] = best, information
    numbers[0], numbers[1], numbers[2] = states, users, elements


@leaf
def name_local_pair(net, work, side, k, numbers, kept):
    """Name the minimum partition at the k-th state of the pair that was opened.

    numbers : as ``open_local_pair`` left them
    kept : (n,) int64, mask of the partners that each unit still sees; filled where there is such a
    unit

    Returns how many pairs the partition severs.
    """
    users, elements, c = numbers[1], numbers[2], work.costs
    cost, severed = weigh_state(net, work, side, k, users, elements, 0.0)
    name_local_partition(c, users, elements, side, cost, severed)
    for u in range(users):
        kept[c.units[0, u]] = c.named[u]
    return severed
