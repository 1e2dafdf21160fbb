"""One mechanism over one purview, in either direction: phi, states, ties, the partition.

Both directions share one search, so the kernels below take the direction as a
number and are compiled once.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.distributions import make_product_scratch, product_distribution, sum_products
from iitdask.kernels.iit4.mechanism_partition import (
    ON_CAUSE,
    ON_EFFECT,
    cause_starting_partition,
    cheapest_by_size,
    effect_starting_partition,
    is_below_floor,
)
from iitdask.kernels.iit4.pair_costs import (
    cause_costs,
    cause_states,
    cost_bound,
    effect_costs,
    effect_states,
    state_rows,
)
from iitdask.kernels.iit4.partition_search import (
    BELOW_FLOOR,
    minimum_disintegrating_partition,
    name_disintegrating_partition,
)
from iitdask.kernels.jit import ZERO_INT64, inner, leaf, merged
from iitdask.kernels.subsets import PHI_ZERO_BITS, phi_tolerance, popcounts, write_units


class MarginalTables(NamedTuple):
    """Marginals of both directions, laid out for the searches."""

    levels: NDArray[np.int64]  # (n,) values per unit
    columns: NDArray[np.int64]  # (n + 1,) see subsets.value_offsets
    offsets: NDArray[np.int64]  # (2**n + 1,) see subsets.segment_offsets
    children: NDArray[np.int64]  # (n,) masks of the units that each unit feeds
    codes: NDArray[np.int64]  # (2**n,) code of every subset in the current state
    cause: NDArray[np.float64]  # (n, codes) P(unit in its current state | part of an earlier state)
    log_cause: NDArray[np.float64]  # (codes, n) log2 of the same, of all units together
    effect: NDArray[np.float64]  # (codes, c) P(unit takes value | part of the present state)
    log_effect: NDArray[np.float64]  # (2**n, c) log2 of the rows of ``effect`` at the current state


class PairScratch(NamedTuple):
    """Working memory of one search, made once per block."""

    pops: NDArray[np.float64]  # (2**n,) popcounts
    answer: NDArray[np.float64]  # (2,) cost and severed pairs of the best partition so far
    child: NDArray[np.float64]  # (2**n,) bounds of first choices
    costs: NDArray[np.float64]  # Room for the costs ``f`` of one pair
    bound: NDArray[np.float64]  # As much again for their superset-closed minima
    over: NDArray[np.int64]  # (n,) where the minima of each user begin
    now: NDArray[np.float64]  # (n + 2, n) cheapest choice of each user at each depth
    blocks: NDArray[np.int64]  # (n + 2,) blocks of the family in hand
    left: NDArray[np.int64]  # (n + 2,) elements not yet in a block
    sub: NDArray[np.int64]  # (n + 2,) next block to try at each depth
    picks: NDArray[np.int64]  # (n,) what each user keeps
    masks: NDArray[np.int64]  # (2**n,)
    codes: NDArray[np.int64]  # (2**n,)
    mech: NDArray[np.int64]  # (n,) units of the mechanism
    purv: NDArray[np.int64]  # (n,) units of the purview
    base: NDArray[np.int64]  # (n,) where the costs of each user begin
    starts: NDArray[np.int64]  # (n,) where each user's ``least`` begins
    least: NDArray[np.float64]  # Least cost of each user by number of severed elements
    rows: NDArray[np.int64]  # (n,) what each user keeps under the named partition
    like: NDArray[np.float64]  # (S,) probabilities of the purview's states
    sums: NDArray[np.float64]  # (S,) sums of probabilities over the mechanism's states
    weights: NDArray[np.float64]  # (S,) selectivity of the specified states
    phis: NDArray[np.float64]  # (S,) phi of the specified states
    halves: NDArray[np.float64]  # See distributions.make_product_scratch
    effects: NDArray[np.float64]  # room for costs of every value given each part of the mechanism


def make_pair_scratch(tables: MarginalTables) -> PairScratch:
    """Allocate the working memory of a search for systems of this size, one for each thread."""
    n, size, width = len(tables.levels), len(tables.codes), tables.effect.shape[1]
    states = int(tables.offsets[-1] - tables.offsets[-2])
    pops, answer, child = popcounts(n).astype(np.float64), np.empty(2), np.empty(size)
    over, picks, mech, purv, base, starts, rows = np.zeros((7, n), np.int64)
    blocks, left, sub = np.zeros((3, n + 2), np.int64)
    masks, codes = np.zeros((2, size), np.int64)
    costs, bound = np.empty((2, n * size))
    now, least = np.empty((n + 2, n)), np.empty((width + n) * (n + 1))
    like, sums, weights, phis = np.empty((4, states))
    halves, effects = make_product_scratch(tables.levels), np.empty(width * size)
    search = (pops, answer, child, costs, bound, over, now, blocks, left, sub, picks, masks, codes)
    pair = (mech, purv, base, starts, least, rows, like, sums, weights, phis)
    return PairScratch(*search, *pair, halves, effects)


@inner
def fill_effect_repertoire(tables, work, mechanism, purvs):
    """Fill ``work.like`` with the effect repertoire of ``purvs`` units of ``work.purv``."""
    row, units = tables.codes[mechanism], work.purv
    product_distribution(
        tables.effect, row, tables.levels, tables.columns, units, ZERO_INT64, purvs, work.like
    )


@inner
def sum_effect_repertoires(tables, work, mechanism, purvs, out):
    """Fill ``out`` with the same, summed over the states of the mechanism."""
    begin, end, units = tables.offsets[mechanism], tables.offsets[mechanism + 1], work.purv
    levels, columns = tables.levels, tables.columns
    sum_products(tables.effect, begin, end, levels, columns, units, purvs, work.halves, out)


@inner
def pair_cost(side, tables, work, mechs, purvs, z, floor, zero, tally):
    """Cost and severed pairs at one specified state, or NOTHING when the cost is below floor.

    Leaves in ``work.base`` where each user's costs begin.
    """
    users, elements = (mechs, purvs) if side == ON_CAUSE else (purvs, mechs)
    if side == ON_CAUSE:
        f = work.costs
        purview = 0
        for k in range(purvs):
            purview |= 1 << work.purv[k]
        cost, severed = cause_starting_partition(tables, work, mechs, purvs, purview, z, floor)
    else:
        f = work.effects
        state_rows(work.purv, purvs, tables.levels, tables.columns, z, 1 << mechs, work.base)
        for u in range(users):
            work.starts[u] = (work.base[u] >> mechs) * (elements + 1)
        if floor > zero:
            ratio = cost_bound(f, work.base, users, elements) / (users * elements)
            if ratio > 0.0 and is_below_floor(
                work.least, work.starts, users, elements, ratio, floor
            ):
                return BELOW_FLOOR, float(users * elements)
        cost, severed = effect_starting_partition(f, work.base, users, elements, floor)
    if cost <= zero:
        return 0.0, severed
    if cost / severed * (users * elements) < floor:
        return BELOW_FLOOR, severed
    if side == ON_CAUSE:
        cause_costs(tables, work, mechs, purvs, z)
        for u in range(users):
            work.starts[u] = u * (elements + 1)
            cheapest_by_size(f, work.base[u], elements, work.pops, side, work.least, work.starts[u])
    return minimum_disintegrating_partition(
        f, work, users, elements, side, cost, severed, floor, zero, tally
    )


@merged
def pair_phi(side, tables, work, mechs, purvs, begin, end, best, tally):
    """(phi, cost, severed pairs, state) over the specified states; phi < 0 when below ``best``.

    begin, end : the states among which all of ``work.weights`` above 0 are
    mechs, purvs : units in ``work.mech`` and ``work.purv``; for effects ``work.effects`` is filled
    ``work.phis`` holds phi of each specified state. The state is the first that no later one
    exceeds (mathematics.md 6.2).
    """
    phi, answer, pairs, state = -1.0, 0.0, 1.0, 0
    for z in range(begin, end):
        work.phis[z] = -1.0
        weight = work.weights[z]
        if weight > 0.0:
            reach = max(phi, best)
            floor, zero = (reach - phi_tolerance(reach)) / weight, PHI_ZERO_BITS / weight
            cost, severed = pair_cost(side, tables, work, mechs, purvs, z, floor, zero, tally)
            work.phis[z] = cost * weight
            if phi < 0.0 or work.phis[z] > phi + phi_tolerance(phi):
                phi, answer, pairs, state = work.phis[z], cost, severed, z
    return phi, answer, pairs, state


@inner
def fill_mechanism_costs(tables, work, mechanism, mechs):
    """Fill ``work.effects`` and ``work.least``: what all effect purviews of a mechanism share."""
    effect_costs(tables.log_effect, work.mech, mechs, mechanism, work.effects)
    for r in range(tables.log_effect.shape[1]):
        cheapest_by_size(
            work.effects, r << mechs, mechs, work.pops, ON_EFFECT, work.least, r * (mechs + 1)
        )


@merged
def specify_states(side, tables, work, mechanism, purview, mechs, purvs):
    """Specified states of one pair, from the tables; fills ``work.weights``; returns ii."""
    if side == ON_CAUSE:
        return cause_states(
            tables.cause, tables.offsets, mechanism, purview, work.like, work.weights
        )
    states = tables.offsets[purview + 1] - tables.offsets[purview]
    sum_effect_repertoires(tables, work, mechanism, purvs, work.sums)
    fill_effect_repertoire(tables, work, mechanism, purvs)
    fill_mechanism_costs(tables, work, mechanism, mechs)
    scale = float(tables.offsets[mechanism + 1] - tables.offsets[mechanism])
    ii, _, _ = effect_states(work.like, states, work.sums, ZERO_INT64, scale, work.weights)
    return ii


@merged
def describe_pair(side, tables, work, mechanism, purview, wanted, bits, kept, tally):
    """(phi, ii, state, ties, severed pairs) of one pair: a row of ``describe_pairs``."""
    mechs, purvs = write_units(mechanism, work.mech), write_units(purview, work.purv)
    states = tables.offsets[purview + 1] - tables.offsets[purview]
    ii = specify_states(side, tables, work, mechanism, purview, mechs, purvs)
    phi, cost, severed, state = pair_phi(
        side, tables, work, mechs, purvs, ZERO_INT64, states, 0.0, tally
    )
    ties = 0
    for z in range(states):
        if work.phis[z] >= phi - phi_tolerance(phi):
            ties += 1
            bits[z >> 3] |= np.uint8(1 << (z & 7))
    users, elements = (mechs, purvs) if side == ON_CAUSE else (purvs, mechs)
    place = wanted if work.phis[wanted] >= phi - phi_tolerance(phi) else state
    if place != state or cost <= PHI_ZERO_BITS:
        cost, severed = pair_cost(
            side, tables, work, mechs, purvs, place, 0.0, PHI_ZERO_BITS, tally
        )
    f = work.costs if side == ON_CAUSE else work.effects
    if side == ON_CAUSE:
        cause_costs(tables, work, mechs, purvs, place)  # an early end may have left it half filled
    else:
        state_rows(work.purv, purvs, tables.levels, tables.columns, place, 1 << mechs, work.base)
    name_disintegrating_partition(f, work, users, elements, side, cost, severed, work.rows, tally)
    for u in range(users):
        mask = 0
        for e in range(elements):
            if work.rows[u] >> e & 1:
                mask |= 1 << (work.purv[e] if side == ON_CAUSE else work.mech[e])
        kept[work.mech[u] if side == ON_CAUSE else work.purv[u]] = mask
    return phi, ii, state, ties, severed


@leaf
def describe_pairs(tables, work, chosen, values, numbers, bits, kept, tally):
    """Find states, ties and the named partition of chosen pairs.

    Parameters
    ----------
    tables : MarginalTables, the system
    work : PairScratch, working memory
    chosen : (p, 4) int64
        Side, mechanism, purview, and the state of the purview at which the partition is named, if
        it ties for the largest phi.
    values : (2, p) float64, phi and intrinsic information, bits; filled
    numbers : (3, p) int64, state, ties, severed pairs; filled
    bits : (p, ceil(S / 8)) uint8, one bit per tied state of the purview; filled
    kept : (p, n) int64
        Partners each unit still sees under the partition; filled where there is such a unit.
    tally : (2,) int64, bound tables built and nodes visited; added to

    References
    ----------
    mathematics.md 4, 5 and 6, Eq. (6.1) to (6.4).
    """
    for k in range(chosen.shape[0]):
        side, mechanism, purview, wanted = chosen[k, 0], chosen[k, 1], chosen[k, 2], chosen[k, 3]
        values[0, k], values[1, k], numbers[0, k], numbers[1, k], numbers[2, k] = describe_pair(
            side, tables, work, mechanism, purview, wanted, bits[k], kept[k], tally
        )
