"""Extended earth mover's distance between sets of concepts (Oizumi et al. 2014; spec.md 12.2).

The phi of concepts is moved from one set to the other, or to the null concept; a unit of it costs
the distance of the two concepts. Effects are independent units, so their distance is a sum.
That of causes is a transport problem of its own: it is bounded from below first, and worked out
only for the pairs that a transport plan under the bounds would use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.concepts import MARGIN, PRECISION
from iitdask.kernels.constellations import (
    cause_costs,
    profiles,
    same_concepts,
    structure_bounds,
)
from iitdask.kernels.repertoires import Repertoires
from iitdask.theory.concepts import Concepts

__all__ = ["Constellation", "Distance", "Distances", "limit"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Constellation:
    """Concepts and the repertoires they are made of."""

    concepts: Concepts
    """By mechanism."""
    repertoires: Repertoires
    """Of the system, intact or cut."""


def limit(incumbent: float) -> float:
    """Return what a distance must exceed to be neither the least nor tied with it."""
    return incumbent * (1 + MARGIN) + MARGIN


class Distances:
    """Distances of other constellations from one."""

    def __init__(self, whole: Constellation, room: Any) -> None:
        self._whole = whole
        self._room = room
        reps = whole.repertoires
        self._plain = np.stack([_uniform(reps), reps.effect[0]])

    def to(self, cut: Constellation) -> Distance:
        """The distance from another constellation, bounded by the marginals of the units."""
        return Distance(self._whole, cut, self._plain, self._room)

    @cached_property
    def to_null(self) -> Array:
        """(2**n,) distance of each concept's cause from the uniform distribution."""
        return _to_null(self._whole, self._room)


def _to_null(these: Constellation, room: Any) -> Array:
    out = np.zeros(len(these.concepts.phi))
    chosen = np.array(these.concepts.mechanisms, np.int64)
    pairs = np.stack([np.arange(len(chosen)), np.zeros(len(chosen), np.int64)], axis=1)
    reps, purviews, found = these.repertoires, these.concepts.purviews, np.empty(len(chosen))
    null = np.zeros(1, np.int64)
    cause_costs(pairs, chosen, null, purviews, purviews, reps, reps, room, found)
    out[chosen] = found
    return out


class Distance:
    """What is to be moved and what it costs, by pairs of concepts; null concepts last.

    plain : (2, w) marginals of the units in the null concept's cause and effect
    """

    def __init__(self, whole: Constellation, cut: Constellation, plain: Array, room: Any) -> None:
        self._cut, self._room = cut, room
        intact, reps = whole.repertoires, cut.repertoires
        first, second = whole.concepts, cut.concepts
        purviews = first.purviews, second.purviews
        phi, phi_cut = first.phi, second.phi
        same = np.zeros(len(phi), bool)
        same_concepts(phi, purviews[0], phi_cut, purviews[1], intact, reps, same)
        self._supply, self._demand, one, two = _unmatched(phi, phi_cut, same)
        self._one, self._two = one, two
        self._causes = (one, two, *purviews, intact, reps, room)
        shape, width = (len(one), len(two)), intact.effect.shape[1]
        rows = [np.empty((count, 2, width)) for count in shape]
        profiles(one, purviews[0], intact, plain, rows[0])
        profiles(two, purviews[1], reps, plain, rows[1])
        self._effect, self._cause = np.empty(shape), np.empty(shape)
        structure_bounds(*rows, intact.compared, intact.weights, self._effect, self._cause)
        self._total = self._effect + self._cause
        self._known = (one[:, None] == 0) & (two[None] == 0)

    @property
    def bound(self) -> float:
        """Lower bound, to six decimals."""
        return round(self._least(), 6)

    def found(self, incumbent: float, null: Array) -> tuple[float, bool]:
        """Distance to six decimals, and whether it is exact; a bound beyond the incumbent if not.

        null : (2**n,) see ``Distances.to_null``; the cut's repertoires are those of the start.
        """
        self._sharpen(null, _to_null(self._cut, self._room))
        if self._least() > limit(incumbent):
            return self.bound, False
        while True:
            value, moved = _transport(self._supply, self._demand, self._total)
            if value > limit(incumbent):
                return round(value, 6), False
            if not self._work_out(moved):
                return round(value, 6), True

    def _sharpen(self, null: Array, null_cut: Array) -> None:
        """Use the distances to the null concept: they bound the others, which are a metric."""
        one, two = null[self._one], null_cut[self._two]
        away = np.abs(one[:, None] - two[None])
        known = (self._one[:, None] == 0) | (self._two[None] == 0)
        bounds = np.maximum(self._cause, away - 2 * PRECISION)  # each of them is rounded
        self._cause = np.where(known, away, bounds)
        self._known |= known
        self._total = self._effect + self._cause

    def _least(self) -> float:
        """Bound of the distance: everything goes where it costs least."""
        if not self._total.size:
            return 0.0
        supply = float(self._supply @ self._total.min(axis=1))
        return max(supply, float(self._demand @ self._total.min(axis=0)))

    def _work_out(self, wanted: Array) -> bool:
        """Replace bounds by distances; whether there was any to replace."""
        pairs = np.argwhere(wanted & ~self._known)
        if not len(pairs):
            return False
        out = np.empty(len(pairs))
        cause_costs(pairs, *self._causes, out)
        where = tuple(pairs.T)
        self._total[where] = self._effect[where] + out
        self._known[where] = True
        return True


def _unmatched(phi: Array, phi_cut: Array, same: Array) -> tuple[Array, Array, Array, Array]:
    """Phi to be moved and to be received, and whose it is; 0 stands for the null concept."""
    one, two = np.flatnonzero((phi > 0) & ~same), np.flatnonzero((phi_cut > 0) & ~same)
    supply, demand = phi[one], phi_cut[two]
    more = supply.sum() - demand.sum()
    if more > 0:
        return supply, np.append(demand, more), one, np.append(two, 0)
    if more < 0:
        return np.append(supply, -more), demand, np.append(one, 0), two
    return supply, demand, one, two


def _uniform(reps: Repertoires) -> Array:
    return np.repeat(1.0 / reps.levels, np.diff(reps.compared))


def _transport(supply: Array, demand: Array, cost: Array) -> tuple[float, Array]:
    """Least cost of moving a supply to a demand, and where something is moved."""
    if not cost.size:
        return 0.0, cost > 0
    if len(supply) == 1 or len(demand) == 1:  # all of it goes to, or comes from, one concept
        moved = demand if len(supply) == 1 else supply
        return float(moved @ cost.ravel()), np.ones(cost.shape, bool)
    import ot  # noqa: PLC0415  heavy, and needed for few distances

    # Both sum to the same, and their order is kept: no checks, and no duals are wanted.
    plan = ot.emd(supply, demand, cost, center_dual=False, check_marginals=False)
    return float((plan * cost).sum()), plan > 0
