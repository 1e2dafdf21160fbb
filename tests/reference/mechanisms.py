"""Specified states, mechanism partitions, mechanism phi and purviews (spec sections 4 to 6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np

from tests.reference.substrate import (
    CAUSE,
    EFFECT,
    TAU,
    ZERO,
    ratio,
    same,
    set_partitions,
    states,
    subsets,
)


@dataclass(frozen=True)
class Link:
    """What a mechanism specifies over one purview in one direction."""

    purview: tuple
    state: tuple
    phi: float
    normalized_phi: float
    ii: float
    ties: tuple  # (state, phi, normalised phi) of every tied state, the representative first
    purview_ties: tuple = ()  # Links of every purview with the same phi, itself included


def specified_states(system, direction, mechanism, purview):
    """Maximal intrinsic information and ALL states that attain it, in state order (section 4)."""
    selectivity = system.selectivity(direction, mechanism, purview)
    forward = system.forward(direction, mechanism, purview)
    free = system.unconstrained(direction, mechanism, purview)
    info = {}
    for z in states(selectivity.shape):
        info[z] = selectivity[z] * ratio(forward[z], free[z]) if selectivity[z] > 0 else 0.0
    best = max(info.values())
    floor = best - 1e-12 * abs(best) - 1e-15
    return float(best), [z for z, value in info.items() if value >= floor]


@cache
def partitions(m, z):
    """Every disintegrating partition of m mechanism and z purview units (section 5).

    Three arrays: the mechanism and the purview of each part as bit masks over the units (one row
    per partition, unused parts 0 / 0), and the number of severed (mechanism, purview) pairs.
    """
    every = (1 << z) - 1
    mech, pur = [np.array([[(1 << m) - 1] + [0] * m])], [np.array([[0, every] + [0] * (m - 1)])]
    for blocks in set_partitions(tuple(range(m))):
        k = len(blocks)
        if k < 2:
            continue
        part_of = np.array(list(product(range(k + 1), repeat=z)))  # one row per assignment of Z
        bits = 1 << np.arange(z)
        row = [sum(1 << i for i in block) for block in blocks] + [0] * (m + 1 - k)
        mech.append(np.tile(row, (len(part_of), 1)))
        pur.append(np.stack([((part_of == r) * bits).sum(axis=1) for r in range(m + 1)], axis=1))
    mech, pur = np.concatenate(mech), np.concatenate(pur)
    n_cut = (np.bitwise_count(mech).astype(int) * (z - np.bitwise_count(pur).astype(int))).sum(1)
    return mech, pur, n_cut


def part_probabilities(system, direction, mechanism, purview, state):
    """Probability factor of every possible part (M_r, Z_r), by bit masks (section 5)."""
    table = np.empty((1 << len(mechanism), 1 << len(purview)))
    for a, b in np.ndindex(table.shape):
        m = tuple(u for k, u in enumerate(mechanism) if a >> k & 1)
        z = tuple(u for k, u in enumerate(purview) if b >> k & 1)
        values = tuple(x for k, x in enumerate(state) if b >> k & 1)
        if direction == EFFECT:
            table[a, b] = system.probability(EFFECT, z, values, m, system.at(m))
        else:
            table[a, b] = system.probability(CAUSE, m, system.at(m), z, values)
    return table


def partition_phis(system, direction, mechanism, purview, state):
    """Phi of every partition for one specified state, and the normalisers (6.1)."""
    mech, pur, n_cut = partitions(len(mechanism), len(purview))
    sel = system.selectivity(direction, mechanism, purview)[state]
    whole = system.forward(direction, mechanism, purview)[state]
    if sel <= 0 or whole <= 0:
        return np.zeros(len(n_cut)), n_cut
    table = part_probabilities(system, direction, mechanism, purview, state)
    phi = sel * np.log2(whole / table[mech, pur].prod(axis=1))
    return np.where(phi > ZERO, phi, 0.0), n_cut


def least(phi, n_cut):
    """(phi, normalised phi) of the minimum: least normalised phi, then largest phi (6.2, 8.3)."""
    normal = phi / n_cut
    lowest = normal.min()
    tied = normal <= lowest + TAU * max(1.0, abs(lowest))
    best = np.flatnonzero(tied)[np.argmax(phi[tied])]
    return float(phi[best]), float(normal[best])


def link(system, direction, mechanism, purview):
    """Phi of (M, Z): the largest MIP phi among the tied specified states (6.2)."""
    ii, tied = specified_states(system, direction, mechanism, purview)
    found = [(z, *least(*partition_phis(system, direction, mechanism, purview, z))) for z in tied]
    best = max(phi for _, phi, _ in found)
    ties = [row for row in found if same(row[1], best)]
    state, phi, normal = ties[0]
    return Link(purview, state, phi, normal, ii, tuple(ties))


def admissible(cm, direction, mechanism, purview):
    """May this purview be connected to the mechanism at all? (6.3)."""
    source, target = (mechanism, purview) if direction == EFFECT else (purview, mechanism)
    block = np.asarray(cm)[np.ix_(source, target)] > 0
    if not block.any(axis=1).all() or not block.any(axis=0).all():
        return False
    if len(source) == 1 or len(target) == 1:
        return True
    rows, columns = {0}, set()
    while True:
        more = {j for i in rows for j in np.flatnonzero(block[i])}
        back = {i for j in more for i in np.flatnonzero(block[:, j])}
        if more == columns and back == rows:
            return len(rows) == len(source) and len(columns) == len(target)
        rows, columns = back, more


def tuple_hash(values):
    """Hash of a tuple of small non-negative integers as CPython computes it (15.2)."""
    p1, p2, p5 = 11400714785074694791, 14029467366897019727, 2870177450012600261
    word = (1 << 64) - 1
    acc = p5
    for value in values:
        acc = (acc + value * p2) & word
        acc = ((acc << 31) | (acc >> 33)) & word
        acc = (acc * p1) & word
    acc = (acc + (len(values) ^ (p5 ^ 3527539))) & word
    return 1546275796 if acc == word else acc


def _insert(slots, item):
    """Put an item into the open-addressing table (15.2)."""
    mask = len(slots) - 1
    h = perturb = tuple_hash(item)
    i = h & mask
    while True:
        for j in range(i, i + 10 if i + 9 <= mask else i + 1):
            if slots[j] is None:
                slots[j] = item
                return
        perturb >>= 5
        i = (5 * i + 1 + perturb) & mask


def set_order(items):
    """The order in which a set filled with these tuples is iterated (15.2)."""
    slots = [None] * 8
    for fill, item in enumerate(items, start=1):
        _insert(slots, item)
        if 5 * fill >= 3 * (len(slots) - 1):
            size, goal = 8, fill * (4 if fill <= 50000 else 2)
            while size <= goal:
                size *= 2
            old, slots = slots, [None] * size
            for kept in old:
                if kept is not None:
                    _insert(slots, kept)
    return [item for item in slots if item is not None]


def purviews(system, direction, mechanism):
    """Admissible purviews inside S, in the reference order over the substrate (6.3, 15.2)."""
    every = [z for z in subsets(system.universe) if admissible(system.cm, direction, mechanism, z)]
    return [z for z in set_order(every) if set(z) <= set(system.subset)]


def mice(system, direction, mechanism):
    """The maximal link of a mechanism with its tied purviews, or None (6.4)."""
    links = [link(system, direction, mechanism, z) for z in purviews(system, direction, mechanism)]
    if not links:
        return None
    best = max(item.phi for item in links)
    ties = tuple(item for item in links if same(item.phi, best))
    return replace(ties[0], purview_ties=ties)


def raw_distinctions(system):
    """[(mechanism, phi, cause Link, effect Link)] with positive phi, before congruence (6.5)."""
    found = []
    for mechanism in subsets(system.subset):
        cause = mice(system, CAUSE, mechanism)
        if cause is None or cause.phi <= ZERO:
            continue
        effect = mice(system, EFFECT, mechanism)
        if effect is None or effect.phi <= ZERO:
            continue
        found.append((mechanism, min(cause.phi, effect.phi), cause, effect))
    return found
