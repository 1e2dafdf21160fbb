"""Constellations of concepts under cuts, and the extended earth mover's distance between them.

The phi of concepts is moved from one set to the other, or to the null concept; a unit of phi
costs the distance of the two concepts. Effects are independent units, so their distance is a
sum. That of causes is a transport problem of its own: it is bounded from below first, and
computed only for the pairs that a transport plan under the bounds would use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from iitdask.kernels.iit3.bipartition import Repertoires, fill_repertoires, make_repertoires
from iitdask.kernels.iit3.concepts import TIE_MARGIN, find_concepts
from iitdask.kernels.iit3.distances import (
    cause_distances,
    fill_concept_marginals,
    fill_distance_bounds,
    mark_unchanged_concepts,
)
from iitdask.kernels.iit3.measures import DISTANCE_PRECISION
from iitdask.kernels.iit3.partition_schemes import make_partition_scratch, partition_phis
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit3.concepts import (
    Concepts,
    RepertoireSources,
    cause_distances_to_null,
    mechanism_seconds,
    partition_seconds,
    prepare_sources,
    repertoire_bytes,
    select_concepts,
    source_inputs,
)
from iitdask.theory.options import IIT3
from iitdask.theory.stage import Array, Grid, Region, Stage, StageRef, uniform_cost
from iitdask.theory.variables import variable

SECONDS_PER_CUT_CODE = 8e-9  # Of each code of the repertoires under a cut, 6**n
CUT_SHARE = 0.2  # Of the seconds of all concepts, what a cut takes to find those that it changes


def tie_limit(incumbent: float) -> float:
    """Return what a distance must exceed to be neither the least nor tied with it."""
    return incumbent * (1 + TIE_MARGIN) + TIE_MARGIN


def _distances_to_null(concepts: Concepts, reps: Repertoires, scratch: Any) -> Array:
    """Return the distance of each concept's cause from the uniform distribution, (2**n,)."""
    mechanisms, out = np.array(concepts.mechanisms, np.int64), np.zeros(len(concepts.phi))
    out[mechanisms] = cause_distances_to_null(mechanisms, concepts.purviews, reps, scratch)
    return out


class StructureDistance:
    """Distance between two constellations: phi to move and its cost by pairs of concepts.

    Null concepts come last; `plain` is (2, w) marginals of the units in the null concept's cause
    and effect. Concepts and repertoires are those of the intact and of the cut system.
    """

    def __init__(
        self,
        concepts: tuple[Concepts, Concepts],
        repertoires: tuple[Repertoires, Repertoires],
        plain: Array,
        scratch: Any,
    ) -> None:
        (whole, cut), (intact, reps) = concepts, repertoires
        self._cut = cut, reps, scratch
        purviews = whole.purviews, cut.purviews
        phi, phi_cut = whole.phi, cut.phi
        same = np.zeros(len(phi), bool)
        mark_unchanged_concepts(phi, purviews[0], phi_cut, purviews[1], intact, reps, same)
        self._supply, self._demand, one, two = _unmatched_phi(phi, phi_cut, same)
        self._one, self._two = one, two
        self._causes = (one, two, *purviews, intact, reps, scratch)
        shape, width = (len(one), len(two)), intact.effect.shape[1]
        rows = [np.empty((count, 2, width)) for count in shape]
        fill_concept_marginals(one, purviews[0], intact, plain, rows[0])
        fill_concept_marginals(two, purviews[1], reps, plain, rows[1])
        self._effect, self._cause = np.empty(shape), np.empty(shape)
        fill_distance_bounds(*rows, intact.compared, intact.weights, self._effect, self._cause)
        self._total = self._effect + self._cause
        self._known = (one[:, None] == 0) & (two[None] == 0)

    @property
    def bound(self) -> float:
        """Lower bound, to six decimals."""
        return round(self._lower_bound(), 6)

    def exact(self, incumbent: float, null: Array) -> tuple[float, bool]:
        """Return the distance to six decimals, and True if it is exact, not a bound.

        incumbent : a distance that is attained; a bound beyond it is enough
        null : (2**n,) see ``_distances_to_null``; the cut's repertoires are those of before
        """
        self._raise_bounds(null, _distances_to_null(*self._cut))
        if self._lower_bound() > tie_limit(incumbent):
            return self.bound, False
        while True:
            value, moved = _transport(self._supply, self._demand, self._total)
            if value > tie_limit(incumbent):
                return round(value, 6), False
            if not self._replace_bounds(moved):
                return round(value, 6), True

    def _raise_bounds(self, null: Array, null_cut: Array) -> None:
        """Use the distances to the null concept: they bound the others, which are a metric."""
        one, two = null[self._one], null_cut[self._two]
        away = np.abs(one[:, None] - two[None])
        known = (self._one[:, None] == 0) | (self._two[None] == 0)
        bounds = np.maximum(self._cause, away - 2 * DISTANCE_PRECISION)  # each of them is rounded
        self._cause = np.where(known, away, bounds)
        self._known |= known
        self._total = self._effect + self._cause

    def _lower_bound(self) -> float:
        """Return a bound of the distance: everything goes where it costs least."""
        if not self._total.size:
            return 0.0
        supply = float(self._supply @ self._total.min(axis=1))
        return max(supply, float(self._demand @ self._total.min(axis=0)))

    def _replace_bounds(self, used: Array) -> bool:
        """Replace bounds by distances; return True if there was any to replace."""
        pairs = np.argwhere(used & ~self._known)
        if not len(pairs):
            return False
        out = np.empty(len(pairs))
        cause_distances(pairs, *self._causes, out)
        where = tuple(pairs.T)
        self._total[where] = self._effect[where] + out
        self._known[where] = True
        return True


def _unmatched_phi(phi: Array, phi_cut: Array, same: Array) -> tuple[Array, Array, Array, Array]:
    """Return phi to be moved and to be received, and of whom; 0 stands for the null concept."""
    one, two = np.flatnonzero((phi > 0) & ~same), np.flatnonzero((phi_cut > 0) & ~same)
    supply, demand = phi[one], phi_cut[two]
    more = supply.sum() - demand.sum()
    if more > 0:
        return supply, np.append(demand, more), one, np.append(two, 0)
    if more < 0:
        return np.append(supply, -more), demand, np.append(one, 0), two
    return supply, demand, one, two


def _transport(supply: Array, demand: Array, cost: Array) -> tuple[float, Array]:
    """Return the least cost of moving a supply to a demand, and where something is moved."""
    if not cost.size:
        return 0.0, cost > 0
    if len(supply) == 1 or len(demand) == 1:  # all of it goes to, or comes from, one concept
        moved = demand if len(supply) == 1 else supply
        return float(moved @ cost.ravel()), np.ones(cost.shape, bool)
    import ot  # noqa: PLC0415  heavy, and needed for few distances

    # Both sum to the same, and their order is kept: no checks, no duals.
    plan = ot.emd(supply, demand, cost, center_dual=False, check_marginals=False)
    return float((plan * cost).sum()), plan > 0


SHARED_MAX_UNITS = 8  # up to which a block keeps what cuts have in common: 7**n numbers


def cut_seconds(system: CandidateSystem, options: IIT3) -> float:
    """Predict the seconds of one cut: its repertoires, and a part of what all concepts take."""
    if options.mechanism_partitions != "bipartition" or options.measure != "EMD":
        return 6e-8 * 9.0**system.n + partition_seconds(system.n, options)
    return SECONDS_PER_CUT_CODE * 6.0**system.n + CUT_SHARE * float(
        mechanism_seconds(system, options).sum()
    )


@dataclass(frozen=True, slots=True)
class CutSearch:
    """A system whose concepts are known, and the search for its minimum cut."""

    system: CandidateSystem
    options: IIT3
    rank: Array  # Preference among tied purviews
    concepts: Concepts  # Of the intact system

    def inputs(self, targets: Array, incumbent: float = np.inf) -> dict[str, Array | StageRef]:
        """Return the inputs of a stage over some cuts."""
        return {
            **source_inputs(self.system, self.options),
            "intact_phi": StageRef("concepts", "phi_cause"),
            "sides": self.concepts.sides,
            "purviews": self.concepts.purviews,
            "rank": self.rank,
            "targets": np.asarray(targets, np.int64),
            "incumbent": np.array(incumbent),
            "is_sum": np.array(self.options.structure_distance == "SUM_SMALL_PHI"),
        }

    @property
    def seconds(self) -> float:
        """Predicted seconds of one cut."""
        return cut_seconds(self.system, self.options)

    @property
    def scratch(self) -> int:
        """Bytes that the repertoires of the system and of one cut need."""
        n = self.system.n
        shared: int = 7**n if n <= SHARED_MAX_UNITS else 0
        return 2 * repertoire_bytes(self.system.levels) + 8 * (2 * (1 << 2 * n) + shared)


def cuts_stage(search: CutSearch, name: str, targets: Array, incumbent: float) -> Stage:
    """Return the stage of the distance of the intact concepts from those under each cut.

    Parameters
    ----------
    search : the system and its concepts
    name : name of the stage
    targets : (cuts,) masks of the units that a cut severs from the inputs of all others
    incumbent : a distance that some cut attains; cuts that exceed it are given up

    Returns
    -------
    Stage, ``distance``, ``exact`` and ``cut_concepts``, each (cuts,)

    References
    ----------
    docs/mathematics.md 12.2, Eq. (12.3), and 25.1.
    """
    return Stage(
        name=name,
        grid=Grid(("cut",), (len(targets),)),
        variables=(
            variable("distance", "float64", np.nan),
            variable("exact", "bool", False),
            variable("cut_concepts", "int64", -1),
        ),
        compute=fill_cuts,
        inputs=search.inputs(targets, incumbent),
        prepare=prepare_sources,
        cost=uniform_cost(search.seconds),
        scratch=search.scratch,
        is_shared_in_block=True,
    )


def fill_cuts(sources: RepertoireSources, region: Region) -> dict[str, Array]:
    """Analyse a range of cuts, those of the least bound first: then most others are given up."""
    targets = sources.more["targets"][region[0]].tolist()
    incumbent = float(sources.more["incumbent"])
    sides, purviews = sources.more["sides"], sources.more["purviews"]
    whole, intact = Concepts(sides, purviews, np.zeros_like(purviews)), sources.intact
    under = make_repertoires(sources.levels, sources.offsets)
    scratch, is_sum = make_partition_scratch(sources.levels), bool(sources.more["is_sum"])
    plain = np.stack([np.repeat(1.0 / intact.levels, np.diff(intact.compared)), intact.effect[0]])
    to_null = cache(
        lambda: _distances_to_null(whole, intact, scratch.bipartitions)
    )  # not needed if all are given up
    n = len(sources.levels)
    is_shared = len(targets) > 1 and n <= SHARED_MAX_UNITS
    known = np.full(7**n if is_shared else 0, np.nan)
    distance, exact = np.zeros(len(targets)), np.zeros(len(targets), bool)
    concepts_by_cut, distance_by_cut = list[Concepts](), list[StructureDistance]()
    for k, target in enumerate(targets):
        fill_repertoires(sources.forward, sources.rows, target, under)
        concepts_by_cut.append(concepts_under_cut(sources, target, under, scratch, known))
        if is_sum:
            difference = float(whole.phi.sum() - concepts_by_cut[k].phi.sum())
            distance[k], exact[k] = round(difference, 6), True
            continue
        both = (whole, concepts_by_cut[k]), (intact, under)
        distance_by_cut.append(StructureDistance(*both, plain, scratch.bipartitions))
        distance[k] = distance_by_cut[k].bound
    for k in [] if is_sum else np.argsort(distance, kind="stable").tolist():
        if distance[k] > tie_limit(incumbent):
            break
        fill_repertoires(sources.forward, sources.rows, targets[k], under)
        distance[k], exact[k] = distance_by_cut[k].exact(incumbent, to_null())
        if exact[k]:
            incumbent = min(incumbent, distance[k])
    counts = np.array([len(concepts.mechanisms) for concepts in concepts_by_cut], np.int64)
    return {"distance": distance, "exact": exact, "cut_concepts": counts}


def cut_concepts_stage(search: CutSearch, target: int) -> Stage:
    """Return the stage that finds the concepts under the cut that isolates a mask of units."""
    size = 1 << search.system.n
    side = (("side", 2),)
    seconds = search.seconds
    return Stage(
        name="cut-concepts",
        grid=Grid(("mechanism",), (size,), unsplit=("mechanism",)),
        variables=(
            variable("sides", "float64", np.nan, side),
            variable("purviews", "int64", 0, side),
            variable("ties", "int64", 0, side),
        ),
        compute=fill_cut_concepts,
        inputs=search.inputs(np.array([target])),
        prepare=prepare_sources,
        cost=lambda _region: seconds,
        scratch=search.scratch,
    )


def fill_cut_concepts(sources: RepertoireSources, region: Region) -> dict[str, Array]:
    """Find the concepts under the first cut of the list."""
    target = int(sources.more["targets"][0])
    scratch = make_partition_scratch(sources.levels)
    concepts = concepts_under_cut(sources, target, sources.under(target), scratch, np.zeros(0))
    return {name: getattr(concepts, name).T[region] for name in ("sides", "purviews", "ties")}


def concepts_under_cut(
    sources: RepertoireSources, target: int, under: Repertoires, scratch: Any, known: Array
) -> Concepts:
    """Find the concepts under a cut, given its repertoires and what other cuts found."""
    concepts = Concepts.empty(len(under.effect))
    intact, rank, rule = (sources.more[name] for name in ("intact_phi", "rank", "rule"))
    children = sources.children_under(target)
    if rule.any():
        cause, effect = np.zeros((2, *intact.shape))
        ends = 0, len(cause), target
        partition_phis(*ends, rule, intact, under, scratch, children, cause, effect)
        return select_concepts(cause, effect, rank)
    out = concepts.sides, concepts.purviews, concepts.ties
    find_concepts(target, intact, rank, children, under, scratch.bipartitions, known, *out)
    return concepts
