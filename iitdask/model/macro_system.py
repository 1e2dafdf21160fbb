"""Systems of units of any grain in a window of states, with cause and effect tables of their own.

The tables are exact sums over micro states in time. Only a unit's own constituents and the
background apportioned in its system remember anything; every other micro unit is noise from the
first update on. So each table is a contraction of small tensors, whose size does not depend on
that of the substrate: mathematics.md 14.2 and 14.4; Marshall et al. 2024, equations 26 to 42.
"""

from __future__ import annotations

from abc import ABC
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Number
from typing import Any, ClassVar, NamedTuple

import numpy as np

from iitdask.errors import StateError, UnreachableStateError
from iitdask.model.background import Background
from iitdask.model.contraction import TABLE_BUDGET_BYTES, Tensor, contract, contract_at_once
from iitdask.model.factor import CountingFactor, Factor
from iitdask.model.labels import (
    SEPARATOR,
    Labels,
    first_names,
    is_listed,
    join_labels,
    parse_state,
    replace_value_names,
)
from iitdask.model.substrate import Substrate, target_fingerprint
from iitdask.model.system import CandidateSystem, System, tabulate
from iitdask.model.unit import MacroUnit, Unit, resolve_unit, unit_from_mapping
from iitdask.types import Array, Table

State = tuple[int, ...]


class Member(NamedTuple):
    """Units of one system place that differ in their truth tables only."""

    units: tuple[int, ...]  # Micro constituents, ascending
    updates: int  # Micro updates
    digits: tuple[tuple[int, int], ...]  # See MacroUnit
    tables: Array  # (T, 2, 2, ...) uint8 truth tables
    background: tuple[int, ...]  # Apportioned units
    name: str

    @classmethod
    def from_unit(cls, unit: MacroUnit) -> Member:
        """Return the place of one unit."""
        tables = unit.table[None]
        return cls(unit.units, unit.updates, unit.digits, tables, unit.background, unit.name)


class MemberFactor(NamedTuple):
    """P(unit takes value | states of units of its system), for all truth tables."""

    parents: tuple[int, ...]  # Places in the system whose states count
    table: Table  # (T_own, T_parent0, ..., s_parent0, ..., 2); a parent of itself has no second T


@dataclass(frozen=True, eq=False)
class MicroHistory:
    """Micro units of a substrate in a window of states, with posteriors of states before it."""

    substrate: Substrate
    window: tuple[State, ...]  # States of all units, oldest first
    budget: int = TABLE_BUDGET_BYTES  # Bytes that one table may take
    _backgrounds: dict[int, Background] = field(default_factory=dict)

    def background(self, unit: str, updates: int) -> Background:
        """Return the posterior of the state before the oldest one that a unit spans."""
        if updates not in self._backgrounds:
            oldest = len(self.window) - updates
            state = self.window[oldest]
            try:
                found = Background.from_state(self.substrate, state, self.budget)
            except UnreachableStateError as error:
                if len(self.window) == 1:
                    raise
                text = f"window: entry {oldest}, the oldest of unit {unit}: {error}"
                raise UnreachableStateError(text) from None
            self._backgrounds[updates] = found
        return self._backgrounds[updates]

    @cached_property
    def means(self) -> Mapping[int, Table]:
        """(2,) probabilities of a unit whose inputs are all uniform, computed when asked for."""
        return _Means(self.substrate)


class _Means(dict[int, Table]):
    def __init__(self, substrate: Substrate) -> None:
        super().__init__()
        self._factors = substrate.factors

    def __missing__(self, unit: int) -> Table:
        factor = self._factors[unit]
        if isinstance(factor, CountingFactor):
            on = _count_weights(len(factor.parents)) @ factor.probability_by_count
        else:
            on = factor.table.reshape(-1, 2).mean(axis=0)
        self[unit] = np.asarray(on)
        return self[unit]


def _count_weights(inputs: int) -> Table:
    """Return P(number of inputs that are on) where each is on or off with equal probability."""
    weights = np.ones(1)
    for _ in range(inputs):
        weights = np.convolve(weights, [0.5, 0.5])
    return weights


class _Network:
    """Tensors whose contraction is P(one unit takes value | states of the units of its system)."""

    def __init__(self, history: MicroHistory, members: Sequence[Member], own: int) -> None:
        self.history, self.members, self.own = history, members, own
        self.n = history.substrate.n_units
        self.place = {u: k for k, member in enumerate(members) for u in member.units}
        self.apportioned = {u: k for k, member in enumerate(members) for u in member.background}
        self.numbers: dict[Any, int] = {}
        self.tensors: list[Tensor] = []
        self.starts: set[int] = set()  # Micro units whose states at the beginning count
        self._unfold()

    def variable(self, *key: Any) -> int:
        """Return the number of a variable; a micro unit at the beginning keeps its own."""
        if key[0] == 0:
            return int(key[1])
        return self.numbers.setdefault(key, self.n + len(self.numbers))

    def factor(self, unit: int) -> Factor:
        """Return what decides a micro unit that remembers: mathematics.md 14.2, step 1."""
        factor = self.history.substrate.factors[unit]
        if self.place.get(unit) == self.own or not factor.parents:
            return Factor(factor.parents, factor.table)
        member = self.members[self.apportioned[unit]]
        known = {*member.units, *member.background}
        axes = tuple(k for k, p in enumerate(factor.parents) if p not in known)
        parents = tuple(p for p in factor.parents if p in known)
        return Factor(parents, factor.table.mean(axis=axes))

    def _unfold(self) -> None:
        """Add tensors from the truth table back to the beginning."""
        member = self.members[self.own]
        both = np.stack([1 - member.tables, member.tables], axis=-1).astype(np.float64)
        at = [self.variable(time, unit) for time, unit in member.digits]
        variables = (self.variable("tables", self.own), *at, self.variable("value"))
        self.tensors.append(Tensor(variables, both))
        needed: dict[int, set[int]] = defaultdict(set)
        for time, unit in member.digits:
            needed[time].add(unit)
        for time in range(member.updates, 0, -1):
            for unit in sorted(needed[time]):
                if self.place.get(unit) != self.own and unit not in self.apportioned:
                    mean = self.history.means[unit]
                    self.tensors.append(Tensor((self.variable(time, unit),), mean))
                    continue
                factor = self.factor(unit)
                before = [self.variable(time - 1, p) for p in factor.parents]
                variables = (*before, self.variable(time, unit))
                self.tensors.append(Tensor(variables, factor.table))
                needed[time - 1].update(factor.parents)
        self.starts = needed[0]

    def parents(self) -> list[int]:
        """Return the places in the system whose micro states at the beginning count."""
        return sorted({self.place[u] for u in self.starts if u in self.place})

    def outside(self) -> list[int]:
        """Return the background units whose states at the beginning count."""
        return sorted(u for u in self.starts if u not in self.place)

    def contracted(self, weights: Sequence[Tensor]) -> MemberFactor:
        """Contract the tensors with weights of the micro states at the beginning."""
        parents = self.parents()
        last = [self._last_states(k) for k in parents]
        tables = [self.variable("tables", k) for k in parents if k != self.own]
        keep = [self.variable("tables", self.own), *tables]
        keep += [self.variable("state", k) for k in parents] + [self.variable("value")]
        history = self.history
        found = contract_at_once(
            [*self.tensors, *last, *weights], keep, history.substrate.labels, history.budget
        )
        return MemberFactor(tuple(parents), found / found.sum(axis=-1, keepdims=True))

    def _last_states(self, place: int) -> Tensor:
        """Return r(last states of micro units | state of their unit), mathematics.md 14.2."""
        member = self.members[place]
        units = [u for u in member.units if u in self.starts]
        here = {u: k for k, (time, u) in enumerate(member.digits) if time == member.updates}
        others = tuple(
            k + 1 for k, (time, u) in enumerate(member.digits)
            if time != member.updates or u not in self.starts
        )  # fmt: skip
        counts = np.stack(
            [(member.tables == j).sum(axis=others, dtype=np.float64) for j in (0, 1)], axis=1
        )
        counts /= counts.sum(axis=tuple(range(2, counts.ndim)), keepdims=True)
        shown = sorted((u for u in units if u in here), key=lambda u: here[u])
        axes = [2 + shown.index(u) for u in units if u in here]
        counts = counts.transpose([0, 1, *axes])
        shape = [2 if u in here else 1 for u in units]
        free = len(units) - len(shown)
        full = counts.reshape([*counts.shape[:2], *shape]) / 2.0**free
        full = np.broadcast_to(full, (*counts.shape[:2], *(2 for _ in units)))
        variables = (self.variable("tables", place), self.variable("state", place), *units)
        return Tensor(variables, np.ascontiguousarray(full))


def member_factors(
    history: MicroHistory, members: Sequence[Member], own: int
) -> tuple[MemberFactor, MemberFactor]:
    """Return what decides one unit of a system: on the effect and on the cause side.

    Parameters
    ----------
    history : MicroHistory, the substrate in its window
    members : the units of the system
    own : place of the unit among them

    References
    ----------
    mathematics.md 14.2, Eq. (14.1).
    """
    network, member = _Network(history, members, own), members[own]
    posterior = history.background(member.name, member.updates)
    outside = network.outside()
    now = history.window[-1]
    fixed = [Tensor((u,), np.eye(2)[now[u]]) for u in outside]
    effect = network.contracted(fixed)
    if not outside:
        return effect, effect
    groups: dict[int, list[int]] = defaultdict(list)
    for unit in outside:
        groups[posterior.group_of.get(unit, -1 - unit)].append(unit)
    levels = history.substrate.levels
    likely = [Tensor(tuple(g), posterior.joint(tuple(g), levels)) for g in groups.values()]
    return effect, network.contracted(likely)


def parse_window(levels: Sequence[int], labels: Labels, window: Any) -> tuple[State, ...]:
    """Return the states of a window, oldest first; one state is a window of its own.

    A list whose members are states is a window; a flat one of values is a state.
    """
    if isinstance(window, str | Mapping) or not is_listed(window):
        return (parse_state(window, levels, labels),)
    entries = list(window)
    is_flat = all(isinstance(each, Number | np.generic) for each in entries)
    if all(isinstance(each, str) for each in entries) and len(entries) == len(levels) > 1:
        is_flat = all(len(each) == 1 for each in entries)
    if is_flat:
        return (parse_state(entries, levels, labels),)
    states = []
    for number, each in enumerate(entries):
        states.append(parse_state(each, levels, labels, f"window: entry {number}"))
    return tuple(states)


def has_macro_units(units: Any) -> bool:
    """Return True if some of the units of a system are defined, not only named."""
    if isinstance(units, str | Mapping | Unit):
        return not isinstance(units, str)
    return is_listed(units) and any(isinstance(each, Unit | Mapping) for each in units)


def n_macro_units(units: Any) -> int:
    """Return how many units a system has, 0 where none of them is defined."""
    if not has_macro_units(units):
        return 0
    return 1 if isinstance(units, Unit | Mapping) else len(units)


def micro_updates(units: Any) -> int:
    """Return the most micro updates that a unit of a system spans, 1 of micro units."""
    entries = [units] if isinstance(units, Unit | Mapping) else units
    macro = [each for each in entries if isinstance(each, Unit | Mapping)]
    return max((unit_from_mapping(each, "units").micro_updates for each in macro), default=1)


def require_two_values(levels: Sequence[int], labels: Labels) -> None:
    """Refuse macro units of micro units with more than two values."""
    for label, level in zip(labels, levels, strict=True):
        if level != 2:
            raise StateError(
                "units: macro units are defined for micro units of two values, got "
                f"{label!r} of {level} values"
            )


def parse_members(levels: Sequence[int], labels: Labels, units: Any) -> tuple[MacroUnit, ...]:
    """Return the units of a system in the order given; refuse units that cannot be together.

    mathematics.md 14.1; Marshall et al. 2024, equation 18.
    """
    require_two_values(levels, labels)
    entries = [units] if isinstance(units, Unit | Mapping) else list(units)
    members = []
    for number, each in enumerate(entries):
        where = f"units: entry {number}" if len(entries) > 1 else "units"
        definition = unit_from_mapping(each, where) if isinstance(each, Mapping) else each
        members.append(resolve_unit(definition, labels, where))
    check_stakes(members, labels)
    return tuple(members)


def check_stakes(members: Sequence[MacroUnit], labels: Sequence[str]) -> None:
    """Refuse units that share constituents or apportioned background."""
    inside: dict[int, str] = {}
    for member in members:
        for unit in member.units:
            if unit in inside:
                raise StateError(
                    f"units: {inside[unit]} and {member.name} share the constituent {labels[unit]}"
                )
            inside[unit] = member.name
    outside: dict[int, str] = {}
    for member in members:
        for unit in member.background:
            if unit in inside:
                raise StateError(
                    f"units: {labels[unit]} is apportioned to {member.name} and a constituent of "
                    f"{inside[unit]}"
                )
            if unit in outside:
                names = f"{outside[unit]} and {member.name}"
                raise StateError(f"units: {labels[unit]} is apportioned to both {names}")
            outside[unit] = member.name


@dataclass(frozen=True, eq=False)
class MacroSystem(CandidateSystem):
    """Units of any grain, in a window of states of their whole substrate.

    Build one with :meth:`build`. Units are numbered as they are given; their declared edges are
    all to all, and there is no background any more.

    Examples
    --------
    >>> from iitdask.model.substrate import Substrate
    >>> from iitdask.model.unit import make_unit
    >>> ring = Substrate.from_units([{"gate": "COPY", "inputs": [1 - i]} for i in range(2)])
    >>> system = MacroSystem.build(ring, "11", [make_unit("AB", on=["11"])])
    >>> system.labels, system.local_state, system.effect.round(3).tolist()
    (('AB',), (1,), [[1.0, 0.0], [0.0, 1.0]])
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("window", "units")
    REQUIRED: ClassVar[int] = 2

    window: tuple[State, ...]  # States of all units of the substrate, oldest first
    members: tuple[MacroUnit, ...]
    budget: int

    @classmethod
    def build(
        cls,
        substrate: Substrate,
        window: object,
        units: object,
        *,
        budget: int = TABLE_BUDGET_BYTES,
    ) -> MacroSystem:
        """Build a system; the window is as long as its unit of the largest grain needs it."""
        members = parse_members(substrate.levels, substrate.labels, units)
        if not members:
            raise StateError("units: expected at least one unit, got none")
        states = parse_window(substrate.levels, substrate.labels, window)
        longest = max(members, key=lambda member: member.updates)
        if len(states) != longest.updates:
            text = "1 state" if longest.updates == 1 else f"{longest.updates} states"
            raise StateError(
                f"window: expected {text}, as many as unit {longest.name} spans, got {len(states)}"
            )
        values = tuple(member.value(states) for member in members)
        system = cls(substrate, values, tuple(range(len(members))), states, members, budget)
        system.require_reachable()
        return system

    def require_reachable(self) -> None:
        """Refuse a state that no state of the system leads to."""
        likely = [
            Tensor(effect.parents, effect.table[..., value])
            for (effect, _), value in zip(self.sides, self.state, strict=True)
        ]
        if contract(likely, (), self.labels, self.budget) <= 0:
            names = first_names([f"{m}={v}" for m, v in zip(self.labels, self.state, strict=True)])
            raise UnreachableStateError(
                f"the state of the macro units is impossible: no state of the system leads to "
                f"{names}"
            )

    @property
    def micro_units(self) -> tuple[int, ...]:
        """Unit numbers of the micro constituents, ascending."""
        return tuple(sorted(unit for member in self.members for unit in member.units))

    @property
    def micro_state(self) -> State:
        """Current state of all micro units."""
        return self.window[-1]

    def to_dict(self) -> dict[str, Any]:
        """Return window and units, as plain numbers, texts and lists."""
        labels = self.substrate.labels
        definitions = [member.definition.to_dict(labels) for member in self.members]
        return {"window": [list(state) for state in self.window], "units": definitions}

    def __reduce__(self) -> tuple[Any, ...]:
        units = [member.definition for member in self.members]
        return _rebuilt, (self.substrate, self.window, units, self.budget)

    @property
    def budget_bytes(self) -> int:
        """Bytes that one table may take."""
        return self.budget

    @property
    def levels(self) -> tuple[int, ...]:
        """Number of values of each unit: two."""
        return (2,) * len(self.members)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Labels of the units: those of their micro constituents together."""
        known = self.substrate.labels
        texts = [join_labels([known[i] for i in member.units], known) for member in self.members]
        return tuple(text.replace(SEPARATOR, "+") for text in texts)

    @property
    def local_state(self) -> State:
        """Current state of the units."""
        return self.state

    @cached_property
    def connectivity(self) -> Array:
        """(n, n) declared edges: all to all."""
        return np.ones((self.n, self.n), np.bool_)

    @cached_property
    def network(self) -> Substrate:
        """The units as a substrate of their own, by their effect table."""
        factors = tuple(effect for effect, _ in self.sides)
        return Substrate(factors, self.connectivity, self.levels, self.labels)

    @cached_property
    def two_sided_network(self) -> Substrate:
        """The same with the values of the cause table beside those of the effect table."""
        everyone, shape = tuple(range(self.n)), (*self.levels, 2)
        factors = []
        for sides in self.sides:
            both = [np.broadcast_to(_over_all(side, self.n), shape) for side in sides]
            factors.append(Factor(everyone, np.concatenate(both, axis=-1)))
        return Substrate(tuple(factors), self.connectivity, self.levels, self.labels)

    @cached_property
    def sides(self) -> tuple[tuple[Factor, Factor], ...]:
        """Of each unit what decides it on the effect and on the cause side."""
        history = MicroHistory(self.substrate, self.window, self.budget)
        members = [Member.from_unit(member) for member in self.members]
        found = []
        for k in range(self.n):
            effect, cause = (
                Factor(side.parents, side.table.reshape((2,) * (len(side.parents) + 1)))
                for side in member_factors(history, members, k)
            )
            found.append((effect, cause))
        return tuple(found)

    @cached_property
    def effect(self) -> Table:
        """``(S, 2 n)`` P(unit takes value next | system in state s), mathematics.md 14.2."""
        return self._tabulated(0)

    @cached_property
    def cause(self) -> Table:
        """``(S, 2 n)`` P(unit takes value now | system was in state s), mathematics.md 14.2."""
        return self._tabulated(1)

    def _tabulated(self, side: int) -> Table:
        return tabulate(
            [each[side] for each in self.sides], self.units, self.levels, budget=self.budget,
            name=f"system of {self.n} macro units", advice="choose fewer units or a larger budget",
        )  # fmt: skip

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides results."""
        lists: list[Sequence[int]] = list(self.window)
        for member in self.members:
            lists += [member.units, member.background, (member.updates,)]
            lists += [[number for digit in member.digits for number in digit]]
            lists += [member.table.reshape(-1).tolist()]
        return target_fingerprint("macro system", self.substrate, lists)


def _over_all(factor: Factor, n: int) -> Table:
    """Return the table of a factor with an axis for every unit of the system."""
    shape = [2 if k in factor.parents else 1 for k in range(n)]
    return factor.table.reshape([*shape, 2])


def _rebuilt(substrate: Substrate, window: Any, units: Any, budget: int) -> MacroSystem:
    return MacroSystem.build(substrate, window, units, budget=budget)


class AnySystem(CandidateSystem, ABC):
    """A system as a study asks for one: of micro units in a state, or of units of any grain."""

    FIELDS: ClassVar[tuple[str, ...]] = ("state", "units", "window")
    REQUIRED: ClassVar[int] = 1
    ALTERNATIVES: ClassVar[Mapping[str, str]] = {"state": "window"}

    @classmethod
    def build(  # type: ignore[override]
        cls, substrate: Substrate, state: object = None, units: object = None, window: object = None
    ) -> CandidateSystem:
        """Build a system; units that are defined, not only named, make it one of macro units."""
        if state is not None and window is not None:
            raise StateError("window: expected either a state or a window, got both")
        given = state if window is None else window
        if window is None and substrate.values:
            given = replace_value_names(given, substrate.values, substrate.labels)
        if has_macro_units(units):
            return MacroSystem.build(substrate, given, units)
        states = parse_window(substrate.levels, substrate.labels, given)
        if len(states) != 1:
            raise StateError(f"window: expected 1 state for micro units, got {len(states)}")
        return System.build(substrate, states[0], units)
