"""Concepts of an intact or cut system and the distances between concepts (IIT 3.0)."""

from __future__ import annotations

import numpy as np

from iitdask.kernels.iit3.bipartition import (
    bipartition_distance,
    cause_phi,
    deposit_bits,
    effect_phis,
    fill_bipartition_excess,
    unit_distance,
)
from iitdask.kernels.iit3.emd import earth_movers_distance, fill_neighbours
from iitdask.kernels.jit import kernel, leaf
from iitdask.kernels.subsets import is_purview, popcount

__all__ = [
    "TIE_MARGIN",
    "both_repertoires",
    "cause_distances",
    "choose_concepts",
    "fill_concept_marginals",
    "fill_distance_bounds",
    "find_concepts",
    "is_positive",
    "is_tied",
    "list_tied_bipartitions",
    "mark_unchanged_concepts",
    "null_effect_distance",
    "purview_phis",
    "round_distance",
]

DISTANCE_PRECISION = 1e-6
"""Distances are rounded to it, and two that differ by no more tie (mathematics.md 12)."""
TIE_MARGIN = 3e-6
"""Distances that differ by more, and by more than this part, do not tie however rounded."""


@leaf
def round_distance(x):
    """A distance to six decimals."""
    return np.rint(x * 1e6) / 1e6


@leaf
def is_tied(x, y):
    """Whether two rounded distances count as equal."""
    return abs(x - y) <= max(DISTANCE_PRECISION * max(abs(x), abs(y)), DISTANCE_PRECISION)


@leaf
def is_positive(x):
    """Whether a rounded distance counts as more than nothing."""
    return x > 0.0 and not is_tied(x, 0.0)


@kernel
def purview_phis(begin, end, reps, room, children, cause, effect):
    """Integrated information of a range of mechanisms over every purview.

    cause, effect : (end - begin, 2**n) float64   filled, rounded; 0 where inadmissible
    """
    size = cause.shape[1]
    for m in range(max(begin, 1), end):
        row = m - begin
        effect_phis(m, reps, room, effect[row])
        for z in range(1, size):
            effect[row, z] = (
                round_distance(effect[row, z]) if is_purview(m, z, children, True) else 0.0
            )
            if is_purview(m, z, children, False):
                cause[row, z] = round_distance(cause_phi(m, z, 0.0, reps, room))


@leaf
def _best_purview(phis, rank, found):
    """Largest phi, then largest purview, then least rank; writes purview and ties."""
    top = 0.0
    for z in range(1, phis.shape[0]):
        top = max(top, phis[z])
    found[0], found[1] = 0, 0
    if not is_positive(top):
        return 0.0
    units = 0
    for z in range(1, phis.shape[0]):
        if is_tied(phis[z], top):
            units = max(units, popcount(z))
    for z in range(1, phis.shape[0]):
        if is_tied(phis[z], top) and popcount(z) == units:
            if found[1] == 0 or rank[z] < rank[found[0]]:
                found[0] = z
            found[1] += 1
    return phis[found[0]]


@kernel
def choose_concepts(cause, effect, rank, phi, purview, ties):
    """Best cause and effect of every mechanism, given all phis; see ``find_concepts``."""
    found = np.zeros(2, np.int64)
    for m in range(1, phi.shape[1]):
        phi[0, m] = _best_purview(cause[m], rank[0, m], found)
        purview[0, m], ties[0, m] = found
        phi[1, m] = _best_purview(effect[m], rank[1, m], found)
        purview[1, m], ties[1, m] = found
        if phi[0, m] == 0.0 or phi[1, m] == 0.0:
            phi[0, m], phi[1, m] = 0.0, 0.0


@kernel
def find_concepts(target, intact, rank, children, reps, room, known, phi, purview, ties):
    """Best cause and effect of every mechanism of a system under a cut.

    target   : mask                       units cut off from all others; 0 where nothing is cut
    intact   : (2**n, 2**n) float64       cause phi of the intact system, see ``purview_phis``
    rank     : (2, 2**n, 2**n) int64      preference among tied cause and effect purviews
    children : (n,) int64                 units that each unit feeds, severed ones left out
    reps     : Repertoires                under the cut
    known    : (7**n,) float64 or empty   what earlier cuts found, see ``_cache_key``; added to
    phi      : (2, 2**n) float64          filled; 0 in both rows where there is no concept
    purview, ties : (2, 2**n) int64       filled
    A cause purview changes only where units of the mechanism lose units of it; and where all
    units of either are on one side, what changed is reducible.
    """
    size = intact.shape[0]
    phis = np.empty(size)
    found = np.zeros(2, np.int64)
    for m in range(1, size):
        phi[0, m], phi[1, m] = 0.0, 0.0
        effect_phis(m, reps, room, phis)
        for z in range(1, size):
            phis[z] = round_distance(phis[z]) if is_purview(m, z, children, True) else 0.0
        top = _best_purview(phis, rank[1, m], found)
        if top == 0.0:
            continue
        purview[1, m], ties[1, m] = found
        phi[1, m] = top
        _fill_cause_phis(m, target, intact[m], children, reps, room, known, phis)
        top = _best_purview(phis, rank[0, m], found)
        if top == 0.0:
            phi[1, m] = 0.0
            continue
        purview[0, m], ties[0, m] = found
        phi[0, m] = top


@leaf
def _fill_cause_phis(m, target, intact, children, reps, room, known, phis):
    """Cause phi of a mechanism over every purview, exact for those that may be the largest."""
    size = phis.shape[0]
    changed = 0  # purview units that some unit of the mechanism no longer sees
    if m & target:
        changed = (size - 1) & ~target
    best = 0.0
    for z in range(size):
        if z & changed == 0:
            phis[z] = intact[z]
            best = max(best, phis[z])
        else:
            phis[z] = 0.0
    if m & target == 0 or m & ~target == 0:
        return
    for z in range(size - 1, 0, -1):
        if z & changed and z & target and is_purview(m, z, children, False):
            floor = best * (1.0 - TIE_MARGIN) - TIE_MARGIN
            phis[z] = round_distance(_cached_cause_phi(m, z, target, floor, reps, room, known))
            best = max(best, phis[z])


@leaf
def _cached_cause_phi(m, z, target, floor, reps, room, known):
    """Cause phi over a purview, or a value below the floor, from an earlier cut if it is there."""
    if known.shape[0] == 0:
        return cause_phi(m, z, floor, reps, room)
    key = _cache_key(m, z, target)
    held = known[key]
    if held >= 0.0:
        return held
    if -1.0 - held < floor:  # only known to be below this; comparing what is not a number fails
        return -1.0 - held
    value = cause_phi(m, z, floor, reps, room)
    known[key] = value if value >= floor else -1.0 - value
    return value


@leaf
def _cache_key(m, z, target):
    """Number that cuts share when they leave the same inputs to a mechanism over a purview.

    Per unit: whether it is in the mechanism and in the purview, and if in either, on which
    side of the cut.
    """
    key = 0
    weight = 1
    i = 0
    while (m | z) >> i:
        digit = 2 * (m >> i & 1) + 4 * (z >> i & 1)
        if digit:
            key += weight * (digit - (target >> i & 1))
        weight *= 7
        i += 1
    return key


@kernel
def list_tied_bipartitions(m, z, cause, phi, reps, room, parts):
    """Bipartitions whose distance ties with the least.

    m, z  : masks
    phi   : float             the least, rounded
    parts : (c, 3) int64      filled: mechanism part, purview part, distance in millionths
    returns how many there are
    """
    count = 0
    tall, wide = 1 << popcount(m), 1 << popcount(z)
    for a in range(tall // 2):
        for b in range(wide):
            if a == 0 and b == 0:
                continue
            one, other = deposit_bits(a, m), deposit_bits(b, z)
            d = round_distance(bipartition_distance(m, z, one, other, cause, reps, room))
            if is_tied(d, phi):
                parts[count, 0], parts[count, 1] = one, other
                parts[count, 2] = np.int64(np.rint(d * 1e6))
                count += 1
    return count


@kernel
def both_repertoires(m, z, m1, z1, cause, reps, room, out):
    """A repertoire and its product under one bipartition; returns how many states there are.

    out : (2, S) float64   filled up to the number of states of the purview
    """
    size = 1
    if cause:
        begin, end = reps.offsets[z], reps.offsets[z + 1]
        fill_bipartition_excess(m, z, m1, z1, reps, room)
        for x in range(end - begin):
            out[0, x] = reps.cause[m, begin + x]
            out[1, x] = out[0, x] - room.flow.excess[x]
        return end - begin
    out[0, 0], out[1, 0] = 1.0, 1.0
    j = 0
    while z >> j:
        if z >> j & 1:
            first = reps.compared[j]
            binary = reps.levels[j] == 2
            part = m1 if z1 >> j & 1 else m ^ m1
            for v in range(reps.levels[j] - 1, -1, -1):
                c = first if binary else first + v
                p, q = reps.effect[m, c], reps.effect[part, c]
                if binary and v == 0:
                    p, q = 1.0 - p, 1.0 - q
                for x in range(size):
                    out[0, v * size + x] = out[0, x] * p
                    out[1, v * size + x] = out[1, x] * q
            size *= reps.levels[j]
        j += 1
    return size


PROBABILITY_TOLERANCE = 1e-12
"""Probabilities that differ by no more are the same."""


@leaf
def _same_repertoires(m, cause, effect, one, two):
    for c in range(one.offsets[cause], one.offsets[cause + 1]):
        if abs(one.cause[m, c] - two.cause[m, c]) > PROBABILITY_TOLERANCE:
            return False
    j = 0
    while effect >> j:
        if effect >> j & 1:
            for c in range(one.compared[j], one.compared[j + 1]):
                if abs(one.effect[m, c] - two.effect[m, c]) > PROBABILITY_TOLERANCE:
                    return False
        j += 1
    return True


@kernel
def mark_unchanged_concepts(phi, purview, phi_cut, purview_cut, intact, cut, same):
    """Mark the mechanisms whose concept a cut leaves as it is.

    phi, phi_cut : (2**n,) float64   phi of the concept, 0 where there is none
    purview, purview_cut : (2, 2**n) int64
    intact, cut  : Repertoires
    same         : (2**n,) bool      filled
    """
    for m in range(phi.shape[0]):
        same[m] = (
            phi[m] > 0.0
            and phi_cut[m] > 0.0
            and is_tied(phi[m], phi_cut[m])
            and purview[0, m] == purview_cut[0, m]
            and purview[1, m] == purview_cut[1, m]
            and _same_repertoires(m, purview[0, m], purview[1, m], intact, cut)
        )


@kernel
def fill_concept_marginals(mechanisms, purview, reps, plain, out):
    """Marginals of every unit in the cause and effect of some concepts, expanded to all units.

    mechanisms : (c,) int64     0 is the null concept
    purview    : (2, 2**n) int64
    plain      : (2, w) float64  marginals outside the purviews: uniform, and unconstrained
    out        : (c, 2, w) float64
    """
    n = reps.levels.shape[0]
    for i in range(mechanisms.shape[0]):
        m = mechanisms[i]
        for side in range(2):
            z = purview[side, m] if m else 0
            for j in range(n):
                for c in range(reps.compared[j], reps.compared[j + 1]):
                    if z >> j & 1 == 0:
                        out[i, side, c] = plain[side, c]
                    elif side == 0:
                        out[i, side, c] = reps.cause_marginals[m, z, c]
                    else:
                        out[i, side, c] = reps.effect[m, c]


@kernel
def fill_distance_bounds(one, two, compared, weights, effect, bound):
    """Distance of the effects, and a lower bound of that of the causes, for all pairs.

    one, two : (a, 2, w), (b, 2, w) float64   see ``fill_concept_marginals``
    effect, bound : (a, b) float64            filled
    """
    for i in range(one.shape[0]):
        for k in range(two.shape[0]):
            causes, effects = 0.0, 0.0
            for j in range(weights.shape[0]):
                causes += unit_distance(one[i, 0], two[k, 0], j, compared, weights)
                effects += unit_distance(one[i, 1], two[k, 1], j, compared, weights)
            effect[i, k] = round_distance(effects)
            bound[i, k] = round_distance(causes)


@kernel
def cause_distances(pairs, one, two, first, second, intact, cut, room, out):
    """Earth mover's distance of the causes of chosen pairs of concepts, rounded.

    pairs    : (p, 2) int64           positions in the lists of mechanisms
    one, two : (a,), (b,) int64       mechanisms, of the intact and of the cut system; 0 is null
    first, second : (2, 2**n) int64   their purviews
    out      : (p,) float64
    """
    for k in range(pairs.shape[0]):
        m1, m2 = one[pairs[k, 0]], two[pairs[k, 1]]
        z1 = first[0, m1] if m1 else 0
        z2 = second[0, m2] if m2 else 0
        _fill_cause_excess(m1, z1, m2, z2, intact, cut, room)
        size, degree = fill_neighbours(z1 | z2, intact.levels, room.flow)
        cost = 0.0
        if size > 1:
            cost = earth_movers_distance(size, degree, 1e300, room.flow)
        out[k] = round_distance(cost)


@kernel
def null_effect_distance(m, z, reps, intact):
    """Distance of an effect from the null concept, rounded."""
    total = 0.0
    j = 0
    while z >> j:
        if z >> j & 1:
            total += unit_distance(reps.effect[m], intact.effect[0], j, reps.compared, reps.weights)
        j += 1
    return round_distance(total)


@leaf
def _fill_cause_excess(m1, z1, m2, z2, one, two, room):
    """Write the difference of two causes, both expanded to the union of their purviews."""
    first, second = room.first, room.second
    first[0] = 0
    second[0] = 0
    size, size1, size2 = 1, 1, 1
    union = z1 | z2
    j = 0
    while union >> j:
        if union >> j & 1:
            k = one.levels[j]
            step1 = size1 if z1 >> j & 1 else 0
            step2 = size2 if z2 >> j & 1 else 0
            for v in range(k - 1, -1, -1):
                for x in range(size):
                    first[v * size + x] = first[x] + v * step1
                    second[v * size + x] = second[x] + v * step2
            size *= k
            if step1:
                size1 *= k
            if step2:
                size2 *= k
        j += 1
    p, q = one.cause[m1], two.cause[m2]
    c1, c2 = one.offsets[z1], one.offsets[z2]
    thin1, thin2 = size1 / size, size2 / size
    for x in range(size):
        room.flow.excess[x] = p[c1 + first[x]] * thin1 - q[c2 + second[x]] * thin2
