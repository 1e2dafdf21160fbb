"""Concepts of a system under IIT 3.0: stages, the choice among purviews, and their details."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import comb, factorial, prod
from typing import Any, get_args

import numpy as np

from iitdask.kernels.iit3.bipartition import Repertoires, fill_repertoires, make_repertoires
from iitdask.kernels.iit3.concepts import choose_concepts, purview_phis
from iitdask.kernels.iit3.distances import cause_distances, null_effect_distance
from iitdask.kernels.iit3.partition_schemes import (
    describe_minimum,
    make_partition_scratch,
    partition_phis,
)
from iitdask.kernels.subsets import segment_offsets, state_codes, value_offsets
from iitdask.model.system import CandidateSystem
from iitdask.theory.marginal_tables import unit_arrays
from iitdask.theory.options import IIT3, Measure, MechanismPartitions
from iitdask.theory.stage import (
    Array,
    CumulativeCost,
    Filled,
    Grid,
    Region,
    Stage,
    StageRef,
    uniform_cost,
)
from iitdask.theory.ties import PurviewOrder
from iitdask.theory.variables import variable

CAUSE, EFFECT = 0, 1
UNRANKED = np.iinfo(np.int64).max
SECONDS_PER_STATE = 3e-8  # of a purview, per partition; with the earth mover's distance:
SECONDS_PER_MOVED_STATE = 4.5e-8
SECONDS_PER_CODE, SECONDS_PER_PAIR = 4e-9, 3e-7
"""Of each code of a repertoire, 6**n, and of each bipartition and state of a pair that is searched.
"""
MAX_COUNTED_PAIRS = 1 << 20  # Pairs of mechanism and purview that are counted at a time


@dataclass(frozen=True, slots=True)
class RepertoireSources:
    """Arrays from which repertoires under any cut are made."""

    levels: Array  # (n,) values per unit
    offsets: Array  # (2**n + 1,) where the states of each purview begin
    children: Array  # (n,) units that each unit feeds
    forward: Array  # (C, n) P(unit is in its current state | code), cause side
    rows: Array  # (2**n, w) P(unit takes a compared value | subset's current state), effect side
    intact: Repertoires  # Repertoires of the system without a cut
    more: Mapping[str, Array]  # The stage's other inputs

    def under(self, target: int) -> Repertoires:
        """Return the repertoires when the units of a mask lose their inputs from all others."""
        repertoires = make_repertoires(self.levels, self.offsets)
        fill_repertoires(self.forward, self.rows, target, repertoires)
        return repertoires

    def children_under(self, target: int) -> Array:
        """Return the mask of units that each unit still feeds."""
        inside = target >> np.arange(len(self.levels)) & 1
        return np.where(inside, self.children, self.children & ~target)


@dataclass(frozen=True, slots=True)
class Concepts:
    """The best cause and effect of every mechanism, by mechanism mask."""

    sides: Array  # (2, 2**n) phi of cause and effect; 0 in both where there is no concept
    purviews: Array  # (2, 2**n) masks
    ties: Array  # (2, 2**n) purviews that tie, the chosen one included

    @classmethod
    def empty(cls, size: int) -> Concepts:
        """Return arrays for all mechanisms, without any concept."""
        numbers = np.zeros((2, 2, size), np.int64)
        return cls(np.zeros((2, size)), numbers[0], numbers[1])

    @classmethod
    def from_filled(cls, filled: Filled) -> Concepts:
        """Return what a stage over mechanisms was filled with."""
        values = (filled[name].values.T for name in ("sides", "purviews", "ties"))
        return cls(*(np.ascontiguousarray(values) for values in values))

    @property
    def phi(self) -> Array:
        """(2**n,) phi of each concept, 0 where there is none."""
        return np.asarray(self.sides.min(axis=0))

    @property
    def mechanisms(self) -> list[int]:
        """Masks of the mechanisms that have a concept."""
        return list(np.flatnonzero(self.phi > 0).tolist())


def source_inputs(system: CandidateSystem, options: IIT3) -> dict[str, Array | StageRef]:
    """Return the inputs from which :func:`prepare_sources` works."""
    past = 0 if options.background == "2014" else -1  # the effect table is the first
    return {
        **unit_arrays(system),
        "marginals": StageRef("marginals", "probability"),
        "past": np.array(past),
        "rule": rule_numbers(options),
    }


def rule_numbers(options: IIT3) -> Array:
    """Return (2,) the measure and the scheme of partitions, as kernels number them."""
    chosen = (Measure, options.measure), (MechanismPartitions, options.mechanism_partitions)
    return np.array([get_args(kind).index(value) for kind, value in chosen], np.int64)


def prepare_sources(inputs: Mapping[str, Array]) -> RepertoireSources:
    """Arrange the stored marginals for repertoires."""
    levels, state, marginals = inputs["levels"], inputs["state"], inputs["marginals"]
    offsets, columns = segment_offsets(levels), value_offsets(levels)
    codes = state_codes(offsets, state, len(levels))
    compared = [columns[i] + v for i, k in enumerate(levels) for v in (range(k) if k > 2 else (1,))]
    forward = marginals[int(inputs["past"])][columns[:-1] + state].T
    sources = RepertoireSources(
        levels=levels,
        offsets=offsets,
        children=inputs["children"],
        forward=np.ascontiguousarray(forward),
        rows=np.ascontiguousarray(marginals[0][compared][:, codes].T),
        intact=make_repertoires(levels, offsets),
        more=inputs,
    )
    fill_repertoires(sources.forward, sources.rows, 0, sources.intact)
    return sources


def partition_seconds(n: int, options: IIT3) -> float:
    """Predict what the partitions of n units' mechanisms and purviews take, beyond bipartitions.

    0 of the earth mover's distance over bipartitions, most of which its bounds leave out.
    """
    scheme = options.mechanism_partitions
    if (options.measure, scheme) == ("EMD", "bipartition"):
        return 0.0
    per_state = SECONDS_PER_MOVED_STATE if options.measure == "EMD" else SECONDS_PER_STATE
    pairs = product(range(1, n + 1), repeat=2)
    steps = (comb(n, a) * comb(n, b) * _partition_count(a, b, scheme) * 2.0**b for a, b in pairs)
    return 2 * per_state * sum(steps)


def mechanism_seconds(system: CandidateSystem, options: IIT3) -> Array:
    """Predict the seconds of the search of each mechanism by bipartitions, (2**n,).

    What is searched follows from the connections: the pairs of a mechanism and an admissible
    cause purview. Beyond these every mechanism has its repertoires and effects.
    """
    size = 1 << system.n
    if options.mechanism_partitions != "bipartition" or options.measure != "EMD":
        return np.full(size, 1.1e-7 * 10.0**system.n + partition_seconds(system.n, options)) / size
    children = unit_arrays(system)["children"].tolist()
    pairs = searched_states(tuple(children))
    return SECONDS_PER_PAIR * pairs + SECONDS_PER_CODE * 6.0**system.n / size


@lru_cache(maxsize=8)
def searched_states(children: tuple[int, ...]) -> Array:
    """Return the sum of 2**units over the admissible cause purviews of each mechanism, (2**n,).

    Units are those of mechanism and purview together. `children` are masks of the units that each
    unit feeds.

    Examples
    --------
    >>> searched_states((2, 1)).tolist()  # two units that feed each other
    [0.0, 4.0, 4.0, 0.0]
    """
    n = len(children)
    size = 1 << n
    parents = tuple(sum(1 << i for i in range(n) if children[i] >> j & 1) for j in range(n))
    fed, feeding = _unions(children), _unions(parents)
    purviews = np.arange(size)
    weights, out = 2.0 ** np.bitwise_count(purviews), np.zeros(size)
    step = max(1, MAX_COUNTED_PAIRS // size)
    for begin in range(1, size, step):
        masks = purviews[begin : begin + step, None]
        covers = (masks & ~fed[None] == 0) & (purviews[None] & ~feeding[masks] == 0)
        covers[:, 0] = False
        m, z = np.nonzero(covers)
        m += begin
        linked = _hang_together(m, z, fed, feeding)
        out += np.bincount(m[linked], weights[m[linked]] * weights[z[linked]], size)
    return out


def _unions(masks: Sequence[int]) -> Array:
    """Return the union of the masks of every set of units, (2**n,)."""
    out = np.zeros(1 << len(masks), np.int64)
    for k, mask in enumerate(masks):
        out[1 << k : 2 << k] = out[: 1 << k] | mask
    return out


def _hang_together(m: Array, z: Array, fed: Array, feeding: Array) -> Array:
    """Whether the connections from purviews to mechanisms leave neither in parts, by pair."""
    seen = z & -z
    hit = fed[seen] & m
    while True:
        grown = feeding[hit] & z | seen
        reached = fed[grown] & m
        if (grown == seen).all() and (reached == hit).all():
            is_single = (m & (m - 1) == 0) | (z & (z - 1) == 0)
            return np.asarray(is_single | ((seen == z) & (hit == m)))
        seen, hit = grown, reached


def _partition_count(a: int, b: int, scheme: str) -> float:
    """Return about how many partitions a mechanism of `a` and a purview of `b` units have."""
    if scheme == "bipartition":
        return 2.0 ** (a + b - 1)
    most = a if scheme == "all" else 2
    return 1.0 + sum(_set_partitions(a, k) * (k + 1.0) ** b for k in range(2, min(a, most) + 1))


def _set_partitions(a: int, k: int) -> float:
    """Return the number of partitions of a set of `a` into k blocks."""
    signed = (comb(k, j) * (k - j) ** a * (1 - 2 * (j % 2)) for j in range(k + 1))
    return float(sum(signed)) / factorial(k)


def repertoire_bytes(levels: Sequence[int]) -> int:
    """Return the memory that the repertoires of units with so many values take, in bytes."""
    size, codes = 1 << len(levels), prod(k + 1 for k in levels)
    return 8 * size * (codes + size * sum(1 if k == 2 else k for k in levels))


def concepts_stage(system: CandidateSystem, options: IIT3) -> Stage:
    """Return the stage that computes phi of every mechanism over every purview.

    Parameters
    ----------
    system : the candidate system, n units
    options : options of the theory

    Returns
    -------
    Stage, ``phi_cause`` and ``phi_effect``, each (2**n mechanisms, 2**n purviews)

    References
    ----------
    docs/mathematics.md 12.1 and 25.1.
    """
    n = system.n
    size = 1 << n
    return Stage(
        name="concepts",
        grid=Grid(("mechanism",), (size,), power_of_two=("mechanism",)),
        variables=(
            variable("phi_cause", "float64", np.nan, (("purview", size),)),
            variable("phi_effect", "float64", np.nan, (("purview", size),)),
        ),
        compute=fill_concepts,
        inputs=source_inputs(system, options),
        prepare=prepare_sources,
        cost=CumulativeCost.from_seconds(mechanism_seconds(system, options)),
        scratch=repertoire_bytes(system.levels) + 8 * 4**n * 2,
    )


def fill_concepts(sources: RepertoireSources, region: Region) -> dict[str, Array]:
    """Search a range of mechanisms."""
    begin, end = region[0].start, region[0].stop
    cause, effect = np.zeros((2, end - begin, len(sources.offsets) - 1))
    scratch, rule = make_partition_scratch(sources.levels), sources.more["rule"]
    reps, out = sources.intact, (sources.children, cause, effect)
    if rule.any():
        partition_phis(begin, end, 0, rule, np.zeros((0, 0)), reps, scratch, *out)
    else:
        purview_phis(begin, end, reps, scratch.bipartitions, *out)
    return {"phi_cause": cause, "phi_effect": effect}


def purview_ranks(system: CandidateSystem, ties: str) -> Array:
    """Return the preference among tied purviews, less is better.

    Parameters
    ----------
    system : the candidate system, n units
    ties : the order, ``reference`` or ``canonical``

    Returns
    -------
    ndarray, (2, 2**n, 2**n) rank by direction, mechanism and purview

    References
    ----------
    docs/mathematics.md 15.2 and 15.3.
    """
    size = 1 << system.n
    order = PurviewOrder(system, ties)
    out = np.full((2, size, size), UNRANKED)
    if order.is_canonical:  # the same of every mechanism, in both directions
        out[:, :, order.sort(1, False, range(1, size))] = np.arange(size - 1)
        return out
    for m in range(1, size):
        for direction in (CAUSE, EFFECT):
            ranked = order.sort(m, direction == EFFECT, range(1, size))
            out[direction, m, ranked] = np.arange(len(ranked))
    return out


def select_concepts(cause: Array, effect: Array, rank: Array) -> Concepts:
    """Select the best purviews, by phi (2**n, 2**n) and rank of each mechanism and purview."""
    concepts = Concepts.empty(len(cause))
    both = np.ascontiguousarray(cause), np.ascontiguousarray(effect)
    choose_concepts(*both, rank, concepts.sides, concepts.purviews, concepts.ties)
    return concepts


def details_stage(system: CandidateSystem, options: IIT3, rows: Sequence[tuple[Any, ...]]) -> Stage:
    """Return the stage that computes repertoires and named partitions of some causes and effects.

    A row is the units that the cut isolates, direction, mechanism, purview and phi.
    """
    n, states = system.n, int(np.prod(system.levels))
    state = (("state", states),)
    return Stage(
        name="details",
        grid=Grid(("side",), (len(rows),)),
        variables=(
            variable("kept", "int64", -1, (("unit", n),)),
            variable("ties", "int64", 0),
            variable("repertoire", "float64", np.nan, state),
            variable("partitioned_repertoire", "float64", np.nan, state),
            variable("distance_to_null", "float64", np.nan),
        ),
        compute=fill_details,
        inputs={
            **source_inputs(system, options),
            "chosen": np.array([row[:4] for row in rows], np.int64),
            "phi": np.array([row[4] for row in rows], float),
        },
        prepare=prepare_sources,
        cost=uniform_cost(1e-6 * 4.0**n),
        scratch=repertoire_bytes(system.levels) + 8 * 4**n * 2,
    )


def fill_details(sources: RepertoireSources, region: Region) -> dict[str, Array]:
    """Compute a range of causes and effects."""
    rows_of_block = sources.more["chosen"][region[0]]
    phi = sources.more["phi"][region[0]]
    count, n = len(rows_of_block), len(sources.levels)
    states = int(np.prod(sources.levels))
    scratch, rule = make_partition_scratch(sources.levels), sources.more["rule"]
    kept, ties = np.full((count, n), -1, np.int64), np.zeros(count, np.int64)
    both, null = np.full((count, 2, states), np.nan), np.zeros(count)
    by_target: dict[int, Repertoires] = {0: sources.intact}
    for k, (target, direction, m, z) in enumerate(rows_of_block.tolist()):
        reps = by_target[target] = by_target.get(target) or sources.under(target)
        is_cause = direction == CAUSE
        seen = np.full(n, -1, np.int64)
        ties[k] = describe_minimum(m, z, is_cause, phi[k], rule, reps, scratch, seen, both[k])
        kept[k] = seen if is_cause else _seen_of_mechanism(seen, z)
        if is_cause:
            purviews = np.full((2, len(reps.effect)), z)
            null[k] = cause_distances_to_null(np.array([m]), purviews, reps, scratch.bipartitions)[
                0
            ]
        else:
            null[k] = null_effect_distance(m, z, reps, sources.intact)
    return {
        "kept": kept,
        "ties": ties,
        "repertoire": both[:, 0],
        "partitioned_repertoire": both[:, 1],
        "distance_to_null": null,
    }


def cause_distances_to_null(
    mechanisms: Array, purviews: Array, reps: Repertoires, scratch: Any
) -> Array:
    """Return the distance of each mechanism's cause from the uniform distribution, (m,)."""
    pairs = np.stack([np.arange(len(mechanisms)), 0 * mechanisms], axis=1)
    null, out = np.zeros(1, np.int64), np.empty(len(mechanisms))
    cause_distances(pairs, mechanisms, null, purviews, purviews, reps, reps, scratch, out)
    return out


def _seen_of_mechanism(seen: Array, purview: int) -> list[int]:
    """Return the mechanism units that each purview unit sees, -1 outside of it, (n,).

    seen : (n,) the purview units that each mechanism unit keeps, -1 outside of it
    """
    n = len(seen)
    partners = (np.maximum(seen, 0)[None] >> np.arange(n)[:, None] & 1) @ (1 << np.arange(n))
    return [int(partners[j]) if purview >> j & 1 else -1 for j in range(n)]
