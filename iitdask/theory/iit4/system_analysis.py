"""System integrated information: specified states, minimum partitions, choice among ties."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.kernels.distributions import forward_probability, state_marginals, sum_all_products
from iitdask.kernels.iit4.system_partition import (
    candidate_sources,
    cut_costs,
    set_partition_minima,
    source_minima,
    starting_partition,
)
from iitdask.kernels.iit4.system_witness import (
    SUM_TOLERANCE_BITS,
    inputs_severed_by_key,
    minimum_partition,
    optimal_partitions,
    partition_cost,
)
from iitdask.kernels.subsets import (
    PHI_ZERO_BITS,
    STATE_TIE_BITS,
    STATE_TIE_RELATIVE,
    phi_tolerance,
    value_offsets,
)
from iitdask.model.labels import decode_state
from iitdask.model.system import System
from iitdask.theory.options import IIT42026, Unfolding
from iitdask.theory.stage import Filled, Grid, Region, Stage, StageRef
from iitdask.theory.ties import StateOrder
from iitdask.theory.variables import make_dataset, variable

__all__ = [
    "MinimumPartition",
    "SpecifiedStates",
    "SystemAnalysis",
    "analyse_system",
    "count_common_minima",
    "is_strongly_connected",
    "minimum_partitions",
    "severed_inputs",
    "specified_states",
    "states_stage",
    "system_dataset",
]

Array = NDArray[Any]
SPLIT_MIN_UNITS = (
    14  # from this many units on, source sets are split into blocks and ratios into waves
)
SECONDS_PER_SUBSET, SECONDS_PER_PARTITION = (
    6e-9,
    0.03e-9,
)  # seconds per subset of a source set, per 3**|O|


@dataclass(frozen=True, slots=True)
class SpecifiedStates:
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
class MinimumPartition:
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
        variables=(
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
    return forward, _intrinsic_information(forward / total, forward, total / len(forward))


def _effect_states(inputs: Mapping[str, Array]) -> tuple[Array, Array]:
    effect, levels = inputs["effect"], inputs["levels"]
    row = int(inputs["code"])
    forward, mean = np.empty(len(effect)), np.empty(len(effect))
    sum_all_products(effect, row, row + 1, levels, forward)
    sum_all_products(effect, 0, len(effect), levels, mean)
    return forward, _intrinsic_information(forward, forward, mean / len(effect))


def _intrinsic_information(weight: Array, p: Array, q: Array | float) -> Array:
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return weight * np.log2(ratio)


def specified_states(states: Filled) -> tuple[SpecifiedStates, SpecifiedStates]:
    """Cause and effect states that maximise intrinsic information, all ties kept (mathematics.md 4)."""
    forward, information = states["forward"].values, states["information"].values
    top = forward[0].max()
    cause = np.flatnonzero(forward[0] >= top * (1 - STATE_TIE_RELATIVE))
    most = information[1].max()
    effect = np.flatnonzero(
        information[1] >= most - STATE_TIE_RELATIVE * abs(most) - STATE_TIE_BITS
    )
    return (
        SpecifiedStates(float(information[0, cause[0]]), tuple(map(int, cause)), forward[0]),
        SpecifiedStates(float(most), tuple(map(int, effect)), forward[1]),
    )


def _cut_costs(system: System, state: int, cause: bool) -> Array:
    levels = np.array(system.levels, np.int64)
    current, other = (
        np.array(system.local_state, np.int64),
        np.array(decode_state(state, system.levels), np.int64),
    )
    source, target = (other, current) if cause else (current, other)
    tpm = system.cause if cause else system.effect
    return cut_costs(state_marginals(tpm, levels, source), value_offsets(levels), target)  # type: ignore[no-any-return]


def minimum_partitions(
    system: System, cause: SpecifiedStates, effect: SpecifiedStates
) -> Generator[
    tuple[Stage, ...], tuple[Filled, ...], tuple[list[MinimumPartition], list[MinimumPartition]]
]:
    """Minimum partition of every tied cause state and every tied effect state."""
    sides = [(s, True) for s in cause.states] + [(s, False) for s in effect.states]
    weights = [cause.selectivity(s, True) if c else effect.selectivity(s, False) for s, c in sides]
    costs = np.stack([_cut_costs(system, s, c) for s, c in sides])
    if system.n == 1:
        found = [
            (costs[k, 0, 1], 1, 1.0, np.array([1 << 63], np.uint64)) for k in range(len(sides))
        ]
    else:
        zero = PHI_ZERO_BITS / np.array(weights)
        search = _dinkelbach_stages if system.n >= SPLIT_MIN_UNITS else _one_stage
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
        MinimumPartition(
            state,
            weight,
            cost if cost * weight > PHI_ZERO_BITS else 0.0,
            pairs,
            ways,
            key,
            costs[k],
        )
        for k, ((state, _), weight, (cost, pairs, ways, key)) in enumerate(
            zip(sides, weights, found, strict=True)
        )
    ]
    return candidates[: len(cause.states)], candidates[len(cause.states) :]


MinimumSearch = Generator[tuple[Stage, ...], tuple[Filled, ...], dict[str, Array]]
MINIMUM_VARIABLES = ("cost", "pairs", "ways", "key", "rounds")


def _partition_variables(n: int) -> tuple[Any, ...]:
    words = (n * n + 63) // 64
    return (
        variable("cost", "float64", np.nan),
        variable("pairs", "int64", 0),
        variable("ways", "float64", 0.0),
        variable("key", "uint64", 0, (("word", words),)),
        variable("rounds", "int64", 0),
    )


def _one_stage(costs: Array, zero: Array) -> MinimumSearch:
    n = costs.shape[1]
    seconds = 2 * (
        SECONDS_PER_SUBSET * 3.0**n + SECONDS_PER_PARTITION * 4.0**n
    )  # of a candidate, two ratios
    (filled,) = yield (
        Stage(
            name="system",
            grid=Grid(("candidate",), (len(costs),)),
            variables=_partition_variables(n),
            compute=fill_minimum,
            inputs={"costs": costs, "zero": zero},
            cost=lambda region: seconds * (region[0].stop - region[0].start),
            scratch=400 * 2**n,
        ),
    )
    return {name: filled[name].values for name in MINIMUM_VARIABLES}


def fill_minimum(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Search all directed set partitions of a range of candidates."""
    rows = [
        minimum_partition(inputs["costs"][k], inputs["zero"][k])
        for k in range(region[0].start, region[0].stop)
    ]
    return {
        name: np.array([row[i] for row in rows], dtype)
        for i, (name, dtype) in enumerate(
            zip(MINIMUM_VARIABLES, ("float64", "int64", "float64", "uint64", "int64"), strict=True)
        )
    }


def _dinkelbach_stages(costs: Array, zero: Array) -> MinimumSearch:
    """Dinkelbach with one stage per ratio, its source sets split into blocks.

    A candidate takes part in the next wave as long as its ratio falls.
    """
    n = costs.shape[1]
    ratios = np.array([max(starting_partition(g)[0], 0.0) for g in costs])
    left = np.arange(len(costs))
    waves: list[tuple[Array, Filled]] = []
    while len(left):
        name = f"system/wave-{len(waves)}"
        yield (_ratio_stage(name, costs[left], ratios[left]),)
        (settled,) = yield (
            Stage(
                name=f"{name}-settled",
                grid=Grid(("candidate",), (len(left),)),
                variables=_partition_variables(n),
                compute=fill_optimum,
                inputs={
                    "costs": costs[left],
                    "ratios": ratios[left],
                    "least": StageRef(name, "least"),
                },
                cost=lambda region: 3e-9 * 3.0**n * (region[0].stop - region[0].start),
                scratch=400 * 2**n,
            ),
        )
        waves.append((left, settled))
        # at least one pair: a plan goes through here with nothing computed
        cost, pairs = settled["cost"].values, np.maximum(settled["pairs"].values, 1)
        improved = (cost / pairs < ratios[left] - SUM_TOLERANCE_BITS / pairs) & (cost > zero[left])
        ratios[left] = np.where(improved, cost / pairs, ratios[left])
        left = left[improved]
    return {name: _last_values(waves, name) for name in MINIMUM_VARIABLES}


def _last_values(waves: list[tuple[Array, Filled]], name: str) -> Array:
    """Values of every candidate from the last wave it took part in; the first has them all."""
    values = waves[0][1][name].values.copy()
    for left, settled in waves[1:]:
        values[left] = settled[name].values
    return values


def _ratio_stage(name: str, costs: Array, ratios: Array) -> Stage:
    rows, _, size = costs.shape
    return Stage(
        name=name,
        grid=Grid(("candidate", "source"), (rows, size), power_of_two=("source",)),
        variables=(variable("least", "float64", np.nan),),
        compute=fill_ratio,
        inputs={"costs": costs, "ratios": ratios},
        cost=ratio_cost,
        prepare=prepare_ratio,
        scratch=400 * size,
    )


def ratio_cost(region: Region) -> float:
    """Predicted seconds of a range of source sets, of which none is left out."""
    candidates, sources = region
    units = np.bitwise_count(np.arange(sources.start, sources.stop, dtype=np.uint64))
    seconds = SECONDS_PER_SUBSET * np.power(2.0, units) + SECONDS_PER_PARTITION * np.power(
        3.0, units
    )
    return float((candidates.stop - candidates.start) * seconds.sum())


@dataclass(frozen=True, slots=True)
class RatioSearch:
    """What all blocks of a wave work on, by candidate."""

    costs: Array
    """(k, n, 2**n) cost of every cut of every unit."""
    ratios: Array
    """(k,) ratio of the wave."""
    whole: Array
    """(k, 2**n) see kernels.partitions.whole_minima."""
    searched: Array
    """(k, 2**n) source sets that are searched."""


def prepare_ratio(inputs: Mapping[str, Array]) -> RatioSearch:
    """Part what lies outside the source sets, and see which of them can be left out."""
    costs, ratios = inputs["costs"], inputs["ratios"]
    given = list(zip(costs, ratios, strict=True))
    whole = np.stack([set_partition_minima(g, ratio) for g, ratio in given])
    searched = np.stack([candidate_sources(g, ratio) for g, ratio in given])
    return RatioSearch(costs, ratios, whole, searched)


def fill_ratio(wave: RatioSearch, region: Region) -> dict[str, Array]:
    """Least cost at the candidates' ratios for a range of source sets."""
    rows, sources = region
    out = np.empty((rows.stop - rows.start, sources.stop - sources.start))
    begin, end = sources.start, sources.stop
    for row, k in enumerate(range(rows.start, rows.stop)):
        given = wave.costs[k], wave.ratios[k], wave.whole[k], wave.searched[k]
        source_minima(*given, begin, end, out[row])
    return {"least": out}


def fill_optimum(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Turn a wave's minima into cost, pairs and the named partition of each candidate."""
    out: dict[str, list[Any]] = {name: [] for name in MINIMUM_VARIABLES}
    for k in range(region[0].start, region[0].stop):
        costs, least, ratio = inputs["costs"][k], inputs["least"][k], inputs["ratios"][k]
        whole = set_partition_minima(costs, ratio)
        pairs, ways, key = optimal_partitions(costs, ratio, whole, SUM_TOLERANCE_BITS, least)
        for name, value in zip(
            MINIMUM_VARIABLES, (least.min() + ratio * pairs, pairs, ways, key, 1), strict=True
        ):
            out[name].append(value)
    return {name: np.array(values) for name, values in out.items()}


def count_common_minima(cause: MinimumPartition, effect: MinimumPartition) -> float:
    """How many partitions attain the minimum of both directions at once."""
    g = cause.costs * cause.selectivity + effect.costs * effect.selectivity
    ratio = cause.normalized + effect.normalized
    whole, minima = set_partition_minima(g, ratio), np.empty(g.shape[1])
    source_minima(g, ratio, whole, candidate_sources(g, ratio), 0, len(minima), minima)
    if minima.min() > 4 * SUM_TOLERANCE_BITS:
        return 0.0
    pairs, ways, _ = optimal_partitions(g, ratio, whole, SUM_TOLERANCE_BITS, minima)
    return float(ways) if pairs == max(cause.pairs, effect.pairs) else 0.0


def severed_inputs(candidate: MinimumPartition) -> Array:
    """Inputs each unit loses under the named partition; (n,) masks."""
    n = len(candidate.costs)
    if n == 1:
        return np.array([1], np.int64)
    return inputs_severed_by_key(candidate.key, n)  # type: ignore[no-any-return]


REASON_TEXTS = {
    "NO_STRONG_CONNECTIVITY": "the units are not strongly connected",
    "MONAD_WITH_NO_SELFLOOP": "a single unit without a connection to itself",
    "NO_CAUSE": "the state has no cause: no past state is more probable than any other",
    "NO_EFFECT": "the state has no effect: the next state is as probable as from any other",
    "REDUCIBLE": "a partition makes no difference",
    "CAPPED": "limited to zero by intrinsic information or differentiation (2026)",
}


@dataclass(frozen=True, slots=True)
class SystemAnalysis:
    """Outcome of the analysis of one candidate system."""

    phi: float
    """System integrated information, bits."""
    normalized: float
    """The same per severed pair."""
    reasons: tuple[str, ...] = ()
    """Why phi is 0, when a rule decided it."""
    phi_sides: tuple[float, float] = (np.nan, np.nan)
    """Cause and effect values at the minimum partition."""
    information: tuple[float, float] = (np.nan, np.nan)
    """Intrinsic information of the specified states."""
    states: tuple[int, int] | None = None
    """Cause and effect state of the system, little-endian; None when none was specified."""
    lost: Array | None = None
    """(n,) masks of the inputs each unit loses under the minimum partition."""
    tied_partitions: float = 0.0
    """Partitions tied for the minimum."""
    tied_states: int = 0
    """Pairs of specified states tied for the largest phi."""
    tied_state_pairs: tuple[tuple[int, int], ...] = ()
    """All of those pairs."""
    differentiation: tuple[float, float] | None = None
    """Cause and effect differentiation (2026)."""


@dataclass(frozen=True, slots=True)
class _StatePair:
    """One cause state with one effect state."""

    phi: float
    normalized: float
    cause: MinimumPartition
    effect: MinimumPartition
    decides: tuple[MinimumPartition, ...]
    """The direction whose minimum is the pair's; both when they tie."""


def is_strongly_connected(connectivity: Array) -> bool:
    """Whether every unit reaches every other along declared connections."""
    n = len(connectivity)
    for matrix in (connectivity, connectivity.T):
        seen, frontier = {0}, [0]
        while frontier:
            new = set(np.flatnonzero(matrix[frontier].any(axis=0)).tolist()) - seen
            seen |= new
            frontier = list(new)
        if len(seen) < n:
            return False
    return True


def analyse_system(
    system: System, options: Unfolding
) -> Generator[tuple[Stage, ...], tuple[Filled, ...], SystemAnalysis]:
    """Analyse a system: gatekeeping, specified states, minimum partitions, choice among ties."""
    if not is_strongly_connected(system.connectivity):
        return SystemAnalysis(0.0, 0.0, ("NO_STRONG_CONNECTIVITY",))
    if system.n == 1 and not system.connectivity[0, 0]:
        return SystemAnalysis(0.0, 0.0, ("MONAD_WITH_NO_SELFLOOP",))
    (filled,) = yield (states_stage(system),)
    cause, effect = specified_states(filled)
    information = (_zero_if_tiny(cause.information), _zero_if_tiny(effect.information))
    missing = [
        name for name, ii in zip(("NO_CAUSE", "NO_EFFECT"), information, strict=True) if ii == 0
    ]
    if missing:
        return SystemAnalysis(
            0.0,
            0.0,
            tuple(missing),
            information=information,
            states=(cause.states[0], effect.states[0]),
        )
    causes, effects = yield from minimum_partitions(system, cause, effect)
    return _select(
        system, options, cause, effect, [_state_pair(c, e) for c in causes for e in effects]
    )


def _zero_if_tiny(value: float) -> float:
    return value if value > PHI_ZERO_BITS else 0.0


def _state_pair(c: MinimumPartition, e: MinimumPartition) -> _StatePair:
    """Phi of a pair of specified states: the direction with the smaller ratio decides.

    At equal ratios the partition that severs more has the larger phi.
    """
    reducible = tuple(x for x in (c, e) if x.phi <= PHI_ZERO_BITS)
    if reducible:
        return _StatePair(0.0, 0.0, c, e, reducible)
    if abs(c.normalized - e.normalized) <= 1e-12:
        most = max(c.pairs, e.pairs)
        decides = tuple(x for x in (c, e) if x.pairs == most)
    else:
        decides = (min((c, e), key=lambda x: x.normalized),)
    return _StatePair(decides[0].phi, decides[0].normalized, c, e, decides)


def _select(
    system: System,
    options: Unfolding,
    cause: SpecifiedStates,
    effect: SpecifiedStates,
    pairs: list[_StatePair],
) -> SystemAnalysis:
    top = max(p.phi for p in pairs)
    tied = [p for p in pairs if p.phi >= top - phi_tolerance(top)]
    choices = [(p.cause.state, p.effect.state) for p in tied]
    chosen = tied[StateOrder(system, options.ties).first(choices)]
    lost, ways = _named_partition(chosen)
    sides = (
        max(0.0, chosen.cause.selectivity * partition_cost(chosen.cause.costs, lost)),
        max(0.0, chosen.effect.selectivity * partition_cost(chosen.effect.costs, lost)),
    )
    phi, normalized = chosen.phi, chosen.normalized
    reasons: tuple[str, ...] = ()
    differentiation = None
    if phi == 0.0:
        reasons = ("REDUCIBLE",)
    if isinstance(options, IIT42026):
        differentiation = _differentiation(system, options, cause, effect, chosen)
        capped = min(phi, cause.information, effect.information, *differentiation)
        if _zero_if_tiny(capped) == 0.0 < phi:
            reasons = ("CAPPED",)
        normalized = _zero_if_tiny(capped) / _n_severed(lost)
        phi = _zero_if_tiny(capped)
    return SystemAnalysis(
        phi=phi,
        normalized=normalized,
        reasons=reasons,
        phi_sides=sides,
        information=(cause.information, effect.information),
        states=(chosen.cause.state, chosen.effect.state),
        lost=lost,
        tied_partitions=ways,
        tied_states=len(tied),
        tied_state_pairs=tuple(choices),
        differentiation=differentiation,
    )


def _n_severed(lost: Array) -> int:
    return int(np.bitwise_count(lost.astype(np.uint64)).sum())


def _named_partition(pair: _StatePair) -> tuple[Array, float]:
    """The partition that is named, and how many are tied with it."""
    best = max(pair.decides, key=lambda x: tuple(x.key.tolist()))
    if pair.phi == 0.0:
        return severed_inputs(best), 0.0
    ways = sum(x.ways for x in pair.decides)
    if len(pair.decides) == 2:
        ways -= count_common_minima(pair.cause, pair.effect) if len(pair.cause.costs) > 1 else 1.0
    return severed_inputs(best), ways


def _differentiation(
    system: System,
    options: IIT42026,
    cause: SpecifiedStates,
    effect: SpecifiedStates,
    chosen: _StatePair,
) -> tuple[float, float]:
    """mathematics.md 8.5: at the current state as the reference does, or at the specified states."""
    if options.differentiation == "specified":
        p_cause, p_effect = chosen.cause.selectivity, chosen.effect.selectivity
    else:
        p_cause = float(cause.forward[system.code])
        p_effect = float(effect.forward[system.code])
    return tuple(float(-np.log2(p)) if 0 < p < 1 else 0.0 for p in (p_cause, p_effect))  # type: ignore[return-value]


def system_dataset(system: System, found: SystemAnalysis) -> xr.Dataset:
    """Make the dataset of a system analysis; its dims are not labelled yet."""
    n = system.n
    lost = np.zeros(n, np.int64) if found.lost is None else found.lost
    cut = (lost[None, :] >> np.arange(n)[:, None] & 1).astype(bool)
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "phi": ((), found.phi),
        "normalized_phi": ((), found.normalized),
        "phi_cause": ((), found.phi_sides[0]),
        "phi_effect": ((), found.phi_sides[1]),
        "intrinsic_information_cause": ((), found.information[0]),
        "intrinsic_information_effect": ((), found.information[1]),
        "n_tied_partitions": ((), int(found.tied_partitions)),
        "n_tied_states": ((), found.tied_states),
        "cause_state": (("unit",), _unit_states(system, found, 0)),
        "effect_state": (("unit",), _unit_states(system, found, 1)),
        "cut": (("source", "target"), cut),
        "part": (("unit",), _part_numbers(cut)),
    }
    if found.differentiation is not None:
        values["differentiation_cause"] = ((), found.differentiation[0])
        values["differentiation_effect"] = ((), found.differentiation[1])
    reason = "; ".join(REASON_TEXTS[name] for name in found.reasons)
    return make_dataset(values, {"reason": reason, "reasons": " ".join(found.reasons)})


def _unit_states(system: System, found: SystemAnalysis, side: int) -> Array:
    if found.states is None:
        return np.full(system.n, -1)
    return np.array(decode_state(found.states[side], system.levels))


def _part_numbers(cut: Array) -> Array:
    """Number the parts: between two parts at least one direction is always severed."""
    part = np.full(len(cut), -1)
    for i in range(len(cut)):
        if part[i] < 0:
            part[(part < 0) & ~cut[i] & ~cut[:, i]] = part.max() + 1
            part[i] = part.max() if part[i] < 0 else part[i]
    return part
