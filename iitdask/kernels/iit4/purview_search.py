"""Search over the purviews of one mechanism by decreasing upper bound."""

import numpy as np

from iitdask.kernels.iit4.effect_bounds import tighten_bounds
from iitdask.kernels.iit4.leading_bounds import (
    bound_leading_states,
    is_leading_specified,
    is_leading_specified_by_bound,
    is_leading_specified_by_sums,
    sum_leading_states,
)
from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE, ON_EFFECT
from iitdask.kernels.iit4.pair import (
    fill_effect_repertoire,
    fill_mechanism_costs,
    pair_phi,
    sum_effect_repertoires,
)
from iitdask.kernels.iit4.pair_costs import (
    cause_states,
    coarse_bounds,
    cost_bound,
    effect_states,
    marginalise_to_all_purviews,
    marginalise_to_purview,
    state_rows,
)
from iitdask.kernels.jit import TRUE, ZERO_INT64, inner, leaf, merged
from iitdask.kernels.subsets import PHI_ZERO_BITS, is_purview, phi_tolerance, write_units


@inner
def sift_down(heap, keys, start, count):
    """Restore the order of a max-heap below ``start``."""
    item = heap[start]
    root = start
    while 2 * root + 1 < count:
        child = 2 * root + 1
        other = min(child + 1, count - 1)
        # a choice, not a branch, that a processor would guess wrong half the time
        child = other if keys[heap[other]] > keys[heap[child]] else child
        if keys[heap[child]] <= keys[item]:
            break
        heap[root] = heap[child]
        root = child
    heap[root] = item


@inner
def fill_heap(bounds, heap, floor):
    """Make a max-heap of the purviews whose bound exceeds zero and reaches floor; how many."""
    count = ZERO_INT64
    for purview in range(1, bounds.shape[0]):
        if bounds[purview] > PHI_ZERO_BITS and bounds[purview] >= floor:
            heap[count] = purview
            count += 1
    for start in range(count // 2 - 1, -1, -1):
        sift_down(heap, bounds, start, count)
    return count


@inner
def purview_of_largest_bound(bounds):
    """Purview of the largest bound: a few of them cost less than a heap."""
    top = 1
    for purview in range(2, bounds.shape[0]):
        top = purview if bounds[purview] > bounds[top] else top
    return top


VISITS_BEFORE_TIGHTENING = 3  # purviews looked at before the bounds of the others are tightened
VISITED = -1.0
PURVIEWS_SUMMED_SINGLY = 12  # purviews summed out one by one before it pays to sum out all at once


@merged
def specified_cause(tables, work, mechanism, purview, weight, state):
    """Fill ``work.weights`` from the scan, or all states where some tie; returns the range."""
    if state < 0:
        cause_states(tables.cause, tables.offsets, mechanism, purview, work.like, work.weights)
        return ZERO_INT64, tables.offsets[purview + 1] - tables.offsets[purview]
    work.weights[state] = weight
    return state, state + 1


@inner
def specified_effect(tables, work, mechanism, purview, mechs, purvs, sums, begin):
    """Fill ``work.weights``; returns an upper bound on phi at the specified states and their range.

    sums : float64, the sums over mechanism states of p(z | m'), from ``begin`` on
    """
    states = tables.offsets[purview + 1] - tables.offsets[purview]
    fill_effect_repertoire(tables, work, mechanism, purvs)
    scale = float(tables.offsets[mechanism + 1] - tables.offsets[mechanism])
    ii, first, last = effect_states(work.like, states, sums, begin, scale, work.weights)
    best = 0.0
    if ii > PHI_ZERO_BITS:
        for z in range(first, last):
            if work.weights[z] > 0.0:
                state_rows(
                    work.purv, purvs, tables.levels, tables.columns, z, 1 << mechs, work.base
                )
                limit = work.weights[z] * cost_bound(work.effects, work.base, purvs, mechs)
                best = max(best, limit)
    return best, first, last


@inner
def clip_bounds(bounds):
    """Replace bounds up to zero: one below zero would later pass for a value kept negated."""
    for purview in range(bounds.shape[0]):
        bounds[purview] = bounds[purview] if bounds[purview] > PHI_ZERO_BITS else 0.0


@inner
def mark_ties(best, bounds, bits):
    """Set one bit per purview whose value, kept negated, ties with the best; returns how many."""
    ties = 0
    for purview in range(1, bounds.shape[0]):
        value = -bounds[purview]
        # no phi ties with none, however small that is: zero is also left where nothing was searched
        if value > PHI_ZERO_BITS and value >= best - phi_tolerance(best):
            ties += 1
            bits[purview >> 3] |= np.uint8(1 << (purview & 7))
    return ties


@inner
def purview_sums(tables, purview, scratch, looks):
    """Where in ``scratch.sums`` the sums over mechanism states begin of a purview's states.

    The first purviews are summed out of the joint one by one, then all at once.
    """
    if looks <= PURVIEWS_SUMMED_SINGLY:
        marginalise_to_purview(scratch.joint, tables.levels, purview, scratch.sums)
        return ZERO_INT64
    if looks == PURVIEWS_SUMMED_SINGLY + 1:
        marginalise_to_all_purviews(scratch.joint, tables.levels, tables.offsets, scratch.sums)
    return tables.offsets[purview]


@inner
def is_all_to_all(children, full):
    """Whether the system is all-to-all: then every purview is admissible."""
    for i in range(children.shape[0]):
        if children[i] != full:
            return False
    return True


@merged
def best_purviews(side, tables, work, mechanism, scratch, scan, lane, bits, tally):
    """(phi, ties, visited) of the purviews of one mechanism, visited by decreasing bound.

    lane : where in ``scan`` the mechanism is
    """
    bounds, heap = scratch.bounds, scratch.heap
    mechs = write_units(mechanism, work.mech)
    dense = is_all_to_all(tables.children, bounds.shape[0] - 1)
    clip_bounds(bounds)
    best, visited, looks, tries = 0.0, 0, 0, 0
    heap[0], count = purview_of_largest_bound(bounds), 1
    while True:
        if tries == 1:  # those that the first look leaves: often few
            count = fill_heap(bounds, heap, best - phi_tolerance(best))
        tries += 1
        upper = bounds[heap[0]]
        if count == 0 or upper <= PHI_ZERO_BITS or upper < best - phi_tolerance(best):
            break
        purview = heap[0]
        count -= 1
        heap[0] = heap[count]
        sift_down(heap, bounds, ZERO_INT64, count)
        phi = -1.0
        if dense or is_purview(mechanism, purview, tables.children, side != ON_CAUSE):
            purvs = write_units(purview, work.purv)
            limit = bounds[purview]
            looks += 1
            if side == ON_CAUSE:
                weight, state = scan.weights[purview, lane], scan.states[purview, lane]
                first, last = specified_cause(tables, work, mechanism, purview, weight, state)
            else:
                start = purview_sums(tables, purview, scratch, looks)
                limit, first, last = specified_effect(
                    tables, work, mechanism, purview, mechs, purvs, scratch.sums, start
                )
            if limit > PHI_ZERO_BITS and limit >= best - phi_tolerance(best):
                phi, _, _, _ = pair_phi(side, tables, work, mechs, purvs, first, last, best, tally)
                visited += 1
                best = max(best, phi)
        bounds[purview] = -phi  # from here on the value, kept where the bound was
    if best <= PHI_ZERO_BITS:
        return 0.0, 0, visited
    return best, mark_ties(best, bounds, bits), visited


@inner
def effect_phi(tables, work, leads, mechanism, purview, mechs, scratch, best, tally):
    """Phi of an effect pair, negative when it is below the best; and whether it was searched."""
    purvs, levels, purv = write_units(purview, work.purv), tables.levels, work.purv
    top, rival = leads.weight[purview], leads.rival[purview]
    scale = float(tables.offsets[mechanism + 1] - tables.offsets[mechanism])
    if is_leading_specified_by_sums(
        levels, purv, purvs, top, rival, leads.second, leads.inside, purview, scale
    ):
        first = leads.state[purview]
        last = first + 1
        work.weights[first] = top
        state_rows(work.purv, purvs, tables.levels, tables.columns, first, 1 << mechs, work.base)
        limit = work.weights[first] * cost_bound(work.effects, work.base, purvs, mechs)
    else:
        leads.summed[0] += 1
        start = purview_sums(tables, purview, scratch, leads.summed[0])
        limit, first, last = specified_effect(
            tables, work, mechanism, purview, mechs, purvs, scratch.sums, start
        )
    if limit > PHI_ZERO_BITS and limit >= best - phi_tolerance(best):
        phi, _, _, _ = pair_phi(ON_EFFECT, tables, work, mechs, purvs, first, last, best, tally)
        return phi, 1
    return -1.0, 0


@merged
def search_purviews_left_out(tables, work, leads, mechanism, mechs, scratch, best, scale, tally):
    """Search the purviews whose specified state may not be the leading one; (best phi, visited).

    scale : states of the mechanism
    """
    bounds, visited, span = scratch.bounds, 0, np.log2(scale)
    dense = is_all_to_all(tables.children, bounds.shape[0] - 1)
    for purview in range(1, bounds.shape[0]):
        if leads.upper[purview] == VISITED or bounds[purview] < best - phi_tolerance(best):
            continue
        if bounds[purview] <= PHI_ZERO_BITS or leads.upper[purview] >= bounds[purview]:
            continue
        top, rival = leads.weight[purview], leads.rival[purview]
        if is_leading_specified_by_bound(top, rival, leads.inside[purview], scale, span):
            continue
        if not dense and not is_purview(mechanism, purview, tables.children, TRUE):
            continue
        purvs, purv, second = write_units(purview, work.purv), work.purv, leads.second
        if is_leading_specified_by_sums(
            tables.levels, purv, purvs, top, rival, second, leads.inside, purview, scale
        ):
            continue
        if is_leading_specified(tables, work, leads, mechanism, purview, purvs, scratch.joint):
            continue
        phi, more = effect_phi(tables, work, leads, mechanism, purview, mechs, scratch, best, tally)
        visited += more
        best = max(best, phi)
        bounds[purview] = -phi
    return best, visited


@merged
def best_effect_purviews(tables, work, leads, mechanism, scratch, bits, tally, known):
    """As ``best_purviews`` for effects, by bounds that hold if the leading state is specified.

    The purviews these leave out are asked afterwards whether it is.
    known : a phi that the mechanism is known to attain, or 0; what is below it is left out
    """
    bounds, heap = scratch.bounds, scratch.heap
    mechs = write_units(mechanism, work.mech)
    dense = is_all_to_all(tables.children, bounds.shape[0] - 1)
    clip_bounds(bounds)
    bound_leading_states(tables, work, leads, mechanism, mechs, bounds)
    sum_leading_states(scratch.joint, tables.levels, leads.column, tables.columns, leads.inside)
    best, visited, looks, tries, tight = known, 0, 0, 0, mechs == 1
    scale = float(tables.offsets[mechanism + 1] - tables.offsets[mechanism])
    count = fill_heap(leads.upper, heap, PHI_ZERO_BITS) if tight else 1
    ahead = VISITS_BEFORE_TIGHTENING if known <= PHI_ZERO_BITS else 0
    while True:
        if not tight:
            heap[0], count = purview_of_largest_bound(leads.upper), 1
            tries += 1
        upper = leads.upper[heap[0]]
        if count == 0 or upper <= PHI_ZERO_BITS or upper < best - phi_tolerance(best):
            break
        if not tight and (looks == ahead or tries > 2 * VISITS_BEFORE_TIGHTENING):
            tight = True
            tighten_bounds(tables, work, leads, mechs, best, heap, tally)
            count = fill_heap(leads.upper, heap, best - phi_tolerance(best))
            continue
        purview = heap[0]
        count -= 1
        heap[0] = heap[count]
        sift_down(heap, leads.upper, ZERO_INT64, count)
        leads.upper[purview], phi = VISITED, -1.0
        if dense or is_purview(mechanism, purview, tables.children, TRUE):
            looks += 1
            phi, more = effect_phi(
                tables, work, leads, mechanism, purview, mechs, scratch, best, tally
            )
            visited += more
            best = max(best, phi)
        bounds[purview] = -phi  # from here on the value, kept where the bound was
    best, more = search_purviews_left_out(
        tables, work, leads, mechanism, mechs, scratch, best, scale, tally
    )
    visited += more
    if best <= PHI_ZERO_BITS:
        return 0.0, 0, visited
    return best, mark_ties(best, bounds, bits), visited


@leaf
def prepare_effects(tables, work, mechanism, scratch):
    """Fill what the effect purviews of a mechanism share, and bounds on their phi.

    Parameters
    ----------
    tables : MarginalTables, the system
    work : PairScratch, ``work.effects`` and ``work.least`` are filled
    mechanism : int, mask
    scratch : PurviewScratch, ``scratch.joint`` and ``scratch.bounds`` are filled

    References
    ----------
    mathematics.md 20 and 22.4, Eq. (20.2) and (22.8).
    """
    n = write_units(tables.codes.shape[0] - 1, work.purv)
    sum_effect_repertoires(tables, work, mechanism, n, scratch.joint)
    mechs = write_units(mechanism, work.mech)
    fill_mechanism_costs(tables, work, mechanism, mechs)
    bounds, best, gains = scratch.bounds, scratch.best, scratch.gains
    row, costs = tables.codes[mechanism], work.effects
    coarse_bounds(
        tables.effect, row, costs, mechs, tables.levels, tables.columns, bounds, best, gains
    )
