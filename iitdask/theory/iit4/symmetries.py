"""Symmetries of a system in its state: renamings of units that change nothing.

What a symmetry makes of a mechanism has the same causes and effects, renamed: one of each orbit is
searched. A ring of equal units in a homogeneous state has as many rotations as units.
docs/mathematics.md 27.8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from iitdask.model.factor import Factor
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.local_network import moved_masks
from iitdask.theory.stage import Array

MAX_SYMMETRIES = 256  # that are used; some of a larger group do as well
MAX_STEPS = 20_000  # of the search for them

Sides = Sequence[Sequence[Factor]]


class Orbits(NamedTuple):
    """Sets of units, each as the image of one under a symmetry."""

    representatives: Array  # (r,) masks, ascending: the least of the images of each set
    which: Array  # (m,) representative of each set
    how: Array  # (m,) symmetry that turns it into this one
    symmetries: Array  # (g, n) image of each unit, the identity first

    def restored(self, masks: Array, how: Array) -> Array:
        """Undo symmetries on sets of units, one for each."""
        out = masks.copy()
        for g in np.unique(how[how > 0]).tolist():
            rows = how == g
            out[rows] = moved_masks(masks[rows], np.argsort(self.symmetries[g]))
        return out


def find_orbits(system: CandidateSystem, sides: Sides, sets: Array) -> Orbits:
    """Group sets of units by the symmetries of a system.

    Parameters
    ----------
    system : the candidate system
    sides : factors of its units, effect and cause side
    sets : (m,) masks, closed under its symmetries

    Returns
    -------
    Orbits

    References
    ----------
    docs/mathematics.md 27.8.
    """
    symmetries = find_symmetries(system, sides)
    least, how = sets.copy(), np.zeros(len(sets), np.int64)
    for g in range(1, len(symmetries)):
        image = moved_masks(sets, symmetries[g])
        how[image < least] = g
        least = np.minimum(least, image)
    representatives, which = np.unique(least, return_inverse=True)
    return Orbits(representatives, which, how, symmetries)


def find_symmetries(system: CandidateSystem, sides: Sides) -> Array:
    """Find renamings of units under which edges, tables and the state stay the same.

    Parameters
    ----------
    system : the candidate system
    sides : factors of its units, effect and cause side

    Returns
    -------
    ndarray, (g, n) image of each unit, the identity first; not all of them where there are many

    References
    ----------
    docs/mathematics.md 27.8.
    """
    identity = np.arange(system.n)
    kinds = _kinds(system, sides)
    if len(np.unique(kinds)) == system.n:
        return identity[None]
    found = [identity.tolist()]
    for image in _renamings(np.asarray(system.connectivity), kinds, sides):
        if image != found[0]:
            found.append(image)
        if len(found) == MAX_SYMMETRIES:
            break
    return np.array(found, np.int64)


def _kinds(system: CandidateSystem, sides: Sides) -> Array:
    """Number units by what no symmetry changes about one: state, edges, entries of its tables."""
    edges = np.asarray(system.connectivity)
    numbers: dict[object, int] = {}
    out = []
    for i in range(system.n):
        tables = [side[i].table for side in sides]
        key = (
            *(system.levels[i], system.local_state[i]),
            *(int(edges[i].sum()), int(edges[:, i].sum()), bool(edges[i, i])),
            *(np.sort(table, axis=None).tobytes() for table in tables),
        )
        out.append(numbers.setdefault(key, len(numbers)))
    return np.array(out)


def _renamings(edges: Array, kinds: Array, sides: Sides) -> Iterator[list[int]]:
    """Yield images of all units, depth first, neighbours of what has an image next."""
    order = _connected_order(edges | edges.T)
    rank = np.argsort(order)
    complete: list[list[tuple[int, Sequence[Factor]]]] = [[] for _ in order]
    for factors in sides:  # units whose inputs all have images once the last one of them has
        for i, factor in enumerate(factors):
            complete[max(rank[[i, *factor.parents]])].append((i, factors))
    image = np.full(len(order), -1)
    tried, depth, steps = [0] * len(order), 0, 0
    while depth >= 0 and steps < MAX_STEPS:
        if depth == len(order):
            yield image.tolist()
            depth -= 1
            continue
        unit, before = order[depth], order[:depth]
        image[unit] = -1
        if tried[depth] == len(order):
            tried[depth] = 0
            depth -= 1
            continue
        other = tried[depth]
        tried[depth] += 1
        if kinds[other] != kinds[unit] or other in image[before]:
            continue
        steps += 1
        image[unit] = other
        ways = (edges, edges.T)
        if all((e[unit, before] == e[other, image[before]]).all() for e in ways) and all(
            _is_same(i, image, factors) for i, factors in complete[depth]
        ):
            depth += 1


def _connected_order(near: Array) -> list[int]:
    """List all units, each a neighbour of an earlier one where there is one left."""
    order: list[int] = []
    while len(order) < len(near):
        left = [i for i in range(len(near)) if i not in order]
        order.append(next((i for i in left if near[i, order].any()), left[0]))
    return order


def _is_same(unit: int, image: Array, factors: Sequence[Factor]) -> bool:
    """Tell whether a unit and its image have the same table once the inputs are renamed."""
    one, other = factors[unit], factors[image[unit]]
    renamed = image[list(one.parents)]
    axes = np.argsort(renamed)
    if tuple(renamed[axes].tolist()) != other.parents:
        return False
    return np.array_equal(one.table.transpose(*axes, len(axes)), other.table)
