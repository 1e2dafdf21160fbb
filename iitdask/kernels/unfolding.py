"""Cause-effect structures of small systems, each in one call: what they sum up to.

The searches are those of kernels.mechanisms; here they are strung together in
compiled code, because a system of four units takes less time than Python needs
to call its fifteen mechanisms one by one.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.batches import STATE_UNREACHABLE, SYSTEM_UNREACHABLE
from iitdask.kernels.cause import cause_scan
from iitdask.kernels.codes import state_codes
from iitdask.kernels.families import ON_CAUSE
from iitdask.kernels.jit import kernel
from iitdask.kernels.marginals import marginal_table
from iitdask.kernels.mechanisms import Found, make_room, search_mechanisms
from iitdask.kernels.orders import set_order
from iitdask.kernels.pairs import Tables, pair_phi, specify
from iitdask.kernels.purviews import members, tolerance
from iitdask.kernels.summing import structure_sums

__all__ = ["lay_marginals", "unfold"]


@kernel
def lay_marginals(effects, causes, currents, shape, whole, codes, likely):
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
def implied(code, levels, purview):
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
def outer_mask(mask, units):
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
def in_order(mechanism, bits, size, outside, forward, out):
    """Write the tied purviews of a mechanism, the representative first; returns how many."""
    count = 0
    for purview in range(1, size):
        if bits[purview >> 3] >> (purview & 7) & 1:
            out[count] = purview
            count += 1
    if count == 1:
        return count
    units, feeds, sequence = outside
    order = set_order(outer_mask(mechanism, units), sequence, feeds, forward)
    found = 0
    for k in range(order.shape[0]):
        for j in range(found, count):
            if outer_mask(out[j], units) == order[k]:
                out[found], out[j] = out[j], out[found]
                found += 1
                break
    return count


@kernel
def agreeing(side, t, s, mechanism, bits, system, outside, order, tally):
    """(phi of the representative, purview that agrees with the system's state, or 0).

    Spec.md 10: the representative in any of its tied states, then the largest other tied
    purview whose own representative state agrees.
    """
    count = in_order(mechanism, bits, t.codes.shape[0], outside, side != ON_CAUSE, order)
    value, chosen, units = 0.0, 0, 0
    first = np.int64(0)  # a literal 0 would compile the callee once more
    for k in range(count):
        purview = order[k]
        mechs, purvs = members(mechanism, s.mech), members(purview, s.purv)
        states = t.offsets[purview + 1] - t.offsets[purview]
        specify(side, t, s, mechanism, purview, mechs, purvs)
        phi, _, _, state = pair_phi(side, t, s, mechs, purvs, first, states, 0.0, tally)
        wanted = implied(system, t.levels, purview)
        if k == 0:
            value = phi
            if s.phis[wanted] >= phi - tolerance(phi):
                return value, purview
        elif state == wanted and purvs > units:
            chosen, units = purview, purvs
    return value, chosen


@kernel
def make_finds(t):
    """What the search of all mechanisms leaves behind."""
    size = t.codes.shape[0]
    ties, bits = np.zeros(size, np.int64), np.zeros((size, (size + 7) // 8), np.uint8)
    return Found(np.zeros(size), ties, bits, ties, np.zeros((size, 2), np.int64))


@kernel
def unfold_one(sides, t, s, room, system, outside, out):
    """Unfold one system; see ``unfold`` for out; returns (distinctions, relations)."""
    size = t.codes.shape[0]
    causes, effects, tally = make_finds(t), make_finds(t), np.zeros(2, np.int64)
    first, width, scanned = np.int64(0), np.int64(t.levels.shape[0]), scan_causes(t)
    search_mechanisms(sides[0], t, s, first, width, scanned, room, causes)
    search_mechanisms(sides[1], t, s, first, width, scanned, room, effects)
    found = np.empty((3, size), np.int64)
    values = np.empty(size)
    order, count = np.empty(size, np.int64), 0
    for mechanism in range(1, size):
        if min(causes.phis[mechanism], effects.phis[mechanism]) <= 0.0:
            continue
        cause, at_cause = agreeing(
            sides[0], t, s, mechanism, causes.bits[mechanism], system[0], outside, order, tally
        )
        if at_cause == 0:
            continue
        effect, at_effect = agreeing(
            sides[1], t, s, mechanism, effects.bits[mechanism], system[1], outside, order, tally
        )
        if at_effect == 0:
            continue
        values[count] = min(cause, effect)
        found[0, count], found[1, count] = at_cause, at_effect
        count += 1
    differing = 0
    for i in range(t.levels.shape[0]):
        if implied(system[0], t.levels, 1 << i) != implied(system[1], t.levels, 1 << i):
            differing |= 1 << i
    for d in range(count):
        mask = found[1, d]
        found[1, d] = (mask & ~differing) | (mask & differing) << t.levels.shape[0]
    relations = structure_sums(values[:count], found[0, :count], found[1, :count], out)
    return count, relations


@kernel
def unfold(sides, shape, points, begin, end, net, tables, s, notes, sequences, out, counts):
    """Unfold the structures of the candidates begin .. end - 1, spec.md 5, 6, 10 and 11.

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
        t = Tables(
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
        room = make_room(t.codes.shape[0], s.like.shape[0], offsets[-1])
        system = (notes[b, 2], notes[b, 3])
        counts[b, 0], counts[b, 1] = unfold_one(sides, t, s, room, system, outside, out[b])
