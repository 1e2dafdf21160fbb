"""phi_s of sparse systems, by the frontier programme: when, and the stages that it takes.

Neither a table over all states nor one over all sets of units is made: states are specified by
products of local tables, partitions are searched unit by unit along a narrow order
(mathematics.md 26). Whether a system is searched so depends on nothing but its units, their inputs
and the options of the theory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from iitdask.errors import InputError
from iitdask.kernels.frontier.eliminations import LocalFactor, StateLimitError
from iitdask.kernels.frontier.minimum_search import (
    Minimum,
    count_partitions_of_ratio,
    minimum_partition_by_frontier,
)
from iitdask.kernels.frontier.partial_partitions import MAX_OWN_INPUTS, MAX_WIDTH
from iitdask.kernels.frontier.specified_causes import SideStates, specified_causes
from iitdask.kernels.frontier.specified_effects import specified_effects
from iitdask.kernels.iit4.system_phi import DirectionMinima
from iitdask.kernels.linear_order import frontier_width, narrow_order
from iitdask.kernels.state_product import StateProduct, StateUnion
from iitdask.kernels.subsets import PHI_ZERO_BITS
from iitdask.model.factor import CountingFactor, Factor
from iitdask.model.labels import MASK_UNITS, decode_state
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.local_network import STATE_BITS
from iitdask.theory.iit4.partition_stages import MINIMUM_FIELDS, columns_of, minimum_variables
from iitdask.theory.iit4.phi_bounds import SideRanges, side_ranges
from iitdask.theory.iit4.state_classes import StateClasses
from iitdask.theory.options import Unfolding
from iitdask.theory.stage import Array, Filled, Grid, Region, Stage, Steps
from iitdask.theory.variables import variable

DENSE_MAX_UNITS = 20  # Up to which 4**n steps are affordable
MIN_DENSE_STEPS = 4.0**15  # From which the frontier programme is tried first
DENSE_SHARE = 2.0**-13  # Of the steps of the other search that may be tried before it is taken
MOST_TRANSITIONS = 3e8  # That are tried where there is no other search
ORDER_BASE = 5.0  # What one more unit in the frontier multiplies its states by
SECONDS_PER_TRANSITION = 3e-7
SECONDS_PER_SQUARE = 3e-6  # Of the units, times 2 to the power of the width
MAX_TABLE = 1 << 16  # Rows of a unit's table
DISTINCT_DIGITS = 13  # Of the bits by which states are told apart
MAX_CLASSES = 1 << 12  # Of states of one side whose partitions are searched apart
MANY_CLASSES = 32  # From which on one partition is tried that costs nothing at any of them


class FrontierSystem:
    """A sparse system along a narrow order of its units."""

    def __init__(self, system: CandidateSystem, factors: Sequence[Sequence[Factor]]) -> None:
        self.system = system
        self._factors = factors  # Cause and effect side
        self._read = [sorted({*c.parents, *e.parents}) for c, e in zip(*factors, strict=True)]
        neighbours = np.zeros(system.n, np.int64)
        for i, read in enumerate(self._read):
            for a in read:
                if a != i:
                    neighbours[a] |= 1 << i
                    neighbours[i] |= 1 << a
        self.units: Array = narrow_order(neighbours, ORDER_BASE)
        self.width = int(frontier_width(self.units, neighbours))
        self._place = np.argsort(self.units)
        self._tables: dict[tuple[int, ...], Array] = {}

    @cached_property
    def inputs(self) -> Array:
        """Inputs of each unit by their place in the order, ascending, padded with -1."""
        most = max(1, *(len(read) for read in self._read))
        out = np.full((len(self.units), most), -1)
        for t, unit in enumerate(self.units):
            places = np.sort(self._place[self._read[unit]])
            out[t, : len(places)] = places
        return out

    def _local_factors(self, is_cause: bool) -> list[LocalFactor]:
        sides = self._factors[0 if is_cause else 1]
        return [LocalFactor(i, f.parents, f.table) for i, f in enumerate(sides)]

    def specified(self, is_cause: bool) -> SideStates:
        """Return the states specified on one side; StateLimitError where they take too much."""
        search = specified_causes if is_cause else specified_effects
        system = self.system
        return search(self._local_factors(is_cause), system.levels, system.local_state)

    def current_probability(self, is_cause: bool) -> float:
        """Return the probability of the current state, given itself, before normalization."""
        now = self.system.local_state
        factors = self._factors[0 if is_cause else 1]
        own = [f.table[(*(now[a] for a in f.parents), now[i])] for i, f in enumerate(factors)]
        return float(np.prod(own))

    def lost_bits(self, code: int, is_cause: bool) -> Array:
        """Return what each unit loses at a specified state where it keeps only some inputs.

        (n, 2**K) by the inputs kept, see ``minimum_partition_by_frontier``.
        """
        current, other = self.system.local_state, decode_state(code, self.system.levels)
        source, target = (other, current) if is_cause else (current, other)
        most = self.inputs.shape[1]
        out = np.empty((len(self.units), 1 << most))
        for t, unit in enumerate(self.units.tolist()):
            bits = self._bits_of(unit, is_cause, source, target[unit])
            out[t] = np.tile(bits, (1 << most) // len(bits))
        return out

    def _bits_of(self, unit: int, is_cause: bool, source: Sequence[int], value: int) -> Array:
        """Return the bits that one unit loses by the inputs kept, of value `value`; (2**K,)."""
        read = self._read[unit]
        read = self.units[np.sort(self._place[read])].tolist()
        key = (is_cause, unit, value, *(source[a] for a in read))
        if key not in self._tables:
            factor = self._factors[0 if is_cause else 1][unit]
            self._tables[key] = _lost_by_kept(factor, read, source, value)
        return self._tables[key]

    def classes(self, states: StateUnion, is_cause: bool) -> StateClasses:
        """Divide states specified on one side by what the units lose at them."""
        groups = tuple(self._groups(one, is_cause) for one in states.products)
        return StateClasses(states.products, groups)

    def _groups(self, states: StateProduct, is_cause: bool) -> list[list[Array]]:
        """Divide the states of each group of a product, given by position."""
        factors = [f.varying() for f in self._local_factors(is_cause)]
        groups = list[list[Array]]()
        for g, (units, weights) in enumerate(zip(states.units, states.weights, strict=True)):
            values = states.states_of(g)
            keys = [np.round(weights / weights.max(), DISTINCT_DIGITS - 1)]
            for factor in factors:
                affects = set(factor.inputs) if is_cause else {factor.unit}
                if affects & set(units):
                    keys.append(self._numbered(factor, values, is_cause))
            _, kind = np.unique(np.stack(keys), axis=1, return_inverse=True)
            order = np.argsort(kind, kind="stable")
            groups.append(np.split(order, np.flatnonzero(np.diff(kind[order])) + 1))
        return groups

    def _numbered(self, factor: LocalFactor, values: Array, is_cause: bool) -> Array:
        """Number what one unit loses in some states, given by the values of all units; (m,)."""
        now, unit = self.system.local_state, factor.unit
        at = values[:, factor.inputs if is_cause else (unit,)]
        _, first, kind = np.unique(at, axis=0, return_index=True, return_inverse=True)
        known, numbers = dict[bytes, int](), list[int]()
        for row in values[first].tolist():
            source, value = (row, now[unit]) if is_cause else (now, row[unit])
            bits = np.round(self._bits_of(unit, is_cause, source, value), DISTINCT_DIGITS)
            numbers.append(known.setdefault(bits.tobytes(), len(known)))
        out: Array = np.array(numbers)[kind.ravel()]
        return out

    def extreme_bits(self, states: StateUnion, is_cause: bool) -> Array:
        """Return the most and the least that units lose at any specified state; (2, n, 2**K)."""
        out = np.array([self.lost_bits(states.products[0].first, is_cause)] * 2)
        for one in states.products:
            for bits, t in self._bits_at_any(one, is_cause):
                out[0, t], out[1, t] = np.maximum(out[0, t], bits), np.minimum(out[1, t], bits)
        return out

    def _bits_at_any(self, states: StateProduct, is_cause: bool) -> Iterator[tuple[Array, int]]:
        """Yield what units lose at the states of a product, and the places of the units."""
        now, most = self.system.local_state, self.inputs.shape[1]
        values = [states.states_of(g) for g in range(len(states.units))]
        for factor in (f.varying() for f in self._local_factors(is_cause)):
            affects = list(factor.inputs) if is_cause else [factor.unit]
            # beside the units that are held these are of one group
            own = [v for v, u in zip(values, states.units, strict=True) if {*affects} & {*u}]
            at = max(own, key=len, default=values[0][:1])
            _, first = np.unique(at[:, affects], axis=0, return_index=True)
            for row in at[first].tolist():
                source, value = (row, now[factor.unit]) if is_cause else (now, row[factor.unit])
                bits = self._bits_of(factor.unit, is_cause, source, value)
                yield np.tile(bits, (1 << most) // len(bits)), int(self._place[factor.unit])

    def kept_inputs(self, severed: Array) -> Array:
        """Return what each unit keeps of its inputs, by place, where it loses these units.

        severed : (n,) masks of units, by unit
        """
        out = np.zeros(len(self.units), np.int64)
        for a, places in enumerate(self.inputs.T):
            lost = severed[self.units] >> self.units[places] & 1
            out |= np.where((places >= 0) & (lost == 0), 1, 0) << a
        return out


def _lost_by_kept(factor: Factor, read: Sequence[int], source: Sequence[int], value: int) -> Array:
    """Return the bits a unit loses with each set of inputs kept, little-endian; (2**K,)."""
    kept = np.asarray(factor.table[..., value])
    axes = [factor.parents.index(a) for a in read if a in factor.parents]
    kept = kept.transpose(axes)
    for axis, a in enumerate(read):
        if a not in factor.parents:
            kept = np.expand_dims(kept, axis)
    for a in read:  # each input is averaged, or held at its value
        at = source[a] if a in factor.parents else 0
        kept = np.stack([kept.mean(axis=0), kept[at]], axis=-1)
    bits = np.log2(kept.reshape(-1, order="F"))
    out: Array = bits[-1] - bits
    return out


def plan_frontier(system: CandidateSystem, options: Unfolding) -> FrontierSystem | None:
    """Return the system along its order if it is to be searched so, else None.

    Parameters
    ----------
    system : the candidate system
    options : of which `search` may ask for one search or the other

    Returns
    -------
    FrontierSystem, or None where the search over all sets of units is to be taken

    Raises
    ------
    InputError
        If the options ask for the frontier programme and the system is too large or too dense.

    References
    ----------
    mathematics.md 26.8.
    """
    n, states = system.n, math.prod(system.levels)
    is_large = max(4.0**n, float(states) ** 2) >= MIN_DENSE_STEPS
    if options.search == "dense" or n == 1 or (options.search == "auto" and not is_large):
        return None
    found = _along_order(system)
    if isinstance(found, FrontierSystem):
        return found
    if options.search == "sparse":
        raise InputError(f"theory: search 'sparse': expected a sparse system, got {found}")
    return None


def _along_order(system: CandidateSystem) -> FrontierSystem | str:
    """Return the system along its order, or in words what is in the way."""
    if system.n > MASK_UNITS or math.prod(system.levels) > 1 << STATE_BITS:
        return f"{system.n} units; at most {MASK_UNITS} units and 2**{STATE_BITS} states"
    sides = []
    for factors in (system.cause_factors, system.effect_factors):
        rows = [math.prod(system.levels[a] for a in f.parents) for f in factors]
        most = max(len(f.parents) for f in factors)
        if most > MAX_OWN_INPUTS or max(rows) > MAX_TABLE:
            return f"a unit of {most} inputs; at most {MAX_OWN_INPUTS}"
        sides.append([f for f in factors if not isinstance(f, CountingFactor)])
    found = FrontierSystem(system, sides)
    if found.width > MAX_WIDTH:
        return f"a frontier of {found.width} units in their best order; at most {MAX_WIDTH}"
    if found.inputs.shape[1] > MAX_OWN_INPUTS:
        return f"a unit of {found.inputs.shape[1]} inputs; at most {MAX_OWN_INPUTS}"
    return found


def is_dense_affordable(system: CandidateSystem, options: Unfolding) -> bool:
    """Whether the other search is taken where this one does not end."""
    return options.search == "auto" and system.n <= DENSE_MAX_UNITS


def transition_budget(system: CandidateSystem, options: Unfolding) -> float:
    """Return how many transitions each search of a partition may try."""
    if is_dense_affordable(system, options):
        return min(DENSE_SHARE * 4.0**system.n, MOST_TRANSITIONS)
    return MOST_TRANSITIONS


class FrontierMinima(NamedTuple):
    """Partitions at all specified states of both sides, by classes of these."""

    classes: tuple[StateClasses, StateClasses]
    minima: tuple[DirectionMinima, DirectionMinima]
    ranges: tuple[SideRanges, SideRanges]
    is_proven: bool  # Whether all searches ended; if not, `minima` are the best partitions found


def frontier_minima(
    plan: FrontierSystem,
    states: Sequence[StateUnion],
    budget: float,
    *,
    is_bounded: bool,
) -> Steps[FrontierMinima]:
    """Search the minimum partition of every tied state of both sides.

    States at which the units lose the same are searched once.

    Parameters
    ----------
    plan : the system along its order
    states : of both sides, those specified
    budget : transitions that each search may try
    is_bounded : whether as many may be tried again for bounds where a search does not end

    Returns
    -------
    FrontierMinima

    Raises
    ------
    StateLimitError
        If there are too many classes of states.
    """
    tables, sides = _DistinctTables(), list[_SideTables]()
    for own, is_cause in zip(states, (True, False), strict=True):
        classes = yield from _side_classes(plan, own, is_cause, budget)
        sides.append(
            _tables_of(plan, own, classes, tables, is_cause=is_cause, is_bounded=is_bounded)
        )
    bits, zero = np.stack(tables.bits), np.array(tables.zeros)
    (filled,) = yield (_minima_stage(plan, bits, zero, budget, is_bounded=is_bounded),)
    most = bits.max(axis=2).sum(axis=1)
    found, ranges = list[DirectionMinima](), list[SideRanges]()
    for _, best, low, weights, share in sides:
        found.append(_side_minima(filled, best, weights))
        proven = filled["is_proven"].values[best] & (best == low)
        least = filled["least_ratio"].values[low] * share
        ranges.append(side_ranges(found[-1], proven, least, most[best], len(plan.units)))
    is_proven = all(side.is_proven.all() for side in ranges) or any(
        (minima.cost[side.is_proven] == 0.0).all() and side.is_proven.all()
        for minima, side in zip(found, ranges, strict=True)
    )
    both = sides[0].classes, sides[1].classes
    return FrontierMinima(both, (found[0], found[1]), (ranges[0], ranges[1]), is_proven)


def _side_classes(
    plan: FrontierSystem, states: StateUnion, is_cause: bool, budget: float
) -> Steps[StateClasses]:
    """Return the classes of a side: one a product where a partition costs nothing at any state."""
    classes = plan.classes(states, is_cause)
    if classes.count <= MANY_CLASSES:
        return classes
    bits = plan.extreme_bits(states, is_cause)[:1]
    zero = np.array([PHI_ZERO_BITS / states.largest_weight])
    name = f"frontier/any_{'cause' if is_cause else 'effect'}"
    (filled,) = yield (_minima_stage(plan, bits, zero, budget, is_bounded=False, name=name),)
    is_free = filled["cost"].values[0] <= zero[0]
    return StateClasses.together(states) if is_free else classes


class _DistinctTables:
    """Tables of what units lose, each once."""

    def __init__(self) -> None:
        self.bits, self.zeros = list[Array](), list[float]()
        self._known: dict[tuple[bytes, float], int] = {}

    def number(self, bits: Array, weight: float) -> int:
        """Return the number of a table that a state of some probability has."""
        key = np.round(bits, DISTINCT_DIGITS).tobytes(), float(f"{weight:.11e}")
        if key not in self._known:
            self._known[key] = len(self.bits)
            self.bits.append(bits)
            self.zeros.append(PHI_ZERO_BITS / weight)
        return self._known[key]


class _SideTables(NamedTuple):
    """Which tables the classes of a side have."""

    classes: StateClasses
    most: Array  # (m,) of the most that units lose at a state of the class
    least: Array  # (m,) of the least; the same but where classes are too many
    weights: Array  # (m,) largest probability of a state
    share: float  # The least of these probabilities, over the largest


def _tables_of(
    plan: FrontierSystem,
    states: StateUnion,
    classes: StateClasses,
    tables: _DistinctTables,
    *,
    is_cause: bool,
    is_bounded: bool,
) -> _SideTables:
    """Return the tables of each class: that of its states.

    Of too many classes, each product as one, what units lose at any state.
    """
    if classes.count <= MAX_CLASSES:
        weights = np.array([one.weight for one in classes.products()])
        lost = (plan.lost_bits(one.first, is_cause) for one in classes.products())
        rows = np.array([tables.number(*one) for one in zip(lost, weights.tolist(), strict=True)])
        return _SideTables(classes, rows, rows, weights, 1.0)
    if not is_bounded:
        raise StateLimitError(f"{classes.count} classes of tied states lose differently")
    weight, classes = states.largest_weight, StateClasses.together(states)
    extremes = plan.extreme_bits(states, is_cause)
    most, least = (np.full(classes.count, tables.number(bits, weight)) for bits in extremes)
    weights = np.full(classes.count, weight)
    return _SideTables(classes, most, least, weights, states.least_weight / weight)


def _side_minima(filled: Filled, rows: Array, selectivity: Array) -> DirectionMinima:
    cost, pairs, ways, key = (filled[name].values[rows] for name in MINIMUM_FIELDS)
    cost = np.where(cost * selectivity > PHI_ZERO_BITS, cost, 0.0)
    return DirectionMinima(cost, pairs, ways, key, selectivity)


def _minima_stage(
    plan: FrontierSystem,
    bits: Array,
    zero: Array,
    budget: float,
    *,
    is_bounded: bool,
    name: str = "frontier",
) -> Stage:
    rows, n = bits.shape[:2]
    seconds = min(budget * SECONDS_PER_TRANSITION, SECONDS_PER_SQUARE * n * n * 2.0**plan.width)
    return Stage(
        name=name,
        grid=Grid(("candidate",), (rows,)),
        # a plan, which computes nothing, goes on as if the search ended
        variables=(
            *minimum_variables(n),
            variable("is_proven", "bool", True),
            variable("least_ratio", "float64", 0.0),
        ),
        compute=fill_frontier,
        inputs={
            "inputs": plan.inputs,
            "units": plan.units,
            "bits": bits,
            "zero": zero,
            "budget": np.array(budget),
            "is_bounded": np.array(is_bounded),
        },
        cost=lambda region: seconds * (region[0].stop - region[0].start),
        scratch=1 << 28,
    )


def fill_frontier(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Search the minimum partition at a range of specified states."""
    rows: list[Minimum] = []
    places, units = inputs["inputs"], inputs["units"]
    budget, is_bounded = float(inputs["budget"]), bool(inputs["is_bounded"])
    for k in range(region[0].start, region[0].stop):
        bits, zero = inputs["bits"][k], float(inputs["zero"][k])
        rows.append(minimum_partition_by_frontier(places, bits, units, zero, budget, is_bounded))
    return columns_of(list(rows)) | {
        "is_proven": np.array([row.is_proven for row in rows], bool),
        "least_ratio": np.array([row.least_ratio for row in rows]),
    }


def common_stage(plan: FrontierSystem, bits: Array, ratio: float, pairs: int) -> Stage:
    """Return the stage that counts the partitions which attain the minimum of both directions.

    bits : (n, 2**K) lost on both sides, weighed by selectivity; ratio : of both sides together
    """
    return Stage(
        name="frontier/common",
        grid=Grid(("candidate",), (1,)),
        variables=(variable("ways", "float64", 0.0),),
        compute=fill_common,
        inputs={
            "inputs": plan.inputs,
            "units": plan.units,
            "bits": bits,
            "ratio": np.array(ratio),
            "pairs": np.array(pairs),
        },
        scratch=1 << 28,
    )


def fill_common(inputs: Mapping[str, Array], _region: Region) -> dict[str, Array]:
    """Count the partitions that attain the minimum of both directions, mathematics.md 21.5."""
    ways = count_partitions_of_ratio(
        inputs["inputs"],
        inputs["bits"],
        inputs["units"],
        float(inputs["ratio"]),
        int(inputs["pairs"]),
        MOST_TRANSITIONS,
    )
    return {"ways": np.array([ways])}
