"""Irreducibility of one mechanism over one purview by bipartition (IIT 3.0, spec.md 12.1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from iitdask.kernels.jit import leaf
from iitdask.kernels.repertoires import unit_distance
from iitdask.kernels.transport import Flow, flow_room, lay_out, moving_cost

__all__ = [
    "Splits",
    "cause_phi",
    "effect_phis",
    "split_distance",
    "split_excess",
    "split_room",
    "spread_mask",
]

NOTHING = 1e-9
"""An earth mover's distance up to this rounds to zero."""


class Splits(NamedTuple):
    """Working memory of the searches over bipartitions; one for each thread."""

    halves: np.ndarray
    """(2**n, 2**n) sum of marginal differences of one part, by mechanism and purview subset."""
    bounds: np.ndarray
    """(4**n / 2,) lower bound of each bipartition."""
    first: np.ndarray
    """(S,) state of the first part in each state of the purview."""
    second: np.ndarray
    """(S,) state of the second part."""
    sums: np.ndarray
    """(2**n,) sums over purviews."""
    costs: np.ndarray
    """(n,) per unit."""
    flow: Flow
    """For the earth mover's distance."""


def split_room(levels: np.ndarray) -> Splits:
    """Make room for the searches of a system."""
    n, states = len(levels), int(np.prod(levels))
    size = 1 << n
    return Splits(
        np.zeros((size, size)),
        np.zeros(max(1, size * size // 2)),
        np.zeros(states, np.int64),
        np.zeros(states, np.int64),
        np.zeros(size),
        np.zeros(n),
        flow_room(levels),
    )


@leaf
def spread_mask(x, mask):
    """Put the lowest bits of x at the units of a mask: the x-th of its subsets."""
    out = 0
    while mask:
        low = mask & -mask
        if x & 1:
            out |= low
        x >>= 1
        mask ^= low
    return out


@leaf
def cause_phi(m, z, floor, reps, room):
    """Least earth mover's distance over the bipartitions of a mechanism and a cause purview.

    m, z  : masks, neither empty
    floor : float  once the minimum is known to be below, some value below is returned
    Bipartitions are tried by the sum of their marginal differences, a lower bound.
    """
    total = 0.0
    for c in range(reps.offsets[z], reps.offsets[z + 1]):
        total += reps.cause[m, c]
    if total == 0.0:
        return 0.0
    count = _bounds(m, z, reps, room)
    if z & (z - 1) == 0:  # one unit: the bound is the distance
        best = np.inf
        for k in range(count):
            best = min(best, room.bounds[k])
        return best if best > NOTHING else 0.0
    wide = _states(z)
    size, degree = lay_out(z, reps.levels, room.flow)
    best = np.inf
    while True:
        k = 0
        for other in range(1, count):
            if room.bounds[other] < room.bounds[k]:
                k = other
        if room.bounds[k] >= best:
            return best
        room.bounds[k] = np.inf
        split_excess(m, z, spread_mask(k // wide, m), spread_mask(k % wide, z), reps, room)
        best = min(best, moving_cost(size, degree, best, room.flow))
        if best <= NOTHING:
            return 0.0
        if best < floor:
            return best


@leaf
def _states(mask):
    """Number of subsets of a mask."""
    out = 1
    while mask:
        out *= 2
        mask &= mask - 1
    return out


@leaf
def _bounds(m, z, reps, room):
    """Write the lower bound of every bipartition; returns how many there are.

    Number a * 2**|Z| + b has the a-th subset of M, never its last unit, and the b-th of Z.
    """
    tall, wide = _states(m), _states(z)
    whole = reps.cause_marginals[m, z]
    for a in range(tall):
        part = spread_mask(a, m)
        room.halves[a, 0] = 0.0
        for b in range(1, wide):
            units = spread_mask(b, z)
            row = reps.cause_marginals[part, units]
            d = 0.0
            j = 0
            while units >> j:
                if units >> j & 1:
                    d += unit_distance(whole, row, j, reps.compared, reps.weights)
                j += 1
            room.halves[a, b] = d
    for a in range(tall // 2):
        for b in range(wide):
            d = room.halves[a, b] + room.halves[tall - 1 - a, wide - 1 - b]
            room.bounds[a * wide + b] = d
    room.bounds[0] = np.inf  # nothing / nothing
    return tall // 2 * wide


@leaf
def split_excess(m, z, m1, z1, reps, room):
    """Write the cause repertoire less that of the partition into ``room.flow.excess``."""
    first, second = room.first, room.second
    first[0] = 0
    second[0] = 0
    size = 1
    one, two = 1, 1
    j = 0
    while z >> j:
        if z >> j & 1:
            k = reps.levels[j]
            inside = z1 >> j & 1
            for v in range(k - 1, -1, -1):
                up = v * one if inside else 0
                over = 0 if inside else v * two
                for x in range(size):
                    first[v * size + x] = first[x] + up
                    second[v * size + x] = second[x] + over
            size *= k
            if inside:
                one *= k
            else:
                two *= k
        j += 1
    p = reps.cause[m]
    q1, q2 = reps.cause[m1], reps.cause[m ^ m1]
    c, c1, c2 = reps.offsets[z], reps.offsets[z1], reps.offsets[z ^ z1]
    for x in range(size):
        room.flow.excess[x] = p[c + x] - q1[c1 + first[x]] * q2[c2 + second[x]]


@leaf
def split_distance(m, z, m1, z1, cause, reps, room):
    """Distance between a repertoire and its product under one bipartition."""
    if cause:
        split_excess(m, z, m1, z1, reps, room)
        size, degree = lay_out(z, reps.levels, room.flow)
        return moving_cost(size, degree, np.inf, room.flow)
    d = 0.0
    j = 0
    while z >> j:
        if z >> j & 1:
            row = reps.effect[m1] if z1 >> j & 1 else reps.effect[m ^ m1]
            d += unit_distance(reps.effect[m], row, j, reps.compared, reps.weights)
        j += 1
    return d


@leaf
def effect_phis(m, reps, room, out):
    """Least distance over bipartitions of a mechanism and every effect purview.

    out : (2**n,) float64
    Effects are independent given the mechanism, so the distance is a sum over the purview's
    units, and each of them takes the part of the mechanism that costs less.
    """
    n = reps.levels.shape[0]
    whole = reps.effect[m]
    out[0] = 0.0
    for j in range(n):  # nothing / some of the purview: the cheapest unit alone
        room.costs[j] = unit_distance(whole, reps.effect[0], j, reps.compared, reps.weights)
        for z in range(1 << j):
            rest = out[z] if z else np.inf
            out[z | 1 << j] = min(rest, room.costs[j])
    for a in range(1, _states(m) // 2):
        one = spread_mask(a, m)
        room.sums[0] = 0.0
        for j in range(n):
            cost = unit_distance(whole, reps.effect[one], j, reps.compared, reps.weights)
            other = unit_distance(whole, reps.effect[m ^ one], j, reps.compared, reps.weights)
            cost = min(cost, other)
            for z in range(1 << j):
                total = room.sums[z] + cost
                room.sums[z | 1 << j] = total
                out[z | 1 << j] = min(out[z | 1 << j], total)
