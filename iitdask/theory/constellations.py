"""Concepts of a system under its unidirectional cuts, and what each cut costs, as stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.bipartitions import split_room
from iitdask.kernels.concepts import find_concepts
from iitdask.kernels.repertoires import Repertoires, fill_repertoires, repertoire_room
from iitdask.model.system import System
from iitdask.theory.base import Grid, Region, Stage, Stored
from iitdask.theory.concepts import (
    Concepts,
    Sources,
    prepare_sources,
    repertoire_bytes,
    source_inputs,
)
from iitdask.theory.distances import Constellation, Distance, Distances, limit
from iitdask.theory.options import IIT3
from iitdask.theory.vocabulary import variable

__all__ = ["Cutting", "cut_concepts_stage", "cuts_stage"]

Array = NDArray[Any]
SHARED_UNITS = 8  # up to which a block keeps what cuts have in common: 7**n numbers


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
        return 6e-8 * 9.0**self.system.n

    @property
    def scratch(self) -> int:
        """Bytes that the repertoires of the system and of one cut need."""
        n = self.system.n
        shared: int = 7**n if n <= SHARED_UNITS else 0
        return 2 * repertoire_bytes(self.system.levels) + 8 * (2 * (1 << 2 * n) + shared)


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
    """Analyse a range of cuts, those of the least bound first: then most others are given up."""
    targets = sources.more["targets"][region[0]].tolist()
    incumbent = float(sources.more["incumbent"])
    sides, purviews = sources.more["sides"], sources.more["purviews"]
    whole = Constellation(Concepts(sides, purviews, np.zeros_like(purviews)), sources.intact)
    under = repertoire_room(sources.levels, sources.offsets)
    room = split_room(sources.levels)
    search = Distances(whole, room)
    n = len(sources.levels)
    known = np.full(7**n if n <= SHARED_UNITS else 0, np.nan)
    distance, exact = np.zeros(len(targets)), np.zeros(len(targets), bool)
    found, away = list[Concepts](), list[Distance]()
    for k, target in enumerate(targets):
        fill_repertoires(sources.forward, sources.rows, target, under)
        found.append(cut_concepts(sources, target, under, room, known))
        away.append(search.to(Constellation(found[k], under)))
        distance[k] = away[k].bound
    for k in np.argsort(distance, kind="stable").tolist():
        if distance[k] > limit(incumbent):
            break
        fill_repertoires(sources.forward, sources.rows, targets[k], under)
        distance[k], exact[k] = away[k].found(incumbent, search.to_null)
        if exact[k]:
            incumbent = min(incumbent, distance[k])
    counts = np.array([len(concepts.mechanisms) for concepts in found], np.int64)
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
    room = split_room(sources.levels)
    found = cut_concepts(sources, target, sources.under(target), room, np.zeros(0))
    return {
        "sides": found.sides.T[region],
        "purviews": found.purviews.T[region],
        "ties": found.ties.T[region],
    }


def cut_concepts(
    sources: Sources, target: int, under: Repertoires, room: Any, known: Array
) -> Concepts:
    """Concepts of the system under a cut, given its repertoires and what other cuts found."""
    made = Concepts.empty(len(under.effect))
    find_concepts(
        target,
        sources.more["intact_phi"],
        sources.more["rank"],
        sources.children_under(target),
        under,
        room,
        known,
        made.sides,
        made.purviews,
        made.ties,
    )
    return made
