"""System integrated information: specified states, minimum partitions, choice among ties.

mathematics.md 4, 7 and 8. A small system is analysed in one block. Of larger ones the states come
first, then the minimum partition of every specified state, each a cell of a stage; from 14 units on
one stage per ratio of the search, its source sets split into blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.errors import MemoryRefusedError
from iitdask.kernels.frontier.eliminations import StateLimitError
from iitdask.kernels.iit4.state_pair import (
    StateMinimum,
    SystemPhi,
    count_common_minima,
    describe_state_pair,
    name_state_pair,
    tied_state_pairs,
)
from iitdask.kernels.iit4.system_phi import (
    DirectionMinima,
    fill_state_probabilities,
    specified_states,
    state_cut_costs,
)
from iitdask.kernels.state_product import StateProduct, StateUnion
from iitdask.kernels.subsets import PHI_ZERO_BITS, is_strongly_connected
from iitdask.model.labels import decode_state
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4 import partition_stages
from iitdask.theory.iit4.frontier_search import (
    FrontierMinima,
    FrontierSystem,
    common_stage,
    frontier_minima,
    is_dense_affordable,
    plan_frontier,
    transition_budget,
)
from iitdask.theory.iit4.local_network import require_masks
from iitdask.theory.iit4.partition_stages import (
    MINIMUM_FIELDS,
    SECONDS_PER_PARTITION,
    SECONDS_PER_SUBSET,
    minimum_partitions,
    minimum_variables,
    partition_inputs,
    search_partitions,
)
from iitdask.theory.iit4.phi_bounds import PhiBounds, cap_bounds, cap_phi, phi_bounds
from iitdask.theory.iit4.state_classes import StateClasses, TiedStates, tied_states
from iitdask.theory.iit4.system_bipartitions import count_common_bipartitions
from iitdask.theory.options import IIT42026, Unfolding
from iitdask.theory.reasons import Reason
from iitdask.theory.stage import Array, Filled, Grid, Region, Stage, Steps, Variable
from iitdask.theory.ties import first_state_pair
from iitdask.theory.variables import make_dataset, variable

BIPARTITION_BOUND = (
    "normalized_phi, before any cap, is an upper bound: bipartitions alone were searched"
)
BOUND_ENDS = ("low", "high")
INTERVAL_BOUND = "phi and normalized_phi lie between the variables that end in _low and in _high"
ONE_BLOCK_MAX_UNITS, ONE_BLOCK_MAX_STATES = 8, 512  # Size of a system analysed in one block


class SpecifiedStates(NamedTuple):
    """States that a system specifies, cause and effect side."""

    # Of largest intrinsic information, weighed by their probabilities in their repertoire
    states: tuple[StateUnion, StateUnion]
    information: tuple[float, float]  # Their intrinsic information, bits
    current: Array  # (2,) of the current state, given itself; the cause side not normalized


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
    tied_partitions: float = 0.0  # Partitions tied for the minimum, NaN where not counted
    tied_states: TiedStates | None = None  # Among which `states` were chosen, None with them
    differentiation: tuple[float, float] | None = None  # Cause and effect differentiation (2026)
    search: str = "dense"  # Which search: by tables over sets of units, or the frontier programme
    only_bipartitions: bool = False  # Whether other partitions were left out
    is_searched: bool = False  # Whether minimum partitions were found
    bounds: PhiBounds | None = None  # Of phi and normalized phi where they are NaN

    @property
    def n_tied_states(self) -> int:
        """Pairs that tie for the largest phi, 0 where a rule decided it before any partition."""
        return self.tied_states.count if self.tied_states and self.is_searched else 0


Minima = tuple[DirectionMinima, DirectionMinima]  # Of the cause and of the effect side


class ChosenPair(NamedTuple):
    """The pair of specified states that is named among those tied for the largest phi."""

    cause: int  # Its class of cause states
    effect: int  # Its class of effect states
    codes: tuple[int, int]  # The states
    minima: tuple[StateMinimum, StateMinimum]
    tied: TiedStates


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
    plan, found, specified = _plan_frontier(system, options), None, None
    if plan is not None:
        specified = _specify_by_products(plan, options)
        if specified is not None:
            found = yield from _analyse_by_frontier(plan, specified, options)
    if found is None:
        found = yield from _analyse_by_tables(system, options, specified)
    return found


def is_bipartite(options: Unfolding) -> bool:
    """Tell whether a system is partitioned into two parts alone."""
    return options.system_partitions == "bipartition"


def _plan_frontier(system: CandidateSystem, options: Unfolding) -> FrontierSystem | None:
    """Return the plan of the search that follows connections, None where tables are to be made."""
    return None if is_bipartite(options) else plan_frontier(system, options)


def _analyse_by_tables(
    system: CandidateSystem, options: Unfolding, specified: SpecifiedStates | None
) -> Steps[SystemAnalysis]:
    """Analyse a system by tables over its states and over its sets of units.

    specified : the states it specifies, as far as they are known already
    """
    require_masks(system)
    is_small = system.n <= ONE_BLOCK_MAX_UNITS and len(system.effect) <= ONE_BLOCK_MAX_STATES
    is_one_block = system.n == 1 or (is_small and system.n < partition_stages.SPLIT_MIN_UNITS)
    if specified is None:
        stage = one_block_stage(system, options) if is_one_block else states_stage(system)
        (filled,) = yield (stage,)
        specified = find_specified_states(filled, system)
    if (nothing := _without_cause_or_effect(specified)) is not None:
        return nothing
    listed = [states.one_by_one() for states in specified.states]
    if is_one_block:
        sides = enumerate(side.codes[0] for side in listed)
        fields = [[filled[name].values[k, codes] for name in MINIMUM_FIELDS] for k, codes in sides]
        minima, costs = _direction_minima(listed, *fields), None
    else:
        minima, costs = yield from _search_minima(system, listed, options)
    cause, effect = (StateClasses.singles(side) for side in listed)
    chosen = _choose_pair(system, options, (cause, effect), minima)
    if costs is None:
        inputs, (c_state, e_state) = system_inputs(system), chosen.codes
        both = cut_costs_at(inputs, c_state, True), cut_costs_at(inputs, e_state, False)
    else:
        both = costs[chosen.cause], costs[listed[0].count + chosen.effect]
    named = describe_state_pair(*chosen.minima, *both)
    count = count_common_bipartitions if is_bipartite(options) else count_common_minima
    common = count(*chosen.minima, *both) if named.are_sides_tied else 0.0
    return _conclude(options, specified, chosen, named, common)


def _analyse_by_frontier(
    plan: FrontierSystem, specified: SpecifiedStates, options: Unfolding
) -> Steps[SystemAnalysis | None]:
    """Analyse a sparse system; None where the other search is to be taken.

    References
    ----------
    mathematics.md 26.
    """
    system = plan.system
    if (nothing := _without_cause_or_effect(specified)) is not None:
        return replace(nothing, search="sparse")
    budget = transition_budget(system, options)
    try:
        is_bounded = not is_dense_affordable(system, options)
        found = yield from frontier_minima(plan, specified.states, budget, is_bounded=is_bounded)
    except StateLimitError as error:
        if is_dense_affordable(system, options):
            return None
        raise MemoryRefusedError(f"system of {system.n} units: {error}") from None
    if not found.is_proven:
        return _undecided(specified, found, options) if is_bounded else None
    chosen = _choose_pair(system, options, found.classes, found.minima)
    lost = plan.lost_bits(chosen.codes[0], True), plan.lost_bits(chosen.codes[1], False)
    named, kept = name_state_pair(*chosen.minima, system.n), None
    kept = plan.kept_inputs(named.severed)
    rows = np.arange(system.n)
    cause, effect = chosen.minima
    phis = (
        max(0.0, x.selectivity * float(bits[rows, kept].sum()))
        for x, bits in zip(chosen.minima, lost, strict=True)
    )
    phi_cause, phi_effect = phis
    named = named._replace(phi_cause=phi_cause, phi_effect=phi_effect)
    common = 0.0
    if named.are_sides_tied:
        ratio = sum(x.cost * x.selectivity / x.pairs for x in chosen.minima)
        weighed = lost[0] * cause.selectivity + lost[1] * effect.selectivity
        pairs = max(cause.pairs, effect.pairs)
        (filled,) = yield (common_stage(plan, weighed, ratio, pairs),)
        common = float(filled["ways"].values[0])
    return replace(_conclude(options, specified, chosen, named, common), search="sparse")


def _undecided(
    specified: SpecifiedStates, found: FrontierMinima, options: Unfolding
) -> SystemAnalysis:
    """Return the analysis of a system whose minimum partition was not found, with bounds.

    References
    ----------
    mathematics.md 26.9.
    """
    bounds = phi_bounds(*found.ranges)
    if isinstance(options, IIT42026):
        sides = specified.states
        selectivity = [np.array([x.least_weight, x.largest_weight]) for x in sides]
        is_current = options.differentiation != "specified"
        current = specified.current if is_current else None
        n, information = len(specified.states[0].levels), np.array(specified.information)
        bounds = cap_bounds(bounds, information, selectivity, current, n)
    undecided = _no_phi(Reason.UNDECIDED, specified)
    return replace(undecided, phi=np.nan, normalized=np.nan, bounds=bounds, search="sparse")


def _specify_by_products(plan: FrontierSystem, options: Unfolding) -> SpecifiedStates | None:
    """Find specified states by products of local tables; None where tables are to be made."""
    try:
        sides = plan.specified(True), plan.specified(False)
    except StateLimitError as error:
        if is_dense_affordable(plan.system, options):
            return None
        raise MemoryRefusedError(f"system of {plan.system.n} units: {error}") from None
    cause, effect = sides
    return SpecifiedStates(
        (cause.states, effect.states),
        (cause.information, effect.information),
        np.array([plan.current_probability(True), plan.current_probability(False)]),
    )


def specify_states(system: CandidateSystem, options: Unfolding) -> Steps[SpecifiedStates]:
    """Find the states that a system specifies, whatever its partitions."""
    plan = _plan_frontier(system, options)
    specified = None if plan is None else _specify_by_products(plan, options)
    if specified is None:
        (filled,) = yield (states_stage(system),)
        specified = find_specified_states(filled, system)
    return specified


def _without_cause_or_effect(specified: SpecifiedStates) -> SystemAnalysis | None:
    """Return the analysis of a system whose states have no information; None where they have."""
    cause, effect = (ii > PHI_ZERO_BITS for ii in specified.information)
    reason = Reason.NONE if cause else Reason.NO_CAUSE
    reason |= Reason.NONE if effect else Reason.NO_EFFECT
    return _no_phi(reason, specified) if reason else None


def _no_phi(reason: Reason, specified: SpecifiedStates) -> SystemAnalysis:
    """Return the analysis of a system whose partitions were not searched."""
    cause, effect = (ii if ii > PHI_ZERO_BITS else 0.0 for ii in specified.information)
    causes, effects = specified.states
    return SystemAnalysis(
        phi=0.0,
        normalized=0.0,
        reason=reason,
        information=(cause, effect),
        states=(causes.first, effects.first),
        tied_states=TiedStates(tuple(product(causes.products, effects.products))),
    )


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


def find_specified_states(filled: Filled, system: CandidateSystem) -> SpecifiedStates:
    """Cause and effect states that maximise intrinsic information, all ties, mathematics.md 4."""
    forward, information = filled["forward"].values, filled["information"].values
    return _specified_states(forward, information, forward[:, system.code], system.levels)


def _specified_states(
    forward: Array, information: Array, current: Array, levels: Sequence[int]
) -> SpecifiedStates:
    causes, effects = specified_states(forward[0], information[1])
    likely = forward[0, causes] / float(forward[0].sum())
    return SpecifiedStates(
        (
            StateUnion((StateProduct.listed(levels, causes, likely),)),
            StateUnion((StateProduct.listed(levels, effects, forward[1, effects]),)),
        ),
        (float(information[0, causes[0]]), float(information[1].max())),
        current,
    )


def one_block_stage(system: CandidateSystem, options: Unfolding) -> Stage:
    """The states of a small system and the minimum partition at each that is specified."""
    n, states = system.n, len(system.effect)
    seconds = 4 * (SECONDS_PER_SUBSET * 3.0**n + SECONDS_PER_PARTITION * 4.0**n)
    return Stage(
        name="system",
        grid=Grid(("direction",), (2,), unsplit=("direction",)),
        variables=_state_variables(states) + minimum_variables(n, (("state", states),)),
        compute=fill_one_block,
        inputs={**system_inputs(system), **partition_inputs(is_bipartite(options))},
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
    none = np.full(2, np.nan)
    specified = _specified_states(out["forward"], out["information"], none, levels.tolist())
    if min(specified.information) > PHI_ZERO_BITS:
        for side, union in enumerate(specified.states):
            codes, weights = union.products[0].codes[0], union.products[0].weights[0]
            costs = np.stack([cut_costs_at(inputs, int(code), side == 0) for code in codes])
            zero = PHI_ZERO_BITS / weights
            found = minimum_partitions(costs, zero, inputs)
            for name in MINIMUM_FIELDS:
                out[name][side, codes] = found[name]
    return out


def _direction_minima(listed: Sequence[StateProduct], *sides: Sequence[Array]) -> Minima:
    """Minima of both sides from MINIMUM_FIELDS of each; a cost that weighs nothing is 0."""
    weights = [states.weights[0] for states in listed]
    cause, effect = (
        DirectionMinima(
            np.where(cost * weight > PHI_ZERO_BITS, cost, 0.0), pairs, ways, key, weight
        )
        for (cost, pairs, ways, key), weight in zip(sides, weights, strict=True)
    )
    return cause, effect


def cut_costs_at(inputs: Mapping[str, Array], state: int, is_cause: bool) -> Array:
    """(n, 2**n) bits each unit loses with each set of severed inputs, at a specified state."""
    # A table that may be written, as inside other kernels: a frozen one would be compiled for anew.
    table = np.require(inputs["cause" if is_cause else "effect"], None, ["C", "W"])
    costs: Array = state_cut_costs(table, inputs["levels"], inputs["current"], state, is_cause)
    return costs


def _search_minima(
    system: CandidateSystem, listed: Sequence[StateProduct], options: Unfolding
) -> Steps[tuple[Minima, Array]]:
    """Minimum partition of every tied cause and effect state, and the costs of cuts at them."""
    inputs, (causes, effects) = system_inputs(system), (x.codes[0] for x in listed)
    states = [(int(s), True) for s in causes] + [(int(s), False) for s in effects]
    costs = np.stack([cut_costs_at(inputs, *state) for state in states])
    zero = PHI_ZERO_BITS / np.concatenate([x.weights[0] for x in listed])
    filled = yield from search_partitions(costs, zero, only_bipartitions=is_bipartite(options))
    cause, effect = (
        [filled[name][side].copy() for name in MINIMUM_FIELDS]
        for side in (slice(len(causes)), slice(len(causes), None))
    )
    return _direction_minima(listed, cause, effect), costs


def _choose_pair(
    system: CandidateSystem,
    options: Unfolding,
    classes: tuple[StateClasses, StateClasses],
    minima: Minima,
) -> ChosenPair:
    """Choose among the pairs of specified states that tie for the largest phi."""
    pairs = tied_state_pairs(*minima)
    tied = tied_states(*classes, pairs)
    codes = first_state_pair(system, options.ties, tied.pairs)
    k, j = (side.number_of(code) for side, code in zip(classes, codes, strict=True))
    sides = (StateMinimum(*(x[k] for x in minima[0])), StateMinimum(*(x[j] for x in minima[1])))
    return ChosenPair(k, j, codes, sides, tied)


def _conclude(
    options: Unfolding,
    specified: SpecifiedStates,
    chosen: ChosenPair,
    named: SystemPhi,
    common: float,
) -> SystemAnalysis:
    """Cap phi of the pair of states chosen where the theory asks for it.

    common : partitions that attain the minimum of both sides, counted twice in `named`
    """
    phi, normalized = named.phi, named.normalized
    reason = Reason.NONE if phi > 0.0 else Reason.REDUCIBLE
    differentiation = None
    if isinstance(options, IIT42026):
        probabilities = specified.current
        if options.differentiation == "specified":
            probabilities = np.array([side.selectivity for side in chosen.minima])
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
        states=chosen.codes,
        severed=named.severed,
        tied_partitions=named.n_tied_partitions - common,
        tied_states=chosen.tied,
        differentiation=differentiation,
        only_bipartitions=is_bipartite(options),
        is_searched=True,
    )


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
        "n_tied_partitions": ((), int(np.nan_to_num(found.tied_partitions, nan=-1))),
        "n_tied_states": ((), found.n_tied_states if found.n_tied_states < 1 << 63 else -1),
        "cause_state": (("unit",), states[0]),
        "effect_state": (("unit",), states[1]),
        "cut": (("source", "target"), cut),
        "part": (("unit",), _part_numbers(cut)),
    }
    if found.differentiation is not None:
        values["differentiation_cause"] = ((), found.differentiation[0])
        values["differentiation_effect"] = ((), found.differentiation[1])
    if found.bounds is not None:
        for name, ends in (("phi", found.bounds.phi), ("normalized_phi", found.bounds.normalized)):
            values |= {f"{name}_{end}": ((), x) for end, x in zip(BOUND_ENDS, ends, strict=True)}
    about = {"reason": found.reason.text, "reasons": found.reason.names}
    about["system_search"] = found.search
    if found.bounds is not None:
        about["bound"] = INTERVAL_BOUND
    if found.only_bipartitions:
        about["bound"] = BIPARTITION_BOUND
    return make_dataset(values, about)


def _part_numbers(cut: Array) -> Array:
    """Number the parts: between two parts at least one direction is always severed."""
    part = np.full(len(cut), -1)
    for i in range(len(cut)):
        if part[i] < 0:
            part[(part < 0) & ~cut[i] & ~cut[:, i]] = part.max() + 1
            part[i] = part.max() if part[i] < 0 else part[i]
    return part
