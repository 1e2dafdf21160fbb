"""System integrated information, Albantakis et al. 2023, as stages (spec.md 7 and 8)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.codes import value_offsets
from iitdask.kernels.irreducibility import EPS, lost_inputs, minimum_partition, source_minima
from iitdask.kernels.marginals import state_marginals
from iitdask.kernels.partitions import cut_costs, two_block_start
from iitdask.kernels.purviews import STATE_FLOOR, STATE_TIE, ZERO
from iitdask.kernels.repertoire import forward_probability, mixture
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
WAVES = 13  # from this many units on, source sets are split into blocks and ratios into waves


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
                float(filled["cost"].values[k]),
                int(filled["pairs"].values[k]),
                float(filled["ways"].values[k]),
                filled["key"].values[k],
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


def _at_once(costs: Array, zero: Array) -> Generator[tuple[Stage, ...], tuple[Answer, ...], Answer]:
    n = costs.shape[1]
    (filled,) = yield (
        Stage(
            name="system",
            grid=Grid(("candidate",), (len(costs),)),
            fills=_partition_variables(n),
            compute=fill_minimum,
            inputs={"costs": costs, "zero": zero},
            cost=lambda region: 6e-9 * 4.0**n * (region[0].stop - region[0].start),
            scratch=200 * 2**n,
        ),
    )
    return filled


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


def _in_waves(
    costs: Array, zero: Array
) -> Generator[tuple[Stage, ...], tuple[Answer, ...], Answer]:
    """Dinkelbach with one stage per ratio, its source sets split into blocks."""
    n = costs.shape[1]
    ratios = np.array([max(two_block_start(g)[0], 0.0) for g in costs])
    wave = 0
    while True:
        name = f"system/wave-{wave}"
        yield (_wave_stage(name, costs, ratios),)
        (settled,) = yield (
            Stage(
                name=f"{name}-settled",
                grid=Grid(("candidate",), (len(costs),)),
                fills=_partition_variables(n),
                compute=fill_settled,
                inputs={"costs": costs, "ratios": ratios, "least": Stored(name, "least")},
                cost=lambda region: 3e-9 * 3.0**n * (region[0].stop - region[0].start),
                scratch=200 * 2**n,
            ),
        )
        # at least one pair: a plan goes through here with nothing computed
        cost, pairs = settled["cost"].values, np.maximum(settled["pairs"].values, 1)
        improved = (cost / pairs < ratios - EPS / pairs) & (cost > zero)
        if not improved.any():
            return settled
        ratios = np.where(improved, cost / pairs, ratios)
        wave += 1


def _wave_stage(name: str, costs: Array, ratios: Array) -> Stage:
    rows, n, size = costs.shape
    return Stage(
        name=name,
        grid=Grid(("candidate", "source"), (rows, size), power_of_two=("source",)),
        fills=(variable("least", "float64", np.nan),),
        compute=fill_wave,
        inputs={"costs": costs, "ratios": ratios},
        cost=WaveCost(n),
        scratch=100 * size,
    )


@dataclass(frozen=True, slots=True)
class WaveCost:
    """Predicted seconds of a range of source sets: 3**|O| each, and 3**n once a block."""

    n: int
    """Units of the system."""

    def __call__(self, region: Region) -> float:
        """Sum over the source sets of the region."""
        masks = np.arange(region[1].start, region[1].stop, dtype=np.uint64)
        sources = float(np.power(3.0, np.bitwise_count(masks)).sum())
        return float((region[0].stop - region[0].start) * 1e-9 * (sources + 3.0**self.n))


def fill_wave(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Least cost at the candidates' ratios for a range of source sets."""
    rows, sources = region
    out = np.empty((rows.stop - rows.start, sources.stop - sources.start))
    for row, k in enumerate(range(rows.start, rows.stop)):
        source_minima(
            inputs["costs"][k], inputs["ratios"][k], sources.start, sources.stop, out[row]
        )
    return {"least": out}


def fill_settled(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Turn a wave's minima into cost, pairs and the named partition of each candidate."""
    out: dict[str, list[Any]] = {name: [] for name in SETTLED}
    for k in range(region[0].start, region[0].stop):
        least, ratio = inputs["least"][k], inputs["ratios"][k]
        pairs, ways, key = optimal_partitions(inputs["costs"][k], ratio, EPS, least)
        for name, value in zip(
            SETTLED, (least.min() + ratio * pairs, pairs, ways, key, 1), strict=True
        ):
            out[name].append(value)
    return {name: np.array(values) for name, values in out.items()}


def shared_ways(cause: Candidate, effect: Candidate) -> float:
    """How many partitions attain the minimum of both directions at once."""
    g = cause.costs * cause.selectivity + effect.costs * effect.selectivity
    ratio = cause.normalized + effect.normalized
    minima = np.empty(g.shape[1])
    source_minima(g, ratio, 0, len(minima), minima)
    if minima.min() > 4 * EPS:
        return 0.0
    pairs, ways, _ = optimal_partitions(g, ratio, EPS, minima)
    return float(ways) if pairs == max(cause.pairs, effect.pairs) else 0.0


def severed(candidate: Candidate) -> Array:
    """Inputs each unit loses under the named partition; (n,) masks."""
    n = len(candidate.costs)
    if n == 1:
        return np.array([1], np.int64)
    return lost_inputs(candidate.key, n)  # type: ignore[no-any-return]
