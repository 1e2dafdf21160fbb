"""A transition: what the units did, and which of them may be causes and effects."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from iitdask.errors import MemoryRefusedError, StateError, UnreachableStateError
from iitdask.model.background import Background, held
from iitdask.model.contraction import BUDGET
from iitdask.model.factor import Factor, Table, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from iitdask.model.substrate import Substrate

__all__ = ["Transition", "named", "require_follows"]

MOST_NAMED = 8
"""Units that a message names."""


@dataclass(frozen=True, eq=False)
class Transition:
    """All units in a state before and a state after, with the candidate causes and effects.

    Build one with :meth:`of`. Causes are read at ``before``, effects at ``after``;
    a unit may be both.

    Examples
    --------
    >>> from iitdask.model.substrate import Substrate
    >>> units = [{"gate": "BIAS", "probability": 0.5}, {"gate": "COPY", "inputs": ["A"]}]
    >>> copy = Substrate.from_units(units)
    >>> moved = Transition.of(copy, "10", "01", "A", "B")
    >>> moved.labels, moved.effect.tolist()
    (('A', 'B'), [[0.0], [1.0]])
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("before", "after", "causes", "effects", "max_order")
    """Fields of a study that say what is asked."""
    REQUIRED: ClassVar[int] = 2
    """How many of ``FIELDS`` a study must give."""

    substrate: Substrate
    """All units there are."""
    before: tuple[int, ...]
    """State of all units at t-1."""
    after: tuple[int, ...]
    """State of all units at t."""
    causes: tuple[int, ...]
    """Unit numbers of the candidate causes, ascending."""
    effects: tuple[int, ...]
    """Unit numbers of the candidate effects, ascending."""
    max_order: int
    """Most units of an occurrence whose cause or effect is sought."""

    @classmethod
    def of(
        cls,
        substrate: Substrate,
        before: object,
        after: object,
        causes: object = None,
        effects: object = None,
        *,
        max_order: int | None = None,
    ) -> Transition:
        """Build a transition.

        Parameters
        ----------
        substrate
            All units.
        before, after
            States of all units, see :meth:`Substrate.parse_state`.
        causes, effects
            Units, see :meth:`Substrate.parse_units`. Default: all units.
        max_order
            Most units of an occurrence whose cause or effect is sought; purviews are
            not limited. Default: no limit.

        Raises
        ------
        StateError
            States, units or the order do not fit the substrate.
        UnreachableStateError
            The effects cannot be as they are after the state before: this never happened.
        """
        states = [
            named(name, substrate.parse_state, given)
            for name, given in (("before", before), ("after", after))
        ]
        units = [
            named(name, substrate.parse_units, given)
            for name, given in (("causes", causes), ("effects", effects))
        ]
        for name, found in zip(("causes", "effects"), units, strict=True):
            if not found:
                raise StateError(f"{name}: expected at least one unit, got none")
        most = max(map(len, units))
        if max_order is None:
            max_order = most
        if isinstance(max_order, bool) or not isinstance(max_order, int) or max_order < 1:
            raise StateError(f"max_order: expected a whole number from 1 on, got {max_order!r}")
        require_follows(substrate, states[0], states[1], units[1])
        return cls(substrate, states[0], states[1], units[0], units[1], min(max_order, most))

    @classmethod
    def asked(cls, substrate: Substrate, fields: Mapping[str, Any]) -> Transition:
        """Build a transition from the fields of a study, see :meth:`of`."""
        return cls.of(substrate, **fields)

    def described(self) -> dict[str, Any]:
        """Return the fields of a study that build it again."""
        return {
            "before": list(self.before),
            "after": list(self.after),
            "causes": list(self.causes),
            "effects": list(self.effects),
            "max_order": self.max_order,
        }

    @cached_property
    def units(self) -> tuple[int, ...]:
        """Causes and effects together, ascending."""
        return tuple(sorted({*self.causes, *self.effects}))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the causes and effects together."""
        return tuple(self.substrate.labels[i] for i in self.units)

    @property
    def levels(self) -> tuple[int, ...]:
        """How many values each cause has."""
        return tuple(self.substrate.levels[i] for i in self.causes)

    @property
    def local_before(self) -> tuple[int, ...]:
        """State of the causes."""
        return tuple(self.before[i] for i in self.causes)

    @cached_property
    def connectivity(self) -> NDArray[np.bool_]:
        """``(causes, effects)`` declared edges."""
        edges = self.substrate.connectivity[np.ix_(self.causes, self.effects)]
        return frozen(edges, np.bool_)

    @cached_property
    def children(self) -> NDArray[np.int64]:
        """``(causes,)`` mask of the effects that each cause feeds."""
        weights = 1 << np.arange(len(self.effects), dtype=np.int64)
        return frozen(self.connectivity @ weights, np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides results."""
        digest = hashlib.sha256(b"iitdask transition 1")
        digest.update(self.substrate.fingerprint.encode())
        numbers = (self.before, self.after, self.causes, self.effects, (self.max_order,))
        for each in numbers:
            digest.update(np.array([len(each), *each], dtype="<i8").tobytes())
        return digest.hexdigest()

    @cached_property
    def effect(self) -> Table:
        """``(S, b)`` P(effect has its value after | causes in state s), the others held before."""
        inside = frozenset(self.causes)
        return self._tabulated([self._held(i, inside) for i in self.effects])

    def cause(self, background: str) -> Table:
        """Return ``(S, b)`` P(effect has its value after | causes in state s), for causes.

        Parameters
        ----------
        background
            ``"2019"``: every other unit held at its state before, as published.
            ``"causal"``: units that are neither cause nor effect averaged with their
            posterior given the whole state after, effects that are no causes uniformly.

        Raises
        ------
        UnreachableStateError
            The posterior is needed, and no past state leads to the state after.
        """
        inside = frozenset(self.causes)
        if background == "2019":
            return self.effect
        return self._tabulated([self._averaged(i, inside) for i in self.effects])

    def _held(self, unit: int, inside: frozenset[int]) -> Factor:
        factor = held(self.substrate.factors[unit], inside, self.before)
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
        try:
            return Background.of(self.substrate, self.after)
        except UnreachableStateError as error:
            raise UnreachableStateError(f"after: {error}") from error

    def _tabulated(self, factors: list[Factor]) -> Table:
        states = math.prod(self.levels)
        need = 8 * states * len(factors)
        if need > BUDGET:
            raise MemoryRefusedError(
                f"transition with {len(self.causes)} causes: its table of {states} states needs "
                f"{need / 2**30:.3g} GiB, more than the budget of {BUDGET / 2**30:.3g} GiB; "
                "choose fewer causes"
            )
        local = {unit: i for i, unit in enumerate(self.causes)}
        return frozen(np.hstack([_column(factor, local, self.levels) for factor in factors]))


def require_follows(
    substrate: Substrate, before: tuple[int, ...], after: tuple[int, ...], units: Sequence[int]
) -> None:
    """Refuse a transition of probability 0: what never happened was not caused.

    Raises
    ------
    UnreachableStateError
        Names the units that cannot have their value.
    """
    nothing: frozenset[int] = frozenset()
    never = [
        i for i in units if not held(substrate.factors[i], nothing, before).table[after[i]] > 0
    ]
    if not never:
        return
    shown = ", ".join(f"{substrate.labels[i]}={after[i]}" for i in never[:MOST_NAMED])
    more = ", ..." if len(never) > MOST_NAMED else ""
    text = ("" if max(before) < 10 else ",").join(map(str, before))
    raise UnreachableStateError(
        f"after: expected values that can follow the state before {text}, got {shown}{more}, "
        "of probability 0"
    )


def named(name: str, parse: Any, given: object) -> tuple[int, ...]:
    """Read a state or units; complain under the name of the field."""
    try:
        return parse(given)  # type: ignore[no-any-return]
    except StateError as error:
        text = str(error).removeprefix("state: ").removeprefix("units: ")
        raise StateError(f"{name}: {text}") from error


def _column(factor: Factor, local: dict[int, int], levels: tuple[int, ...]) -> Table:
    """Return ``(S, 1)``: the factor's value in every little-endian state of the causes."""
    shape = [1] * len(levels)
    for parent, size in zip(factor.parents, factor.table.shape, strict=False):
        shape[local[parent]] = size
    full = np.broadcast_to(factor.table.reshape(shape), levels)
    return full.ravel(order="F")[:, None]
