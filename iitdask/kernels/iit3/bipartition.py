"""Repertoires of cut systems and phi of a mechanism over a purview by bipartition (IIT 3.0).

A unidirectional cut severs every connection into some units, the ``target``, from all others. A
target unit then depends on its inputs within the target alone, so that every repertoire of the cut
system is made of the same tables as the intact one, read at fewer inputs (mathematics.md 12, 25.1).
"""

from typing import NamedTuple

import numpy as np

from iitdask.kernels.iit3.emd import (
    FlowScratch,
    earth_movers_distance,
    fill_neighbours,
    make_flow_scratch,
)
from iitdask.kernels.jit import leaf
from iitdask.kernels.subsets import deposit_bits, popcount


class Repertoires(NamedTuple):
    """All cause repertoires of a system in its state, and the marginals of both sides.

    Units are compared by ``compared`` columns: one for a binary unit, all values otherwise,
    weighed by ``weights`` so that the sum of differences is the total variation.
    """

    levels: np.ndarray  # (n,) values per unit
    offsets: np.ndarray  # (2**n + 1,) where a purview's states begin, see subsets.segment_offsets
    compared: np.ndarray  # (n + 1,) where each unit's columns begin
    weights: np.ndarray  # (n,) weight of each unit's columns
    cause: np.ndarray  # (2**n, C) p_c(z | m) at [m, code of (purview, z)]; 0 where impossible
    cause_marginals: np.ndarray  # (2**n, 2**n, w) of each purview unit, at [mechanism, purview]
    effect: np.ndarray  # (2**n, w) of each unit after the mechanism's current state, at [mechanism]
    reduced: np.ndarray  # (C,) code of what a target unit sees of a code


def make_repertoires(levels: np.ndarray, offsets: np.ndarray) -> Repertoires:
    """Allocate the repertoires of a system, with zeros."""
    n = len(levels)
    widths = np.where(levels == 2, 1, levels)
    compared = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
    size, codes, width = 1 << n, int(offsets[-1]), int(compared[-1])
    return Repertoires(
        levels=levels,
        offsets=offsets,
        compared=compared,
        weights=np.where(levels == 2, 1.0, 0.5),
        cause=np.zeros((size, codes)),
        cause_marginals=np.zeros((size, size, width)),
        effect=np.zeros((size, width)),
        reduced=np.zeros(codes, np.int64),
    )


@leaf
def fill_repertoires(forward, rows, target, out):
    """Compute every repertoire of a system under a cut, mathematics.md 3, 12 and 25.1.

    forward : (C, n) float64, P(unit is in its current state | code), cause side
    rows : (2**n, w) float64, P(unit takes value | the subset's current state), effect side
    target : mask of the units that lose their inputs from all others; 0 cuts nothing
    out : filled; time 6**n for binary units
    """
    n = out.levels.shape[0]
    size = 1 << n
    _reduce_codes(target, out)
    for m in range(size):
        low = m & -m
        i = 0
        while low >> i > 1:
            i += 1
        for c in range(out.cause.shape[1]):
            if m == 0:
                out.cause[0, c] = 1.0
            else:
                seen = out.reduced[c] if target >> i & 1 else c
                out.cause[m, c] = out.cause[m ^ low, c] * forward[seen, i]
        for j in range(n):
            read = m & target if target >> j & 1 else m
            for c in range(out.compared[j], out.compared[j + 1]):
                out.effect[m, c] = rows[read, c]
    for m in range(size):
        for z in range(size):
            _normalize(m, z, out)


@leaf
def _reduce_codes(target, out):
    """Code of the target units' part of each code."""
    n = out.levels.shape[0]
    out.reduced[0] = 0
    for j in range(n):
        for a in range(1 << j):
            size = out.offsets[a + 1] - out.offsets[a]
            kept = a & target
            step = 0
            to = kept
            if target >> j & 1:
                step = out.offsets[kept + 1] - out.offsets[kept]
                to = kept | (1 << j)
            for v in range(out.levels[j]):
                for x in range(size):
                    inside = out.reduced[out.offsets[a] + x] - out.offsets[kept]
                    code = out.offsets[a | (1 << j)] + v * size + x
                    out.reduced[code] = out.offsets[to] + inside + v * step


@leaf
def _normalize(m, z, out):
    """Divide by the sum over the purview's states and take the marginals."""
    begin, end = out.offsets[z], out.offsets[z + 1]
    total = 0.0
    for c in range(begin, end):
        total += out.cause[m, c]
    scale = 1.0 / total if total > 0.0 else 0.0
    for c in range(begin, end):
        out.cause[m, c] *= scale
    stride = 1
    j = 0
    while z >> j:
        if z >> j & 1:
            k = out.levels[j]
            first = out.compared[j]
            width = out.compared[j + 1] - first
            for v in range(width):
                value = 1 if width == 1 else v
                p = 0.0
                for block in range(begin + value * stride, end, stride * k):
                    for x in range(stride):
                        p += out.cause[m, block + x]
                out.cause_marginals[m, z, first + v] = p
            stride *= k
        j += 1


@leaf
def unit_distance(a, b, j, compared, weights):
    """Total variation between two rows of marginals at one unit."""
    d = 0.0
    for c in range(compared[j], compared[j + 1]):
        d += abs(a[c] - b[c])
    return d * weights[j]


@leaf
def marginal_distance(a, b, units, reps):
    """Sum of the total variations between two rows of marginals at the units of a mask."""
    d = 0.0
    j = 0
    while units >> j:
        if units >> j & 1:
            d += unit_distance(a, b, j, reps.compared, reps.weights)
        j += 1
    return d


ZERO_DISTANCE = 1e-9  # An earth mover's distance up to this rounds to zero


class BipartitionScratch(NamedTuple):
    """Working memory of the searches over bipartitions; one for each thread."""

    halves: np.ndarray  # (2**n, 2**n) sum of marginal differences of one part, by subsets
    bounds: np.ndarray  # (4**n / 2,) lower bound of each bipartition
    first: np.ndarray  # (S,) state of the first part in each state of the purview
    second: np.ndarray  # (S,) state of the second part
    sums: np.ndarray  # (2**n,) sums over purviews
    costs: np.ndarray  # (n,) per unit
    flow: FlowScratch  # For the earth mover's distance


def make_bipartition_scratch(levels: np.ndarray) -> BipartitionScratch:
    """Allocate the working memory of the searches of a system."""
    n, states = len(levels), int(np.prod(levels))
    size = 1 << n
    halves, bounds = np.zeros((size, size)), np.zeros(max(1, size * size // 2))
    first, second = np.zeros((2, states), np.int64)
    arrays = (halves, bounds, first, second, np.zeros(size), np.zeros(n))
    return BipartitionScratch(*arrays, make_flow_scratch(levels))


@leaf
def cause_phi(m, z, floor, reps, scratch):
    """Least earth mover's distance over the bipartitions of a mechanism and a cause purview.

    floor : float, once the minimum is known to be below, some value below is returned
    Bipartitions are tried by the sum of their marginal differences, a lower bound.
    """
    total = 0.0
    for c in range(reps.offsets[z], reps.offsets[z + 1]):
        total += reps.cause[m, c]
    if total == 0.0:
        return 0.0
    count = _fill_bounds(m, z, reps, scratch)
    if z & (z - 1) == 0:  # one unit: the bound is the distance
        best = np.inf
        for k in range(count):
            best = min(best, scratch.bounds[k])
        return best if best > ZERO_DISTANCE else 0.0
    wide = 1 << popcount(z)
    size, degree = fill_neighbours(z, reps.levels, scratch.flow)
    best = np.inf
    while True:
        k = 0
        for other in range(1, count):
            if scratch.bounds[other] < scratch.bounds[k]:
                k = other
        if scratch.bounds[k] >= best:
            return best
        scratch.bounds[k] = np.inf
        fill_bipartition_excess(
            m, z, deposit_bits(k // wide, m), deposit_bits(k % wide, z), reps, scratch
        )
        best = min(best, earth_movers_distance(size, degree, best, scratch.flow))
        if best <= ZERO_DISTANCE:
            return 0.0
        if best < floor:
            return best


@leaf
def _fill_bounds(m, z, reps, scratch):
    """Write the lower bound of every bipartition; returns how many there are.

    Number a * 2**|Z| + b has the a-th subset of M, never its last unit, and the b-th of Z.
    """
    tall, wide = 1 << popcount(m), 1 << popcount(z)
    whole = reps.cause_marginals[m, z]
    for a in range(tall):
        part = deposit_bits(a, m)
        scratch.halves[a, 0] = 0.0
        for b in range(1, wide):
            units = deposit_bits(b, z)
            row = reps.cause_marginals[part, units]
            scratch.halves[a, b] = marginal_distance(whole, row, units, reps)
    for a in range(tall // 2):
        for b in range(wide):
            d = scratch.halves[a, b] + scratch.halves[tall - 1 - a, wide - 1 - b]
            scratch.bounds[a * wide + b] = d
    scratch.bounds[0] = np.inf  # nothing / nothing
    return tall // 2 * wide


@leaf
def fill_part_states(one, two, levels, scratch):
    """Fill the states that two sets of units are in, in each state of their union.

    Returns how many states the union and either set have.
    """
    first, second = scratch.first, scratch.second
    first[0], second[0] = 0, 0
    size, size1, size2 = 1, 1, 1
    union = one | two
    j = 0
    while union >> j:
        if union >> j & 1:
            step1 = size1 if one >> j & 1 else 0
            step2 = size2 if two >> j & 1 else 0
            for v in range(levels[j] - 1, -1, -1):
                for x in range(size):
                    first[v * size + x] = first[x] + v * step1
                    second[v * size + x] = second[x] + v * step2
            size *= levels[j]
            size1 *= levels[j] if step1 else 1
            size2 *= levels[j] if step2 else 1
        j += 1
    return size, size1, size2


@leaf
def fill_bipartition_excess(m, z, m1, z1, reps, scratch):
    """Write the cause repertoire less that of the partition into ``scratch.flow.excess``."""
    size, _, _ = fill_part_states(z1, z ^ z1, reps.levels, scratch)
    p = reps.cause[m]
    q1, q2 = reps.cause[m1], reps.cause[m ^ m1]
    c, c1, c2 = reps.offsets[z], reps.offsets[z1], reps.offsets[z ^ z1]
    for x in range(size):
        scratch.flow.excess[x] = p[c + x] - q1[c1 + scratch.first[x]] * q2[c2 + scratch.second[x]]


@leaf
def effect_phis(m, reps, scratch, out):
    """Least distance over bipartitions of a mechanism and every effect purview.

    out : (2**n,) float64
    Effects are independent given the mechanism, so the distance is a sum over the purview's
    units, and each of them takes the part of the mechanism that costs less.
    """
    n = reps.levels.shape[0]
    whole = reps.effect[m]
    out[0] = 0.0
    for j in range(n):  # nothing / some of the purview: the cheapest unit alone
        scratch.costs[j] = unit_distance(whole, reps.effect[0], j, reps.compared, reps.weights)
        for z in range(1 << j):
            rest = out[z] if z else np.inf
            out[z | 1 << j] = min(rest, scratch.costs[j])
    for a in range(1, (1 << popcount(m)) // 2):
        one = deposit_bits(a, m)
        scratch.sums[0] = 0.0
        for j in range(n):
            cost = unit_distance(whole, reps.effect[one], j, reps.compared, reps.weights)
            other = unit_distance(whole, reps.effect[m ^ one], j, reps.compared, reps.weights)
            cost = min(cost, other)
            for z in range(1 << j):
                total = scratch.sums[z] + cost
                scratch.sums[z | 1 << j] = total
                out[z | 1 << j] = min(out[z | 1 << j], total)
