"""The units among which complexes are sought, and which candidate systems are looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from iitdask.errors import StateError
from iitdask.model.background import Background
from iitdask.model.contraction import BUDGET
from iitdask.model.system import System

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iitdask.model.substrate import Substrate

__all__ = ["Pool"]


@dataclass(frozen=True, eq=False)
class Pool:
    """All candidate systems of a substrate in a state, or some of them.

    Build one with :meth:`of`. Units outside the pool are background of every candidate.

    Examples
    --------
    >>> from iitdask.model.examples import load
    >>> pool = Pool.of(load("basic"), "100", max_size=2)
    >>> pool.units, pool.largest
    ((0, 1, 2), 2)
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("state", "units", "max_size", "candidates")
    """Fields of a study that say what is asked."""
    REQUIRED: ClassVar[int] = 1
    """How many of ``FIELDS`` a study must give."""

    substrate: Substrate
    """All units there are."""
    state: tuple[int, ...]
    """Current state of all units."""
    units: tuple[int, ...]
    """Unit numbers of the pool, ascending."""
    max_size: int | None
    """Most units of a candidate; None: as many as there are."""
    given: tuple[tuple[int, ...], ...] | None
    """The candidates, when they were listed; None: all subsets of the pool."""
    background: Background
    """What the current state tells about the past of all units."""

    @classmethod
    def of(
        cls,
        substrate: Substrate,
        state: object,
        units: object = None,
        max_size: int | None = None,
        candidates: Iterable[object] | None = None,
        *,
        budget: int = BUDGET,
    ) -> Pool:
        """Say which candidates are looked at.

        Parameters
        ----------
        substrate
            All units.
        state
            Current state of all units, see :meth:`Substrate.parse_state`.
        units
            Units of which candidates consist. Default: all.
        max_size
            Most units of a candidate.
        candidates
            The candidates themselves, each as :meth:`Substrate.parse_units` takes it.
        budget
            Bytes that one table may take.

        Raises
        ------
        StateError
            Something does not fit the substrate.
        UnreachableStateError
            No past state leads to the current state.
        MemoryRefusedError
            Deciding that needs a table of more than ``budget`` bytes.
        """
        now = substrate.parse_state(state)
        pool = substrate.parse_units(units)
        if not pool:
            raise StateError("units: expected at least one unit, got none")
        if max_size is not None and not (isinstance(max_size, int) and max_size >= 1):
            raise StateError(f"max_size: expected a whole number from 1, got {max_size!r}")
        given = None if candidates is None else _listed(substrate, candidates, pool, max_size)
        return cls(substrate, now, pool, max_size, given, Background.of(substrate, now, budget))

    @classmethod
    def asked(cls, substrate: Substrate, fields: Mapping[str, Any]) -> Pool:
        """Build it from the fields of a study, see :meth:`of`."""
        asked = (fields.get(name) for name in cls.FIELDS)
        return cls.of(substrate, *asked)

    def described(self) -> dict[str, Any]:
        """Return the fields of a study that build it again."""
        return {
            "state": list(self.state),
            "units": list(self.units),
            "max_size": self.max_size,
            "candidates": None if self.given is None else [list(each) for each in self.given],
        }

    def __reduce__(self) -> tuple[type[Pool], tuple[Any, ...]]:
        fields = (self.state, self.units, self.max_size, self.given, self.background)
        return Pool, (self.substrate, *fields)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all units of the substrate."""
        return self.substrate.labels

    @property
    def largest(self) -> int:
        """Most units that a candidate may have."""
        return min(self.max_size or len(self.units), len(self.units))

    @cached_property
    def able(self) -> tuple[int, ...]:
        """Units of the pool with a declared input and a declared output: spec.md 9."""
        edges = self.substrate.connectivity
        both = np.flatnonzero(edges.any(axis=0) & edges.any(axis=1))
        return tuple(sorted(set(self.units).intersection(both.tolist())))

    def system(self, units: tuple[int, ...]) -> System:
        """Return one candidate as a system of its own."""
        return System.of(self.substrate, self.state, units, background=self.background)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides results."""
        digest = hashlib.sha256(b"iitdask pool 1")
        digest.update(self.substrate.fingerprint.encode())
        lists = [self.state, self.units, (self.max_size or 0,)]
        if self.given is not None:
            lists += [(), *self.given]
        for numbers in lists:
            digest.update(np.array([len(numbers), *numbers], dtype="<i8").tobytes())
        return digest.hexdigest()


def _listed(
    substrate: Substrate, candidates: Iterable[object], pool: tuple[int, ...], most: int | None
) -> tuple[tuple[int, ...], ...]:
    """Return listed candidates, each once, in the order of the specification."""
    if isinstance(candidates, str):
        raise StateError(f"candidates: expected a list of sets of units, got {candidates!r}")
    found = set()
    for number, each in enumerate(candidates):
        if each is None:
            raise StateError(f"candidates: entry {number}: expected units, got none")
        try:
            units = substrate.parse_units(each)
        except StateError as error:
            raise StateError(f"candidates: entry {number}: {error}") from None
        if not units or not set(units) <= set(pool):
            raise StateError(
                f"candidates: entry {number}: expected units of the pool, got {each!r}"
            )
        if most is not None and len(units) > most:
            raise StateError(
                f"candidates: entry {number}: expected at most {most} units (max_size), got "
                f"{len(units)}"
            )
        found.add(units)
    if not found:
        raise StateError("candidates: expected at least one, got none")
    return tuple(sorted(found, key=lambda u: (-len(u), tuple(-i for i in reversed(u)))))
