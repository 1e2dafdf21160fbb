"""System integrated information, Albantakis et al. 2023, as stages (spec.md 7 and 8)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.codes import value_offsets
from iitdask.kernels.irreducibility import EPS, lost_inputs, minimum_partition
from iitdask.kernels.marginals import state_marginals
from iitdask.kernels.partitions import cut_costs, two_block_start, whole_minima
from iitdask.kernels.purviews import STATE_FLOOR, STATE_TIE, ZERO
from iitdask.kernels.repertoire import forward_probability, mixture
from iitdask.kernels.sources import open_sources, source_minima
from iitdask.kernels.witness import optimal_partitions
from iitdask.model.system import System
from iitdask.theory.base import Answer, Grid, Region, Stage, Stored
from iitdask.theory.states import digits
from iitdask.theory.vocabulary import variable

__all__ = [
    "Candidate",
    "Specified",
    "minimum_partitions",
    "severed",
    "shared_ways",
    "specified_states",
    "states_stage",
]

Array = NDArray[Any]
WAVES = 14  # from this many units on, source sets are split into blocks and ratios into waves
WITHOUT_PARTING, PARTING = 6e-9, 0.03e-9  # seconds per subset of a source set, per 3**|O|


@dataclass(frozen=True, slots=True)
class Specified:
    """States a system specifies in one direction."""

    information: float
    """Intrinsic information of the specified states, bits."""
    states: tuple[int, ...]
    """All states that attain it, in state order, little-endian."""
    forward: Array
    """(S,) cause: p(current state | state); effect: p(state | current state)."""

    def selectivity(self, state: int, cause: bool) -> float:
        """Probability of the state in the repertoire of this direction."""
        p = float(self.forward[state])
        return p / float(self.forward.sum()) if cause else p


@dataclass(frozen=True, slots=True)
class Candidate:
    """The minimum partition of one direction for one specified state."""

    state: int
    """Specified state, little-endian."""
    selectivity: float
    """Probability that weighs the costs."""
    cost: float
    """Log-ratio at the minimum partition, bits before selectivity; 0 when reducible."""
    pairs: int
    """Ordered pairs severed; the most among equal ratios."""
    ways: float
    """Partitions that attain the minimum."""
    key: Array
    """The named one, see kernels.witness."""
    costs: Array
    """(n, 2**n) cost of every cut of every unit."""

    @property
    def phi(self) -> float:
        """Integrated information of this direction alone, bits."""
        return self.cost * self.selectivity

    @property
    def normalized(self) -> float:
        """The same per severed pair."""
        return self.phi / self.pairs


def states_stage(system: System) -> Stage:
    """Forward probability and intrinsic information of every state of the system."""
    states = len(system.effect)
    return Stage(
        name="states",
        grid=Grid(("direction",), (2,)),
        fills=(
            variable("forward", "float64", np.nan, (("state", states),)),
            variable("information", "float64", np.nan, (("state", states),)),
        ),
        compute=fill_states,
        inputs={
            "cause": system.cause,
            "effect": system.effect,
            "levels": np.array(system.levels, np.int64),
            "current": np.array(system.local_state, np.int64),
            "code": np.array(system.code),
        },
        cost=lambda region: (region[0].stop - region[0].start) * states * states * 0.3e-9,
        scratch=16 * states,
    )


def fill_states(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Cause row, effect row or both."""
    both = [_cause_states, _effect_states][region[0]]
    rows = [fill(inputs) for fill in both]
    return {
        "forward": np.stack([r[0] for r in rows]),
        "information": np.stack([r[1] for r in rows]),
    }


def _cause_states(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    forward = forward_probability(inputs["cause"], inputs["levels"], inputs["current"])
    total = forward.sum()
    return forward, _information(forward / total, forward, total / len(forward))


def _effect_states(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    effect, levels = inputs["effect"], inputs["levels"]
    row = int(inputs["code"])
    forward, mean = np.empty(len(effect)), np.empty(len(effect))
    mixture(effect, row, row + 1, levels, forward)
    mixture(effect, 0, len(effect), levels, mean)
    return forward, _information(forward, forward, mean / len(effect))


def _information(weight: Array, p: Array, q: Array | float) -> Array:
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return weight * np.log2(ratio)


def specified_states(states: Answer) -> tuple[Specified, Specified]:
    """Cause and effect states that maximise intrinsic information, all ties kept (spec.md 4)."""
    forward, information = states["forward"].values, states["information"].values
    top = forward[0].max()
    cause = np.flatnonzero(forward[0] >= top * (1 - STATE_TIE))
    most = information[1].max()
    effect = np.flatnonzero(information[1] >= most - STATE_TIE * abs(most) - STATE_FLOOR)
    return (
        Specified(float(information[0, cause[0]]), tuple(map(int, cause)), forward[0]),
        Specified(float(most), tuple(map(int, effect)), forward[1]),
    )


def _costs(system: System, state: int, cause: bool) -> Array:
    levels = np.array(system.levels, np.int64)
    current, other = (
        np.array(system.local_state, np.int64),
        np.array(digits(state, system.levels), np.int64),
    )
    source, target = (other, current) if cause else (current, other)
    tpm = system.cause if cause else system.effect
    return cut_costs(state_marginals(tpm, levels, source), value_offsets(levels), target)  # type: ignore[no-any-return]


def minimum_partitions(
    system: System, cause: Specified, effect: Specified
) -> Generator[tuple[Stage, ...], tuple[Answer, ...], tuple[list[Candidate], list[Candidate]]]:
    """Minimum partition of every tied cause state and every tied effect state."""
    sides = [(s, True) for s in cause.states] + [(s, False) for s in effect.states]
    weights = [cause.selectivity(s, True) if c else effect.selectivity(s, False) for s, c in sides]
    costs = np.stack([_costs(system, s, c) for s, c in sides])
    if system.n == 1:
        found = [
            (costs[k, 0, 1], 1, 1.0, np.array([1 << 63], np.uint64)) for k in range(len(sides))
        ]
    else:
        zero = ZERO / np.array(weights)
        search = _in_waves if system.n >= WAVES else _at_once
        filled = yield from search(costs, zero)
        found = [
            (
                float(filled["cost"][k]),
                int(filled["pairs"][k]),
                float(filled["ways"][k]),
                filled["key"][k],
            )
            for k in range(len(sides))
        ]
    candidates = [
        Candidate(state, weight, cost if cost * weight > ZERO else 0.0, pairs, ways, key, costs[k])
        for k, ((state, _), weight, (cost, pairs, ways, key)) in enumerate(
            zip(sides, weights, found, strict=True)
        )
    ]
    return candidates[: len(cause.states)], candidates[len(cause.states) :]


Search = Generator[tuple[Stage, ...], tuple[Answer, ...], dict[str, Array]]
SETTLED = ("cost", "pairs", "ways", "key", "rounds")


def _partition_variables(n: int) -> tuple[Any, ...]:
    words = (n * n + 63) // 64
    return (
        variable("cost", "float64", np.nan),
        variable("pairs", "int64", 0),
        variable("ways", "float64", 0.0),
        variable("key", "uint64", 0, (("word", words),)),
        variable("rounds", "int64", 0),
    )


def _at_once(costs: Array, zero: Array) -> Search:
    n = costs.shape[1]
    seconds = 2 * (WITHOUT_PARTING * 3.0**n + PARTING * 4.0**n)  # of a candidate, two ratios
    (filled,) = yield (
        Stage(
            name="system",
            grid=Grid(("candidate",), (len(costs),)),
            fills=_partition_variables(n),
            compute=fill_minimum,
            inputs={"costs": costs, "zero": zero},
            cost=lambda region: seconds * (region[0].stop - region[0].start),
            scratch=400 * 2**n,
        ),
    )
    return {name: filled[name].values for name in SETTLED}


def fill_minimum(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Search all directed set partitions of a range of candidates."""
    rows = [
        minimum_partition(inputs["costs"][k], inputs["zero"][k])
        for k in range(region[0].start, region[0].stop)
    ]
    return {
        name: np.array([row[i] for row in rows], dtype)
        for i, (name, dtype) in enumerate(
            zip(SETTLED, ("float64", "int64", "float64", "uint64", "int64"), strict=True)
        )
    }


def _in_waves(costs: Array, zero: Array) -> Search:
    """Dinkelbach with one stage per ratio, its source sets split into blocks.

    A candidate takes part in the next wave as long as its ratio falls.
    """
    n = costs.shape[1]
    ratios = np.array([max(two_block_start(g)[0], 0.0) for g in costs])
    left = np.arange(len(costs))
    waves: list[tuple[Array, Answer]] = []
    while len(left):
        name = f"system/wave-{len(waves)}"
        yield (_wave_stage(name, costs[left], ratios[left]),)
        (settled,) = yield (
            Stage(
                name=f"{name}-settled",
                grid=Grid(("candidate",), (len(left),)),
                fills=_partition_variables(n),
                compute=fill_settled,
                inputs={
                    "costs": costs[left],
                    "ratios": ratios[left],
                    "least": Stored(name, "least"),
                },
                cost=lambda region: 3e-9 * 3.0**n * (region[0].stop - region[0].start),
                scratch=400 * 2**n,
            ),
        )
        waves.append((left, settled))
        # at least one pair: a plan goes through here with nothing computed
        cost, pairs = settled["cost"].values, np.maximum(settled["pairs"].values, 1)
        improved = (cost / pairs < ratios[left] - EPS / pairs) & (cost > zero[left])
        ratios[left] = np.where(improved, cost / pairs, ratios[left])
        left = left[improved]
    return {name: _of_last(waves, name) for name in SETTLED}


def _of_last(waves: list[tuple[Array, Answer]], name: str) -> Array:
    """Values of every candidate from the last wave it took part in; the first has them all."""
    values = waves[0][1][name].values.copy()
    for left, settled in waves[1:]:
        values[left] = settled[name].values
    return values


def _wave_stage(name: str, costs: Array, ratios: Array) -> Stage:
    rows, _, size = costs.shape
    return Stage(
        name=name,
        grid=Grid(("candidate", "source"), (rows, size), power_of_two=("source",)),
        fills=(variable("least", "float64", np.nan),),
        compute=fill_wave,
        inputs={"costs": costs, "ratios": ratios},
        cost=wave_cost,
        prepare=prepare_wave,
        scratch=400 * size,
    )


def wave_cost(region: Region) -> float:
    """Predicted seconds of a range of source sets, of which none is left out."""
    candidates, sources = region
    units = np.bitwise_count(np.arange(sources.start, sources.stop, dtype=np.uint64))
    seconds = WITHOUT_PARTING * np.power(2.0, units) + PARTING * np.power(3.0, units)
    return float((candidates.stop - candidates.start) * seconds.sum())


@dataclass(frozen=True, slots=True)
class Wave:
    """What all blocks of a wave work on, by candidate."""

    costs: Array
    """(k, n, 2**n) cost of every cut of every unit."""
    ratios: Array
    """(k,) ratio of the wave."""
    whole: Array
    """(k, 2**n) see kernels.partitions.whole_minima."""
    searched: Array
    """(k, 2**n) source sets that are searched."""


def prepare_wave(inputs: Mapping[str, Array]) -> Wave:
    """Part what lies outside the source sets, and see which of them can be left out."""
    costs, ratios = inputs["costs"], inputs["ratios"]
    given = list(zip(costs, ratios, strict=True))
    whole = np.stack([whole_minima(g, ratio) for g, ratio in given])
    searched = np.stack([open_sources(g, ratio) for g, ratio in given])
    return Wave(costs, ratios, whole, searched)


def fill_wave(wave: Wave, region: Region) -> dict[str, Array]:
    """Least cost at the candidates' ratios for a range of source sets."""
    rows, sources = region
    out = np.empty((rows.stop - rows.start, sources.stop - sources.start))
    begin, end = sources.start, sources.stop
    for row, k in enumerate(range(rows.start, rows.stop)):
        given = wave.costs[k], wave.ratios[k], wave.whole[k], wave.searched[k]
        source_minima(*given, begin, end, out[row])
    return {"least": out}


def fill_settled(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Turn a wave's minima into cost, pairs and the named partition of each candidate."""
    out: dict[str, list[Any]] = {name: [] for name in SETTLED}
    for k in range(region[0].start, region[0].stop):
        costs, least, ratio = inputs["costs"][k], inputs["least"][k], inputs["ratios"][k]
        whole = whole_minima(costs, ratio)
        pairs, ways, key = optimal_partitions(costs, ratio, whole, EPS, least)
        for name, value in zip(
            SETTLED, (least.min() + ratio * pairs, pairs, ways, key, 1), strict=True
        ):
            out[name].append(value)
    return {name: np.array(values) for name, values in out.items()}


def shared_ways(cause: Candidate, effect: Candidate) -> float:
    """How many partitions attain the minimum of both directions at once."""
    g = cause.costs * cause.selectivity + effect.costs * effect.selectivity
    ratio = cause.normalized + effect.normalized
    whole, minima = whole_minima(g, ratio), np.empty(g.shape[1])
    source_minima(g, ratio, whole, open_sources(g, ratio), 0, len(minima), minima)
    if minima.min() > 4 * EPS:
        return 0.0
    pairs, ways, _ = optimal_partitions(g, ratio, whole, EPS, minima)
    return float(ways) if pairs == max(cause.pairs, effect.pairs) else 0.0


def severed(candidate: Candidate) -> Array:
    """Inputs each unit loses under the named partition; (n,) masks."""
    n = len(candidate.costs)
    if n == 1:
        return np.array([1], np.int64)
    return lost_inputs(candidate.key, n)  # type: ignore[no-any-return]
