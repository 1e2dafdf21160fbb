"""What a whole network did: between two states, or through three."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from iitdask.errors import StateError, UnreachableStateError
from iitdask.model.transition import Transition, named, require_follows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from iitdask.model.substrate import Substrate

__all__ = ["Course", "Passage"]

MOST_UNITS = 12
"""Units of a network whose every transition can be looked at."""


@dataclass(frozen=True, eq=False)
class Passage:
    """All units in a state before and after; which of them matter is what is asked.

    Build one with :meth:`asked`.
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("before", "after")
    """Fields of a study that say what is asked."""
    REQUIRED: ClassVar[int] = 2
    """How many of ``FIELDS`` a study must give."""

    substrate: Substrate
    """All units there are."""
    before: tuple[int, ...]
    """State of all units at t-1."""
    after: tuple[int, ...]
    """State of all units at t."""

    @classmethod
    def asked(cls, substrate: Substrate, fields: Mapping[str, Any]) -> Passage:
        """Build it from the fields of a study.

        Raises
        ------
        StateError
            A state does not fit, or there are too many units to look at all transitions.
        UnreachableStateError
            A unit with inputs cannot be as it is after the state before.
        """
        if substrate.n_units > MOST_UNITS:
            raise StateError(
                f"nexus: expected at most {MOST_UNITS} units, got {substrate.n_units}; "
                "ask for the accounts of chosen causes and effects"
            )
        states = [named(name, substrate.parse_state, fields[name]) for name in cls.FIELDS]
        passage = cls(substrate, *states)
        require_follows(substrate, passage.before, passage.after, passage.targets)
        return passage

    def described(self) -> dict[str, Any]:
        """Return the fields of a study that build it again."""
        return {"before": list(self.before), "after": list(self.after)}

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all units."""
        return self.substrate.labels

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
        """SHA-256 over all that decides results."""
        return _digest("passage", self.substrate, (self.before, self.after))


@dataclass(frozen=True, eq=False)
class Course:
    """Units through three states: what caused them to be as they were, and what that caused.

    Build one with :meth:`asked`.
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("before", "state", "after", "units", "max_order")
    """Fields of a study that say what is asked."""
    REQUIRED: ClassVar[int] = 3
    """How many of ``FIELDS`` a study must give."""

    substrate: Substrate
    """All units there are."""
    into: Transition
    """From the state before to the current one."""
    out_of: Transition
    """From the current state to the one after."""

    @classmethod
    def asked(cls, substrate: Substrate, fields: Mapping[str, Any]) -> Course:
        """Build it from the fields of a study.

        Raises
        ------
        StateError
            A state or the units do not fit.
        UnreachableStateError
            One of the states cannot follow the one before it.
        """
        state = named("state", substrate.parse_state, fields["state"])
        units = named("units", substrate.parse_units, fields.get("units"))
        same: dict[str, Any] = {
            "causes": units,
            "effects": units,
            "max_order": fields.get("max_order"),
        }
        into = _step("state", substrate, (fields["before"], state), same)
        out_of = _step("after", substrate, (state, fields["after"]), same)
        return cls(substrate, into, out_of)

    def described(self) -> dict[str, Any]:
        """Return the fields of a study that build it again."""
        return {
            "before": list(self.into.before),
            "state": list(self.into.after),
            "after": list(self.out_of.after),
            "units": list(self.into.units),
            "max_order": self.into.max_order,
        }

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the units."""
        return self.into.labels

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides results."""
        both = self.into.fingerprint + self.out_of.fingerprint
        return hashlib.sha256(f"iitdask course 1 {both}".encode()).hexdigest()


def _step(
    name: str, substrate: Substrate, states: tuple[Any, Any], same: Mapping[str, Any]
) -> Transition:
    """Build one of the transitions; complain under the name of the state it leads to."""
    try:
        return Transition.of(substrate, *states, **same)
    except UnreachableStateError as error:
        text = str(error).removeprefix("after: ")
        raise UnreachableStateError(f"{name}: {text}") from error


def _digest(kind: str, substrate: Substrate, numbers: Sequence[Sequence[int]]) -> str:
    digest = hashlib.sha256(f"iitdask {kind} 1".encode())
    digest.update(substrate.fingerprint.encode())
    for each in numbers:
        digest.update(np.array([len(each), *each], dtype="<i8").tobytes())
    return digest.hexdigest()
