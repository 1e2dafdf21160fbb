"""Cause-effect structures of many small systems in one call: Phi and its parts.

The searches over mechanisms are those of kernels.iit4.mechanism_search, strung together in
compiled code: a system of four units takes less time than Python needs to call its fifteen
mechanisms one by one. Relations are summed in closed form (mathematics.md 11).
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.batch_tables import STATE_UNREACHABLE, SYSTEM_UNREACHABLE
from iitdask.kernels.distributions import marginal_table
from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE
from iitdask.kernels.iit4.mechanism_search import (
    MechanismResults,
    make_purview_scratch,
    search_mechanisms,
)
from iitdask.kernels.iit4.pair import MarginalTables, pair_phi, specify_states
from iitdask.kernels.iit4.pair_costs import cause_scan
from iitdask.kernels.jit import kernel
from iitdask.kernels.subsets import (
    hash_set_order,
    phi_tolerance,
    popcount,
    state_codes,
    write_units,
)

__all__ = [
    "fill_marginal_tables",
    "sum_structure",
    "unfold_systems",
]


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
def sum_structure(phi, cause, effect, out):
    """Fill ``out`` with Phi and the sums of phi over distinctions and relations, in bits.

    phi : (D,) float64; cause, effect : (D,) int64, unit-states each distinction binds, masks
    returns the number of relations
    """
    total, small = 0.0, 0.0
    for d in range(phi.shape[0]):
        total, small = add_double_double(total, small, phi[d])
    out[1] = total + small
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
    out[2] = high + low
    out[0] = out[1] + out[2]
    return count_relations(union, loops)


@kernel
def fill_marginal_tables(effects, causes, currents, shape, whole, codes, likely):
    """Fill the tables of marginals of many systems of one shape.

    effects, causes : (B, S, c); currents : (B, n); shape : levels, columns, offsets
    whole : (B, codes, c) filled, effect side; codes : (B, 2**n) filled, code of each subset now
    likely : (B, n, codes) filled, P(unit in its current state | part of an earlier state)
    """
    levels, columns, offsets = shape
    for b in range(effects.shape[0]):
        marginal_table(causes[b], levels, offsets, whole[b])
        for i in range(levels.shape[0]):
            column = columns[i] + currents[b, i]
            for code in range(offsets[-1]):
                likely[b, i, code] = whole[b, code, column]
        marginal_table(effects[b], levels, offsets, whole[b])
        codes[b] = state_codes(offsets, currents[b], levels.shape[0])


@kernel
def scan_causes(t):
    """Scan the causes of all mechanisms together; returns weights, states and bounds."""
    size = t.codes.shape[0]
    width, first = np.int64(t.levels.shape[0]), np.int64(0)
    vectors, table = np.empty((6, size)), np.empty((size, size))
    weights, states = np.zeros((size, size)), np.zeros((size, size), np.int64)
    cause_scan(t.cause, t.log_cause, t.offsets, first, width, vectors, table, weights, states)
    return weights, states, table


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
    """Write the tied purviews of a mechanism, the representative first; returns how many."""
    count = 0
    for purview in range(1, size):
        if bits[purview >> 3] >> (purview & 7) & 1:
            out[count] = purview
            count += 1
    if count == 1:
        return count
    units, feeds, sequence = outside
    order = hash_set_order(substrate_mask(mechanism, units), sequence, feeds, forward)
    found = 0
    for k in range(order.shape[0]):
        for j in range(found, count):
            if substrate_mask(out[j], units) == order[k]:
                out[found], out[j] = out[j], out[found]
                found += 1
                break
    return count


@kernel
def congruent_purview(side, t, s, mechanism, bits, system, outside, order, tally):
    """(phi of the representative, purview that agrees with the system's state, or 0).

    mathematics.md 10: the representative in any of its tied states, then the largest other tied
    purview whose own representative state agrees.
    """
    count = order_tied_purviews(mechanism, bits, t.codes.shape[0], outside, side != ON_CAUSE, order)
    value, chosen, units = 0.0, 0, 0
    first = np.int64(0)  # a literal 0 would compile the callee once more
    for k in range(count):
        purview = order[k]
        mechs, purvs = write_units(mechanism, s.mech), write_units(purview, s.purv)
        states = t.offsets[purview + 1] - t.offsets[purview]
        specify_states(side, t, s, mechanism, purview, mechs, purvs)
        phi, _, _, state = pair_phi(side, t, s, mechs, purvs, first, states, 0.0, tally)
        wanted = restrict_state(system, t.levels, purview)
        if k == 0:
            value = phi
            if s.phis[wanted] >= phi - phi_tolerance(phi):
                return value, purview
        elif state == wanted and purvs > units:
            chosen, units = purview, purvs
    return value, chosen


@kernel
def make_mechanism_results(t):
    """What the search of all mechanisms leaves behind."""
    size = t.codes.shape[0]
    ties, bits = np.zeros(size, np.int64), np.zeros((size, (size + 7) // 8), np.uint8)
    return MechanismResults(np.zeros(size), ties, bits, ties, np.zeros((size, 2), np.int64))


@kernel
def unfold_system(sides, t, s, room, system, outside, out):
    """Unfold one system; see ``unfold_systems`` for out; returns (distinctions, relations)."""
    size = t.codes.shape[0]
    causes, effects, tally = (
        make_mechanism_results(t),
        make_mechanism_results(t),
        np.zeros(2, np.int64),
    )
    first, width, scanned = np.int64(0), np.int64(t.levels.shape[0]), scan_causes(t)
    search_mechanisms(sides[0], t, s, first, width, scanned, room, causes)
    search_mechanisms(sides[1], t, s, first, width, scanned, room, effects)
    found = np.empty((3, size), np.int64)
    values = np.empty(size)
    order, count = np.empty(size, np.int64), 0
    for mechanism in range(1, size):
        if min(causes.phis[mechanism], effects.phis[mechanism]) <= 0.0:
            continue
        cause, at_cause = congruent_purview(
            sides[0], t, s, mechanism, causes.bits[mechanism], system[0], outside, order, tally
        )
        if at_cause == 0:
            continue
        effect, at_effect = congruent_purview(
            sides[1], t, s, mechanism, effects.bits[mechanism], system[1], outside, order, tally
        )
        if at_effect == 0:
            continue
        values[count] = min(cause, effect)
        found[0, count], found[1, count] = at_cause, at_effect
        count += 1
    differing = 0
    for i in range(t.levels.shape[0]):
        if restrict_state(system[0], t.levels, 1 << i) != restrict_state(
            system[1], t.levels, 1 << i
        ):
            differing |= 1 << i
    for d in range(count):
        mask = found[1, d]
        found[1, d] = (mask & ~differing) | (mask & differing) << t.levels.shape[0]
    relations = sum_structure(values[:count], found[0, :count], found[1, :count], out)
    return count, relations


@kernel
def unfold_systems(sides, shape, points, begin, end, net, tables, s, notes, sequences, out, counts):
    """Unfold the structures of the candidates begin .. end - 1, mathematics.md 5, 6, 10 and 11.

    sides  : (2,) int64 ON_CAUSE, ON_EFFECT
    shape  : levels, columns, offsets, see kernels.pairs.Tables
    points, net : see kernels.batches.system_tables
    tables : children (B, n), codes (B, 2**n), cause (B, n, codes), log_cause (B, codes, n),
             effect (B, codes, c), log_effect (B, 2**n, c), standing (B,)
    notes  : (B, 5) see kernels.verdicts
    sequences : (N + 1, 2**N) purviews of N units in the published order, padded
    out    : (B, 3) float64 Phi, sum of phi over distinctions and over relations
    counts : (B, 2) int64 distinctions and relations
    """
    children, codes, cause, log_cause, effect, log_effect, standing = tables
    levels, columns, offsets = shape
    for p in range(begin, end):
        b = p - begin
        if standing[b] == STATE_UNREACHABLE or standing[b] == SYSTEM_UNREACHABLE:
            out[b, :] = np.nan
            counts[b, :] = -1
            continue
        t = MarginalTables(
            levels,
            columns,
            offsets,
            children[b],
            codes[b],
            cause[b],
            log_cause[b],
            effect[b],
            log_effect[b],
        )
        count = net[1][points[0][p]]
        feeds = net[4][points[0][p], :count].copy()
        outside = (points[2][p], feeds, sequences[count, : (1 << count) - 1].copy())
        room = make_purview_scratch(t.codes.shape[0], s.like.shape[0], offsets[-1])
        system = (notes[b, 2], notes[b, 3])
        counts[b, 0], counts[b, 1] = unfold_system(sides, t, s, room, system, outside, out[b])
