"""Best purviews of ranges of mechanisms, in either direction."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.cause import cause_scan, cause_states, reversed_bits
from iitdask.kernels.effect import (
    coarse_bounds,
    cost_bound,
    effect_states,
    marginalise,
    state_rows,
    sum_out,
)
from iitdask.kernels.families import ON_CAUSE, ON_EFFECT
from iitdask.kernels.jit import inner, kernel, leaf
from iitdask.kernels.joint_bounds import tighten
from iitdask.kernels.leading import bound_leads, is_led, is_plainly_led, make_leads, sum_leads
from iitdask.kernels.pairs import Scratch, Tables, mechanism_costs, pair_phi
from iitdask.kernels.purviews import ZERO, is_purview, members, tolerance
from iitdask.kernels.repertoire import mixture, product_states

__all__ = ["TOGETHER", "Found", "best_mechanisms"]

Array = NDArray[Any]
TOGETHER = 8
"""Units from which the effect purviews of a mechanism are bounded together.

Fewer are as fast one by one, and what bounds them together is a third of all compilation.
"""
LANES = 8  # log2 of the mechanisms scanned together: five vectors of 2 kB stay in cache
AHEAD = 3  # purviews looked at before the bounds of the others are tightened
LOOKED_AT = -1.0
FORWARD = np.bool_(True)  # a literal would compile the callee once more
FEW = 12  # purviews summed out one by one before it pays to sum out all at once


@inner
def sift(heap, keys, start, count):
    """Restore the order of a max-heap below ``start``."""
    item = heap[start]
    root = start
    while 2 * root + 1 < count:
        child = 2 * root + 1
        if child + 1 < count and keys[heap[child + 1]] > keys[heap[child]]:
            child += 1
        if keys[heap[child]] <= keys[item]:
            break
        heap[root] = heap[child]
        root = child
    heap[root] = item


@inner
def specified_cause(t, s, mechanism, purview, weight, state):
    """Fill ``s.weights`` from what the scan found; look at all states only when some tie.

    returns the range of states that was filled
    """
    if state < 0:
        cause_states(t.cause, t.offsets, mechanism, purview, s.like, s.weights)
        return np.int64(0), t.offsets[purview + 1] - t.offsets[purview]
    s.weights[state] = weight
    return state, state + 1


@inner
def specified_effect(t, s, mechanism, purview, mechs, purvs, sums, begin):
    """Fill ``s.weights``; returns an upper bound on phi at the specified states and their range.

    sums : float64, the sums over mechanism states of p(z | m'), from ``begin`` on
    """
    states = t.offsets[purview + 1] - t.offsets[purview]
    first = np.int64(0)  # a literal 0 would compile the callee once more
    product_states(t.effect, t.codes[mechanism], t.levels, t.columns, s.purv, first, purvs, s.like)
    scale = float(t.offsets[mechanism + 1] - t.offsets[mechanism])
    ii, first, last = effect_states(s.like, states, sums, begin, scale, s.weights)
    best = 0.0
    if ii > ZERO:
        for z in range(first, last):
            if s.weights[z] > 0.0:
                state_rows(s.purv, purvs, t.levels, t.columns, z, 1 << mechs, s.base)
                limit = s.weights[z] * cost_bound(s.effects, s.base, purvs, mechs)
                best = max(best, limit)
    return best, first, last


@inner
def lift(bounds):
    """Replace bounds up to zero: one below zero would later pass for a value kept negated."""
    for purview in range(bounds.shape[0]):
        bounds[purview] = bounds[purview] if bounds[purview] > ZERO else 0.0


@inner
def fill_heap(bounds, heap, floor):
    """Make a max-heap of the purviews whose bound exceeds zero and reaches floor; how many."""
    count = np.int64(0)  # a literal 0 would compile the callee once more
    for purview in range(1, bounds.shape[0]):
        if bounds[purview] > ZERO and bounds[purview] >= floor:
            heap[count] = purview
            count += 1
    for start in range(count // 2 - 1, -1, -1):
        sift(heap, bounds, start, count)
    return count


@inner
def mark_ties(best, bounds, bits):
    """Set one bit per purview whose value, kept negated, ties with the best; returns how many."""
    ties = 0
    for purview in range(1, bounds.shape[0]):
        if -bounds[purview] >= best - tolerance(best):
            ties += 1
            bits[purview >> 3] |= np.uint8(1 << (purview & 7))
    return ties


@inner
def purview_sums(t, purview, joint, sums, looks):
    """Where in ``sums`` the sums over mechanism states begin of a purview's states.

    The first purviews are summed out of the joint one by one, then all at once.
    """
    if looks <= FEW:
        sum_out(joint, t.levels, purview, sums)
        return np.int64(0)
    if looks == FEW + 1:
        marginalise(joint, t.levels, t.offsets, sums)
    return t.offsets[purview]


@inner
def is_dense(children, full):
    """Whether the system is all-to-all: then every purview is admissible."""
    for i in range(children.shape[0]):
        if children[i] != full:
            return False
    return True


@leaf
def best_purviews(side, t, s, mechanism, weights, states, joint, sums, bounds, heap, bits, tally):
    """Visit the purviews of one mechanism by decreasing bound; returns (phi, ties, visited).

    weights, states : (2**n,) what the scan found (cause); joint : (S,), sums : (codes,) (effect)
    """
    mechs = members(mechanism, s.mech)
    dense = is_dense(t.children, bounds.shape[0] - 1)
    lift(bounds)
    count = fill_heap(bounds, heap, ZERO)
    best, visited, looks = 0.0, 0, 0
    while count > 0 and bounds[heap[0]] >= best - tolerance(best):
        purview = heap[0]
        count -= 1
        heap[0] = heap[count]
        sift(heap, bounds, np.int64(0), count)
        phi = -1.0
        if dense or is_purview(mechanism, purview, t.children, side != ON_CAUSE):
            purvs = members(purview, s.purv)
            limit = bounds[purview]
            looks += 1
            if side == ON_CAUSE:
                weight, state = weights[purview], states[purview]
                first, last = specified_cause(t, s, mechanism, purview, weight, state)
            else:
                start = purview_sums(t, purview, joint, sums, looks)
                limit, first, last = specified_effect(
                    t, s, mechanism, purview, mechs, purvs, sums, start
                )
            if limit > ZERO and limit >= best - tolerance(best):
                phi, _, _, _ = pair_phi(side, t, s, mechs, purvs, first, last, best, tally)
                visited += 1
                best = max(best, phi)
        bounds[purview] = -phi  # from here on the value, kept where the bound was
    if best <= ZERO:
        return 0.0, 0, visited
    return best, mark_ties(best, bounds, bits), visited


@inner
def effect_phi(t, s, led, mechanism, purview, mechs, joint, sums, best, tally):
    """Phi of an effect pair, negative when it is below the best; and whether it was searched."""
    purvs = members(purview, s.purv)
    if is_plainly_led(t, s, led, mechanism, purview, purvs):
        first = led.state[purview]
        last = first + 1
        s.weights[first] = led.weight[purview]
        state_rows(s.purv, purvs, t.levels, t.columns, first, 1 << mechs, s.base)
        limit = s.weights[first] * cost_bound(s.effects, s.base, purvs, mechs)
    else:
        led.summed[0] += 1
        start = purview_sums(t, purview, joint, sums, led.summed[0])
        limit, first, last = specified_effect(t, s, mechanism, purview, mechs, purvs, sums, start)
    if limit > ZERO and limit >= best - tolerance(best):
        phi, _, _, _ = pair_phi(ON_EFFECT, t, s, mechs, purvs, first, last, best, tally)
        return phi, 1
    return -1.0, 0


@leaf
def best_effects_of(t, s, led, mechanism, joint, sums, bounds, heap, bits, tally):
    """Visit the effect purviews of one mechanism; returns (phi, ties, visited).

    As ``best_purviews``, by the bounds that hold if a purview's leading state is specified. The
    purviews these leave out are asked afterwards whether it is.
    joint, bounds : see ``prepare_effects``; sums : (codes,) scratch
    """
    mechs = members(mechanism, s.mech)
    dense = is_dense(t.children, bounds.shape[0] - 1)
    lift(bounds)
    bound_leads(t, s, led, mechanism, mechs, bounds)
    sum_leads(joint, t.levels, led.column, t.columns, led.inside)
    count = fill_heap(led.upper, heap, ZERO)
    best, visited, looks, tight = 0.0, 0, 0, mechs == 1
    while count > 0 and led.upper[heap[0]] >= best - tolerance(best):
        if looks == AHEAD and not tight:
            tight = True
            tighten(t, s, led, mechs, best, heap, tally)
            count = fill_heap(led.upper, heap, best - tolerance(best))
            continue
        purview = heap[0]
        count -= 1
        heap[0] = heap[count]
        sift(heap, led.upper, np.int64(0), count)
        led.upper[purview], phi = LOOKED_AT, -1.0
        if dense or is_purview(mechanism, purview, t.children, FORWARD):
            looks += 1
            phi, more = effect_phi(t, s, led, mechanism, purview, mechs, joint, sums, best, tally)
            visited += more
            best = max(best, phi)
        bounds[purview] = -phi  # from here on the value, kept where the bound was
    for purview in range(1, bounds.shape[0]):
        if led.upper[purview] == LOOKED_AT or bounds[purview] < best - tolerance(best):
            continue
        if bounds[purview] <= ZERO or led.upper[purview] >= bounds[purview]:
            continue
        if dense or is_purview(mechanism, purview, t.children, FORWARD):
            purvs = members(purview, s.purv)
            if is_plainly_led(t, s, led, mechanism, purview, purvs):
                continue
            if is_led(t, s, led, mechanism, purview, purvs, joint):
                continue
            phi, more = effect_phi(t, s, led, mechanism, purview, mechs, joint, sums, best, tally)
            visited += more
            best = max(best, phi)
            bounds[purview] = -phi
    if best <= ZERO:
        return 0.0, 0, visited
    return best, mark_ties(best, bounds, bits), visited


@kernel
def prepare_effects(t, s, mechanism, joint, bounds, best, gains):
    """Everything about a mechanism's effects that its purviews share, and their bounds.

    joint : (S,) float64 filled with the sum over the mechanism's states; bounds : (2**n,) filled
    """
    mechs = members(mechanism, s.mech)
    mixture(t.effect, t.offsets[mechanism], t.offsets[mechanism + 1], t.levels, joint)
    mechanism_costs(t, s, mechanism, mechs)
    row = t.codes[mechanism]
    coarse_bounds(t.effect, row, s.effects, mechs, t.levels, t.columns, bounds, best, gains)


class Found(NamedTuple):
    """What a range of m mechanisms leaves behind, filled in place."""

    phis: Array
    """(m,) float64 largest phi, bits."""
    ties: Array
    """(m,) int64 how many purviews attain it."""
    bits: Array
    """(m, ceil(2**n / 8)) uint8, one bit per tied purview."""
    searched: Array
    """(m,) int64 purviews not bounded away."""
    nodes: Array
    """(m, 2) int64 bound tables built and nodes visited."""


def best_mechanisms(
    side: np.int64, t: Tables, s: Scratch, begin: int, end: int, found: Found
) -> None:
    """Search the purviews of the mechanisms begin .. end - 1.

    side : ON_CAUSE or ON_EFFECT; end - begin is a power of two and divides begin
    Loops over mechanisms cost Python microseconds and would cost numba seconds to compile.
    """
    if side == ON_CAUSE:
        best_causes(t, s, begin, end, found)
    else:
        best_effects(t, s, begin, end, found)


def best_effects(t: Tables, s: Scratch, begin: int, end: int, found: Found) -> None:
    """Search the effects of a range of mechanisms, one after the other."""
    size = len(t.codes)
    joint, sums = np.empty(len(s.like)), np.empty(int(t.offsets[-1]))
    bounds, best, gains = np.empty(size), np.empty(size), np.empty(size)
    heap, none, nowhere = np.empty(size, np.int64), np.empty(0), np.empty(0, np.int64)
    leads = make_leads(len(t.levels), len(joint))
    for mechanism in range(max(begin, 1), end):
        prepare_effects(t, s, mechanism, joint, bounds, best, gains)
        row = mechanism - begin
        given = (joint, sums, bounds, heap, found.bits[row], found.nodes[row])
        if len(t.levels) < TOGETHER:
            one = best_purviews(ON_EFFECT, t, s, mechanism, none, nowhere, *given)
        else:
            one = best_effects_of(t, s, leads, mechanism, *given)
        found.phis[row], found.ties[row], found.searched[row] = one


def best_causes(t: Tables, s: Scratch, begin: int, end: int, found: Found) -> None:
    """Search the causes of a range of mechanisms, scanned together."""
    size = len(t.codes)
    width = min(LANES, (end - begin).bit_length() - 1)
    lanes = 1 << width
    vectors, table = np.empty((5, lanes)), np.empty((size, lanes))
    weights, states = np.zeros((size, lanes)), np.zeros((size, lanes), np.int64)
    heap, none = np.empty(size, np.int64), np.empty(0)
    for first in range(begin, end, lanes):
        cause_scan(t.cause, t.log_cause, t.offsets, first, width, vectors, table, weights, states)
        for lane in range(lanes):
            mechanism = first | int(reversed_bits(lane, width))
            if mechanism == 0:
                continue
            weight, state, bounds = (
                np.ascontiguousarray(each[:, lane]) for each in (weights, states, table)
            )
            row, given = mechanism - begin, (weight, state, none, none, bounds, heap)
            found.phis[row], found.ties[row], found.searched[row] = best_purviews(
                ON_CAUSE, t, s, mechanism, *given, found.bits[row], found.nodes[row]
            )
