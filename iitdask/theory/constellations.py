"""Distance between the concepts of a system and those of the same system cut (spec.md 12.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.bipartitions import split_room
from iitdask.kernels.concepts import MARGIN, find_concepts
from iitdask.kernels.constellations import (
    cause_costs,
    profiles,
    same_concepts,
    structure_bounds,
)
from iitdask.kernels.repertoires import Repertoires, fill_repertoires, repertoire_room
from iitdask.model.system import System
from iitdask.theory.base import Grid, Region, Stage, Stored
from iitdask.theory.concepts import Concepts, Sources, prepare_sources, source_inputs
from iitdask.theory.options import IIT3
from iitdask.theory.vocabulary import variable

__all__ = ["Constellation", "Cutting", "cut_concepts_stage", "cuts_stage", "structure_distance"]

Array = NDArray[Any]
MANY = 50
"""Refinements of one distance after which all pairs are worked out."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """A system whose concepts are known and whose cuts are asked for."""

    system: System
    """Candidate system."""
    options: IIT3
    """The choices made about the theory."""
    rank: Array
    """Preference among tied purviews."""
    concepts: Concepts
    """Of the intact system."""

    def inputs(self, targets: Array, incumbent: float = np.inf) -> dict[str, Array | Stored]:
        """Inputs of a stage over some cuts."""
        return {
            **source_inputs(self.system, self.options),
            "intact_phi": Stored("concepts", "phi_cause"),
            "sides": self.concepts.sides,
            "purviews": self.concepts.purviews,
            "rank": self.rank,
            "targets": np.asarray(targets, np.int64),
            "incumbent": np.array(incumbent),
        }

    @property
    def seconds(self) -> float:
        """Predicted seconds of one cut."""
        return 2e-5 * 4.0**self.system.n

    @property
    def scratch(self) -> int:
        """Bytes that the repertoires of the system and of one cut need."""
        n = self.system.n
        return int(8 * (2 * 6**n + 2 * 4**n * (n + 2)))


def cuts_stage(cutting: Cutting, name: str, targets: Array, incumbent: float) -> Stage:
    """Distance of the intact concepts from those under each cut.

    targets   : masks of the units that each cut severs from the inputs of all others
    incumbent : a distance some cut attains; cuts that exceed it are given up
    """
    each = cutting.seconds
    return Stage(
        name=name,
        grid=Grid(("cut",), (len(targets),)),
        fills=(
            variable("distance", "float64", np.nan),
            variable("exact", "bool", False),
            variable("cut_concepts", "int64", -1),
        ),
        compute=fill_cuts,
        inputs=cutting.inputs(targets, incumbent),
        prepare=prepare_sources,
        cost=lambda region: each * (region[0].stop - region[0].start),
        scratch=cutting.scratch,
    )


def fill_cuts(sources: Sources, region: Region) -> dict[str, Array]:
    """Analyse a range of cuts; the least distance so far lets later ones be given up."""
    targets = sources.more["targets"][region[0]].tolist()
    incumbent = float(sources.more["incumbent"])
    given = sources.more
    found = Concepts(given["sides"], given["purviews"], np.zeros_like(given["purviews"]))
    whole = Constellation(found, sources.intact)
    under = repertoire_room(sources.levels, sources.offsets)
    room = split_room(sources.levels)
    distance, exact = np.zeros(len(targets)), np.zeros(len(targets), bool)
    counts = np.zeros(len(targets), np.int64)
    for k, target in enumerate(targets):
        fill_repertoires(sources.forward, sources.rows, target, under)
        cut = Constellation(cut_concepts(sources, target, under, room), under)
        counts[k] = len(cut.concepts.mechanisms)
        distance[k], exact[k] = structure_distance(whole, cut, room, incumbent)
        if exact[k]:
            incumbent = min(incumbent, distance[k])
    return {"distance": distance, "exact": exact, "cut_concepts": counts}


def cut_concepts_stage(cutting: Cutting, target: int) -> Stage:
    """Concepts under one cut, by mechanism."""
    size = 1 << cutting.system.n
    side = (("side", 2),)
    each = cutting.seconds
    return Stage(
        name="cut-concepts",
        grid=Grid(("mechanism",), (size,), whole=("mechanism",)),
        fills=(
            variable("sides", "float64", np.nan, side),
            variable("purviews", "int64", 0, side),
            variable("ties", "int64", 0, side),
        ),
        compute=fill_cut_concepts,
        inputs=cutting.inputs(np.array([target])),
        prepare=prepare_sources,
        cost=lambda _region: each,
        scratch=cutting.scratch,
    )


def fill_cut_concepts(sources: Sources, region: Region) -> dict[str, Array]:
    """Find the concepts under the first cut of the list."""
    target = int(sources.more["targets"][0])
    found = cut_concepts(sources, target, sources.under(target), split_room(sources.levels))
    return {
        "sides": found.sides.T[region],
        "purviews": found.purviews.T[region],
        "ties": found.ties.T[region],
    }


def cut_concepts(sources: Sources, target: int, under: Repertoires, room: Any) -> Concepts:
    """Concepts of the system under a cut, given its repertoires."""
    made = Concepts.empty(len(under.effect))
    find_concepts(
        target,
        sources.more["intact_phi"],
        sources.more["rank"],
        sources.children_under(target),
        under,
        room,
        made.sides,
        made.purviews,
        made.ties,
    )
    return made


@dataclass(frozen=True, slots=True)
class _Problem:
    """Supplies of the intact and demands of the cut structure, the null concept last."""

    supply: Array
    demand: Array
    one: Array
    """Mechanisms, 0 for the null concept."""
    two: Array


@dataclass(frozen=True, slots=True)
class Constellation:
    """Concepts and the repertoires they are made of."""

    concepts: Concepts
    """By mechanism."""
    repertoires: Repertoires
    """Of the system, intact or cut."""


def structure_distance(
    whole: Constellation, cut: Constellation, room: Any, incumbent: float
) -> tuple[float, bool]:
    """Extended earth mover's distance, rounded to six decimals, and whether it is exact.

    It is a lower bound above the incumbent otherwise: then no cost that only a distance of
    causes decides has been worked out further.
    """
    first, second = whole.concepts, cut.concepts
    same = np.zeros(len(first.phi), bool)
    same_concepts(
        first.phi,
        first.purviews,
        second.phi,
        second.purviews,
        whole.repertoires,
        cut.repertoires,
        same,
    )
    problem = _problem(np.where(same, 0.0, first.phi), np.where(same, 0.0, second.phi))
    costs = _Costs(problem, whole, cut, room)
    limit = incumbent * (1 + MARGIN) + MARGIN
    if costs.least() > limit:
        return _rounded(costs.least()), False
    for _ in range(MANY):
        value, plan = _transport(problem.supply, problem.demand, costs.total)
        if value > limit:
            return _rounded(value), False
        if not costs.work_out(plan):
            return _rounded(value), True
    costs.work_out(np.ones_like(costs.total, bool))
    return _rounded(_transport(problem.supply, problem.demand, costs.total)[0]), True


def _rounded(value: float) -> float:
    return round(value, 6)


def _problem(phi: Array, phi_cut: Array) -> _Problem:
    one, two = np.flatnonzero(phi), np.flatnonzero(phi_cut)
    supply, demand = phi[one], phi_cut[two]
    more = supply.sum() - demand.sum()
    return _Problem(
        np.append(supply, max(0.0, -more)),
        np.append(demand, max(0.0, more)),
        np.append(one, 0),
        np.append(two, 0),
    )


class _Costs:
    """Distances between concepts: bounded from below first, worked out where it matters."""

    def __init__(
        self, problem: _Problem, whole: Constellation, other: Constellation, room: Any
    ) -> None:
        intact, cut = whole.repertoires, other.repertoires
        first, second = whole.concepts, other.concepts
        self._problem = problem
        self._arguments = (problem.one, problem.two, first.purviews, second.purviews, intact, cut)
        self._room = room
        shape = len(problem.one), len(problem.two)
        width = intact.effect.shape[1]
        plain = np.stack([_uniform(intact), intact.effect[0]])
        rows = [np.empty((count, 2, width)) for count in shape]
        profiles(problem.one, first.purviews, intact, plain, rows[0])
        profiles(problem.two, second.purviews, cut, plain, rows[1])
        self._effect, bound = np.empty(shape), np.empty(shape)
        structure_bounds(*rows, intact.compared, intact.weights, self._effect, bound)
        self.total = self._effect + bound
        self._known = np.zeros(shape, bool)
        self._known[-1, -1] = True  # null to null costs nothing
        likely = np.zeros(shape, bool)
        likely[-1], likely[:, -1] = True, True
        likely |= problem.one[:, None] == problem.two[None]
        self.work_out(likely)

    def least(self) -> float:
        """Bound of the distance: everything goes where it costs least."""
        supply = (self._problem.supply * self.total.min(axis=1)).sum()
        demand = (self._problem.demand * self.total.min(axis=0)).sum()
        return float(max(supply, demand))

    def work_out(self, wanted: Array) -> bool:
        """Replace bounds by distances; whether there was any to replace."""
        pairs = np.argwhere(wanted & ~self._known)
        if not len(pairs):
            return False
        out = np.empty(len(pairs))
        cause_costs(pairs, *self._arguments, self._room, out)
        where = tuple(pairs.T)
        self.total[where] = self._effect[where] + out
        self._known[where] = True
        return True


def _uniform(reps: Repertoires) -> Array:
    widths = np.diff(reps.compared)
    return np.repeat(1.0 / reps.levels, widths)


def _transport(supply: Array, demand: Array, cost: Array) -> tuple[float, Array]:
    """Least cost of moving a supply to a demand, and where something is moved."""
    rows, columns = np.flatnonzero(supply), np.flatnonzero(demand)
    moved = np.zeros(cost.shape, bool)
    if not len(rows) or not len(columns):
        return 0.0, moved
    chosen = np.ix_(rows, columns)
    moved[chosen] = True
    if len(rows) == 1:
        return float(demand @ cost[rows[0]]), moved
    if len(columns) == 1:
        return float(supply @ cost[:, columns[0]]), moved
    import ot  # noqa: PLC0415  heavy, and needed for few distances

    plan = ot.emd(supply[rows], demand[columns], np.ascontiguousarray(cost[chosen]))
    moved[chosen] = plan > 0
    return float((plan * cost[chosen]).sum()), moved
