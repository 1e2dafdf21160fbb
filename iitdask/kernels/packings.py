"""Packings of pairs of a mechanism and a purview: the largest gain of disjoint pairs within each.

The gain of a pair is log2 of the probability of the purview's actual state given the mechanism,
over that without it. A disintegrating partition gains what its blocks gain together, and blocks
that are reducible by themselves can be parted without a loss: the best partition of a pair is the
best packing of irreducible pairs within it (mathematics.md 25.4).

The row of a mechanism has a number for every subset of the purview units that it shares an edge
with, little-endian over those units alone; closed rows do not fall as the subset grows.
"""

import numpy as np

from iitdask.kernels.jit import kernel, leaf
from iitdask.kernels.subsets import deposit_bits, is_purview, popcount


@leaf
def compressed(mask, units):
    """Number of a subset among the subsets of ``units``; both are masks."""
    out, bit = 0, 1
    while units:
        low = units & -units
        if mask & low:
            out |= bit
        bit <<= 1
        units ^= low
    return out


@kernel
def add_row(row, part, units, out):
    """Add to each subset of ``units`` what a row over ``part``, a subset, has of its own part.

    Parameters
    ----------
    row : (2**part units,) float64
    part, units : int, masks
    out : (2**units,) float64, bits; added to
    """
    within = compressed(part, units)
    places = np.zeros(out.shape[0], np.int64)
    n_units, n_part = popcount(units), 0
    for bit in range(n_units):
        step = 0
        if within >> bit & 1:
            step = 1 << n_part
            n_part += 1
        for rest in range(1 << bit):
            places[1 << bit | rest] = places[rest] | step
    for subset in range(out.shape[0]):
        out[subset] += row[places[subset]]


@kernel
def offer_packings(purviews, gains, row, part, units, out):
    """Offer packings of one pair of a mechanism and the best ones of the other mechanism units.

    Parameters
    ----------
    purviews : (k,) int64, masks of the purviews paired with that mechanism
    gains : (k,) float64, bits
    row : (2**part units,) float64, best packings of the other mechanism units
    part, units : int, masks of the purview units of the row and of the whole
    out : (2**units,) float64, bits; raised
    """
    for k in range(purviews.shape[0]):
        spare = part & ~purviews[k]
        taken = compressed(purviews[k], units)
        here, there = compressed(spare, units), compressed(spare, part)
        at, source = 0, 0
        while True:
            total = gains[k] + row[source]
            if total > out[taken | at]:
                out[taken | at] = total
            if at == here:
                break
            at = (at - here) & here
            source = (source - there) & there


@kernel
def close_row(row):
    """Raise each number of a row to the largest one of a subset."""
    bit = 1
    while bit < row.shape[0]:
        for begin in range(0, row.shape[0], 2 * bit):
            for subset in range(begin, begin + bit):
                if row[subset] > row[subset + bit]:
                    row[subset + bit] = row[subset]
        bit <<= 1


@kernel
def irreducible_purviews(gains, parted, units, mechanism, children, forward, least):
    """List the admissible purviews whose gain exceeds that of every partition.

    Parameters
    ----------
    gains, parted : (2**units,) float64, of the whole pair and of its best partition, bits
    units : int, mask of the purview units
    mechanism : int, mask
    children : (a,) int64, masks of the effects that each cause feeds
    forward : bool, whether the mechanism consists of causes
    least : float, smallest excess, bits

    Returns
    -------
    (k,) int64 masks, ascending
    """
    out = np.empty(16, np.int64)
    count = 0
    for subset in range(1, gains.shape[0]):
        if not gains[subset] - parted[subset] > least:
            continue
        purview = deposit_bits(subset, units)
        if not is_purview(mechanism, purview, children, forward):
            continue
        if count == out.shape[0]:
            more = np.empty(2 * count, np.int64)
            more[:count] = out
            out = more
        out[count] = purview
        count += 1
    return out[:count]


@kernel
def additive_row(bits, out):
    """Fill the sum over the units of each subset; bits : (units,), out : (2**units,), filled."""
    out[0] = 0.0
    for i in range(bits.shape[0]):
        for rest in range(1 << i):
            out[1 << i | rest] = out[rest] + bits[i]


@kernel
def undominated(purviews, gains):
    """Tell which purviews gain more than every one within them; (k,) bool."""
    out = np.ones(purviews.shape[0], np.bool_)
    for k in range(purviews.shape[0]):
        for other in range(purviews.shape[0]):
            is_within = purviews[other] & ~purviews[k] == 0 and other != k
            if is_within and gains[other] >= gains[k]:
                out[k] = False
    return out


@kernel
def tied_purviews(gains, units, row, part, spare, goal):
    """List the purviews that attain a goal together with the best packing of what is left.

    Parameters
    ----------
    gains : (2**units,) float64, gain of one mechanism with each purview, bits
    row : (2**part units,) float64, best packings of the other mechanism units
    units, part, spare : int, masks of the purview units of both, and of those that are free
    goal : float, bits

    Returns
    -------
    (k,) int64 masks, none of them empty
    """
    inside = spare & units
    out = np.empty(16, np.int64)
    count, purview = 0, inside
    while purview:
        total = gains[compressed(purview, units)] + row[compressed(spare & ~purview & part, part)]
        if total >= goal:
            if count == out.shape[0]:
                more = np.empty(2 * count, np.int64)
                more[:count] = out
                out = more
            out[count] = purview
            count += 1
        purview = (purview - 1) & inside
    return out[:count]


@leaf
def reach_of(mechanism, reached):
    """Mask of the purview units that a mechanism has an edge with; reached : (units,) masks."""
    out, unit = 0, 0
    while mechanism >> unit:
        if mechanism >> unit & 1:
            out |= reached[unit]
        unit += 1
    return out


@leaf
def component_within(mechanism, reached, inside):
    """Part of a mechanism that purview units of ``inside`` connect with its first unit."""
    seen = mechanism & -mechanism
    covered = reach_of(seen, reached) & inside
    while True:
        before, unit = seen, 0
        while mechanism >> unit:
            if mechanism >> unit & 1 and not seen >> unit & 1 and reached[unit] & covered:
                seen |= 1 << unit
                covered |= reached[unit] & inside
            unit += 1
        if seen == before:
            return seen


@kernel
def with_axis(numbers, radix):
    """Repeat each row of (frontier, sets) for the values of one more input, which come last."""
    out = np.empty((numbers.shape[0] * radix, numbers.shape[1]))
    for f in range(numbers.shape[0]):
        for value in range(radix):
            out[f * radix + value] = numbers[f]
    return out


@kernel
def multiply_table(numbers, axes, radices, inputs, table):
    """Multiply (frontier, sets) by a table over some units of the frontier.

    axes : units of the frontier, the first one slowest; inputs : mask; table : flat, last fastest
    """
    digits = np.zeros(len(axes), np.int64)
    for f in range(numbers.shape[0]):
        place = f
        for k in range(len(axes) - 1, -1, -1):
            digits[k] = place % radices[axes[k]]
            place //= radices[axes[k]]
        place, unit = 0, 0
        while inputs >> unit:
            if inputs >> unit & 1:
                for k in range(len(axes)):
                    if axes[k] == unit:
                        place = place * radices[unit] + digits[k]
            unit += 1
        factor = table[place]
        for subset in range(numbers.shape[1]):
            numbers[f, subset] *= factor


@kernel
def without_axis(numbers, before, radix, after):
    """Sum an input out of (before x radix x after, sets): sets without it, then sets with it."""
    size = numbers.shape[1]
    out = np.zeros((before * after, 2 * size))
    for b in range(before):
        for a in range(after):
            target = out[b * after + a]
            for value in range(radix):
                source = numbers[(b * radix + value) * after + a]
                shift = 0 if value == radix - 1 else size
                for subset in range(size):
                    target[shift + subset] += source[subset]
    return out


@kernel
def cause_gains(tables, starts, parents, radices, at_state, at_starts, mechanism, order, reach):
    """Compute what a connected occurrence gains with each set of its causes.

    Parameters
    ----------
    tables : float64, P(effect has its value after | each of its causes known or, last, not), flat
    starts : (b + 1,) int64, where those of each effect begin
    parents : (b,) int64, masks of causes
    radices : (a,) int64, number of values of each cause, and one
    at_state : float64, log2 of the probability with each set of its causes in their state, flat
    at_starts : (b + 1,) int64
    mechanism : int, mask of effects
    order : (m,) int64, its causes as they are summed over
    reach : int, mask of its causes

    Returns
    -------
    (2**m,) float64, bits; not a number where the occurrence is impossible

    References
    ----------
    mathematics.md 25.3, Eq. (25.8).
    """
    m = order.shape[0]
    numbers, axes, left = np.ones((1, 1)), [np.int64(-1)], mechanism
    axes.pop()
    places = np.zeros(1 << m, np.int64)
    for t in range(m):
        unit, effect = order[t], 0
        while left >> effect:
            if left >> effect & 1 and parents[effect] >> unit & 1:
                for source in range(radices.shape[0]):
                    if parents[effect] >> source & 1 and source not in axes:
                        numbers = with_axis(numbers, radices[source])
                        axes.append(source)
                table = tables[starts[effect] : starts[effect + 1]]
                multiply_table(numbers, axes, radices, parents[effect], table)
                left &= ~(1 << effect)
            effect += 1
        before, after, at = 1, 1, axes.index(unit)
        for k in range(len(axes)):
            if k < at:
                before *= radices[axes[k]]
            elif k > at:
                after *= radices[axes[k]]
        numbers = without_axis(numbers, before, radices[unit], after)
        axes.pop(at)
        step = compressed(1 << unit, reach)
        for rest in range(1 << t):
            places[1 << t | rest] = places[rest] | step
    out = np.empty(1 << m)
    for subset in range(1 << m):
        out[places[subset]] = -np.log2(numbers[0, subset])
    for k in range(m):
        bits, bit = np.log2(radices[order[k]] - 1.0), compressed(1 << order[k], reach)
        for subset in range(1 << m):
            if subset & bit:
                out[subset] += bits
    effect = 0
    while mechanism >> effect:
        if mechanism >> effect & 1:
            row = at_state[at_starts[effect] : at_starts[effect + 1]]
            add_row(row, parents[effect], reach, out)
        effect += 1
    return out
