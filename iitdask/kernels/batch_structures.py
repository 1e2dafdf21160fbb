"""Cause-effect structures of many small systems in one call: Phi and its parts.

The searches over mechanisms are those of kernels.iit4.mechanism_search, strung together in
compiled code: a system of four units takes less time than Python needs to call its fifteen
mechanisms one by one. Relations are summed in closed form (mathematics.md 11.2).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE
from iitdask.kernels.iit4.mechanism_search import (
    MechanismResults,
    make_purview_scratch,
    search_mechanisms,
)
from iitdask.kernels.iit4.pair import MarginalTables, pair_phi, specify_states
from iitdask.kernels.iit4.pair_costs import cause_scan, make_cause_scan
from iitdask.kernels.iit4.system_phi import UNREACHABLE
from iitdask.kernels.jit import ZERO_INT64, kernel
from iitdask.kernels.subsets import hash_set_order, phi_tolerance, popcount, write_units


class BatchStructures(NamedTuple):
    """What the cause-effect structures of B systems sum up to; nan and -1 if unreachable."""

    big_phi: NDArray[np.float64]  # (B,) Phi, bits
    sum_phi_distinctions: NDArray[np.float64]  # (B,) bits
    sum_phi_relations: NDArray[np.float64]  # (B,) bits
    n_distinctions: NDArray[np.int64]  # (B,) how many there are
    n_relations: NDArray[np.int64]  # (B,) how many there are


class Surroundings(NamedTuple):
    """The substrate that a system is part of, in the order of its published purviews."""

    units: int  # Mask of the system's units
    children: NDArray[np.int64]  # (N,) masks of the units that each unit feeds
    masks: NDArray[np.int64]  # (2**N - 1,) in insertion order, see subsets.nonempty_masks_by_size


def make_batch_structures(count: int) -> BatchStructures:
    """Allocate the outputs of B systems, nan and -1 as where a state is unreachable."""
    return BatchStructures(
        *(np.full(count, np.nan) for _ in range(3)), *(np.full(count, -1) for _ in range(2))
    )


@kernel
def add_double_double(high, low, value):
    """Add to a number held as the sum of two doubles, which keep 106 bits."""
    total = high + value
    part = total - high
    low += (high - (total - part)) + (value - part)
    return total, low


@kernel
def count_relations(union, loops):
    """Relations between distinctions; exact modulo 2**64, and never more than 2**63.

    union : (D,) int64 unit-states of each distinction, D < 64
    """
    used, places = 0, 0
    for d in range(union.shape[0]):
        used |= union[d]
    inside = np.zeros(1 << popcount(used), np.int64)
    for d in range(union.shape[0]):
        packed, places, bit = 0, 0, 0
        while used >> bit:
            if used >> bit & 1:
                packed |= (union[d] >> bit & 1) << places
                places += 1
            bit += 1
        inside[packed] += 1
    for b in range(places):
        for x in range(inside.shape[0]):
            if not x >> b & 1:
                inside[x] += inside[x | (1 << b)]
    count = np.int64(loops)
    for x in range(1, inside.shape[0]):
        m = inside[x]
        sets = (np.int64(1) << m) - m - 1
        count += sets if popcount(x) & 1 else -sets
    return count


@kernel
def sum_structure(phi, cause, effect):
    """Sum phi over distinctions and their relations, mathematics.md, Eq. (11.3) to (11.6).

    phi : (D,) float64, bits; cause, effect : (D,) int64, unit-states each distinction binds, masks
    returns (Phi, sum over distinctions, sum over relations, number of relations)
    """
    total, small = 0.0, 0.0
    for d in range(phi.shape[0]):
        total, small = add_double_double(total, small, phi[d])
    of_distinctions = total + small
    union, share, loops = cause | effect, np.empty(phi.shape[0]), 0
    high, low = 0.0, 0.0
    every = 0
    for d in range(phi.shape[0]):
        share[d] = phi[d] / popcount(union[d])
        every |= union[d]
        common = popcount(cause[d] & effect[d])
        loops += common > 0
        for _ in range(common):
            high, low = add_double_double(high, low, share[d])
    order = np.argsort(share, kind="mergesort")
    bit = 0
    while every >> bit:
        above = 0  # distinctions over this unit-state with a larger share
        for j in range(order.shape[0] - 1, -1, -1):
            d = order[j]
            if union[d] >> bit & 1:
                if above:
                    high, low = add_double_double(high, low, share[d] * 2.0**above)
                    high, low = add_double_double(high, low, -share[d])
                above += 1
        bit += 1
    of_relations = high + low
    n_relations = count_relations(union, loops)
    return of_distinctions + of_relations, of_distinctions, of_relations, n_relations


@kernel
def restrict_state(code, levels, purview):
    """State of a purview that a state of all units implies."""
    out, weight = 0, 1
    for i in range(levels.shape[0]):
        value = code % levels[i]
        code //= levels[i]
        if purview >> i & 1:
            out += value * weight
            weight *= levels[i]
    return out


@kernel
def substrate_mask(mask, units):
    """Mask over the substrate's units of a mask over the candidate's; units : mask."""
    out, i, place = 0, 0, 0
    while units >> i:
        if units >> i & 1:
            if mask >> place & 1:
                out |= 1 << i
            place += 1
        i += 1
    return out


@kernel
def order_tied_purviews(mechanism, bits, size, outside, forward, out):
    """Write the tied purviews of a mechanism, the representative first; returns how many.

    bits : (ceil(size / 8),) uint8, one bit per tied purview. mathematics.md 15.2.
    """
    count = 0
    for purview in range(1, size):
        if bits[purview >> 3] >> (purview & 7) & 1:
            out[count] = purview
            count += 1
    if count == 1:
        return count
    units = outside.units
    order = hash_set_order(
        substrate_mask(mechanism, units), outside.masks, outside.children, forward
    )
    found = 0
    for k in range(order.shape[0]):
        for j in range(found, count):
            if substrate_mask(out[j], units) == order[k]:
                out[found], out[j] = out[j], out[found]
                found += 1
                break
    return count


@kernel
def congruent_purview(side, tables, work, mechanism, found, system, outside, order, tally):
    """(phi of the representative, purview that agrees with the system's state, or 0).

    The representative in any of its tied states, then the largest other tied purview whose own
    representative state agrees (mathematics.md 10 and 15.1).
    """
    bits, forward = found.bits[mechanism], side != ON_CAUSE
    count = order_tied_purviews(mechanism, bits, tables.codes.shape[0], outside, forward, order)
    value, chosen, units = 0.0, 0, 0
    for k in range(count):
        purview = order[k]
        mechs, purvs = write_units(mechanism, work.mech), write_units(purview, work.purv)
        states = tables.offsets[purview + 1] - tables.offsets[purview]
        specify_states(side, tables, work, mechanism, purview, mechs, purvs)
        phi, _, _, state = pair_phi(
            side, tables, work, mechs, purvs, ZERO_INT64, states, 0.0, tally
        )
        wanted = restrict_state(system, tables.levels, purview)
        if k == 0:
            value = phi
            if work.phis[wanted] >= phi - phi_tolerance(phi):
                return value, purview
        elif state == wanted and purvs > units:
            chosen, units = purview, purvs
    return value, chosen


@kernel
def make_mechanism_results(tables):
    """What the search of all mechanisms leaves behind."""
    size = tables.codes.shape[0]
    ties, bits = np.zeros(size, np.int64), np.zeros((size, (size + 7) // 8), np.uint8)
    return MechanismResults(np.zeros(size), ties, bits, ties, np.zeros((size, 2), np.int64))


@kernel
def differing_units(states, levels):
    """Mask of the units whose values differ between the system's cause and effect state."""
    out = 0
    for i in range(levels.shape[0]):
        cause = restrict_state(states[0], levels, 1 << i)
        if cause != restrict_state(states[1], levels, 1 << i):
            out |= 1 << i
    return out


@kernel
def unfold_system(sides, tables, work, scratch, states, outside, b, out):
    """Unfold one system in its named states, row b of ``out``; see ``unfold_systems``.

    tables : MarginalTables; work : PairScratch; scratch : PurviewScratch; states : (2,) int64
    """
    size, n = tables.codes.shape[0], tables.levels.shape[0]
    causes, effects = make_mechanism_results(tables), make_mechanism_results(tables)
    width, scan = np.int64(n), make_cause_scan(size, size)
    cause_scan(
        tables.cause, tables.log_cause, tables.offsets, ZERO_INT64, width, np.empty((6, size)), scan
    )
    search_mechanisms(sides[0], tables, work, ZERO_INT64, width, scan, scratch, causes)
    search_mechanisms(sides[1], tables, work, ZERO_INT64, width, scan, scratch, effects)
    binds_cause, binds_effect = np.empty(size, np.int64), np.empty(size, np.int64)
    order, tally, phi = np.empty(size, np.int64), np.zeros(2, np.int64), np.empty(size)
    differing, count = differing_units(states, tables.levels), 0
    for mechanism in range(1, size):
        if min(causes.phis[mechanism], effects.phis[mechanism]) <= 0.0:
            continue
        cause_phi, cause = congruent_purview(
            sides[0], tables, work, mechanism, causes, states[0], outside, order, tally
        )
        if cause == 0:
            continue
        effect_phi, effect = congruent_purview(
            sides[1], tables, work, mechanism, effects, states[1], outside, order, tally
        )
        if effect == 0:
            continue
        phi[count], binds_cause[count] = min(cause_phi, effect_phi), cause
        binds_effect[count] = (effect & ~differing) | (effect & differing) << n
        count += 1
    out.big_phi[b], out.sum_phi_distinctions[b], out.sum_phi_relations[b], out.n_relations[b] = (
        sum_structure(phi[:count], binds_cause[:count], binds_effect[:count])
    )
    out.n_distinctions[b] = count


@kernel
def unfold_systems(sides, shape, points, batch, systems, marginals, work, states, masks, out):
    """Sum up the cause-effect structures of systems.

    Parameters
    ----------
    sides : (2,) int64, ON_CAUSE, ON_EFFECT
    shape : SystemShape, what the systems share
    points : BatchPoints, the systems
    batch : BatchSubstrates, the substrates
    systems : BatchSystems, see ``fill_system_tables``
    marginals : BatchMarginals, with logarithms
    work : PairScratch, working memory
    states : (B, 2) int64, named states of the systems, see BatchPhis
    masks : (N + 1, 2**N) int64, purviews of up to N units in the published order, padded
    out : BatchStructures, as ``make_batch_structures`` makes it; filled

    References
    ----------
    mathematics.md 5, 6, 10 and 11, Eq. (11.3) to (11.6).
    """
    levels, columns, offsets = shape
    for b in range(points.code.shape[0]):
        if systems.reason[b] & UNREACHABLE:
            continue
        tables = MarginalTables(
            levels,
            columns,
            offsets,
            systems.children[b],
            marginals.codes[b],
            marginals.cause[b],
            marginals.log_cause[b],
            marginals.effect[b],
            marginals.log_effect[b],
        )
        k = points.substrate[b]
        count = batch.n_units[k]
        outside = Surroundings(
            points.units[b],
            batch.children[k, :count].copy(),
            masks[count, : (1 << count) - 1].copy(),
        )
        scratch = make_purview_scratch(tables.codes.shape[0], work.like.shape[0], offsets[-1])
        unfold_system(sides, tables, work, scratch, states[b], outside, b, out)
