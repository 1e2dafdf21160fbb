"""Transitions between two states of all units, and the state pairs and triples of a network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from iitdask.errors import StateError, UnreachableStateError, quote
from iitdask.model.background import Background
from iitdask.model.contraction import TABLE_BUDGET_BYTES
from iitdask.model.factor import Factor, read_only
from iitdask.model.labels import first_names, state_text
from iitdask.model.substrate import Substrate, target_fingerprint
from iitdask.model.system import Target, tabulate
from iitdask.types import Mask, Table

MAX_NEXUS_UNITS = 12  # Units of a network all of whose transitions can be analysed


@dataclass(frozen=True, eq=False)
class Transition(Target):
    """All units in a state before and a state after, with the candidate causes and effects.

    Build one with :meth:`build`. Causes are read at ``before``, effects at ``after``;
    a unit may be both.

    Examples
    --------
    >>> from iitdask.model.substrate import Substrate
    >>> units = [{"gate": "BIAS", "probability": 0.5}, {"gate": "COPY", "inputs": ["A"]}]
    >>> copy = Substrate.from_units(units)
    >>> moved = Transition.build(copy, "10", "01", "A", "B")
    >>> moved.labels, moved.effect.tolist()
    (('A', 'B'), [[0.0], [1.0]])
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("before", "after", "causes", "effects", "max_order")
    REQUIRED: ClassVar[int] = 2

    before: tuple[int, ...]  # State of all units at t-1
    after: tuple[int, ...]  # State of all units at t
    causes: tuple[int, ...]  # Unit numbers of the candidate causes, ascending
    effects: tuple[int, ...]  # Unit numbers of the candidate effects, ascending
    max_order: int  # Most units of an occurrence whose cause or effect is searched

    @classmethod
    def build(
        cls,
        substrate: Substrate,
        before: object,
        after: object,
        causes: object = None,
        effects: object = None,
        *,
        max_order: int | None = None,
    ) -> Transition:
        """Build a transition."""
        start = _for_field("before", substrate.parse_state, before)
        end = _for_field("after", substrate.parse_state, after)
        sources = _for_field("causes", substrate.parse_units, causes)
        targets = _for_field("effects", substrate.parse_units, effects)
        for name, units in (("causes", sources), ("effects", targets)):
            if not units:
                raise StateError(f"{name}: expected at least one unit, got none")
        most = max(len(sources), len(targets))
        max_order = most if max_order is None else max_order
        is_number = isinstance(max_order, int | np.integer) and not isinstance(max_order, bool)
        if not is_number or max_order < 1:
            raise StateError(
                f"max_order: expected a whole number from 1 on, got {quote(max_order)}"
            )
        require_possible(substrate, start, end, targets)
        return cls(substrate, start, end, sources, targets, min(int(max_order), most))

    @cached_property
    def units(self) -> tuple[int, ...]:
        """Causes and effects together, ascending."""
        return tuple(sorted({*self.causes, *self.effects}))

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the causes and effects together."""
        return tuple(self.substrate.labels[i] for i in self.units)

    @property
    def levels(self) -> tuple[int, ...]:
        """Number of values of each cause."""
        return tuple(self.substrate.levels[i] for i in self.causes)

    @property
    def local_before(self) -> tuple[int, ...]:
        """State of the causes."""
        return tuple(self.before[i] for i in self.causes)

    @cached_property
    def connectivity(self) -> Mask:
        """``(causes, effects)`` declared edges."""
        edges = self.substrate.connectivity[np.ix_(self.causes, self.effects)]
        return read_only(edges, np.bool_)

    @cached_property
    def children(self) -> NDArray[np.int64]:
        """``(causes,)`` mask of the effects that each cause feeds."""
        weights = 1 << np.arange(len(self.effects), dtype=np.int64)
        return read_only(self.connectivity @ weights, np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides results."""
        lists = (self.before, self.after, self.causes, self.effects, (self.max_order,))
        return target_fingerprint("transition", self.substrate, lists)

    @cached_property
    def effect(self) -> Table:
        """``(S, b)`` P(effect has its value after | causes in state s), others as before."""
        return self._tabulated(self.effect_factors())

    def cause(self, background: str) -> Table:
        """Return ``(S, b)`` P(effect has its value after | causes in state s), for causes.

        Background ``"2019"`` fixes every other unit at its state before; ``"causal"`` averages
        those that are neither cause nor effect over the posterior given the whole state after,
        and effects that are no causes uniformly.
        """
        return self.effect if background == "2019" else self._tabulated(self.cause_factors())

    def effect_factors(self) -> list[Factor]:
        """Return P(effect has its value after | its causes), the other units as before."""
        inside = frozenset(self.causes)
        return [self._conditioned(i, inside) for i in self.effects]

    def cause_factors(self, background: str = "causal") -> list[Factor]:
        """Return P(effect has its value after | its causes), for causes; see :meth:`cause`."""
        if background == "2019":
            return self.effect_factors()
        inside = frozenset(self.causes)
        return [self._averaged(i, inside) for i in self.effects]

    def _conditioned(self, unit: int, inside: frozenset[int]) -> Factor:
        factor = self.substrate.factors[unit].conditioned(inside, self.before)
        return Factor(factor.parents, factor.table[..., self.after[unit], None])

    def _averaged(self, unit: int, inside: frozenset[int]) -> Factor:
        factor = self.substrate.factors[unit]
        members = frozenset(self.units)
        if not members.issuperset(factor.parents):
            factor = self._background.averaged(factor, members)
        axes = tuple(axis for axis, p in enumerate(factor.parents) if p not in inside)
        table = factor.table[..., self.after[unit], None].mean(axis=axes)
        return Factor(tuple(p for p in factor.parents if p in inside), table)

    @cached_property
    def _background(self) -> Background:
        posterior: Background = _for_field(
            "after", Background.from_state, self.substrate, self.after
        )
        return posterior

    def _tabulated(self, factors: list[Factor]) -> Table:
        return tabulate(
            factors, self.causes, self.levels, budget=TABLE_BUDGET_BYTES,
            name=f"transition with {len(self.causes)} causes", advice="choose fewer causes",
        )  # fmt: skip


def require_possible(
    substrate: Substrate, before: tuple[int, ...], after: tuple[int, ...], units: Sequence[int]
) -> None:
    """Refuse a transition of probability 0."""
    factors = substrate.factors
    impossible = [i for i in units if not factors[i].conditioned((), before).table[after[i]] > 0]
    if not impossible:
        return
    shown = first_names([f"{substrate.labels[i]}={after[i]}" for i in impossible])
    raise UnreachableStateError(
        f"after: expected values that can follow the state before {state_text(before)}, "
        f"got {shown}, of probability 0"
    )


def _for_field(
    name: str, build: Callable[..., Any], *args: Any, refused: type[StateError] = StateError
) -> Any:
    """Return ``build(*args)``; errors of the class `refused` begin with the name of the field."""
    try:
        return build(*args)
    except refused as error:
        text = re.sub("^(state|units|after): ", "", str(error))
        raise type(error)(f"{name}: {text}") from error


@dataclass(frozen=True, eq=False)
class StatePair(Target):
    """States of all units before and after, for the search for a causal nexus."""

    FIELDS: ClassVar[tuple[str, ...]] = ("before", "after")
    REQUIRED: ClassVar[int] = 2

    before: tuple[int, ...]  # State of all units at t-1
    after: tuple[int, ...]  # State of all units at t

    @classmethod
    def build(cls, substrate: Substrate, before: object, after: object) -> StatePair:
        """Build the states of a transition within a network."""
        if substrate.n_units > MAX_NEXUS_UNITS:
            raise StateError(
                f"nexus: expected at most {MAX_NEXUS_UNITS} units, got {substrate.n_units}; "
                "ask for the accounts of chosen causes and effects"
            )
        start = _for_field("before", substrate.parse_state, before)
        pair = cls(substrate, start, _for_field("after", substrate.parse_state, after))
        require_possible(substrate, pair.before, pair.after, pair.targets)
        return pair

    @property
    def sources(self) -> tuple[int, ...]:
        """Units with a declared output."""
        return tuple(np.flatnonzero(self.substrate.connectivity.any(axis=1)).tolist())

    @property
    def targets(self) -> tuple[int, ...]:
        """Units with a declared input."""
        return tuple(np.flatnonzero(self.substrate.connectivity.any(axis=0)).tolist())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides results."""
        return target_fingerprint("passage", self.substrate, (self.before, self.after))


@dataclass(frozen=True, eq=False)
class StateTriple(Target):
    """States of all units at three times, for the search for true events."""

    FIELDS: ClassVar[tuple[str, ...]] = ("before", "state", "after", "units", "max_order")
    REQUIRED: ClassVar[int] = 3

    into: Transition  # From the state before to the current one
    out_of: Transition  # From the current state to the one after

    @classmethod
    def build(
        cls,
        substrate: Substrate,
        before: object,
        state: object,
        after: object,
        units: object = None,
        *,
        max_order: int | None = None,
    ) -> StateTriple:
        """Build two transitions; an error begins with the name of the state it leads to."""
        now = _for_field("state", substrate.parse_state, state)
        numbers = _for_field("units", substrate.parse_units, units)
        members = [substrate.labels[unit] for unit in numbers]
        build = partial(Transition.build, causes=members, effects=members, max_order=max_order)
        refused = UnreachableStateError
        into = _for_field("state", build, substrate, before, now, refused=refused)
        out_of = _for_field("after", build, substrate, now, after, refused=refused)
        return cls(substrate, into, out_of)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that build the target again, as plain numbers and lists."""
        into, out_of = self.into, self.out_of
        lists = map(list, (into.before, into.after, out_of.after, into.units))
        return dict(zip(self.FIELDS, (*lists, into.max_order), strict=True))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides results."""
        both = self.into.fingerprint + self.out_of.fingerprint
        return hashlib.sha256(f"iitdask course 1 {both}".encode()).hexdigest()
