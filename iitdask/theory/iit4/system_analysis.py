"""System integrated information: specified states, minimum partitions, choice among ties.

mathematics.md 4, 7 and 8. A small system is analysed in one block. Of larger ones the states come
first, then the minimum partition of every specified state, each a cell of a stage; from 14 units on
one stage per ratio of the search, its source sets split into blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.kernels.iit4.state_pair import (
    StateMinimum,
    count_common_minima,
    describe_state_pair,
    tied_state_pairs,
)
from iitdask.kernels.iit4.system_partition import (
    candidate_sources,
    set_partition_minima,
    source_minima,
    starting_partition,
)
from iitdask.kernels.iit4.system_phi import (
    DirectionMinima,
    fill_state_probabilities,
    specified_states,
    state_cut_costs,
)
from iitdask.kernels.iit4.system_witness import (
    SUM_TOLERANCE_BITS,
    minimum_partition,
    optimal_partitions,
)
from iitdask.kernels.subsets import PHI_ZERO_BITS, is_strongly_connected
from iitdask.model.labels import decode_state
from iitdask.model.system import CandidateSystem
from iitdask.theory.options import IIT42026, Unfolding
from iitdask.theory.reasons import Reason
from iitdask.theory.stage import Array, Filled, Grid, Region, Stage, StageRef, Steps, Variable
from iitdask.theory.ties import first_state_pair
from iitdask.theory.variables import make_dataset, variable

ONE_BLOCK_MAX_UNITS, ONE_BLOCK_MAX_STATES = 8, 512  # Size of a system analysed in one block
SPLIT_MIN_UNITS = 14  # Units from which source sets are split into blocks, and ratios into stages
SECONDS_PER_SUBSET = 6e-9  # Of a source set, at one ratio
SECONDS_PER_PARTITION = 0.03e-9  # Times 3 to the power of its units
MINIMUM_FIELDS = ("cost", "pairs", "ways", "key")  # Fields of DirectionMinima that stages fill


class SpecifiedStates(NamedTuple):
    """States that a system specifies, cause and effect side."""

    forward: Array  # (2, S) p(current state | state), and p(state | current state)
    states: tuple[Array, Array]  # Two (m,) int64, of largest intrinsic information, ascending
    information: tuple[float, float]  # Their intrinsic information, bits
    selectivity: tuple[Array, Array]  # Two (m,), their probabilities in their repertoire


class TiedStates(NamedTuple):
    """Pairs of cause and effect states of a system that tie."""

    causes: Array  # (m,) int64, little-endian
    effects: Array  # (k,) int64
    is_product: bool  # Whether every cause pairs with every effect, or each with its own (k = m)

    @property
    def is_unique(self) -> bool:
        """True if there is one pair only."""
        return len(self.causes) == len(self.effects) == 1


@dataclass(frozen=True, slots=True)
class SystemAnalysis:
    """Outcome of the analysis of one candidate system."""

    phi: float  # System integrated information, bits
    normalized: float  # The same per severed pair
    reason: Reason = Reason.NONE  # Why phi is 0, when a rule decided it
    # Of the cause and the effect side: phi at the minimum partition, intrinsic information of the
    # specified states, and these, little-endian, None when none was specified.
    phi_sides: tuple[float, float] = (np.nan, np.nan)
    information: tuple[float, float] = (np.nan, np.nan)
    states: tuple[int, int] | None = None
    severed: Array | None = None  # (n,) masks of the inputs each unit loses at the minimum
    tied_partitions: float = 0.0  # Partitions tied for the minimum
    tied_states: TiedStates | None = None  # Among which `states` were chosen, None with them
    differentiation: tuple[float, float] | None = None  # Cause and effect differentiation (2026)

    @property
    def n_tied_states(self) -> int:
        """Pairs that tie for the largest phi, 0 where a rule decided it before any partition."""
        tied = self.tied_states
        return 0 if tied is None or tied.is_product else len(tied.causes)


Minima = tuple[DirectionMinima, DirectionMinima]  # Of the cause and of the effect side


def is_strongly_connected_system(system: CandidateSystem) -> bool:
    """Whether every unit reaches every other along declared connections."""
    return bool(is_strongly_connected(system.connectivity.copy()))


def analyse_system(system: CandidateSystem, options: Unfolding) -> Steps[SystemAnalysis]:
    """Analyse a system: conditions, specified states, minimum partitions, choice among ties.

    Parameters
    ----------
    system, options : CandidateSystem, IIT4 or IIT42026

    Returns
    -------
    SystemAnalysis, when the stages that the generator yields have been filled

    References
    ----------
    mathematics.md 8, Eq. (8.1) to (8.7); Albantakis et al. 2023.
    """
    if not is_strongly_connected_system(system):
        return SystemAnalysis(0.0, 0.0, Reason.NO_STRONG_CONNECTIVITY)
    if system.n == 1 and not system.connectivity[0, 0]:
        return SystemAnalysis(0.0, 0.0, Reason.MONAD_WITH_NO_SELFLOOP)
    is_small = system.n <= ONE_BLOCK_MAX_UNITS and len(system.effect) <= ONE_BLOCK_MAX_STATES
    is_one_block = system.n == 1 or (is_small and system.n < SPLIT_MIN_UNITS)
    (filled,) = yield (one_block_stage(system) if is_one_block else states_stage(system),)
    specified = find_specified_states(filled["forward"].values, filled["information"].values)
    cause, effect = (ii if ii > PHI_ZERO_BITS else 0.0 for ii in specified.information)
    reason = Reason.NONE if cause else Reason.NO_CAUSE
    reason |= Reason.NONE if effect else Reason.NO_EFFECT
    if reason:
        return SystemAnalysis(
            phi=0.0,
            normalized=0.0,
            reason=reason,
            information=(cause, effect),
            states=(int(specified.states[0][0]), int(specified.states[1][0])),
            tied_states=TiedStates(*specified.states, is_product=True),
        )
    if is_one_block:
        sides = enumerate(specified.states)
        fields = [[filled[name].values[k, codes] for name in MINIMUM_FIELDS] for k, codes in sides]
        minima, costs = _direction_minima(specified, *fields), None
    else:
        minima, costs = yield from _search_minima(system, specified)
    return _select(system, options, specified, minima, costs)


def system_inputs(system: CandidateSystem) -> dict[str, Array]:
    """Return the tables, levels and current state of a system, as its stages take them."""
    return {
        "cause": system.cause,
        "effect": system.effect,
        "levels": np.array(system.levels, np.int64),
        "current": np.array(system.local_state, np.int64),
    }


def _state_variables(states: int) -> tuple[Variable, ...]:
    inner = (("state", states),)
    return tuple(variable(name, "float64", np.nan, inner) for name in ("forward", "information"))


def _minimum_variables(n: int, inner: tuple[tuple[str, int], ...] = ()) -> tuple[Variable, ...]:
    """Variables of the minimum partitions of n units, see MINIMUM_FIELDS."""
    return (
        variable("cost", "float64", np.nan, inner),
        variable("pairs", "int64", 0, inner),
        variable("ways", "float64", 0.0, inner),
        variable("key", "uint64", 0, (*inner, ("word", (n * n + 63) // 64))),
    )


def states_stage(system: CandidateSystem) -> Stage:
    """Forward probability and intrinsic information of every state of the system."""
    states = len(system.effect)
    return Stage(
        name="states",
        grid=Grid(("direction",), (2,), unsplit=("direction",)),
        variables=_state_variables(states),
        compute=fill_states,
        inputs=system_inputs(system),
        cost=lambda _region: 2.0 * states * states * 0.3e-9,
        scratch=16 * states,
    )


def fill_states(inputs: Mapping[str, Array], _region: Region) -> dict[str, Array]:
    """Probabilities and information of all states, cause and effect side."""
    effect = inputs["effect"]
    forward, mean = np.empty((1, 2, len(effect))), np.empty((1, len(effect)))
    fill_state_probabilities(
        effect, inputs["cause"], inputs["levels"], inputs["current"], forward[0], mean[0]
    )
    _, information = intrinsic_information(forward, mean)
    return {"forward": forward[0], "information": information[0]}


def intrinsic_information(forward: Array, mean: Array) -> tuple[Array, Array]:
    """Intrinsic information of every state of B systems, mathematics.md, Eq. (4.1) and (4.2).

    Parameters
    ----------
    forward : (B, 2, S) p(current state | state), and p(state | current state)
    mean : (B, S) the latter, summed over all past states

    Returns
    -------
    totals : (B,) sum over the states of p(current state | state)
    information : (B, 2, S) intrinsic information of each state as cause and as effect, bits
    """
    # Logarithms by NumPy, not in a kernel: its last bits differ from those of the C library.
    states = forward.shape[-1]
    cause = np.ascontiguousarray(forward[:, 0])
    totals = cause.sum(axis=1)
    safe = np.where(totals > 0, totals, 1.0)
    information = np.empty_like(forward)
    weights = cause / safe[:, None], forward[:, 1]
    for side, q in enumerate(((safe / states)[:, None], mean / states)):
        p = np.ascontiguousarray(forward[:, side])
        ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
        information[:, side] = weights[side] * np.log2(ratio)
    return totals, information


def find_specified_states(forward: Array, information: Array) -> SpecifiedStates:
    """Cause and effect states that maximise intrinsic information, all ties, mathematics.md 4."""
    causes, effects = specified_states(forward[0], information[1])
    return SpecifiedStates(
        forward,
        (causes, effects),
        (float(information[0, causes[0]]), float(information[1].max())),
        (forward[0, causes] / float(forward[0].sum()), forward[1, effects]),
    )


def one_block_stage(system: CandidateSystem) -> Stage:
    """The states of a small system and the minimum partition at each that is specified."""
    n, states = system.n, len(system.effect)
    seconds = 4 * (SECONDS_PER_SUBSET * 3.0**n + SECONDS_PER_PARTITION * 4.0**n)
    return Stage(
        name="system",
        grid=Grid(("direction",), (2,), unsplit=("direction",)),
        variables=_state_variables(states) + _minimum_variables(n, (("state", states),)),
        compute=fill_one_block,
        inputs=system_inputs(system),
        cost=lambda _region: 1e-5 + 2.0 * states * states * 0.3e-9 + seconds,
        scratch=16 * states * (n << n) + 400 * 2**n,
    )


def fill_one_block(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """States, then the minimum partition at each specified one unless a direction has none."""
    out = fill_states(inputs, region)
    levels, states = inputs["levels"], len(inputs["effect"])
    words = (len(levels) ** 2 + 63) // 64
    out |= {
        "cost": np.full((2, states), np.nan),
        "pairs": np.zeros((2, states), np.int64),
        "ways": np.zeros((2, states)),
        "key": np.zeros((2, states, words), np.uint64),
    }
    specified = find_specified_states(out["forward"], out["information"])
    if min(specified.information) > PHI_ZERO_BITS:
        for side, codes in enumerate(specified.states):
            costs = np.stack([cut_costs_at(inputs, int(code), side == 0) for code in codes])
            found = _minimum_partitions(costs, PHI_ZERO_BITS / specified.selectivity[side])
            for name in MINIMUM_FIELDS:
                out[name][side, codes] = found[name]
    return out


def _direction_minima(specified: SpecifiedStates, *sides: Sequence[Array]) -> Minima:
    """Minima of both sides from MINIMUM_FIELDS of each; a cost that weighs nothing is 0."""
    cause, effect = (
        DirectionMinima(
            np.where(cost * weight > PHI_ZERO_BITS, cost, 0.0), pairs, ways, key, weight
        )
        for (cost, pairs, ways, key), weight in zip(sides, specified.selectivity, strict=True)
    )
    return cause, effect


def cut_costs_at(inputs: Mapping[str, Array], state: int, is_cause: bool) -> Array:
    """(n, 2**n) bits each unit loses with each set of severed inputs, at a specified state."""
    # A table that may be written, as inside other kernels: a frozen one would be compiled for anew.
    table = np.require(inputs["cause" if is_cause else "effect"], None, ["C", "W"])
    costs: Array = state_cut_costs(table, inputs["levels"], inputs["current"], state, is_cause)
    return costs


def _search_minima(
    system: CandidateSystem, specified: SpecifiedStates
) -> Steps[tuple[Minima, Array]]:
    """Minimum partition of every tied cause and effect state, and the costs of cuts at them."""
    inputs, (causes, effects) = system_inputs(system), specified.states
    states = [(int(s), True) for s in causes] + [(int(s), False) for s in effects]
    costs = np.stack([cut_costs_at(inputs, *state) for state in states])
    search = _dinkelbach_stages if system.n >= SPLIT_MIN_UNITS else _one_stage
    filled = yield from search(costs, PHI_ZERO_BITS / np.concatenate(specified.selectivity))
    cause, effect = (
        [filled[name][side].copy() for name in MINIMUM_FIELDS]
        for side in (slice(len(causes)), slice(len(causes), None))
    )
    return _direction_minima(specified, cause, effect), costs


def _minimum_stage(name: str, n: int, rows: int, **fields: Any) -> Stage:
    """Declare a stage whose cells are specified states, filled with their minimum partition."""
    return Stage(
        name=name,
        grid=Grid(("candidate",), (rows,)),
        variables=_minimum_variables(n),
        scratch=400 * 2**n,
        **fields,
    )


def _one_stage(costs: Array, zero: Array) -> Steps[dict[str, Array]]:
    """Search the partitions of every specified state in one stage."""
    rows, n, _ = costs.shape
    seconds = 2 * (SECONDS_PER_SUBSET * 3.0**n + SECONDS_PER_PARTITION * 4.0**n)  # two ratios
    (filled,) = yield (
        _minimum_stage(
            "system",
            n,
            rows,
            compute=fill_minimum,
            inputs={"costs": costs, "zero": zero},
            cost=lambda region: seconds * (region[0].stop - region[0].start),
        ),
    )
    return {name: filled[name].values for name in MINIMUM_FIELDS}


def fill_minimum(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Search all directed set partitions of a range of specified states."""
    rows = region[0]
    return _minimum_partitions(inputs["costs"][rows], inputs["zero"][rows])


def _minimum_partitions(costs: Array, zero: Array) -> dict[str, Array]:
    """Minimum partition at each state; of a run of equal costs, as symmetry makes, one search."""
    rows: list[tuple[Any, ...]] = []
    for k, g in enumerate(costs):
        is_same = k > 0 and zero[k] == zero[k - 1] and np.array_equal(g, costs[k - 1])
        rows.append(rows[-1] if is_same else minimum_partition(g, zero[k]))
    return _columns(rows)


def _columns(rows: list[tuple[Any, ...]]) -> dict[str, Array]:
    dtypes = ("float64", "int64", "float64", "uint64")
    named = enumerate(zip(MINIMUM_FIELDS, dtypes, strict=True))
    return {name: np.array([row[i] for row in rows], dtype) for i, (name, dtype) in named}


def _dinkelbach_stages(costs: Array, zero: Array) -> Steps[dict[str, Array]]:
    """Dinkelbach's method with one stage per ratio, its source sets split into blocks.

    A specified state takes part at the next ratio as long as its own falls (mathematics.md 21.3).
    """
    n = costs.shape[1]
    ratios = np.array([max(starting_partition(g)[0], 0.0) for g in costs])
    left = np.arange(len(costs))
    waves: list[tuple[Array, Filled]] = []
    while len(left):
        name = f"system/wave-{len(waves)}"
        at_ratio = {"costs": costs[left], "ratios": ratios[left]}
        yield (_ratio_stage(name, at_ratio),)
        (settled,) = yield (
            _minimum_stage(
                f"{name}-settled",
                n,
                len(left),
                compute=fill_optimum,
                inputs={**at_ratio, "least": StageRef(name, "least")},
                cost=lambda region: 3e-9 * 3.0**n * (region[0].stop - region[0].start),
            ),
        )
        waves.append((left, settled))
        # at least one pair: a plan goes through here with nothing computed
        cost, pairs = settled["cost"].values, np.maximum(settled["pairs"].values, 1)
        improved = (cost / pairs < ratios[left] - SUM_TOLERANCE_BITS / pairs) & (cost > zero[left])
        ratios[left] = np.where(improved, cost / pairs, ratios[left])
        left = left[improved]
    # Each state has the values of the last ratio it took part in; all took part in the first.
    values = {name: waves[0][1][name].values.copy() for name in MINIMUM_FIELDS}
    for left, settled in waves[1:]:
        for name in MINIMUM_FIELDS:
            values[name][left] = settled[name].values
    return values


def _ratio_stage(name: str, inputs: Mapping[str, Array]) -> Stage:
    rows, _, size = inputs["costs"].shape
    return Stage(
        name=name,
        grid=Grid(("candidate", "source"), (rows, size), power_of_two=("source",)),
        variables=(variable("least", "float64", np.nan),),
        compute=fill_ratio,
        inputs=inputs,
        cost=ratio_cost,
        prepare=prepare_ratio,
        scratch=400 * size,
    )


def ratio_cost(region: Region) -> float:
    """Predicted seconds of a range of source sets, of which none is left out."""
    candidates, sources = region
    units = np.bitwise_count(np.arange(sources.start, sources.stop, dtype=np.uint64))
    seconds = SECONDS_PER_SUBSET * 2.0**units + SECONDS_PER_PARTITION * 3.0**units
    return float((candidates.stop - candidates.start) * seconds.sum())


def prepare_ratio(inputs: Mapping[str, Array]) -> list[tuple[Any, ...]]:
    """Partition what lies outside the source sets, and find which of these can be left out.

    Returns of each specified state its costs, its ratio, and both by source set, see source_minima.
    """
    states = zip(inputs["costs"], inputs["ratios"], strict=True)
    return [(g, r, set_partition_minima(g, r), candidate_sources(g, r)) for g, r in states]


def fill_ratio(searches: list[tuple[Any, ...]], region: Region) -> dict[str, Array]:
    """Fill the least cost at the states' ratios for a range of source sets."""
    rows, sources = region
    out = np.empty((rows.stop - rows.start, sources.stop - sources.start))
    for row, search in enumerate(searches[rows]):
        source_minima(*search, sources.start, sources.stop, out[row])
    return {"least": out}


def fill_optimum(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Turn the minima at one ratio into cost, pairs and the named partition of each state."""
    rows = []
    for k in range(region[0].start, region[0].stop):
        costs, least, ratio = inputs["costs"][k], inputs["least"][k], inputs["ratios"][k]
        whole = set_partition_minima(costs, ratio)
        pairs, ways, key = optimal_partitions(costs, ratio, whole, SUM_TOLERANCE_BITS, least)
        rows.append((least.min() + ratio * pairs, pairs, ways, key))
    return _columns(rows)


def _select(
    system: CandidateSystem,
    options: Unfolding,
    specified: SpecifiedStates,
    minima: Minima,
    costs: Array | None,
) -> SystemAnalysis:
    """Choose among the pairs of specified states, and cap phi where the theory asks for it.

    costs : (m, n, 2**n) of cuts, at all cause states, then all effect states; None computes them
    """
    (causes, effects), (cause, effect) = specified.states, minima
    pairs = tied_state_pairs(cause, effect)
    choices = tuple((int(causes[k]), int(effects[j])) for k, j in pairs)
    first = first_state_pair(system, options.ties, choices)
    k, j = (int(position) for position in pairs[first])
    if costs is None:
        inputs, (c_state, e_state) = system_inputs(system), choices[first]
        both = cut_costs_at(inputs, c_state, True), cut_costs_at(inputs, e_state, False)
    else:
        both = costs[k], costs[len(causes) + j]
    sides = (StateMinimum(*(x[k] for x in cause)), StateMinimum(*(x[j] for x in effect)))
    named = describe_state_pair(*sides, *both)
    common = count_common_minima(*sides, *both) if named.are_sides_tied else 0.0
    phi, normalized = named.phi, named.normalized
    reason = Reason.NONE if phi > 0.0 else Reason.REDUCIBLE
    differentiation = None
    if isinstance(options, IIT42026):
        if options.differentiation == "specified":
            probabilities = np.array([cause.selectivity[k], effect.selectivity[j]])
        else:
            probabilities = specified.forward[:, system.code]
        capped, bits = cap_phi(np.array(phi), np.array(specified.information), probabilities)
        if capped == 0.0 < phi:
            reason = Reason.CAPPED
        phi, normalized = float(capped), float(capped) / named.n_severed
        differentiation = (float(bits[0]), float(bits[1]))
    return SystemAnalysis(
        phi=phi,
        normalized=normalized,
        reason=reason,
        phi_sides=(named.phi_cause, named.phi_effect),
        information=specified.information,
        states=choices[first],
        severed=named.severed,
        tied_partitions=named.n_tied_partitions - common,
        tied_states=TiedStates(causes[pairs[:, 0]], effects[pairs[:, 1]], is_product=False),
        differentiation=differentiation,
    )


def cap_phi(phi: Array, information: Array, probabilities: Array) -> tuple[Array, Array]:
    """Limit phi_s to intrinsic information and differentiation (2026).

    Parameters
    ----------
    phi : (...) phi_s of 2023, bits
    information : (..., 2) intrinsic information of the specified states, bits
    probabilities : (..., 2) of the states whose differentiation counts, cause and effect side

    Returns
    -------
    capped : (...) phi_s, bits; 0 up to the tolerance
    differentiation : (..., 2) bits; 0 where the probability is 0 or 1

    References
    ----------
    mathematics.md 8.5, Eq. (8.5) to (8.7).
    """
    is_open = (probabilities > 0) & (probabilities < 1)
    bits = np.where(is_open, -np.log2(np.where(is_open, probabilities, 1.0)), 0.0)
    capped = np.minimum(phi, np.minimum(information, bits).min(axis=-1))
    return np.where(capped > PHI_ZERO_BITS, capped, 0.0), bits


def system_dataset(system: CandidateSystem, found: SystemAnalysis) -> xr.Dataset:
    """Make the dataset of a system analysis; its dims are not labelled yet."""
    n = system.n
    severed = np.zeros(n, np.int64) if found.severed is None else found.severed
    cut = (severed[None, :] >> np.arange(n)[:, None] & 1).astype(bool)
    states = np.full((2, n), -1)
    if found.states is not None:
        states[:] = [decode_state(code, system.levels) for code in found.states]
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "phi": ((), found.phi),
        "normalized_phi": ((), found.normalized),
        "phi_cause": ((), found.phi_sides[0]),
        "phi_effect": ((), found.phi_sides[1]),
        "intrinsic_information_cause": ((), found.information[0]),
        "intrinsic_information_effect": ((), found.information[1]),
        "n_tied_partitions": ((), int(found.tied_partitions)),
        "n_tied_states": ((), found.n_tied_states),
        "cause_state": (("unit",), states[0]),
        "effect_state": (("unit",), states[1]),
        "cut": (("source", "target"), cut),
        "part": (("unit",), _part_numbers(cut)),
    }
    if found.differentiation is not None:
        values["differentiation_cause"] = ((), found.differentiation[0])
        values["differentiation_effect"] = ((), found.differentiation[1])
    return make_dataset(values, {"reason": found.reason.text, "reasons": found.reason.names})


def _part_numbers(cut: Array) -> Array:
    """Number the parts: between two parts at least one direction is always severed."""
    part = np.full(len(cut), -1)
    for i in range(len(cut)):
        if part[i] < 0:
            part[(part < 0) & ~cut[i] & ~cut[:, i]] = part.max() + 1
            part[i] = part.max() if part[i] < 0 else part[i]
    return part
