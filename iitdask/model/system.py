"""The target of a computation, and its commonest kind: a candidate system in a state."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from iitdask.errors import MemoryRefusedError, StateError
from iitdask.model.background import Background, conditioned, require_reachable
from iitdask.model.contraction import TABLE_BUDGET_BYTES
from iitdask.model.factor import CountingFactor, Factor, Table, read_only
from iitdask.model.substrate import Substrate

__all__ = [
    "System",
    "Target",
    "factor_rows",
]


class Target(Protocol):
    """A substrate and what is asked of it, under names a study file uses."""

    FIELDS: ClassVar[tuple[str, ...]]
    """Fields of a study that say what is asked; the first ones are required."""
    REQUIRED: ClassVar[int]
    """How many of ``FIELDS`` a study must give."""

    @property
    def substrate(self) -> Substrate:
        """All units there are."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the units that masks in its stages number."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides results; labels do not."""
        ...

    @classmethod
    def from_fields(cls, substrate: Substrate, fields: Mapping[str, Any]) -> Self:
        """Build it from the fields of a study that are given, all of them among ``FIELDS``.

        Raises
        ------
        StateError
            A field does not fit the substrate.
        """
        ...

    def to_dict(self) -> Mapping[str, Any]:
        """Return the fields, as plain numbers and lists, that build it again."""
        ...


@dataclass(frozen=True, eq=False)
class System:
    """Candidate units in the current state of their whole substrate.

    Build one with :meth:`build`. Units of the candidate are numbered 0 to n-1 in
    substrate order from here on, its states little-endian over those.

    Examples
    --------
    >>> from iitdask.model.substrate import Substrate
    >>> pair = Substrate.from_units(
    ...     [{"gate": "COPY", "inputs": ["B"]}, {"gate": "NOT", "inputs": ["A"]}]
    ... )
    >>> system = System.build(pair, "10", "B")
    >>> system.labels, system.local_state, system.effect.tolist()
    (('B',), (0,), [[1.0, 0.0], [1.0, 0.0]])
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("state", "units")
    """Fields of a study that say what is asked."""
    REQUIRED: ClassVar[int] = 1
    """How many of ``FIELDS`` a study must give."""

    substrate: Substrate
    """All units there are."""
    state: tuple[int, ...]
    """Current state of all units."""
    units: tuple[int, ...]
    """Unit numbers of the candidate, ascending."""
    background: Background
    """What the current state tells about the past of all units."""

    @classmethod
    def build(
        cls,
        substrate: Substrate,
        state: object,
        units: object = None,
        *,
        background: Background | None = None,
        budget: int = TABLE_BUDGET_BYTES,
    ) -> System:
        """Build a candidate system.

        Parameters
        ----------
        substrate
            All units.
        state
            Current state of all units, see :meth:`Substrate.parse_state`.
        units
            The candidate, see :meth:`Substrate.parse_units`. Default: all units.
        background
            That of another candidate in the same state, to compute it only once.
        budget
            Bytes that one table may take.

        Raises
        ------
        StateError
            The state or the units do not fit the substrate, or no unit is given.
        UnreachableStateError
            No past state leads to the current state, or none does while the units
            outside have their current values.
        MemoryRefusedError
            A table would need more than ``budget`` bytes.
        """
        now = substrate.parse_state(state)
        chosen = substrate.parse_units(units)
        if not chosen:
            raise StateError("units: expected at least one unit, got none")
        if background is None:
            background = Background.from_state(substrate, now, budget)
        elif background.state != now:
            raise StateError(f"background: expected that of state {now}, got {background.state}")
        if len(chosen) < substrate.n_units:
            require_reachable(substrate, now, chosen, budget)
        return cls(substrate, now, chosen, background)

    @classmethod
    def from_fields(cls, substrate: Substrate, fields: Mapping[str, Any]) -> System:
        """Build a candidate system from the fields of a study, see :meth:`build`."""
        return cls.build(substrate, fields["state"], fields.get("units"))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a study that build it again."""
        return {"state": list(self.state), "units": list(self.units)}

    def __reduce__(self) -> tuple[type[System], tuple[Any, ...]]:
        # Unpickled arrays would be writable: compute them where they are used.
        return System, (self.substrate, self.state, self.units, self.background)

    @property
    def n(self) -> int:
        """Number of units of the candidate."""
        return len(self.units)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """How many values each unit of the candidate has."""
        return tuple(self.substrate.levels[i] for i in self.units)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the candidate's units."""
        return tuple(self.substrate.labels[i] for i in self.units)

    @property
    def local_state(self) -> tuple[int, ...]:
        """Current state of the candidate's units."""
        return tuple(self.state[i] for i in self.units)

    @property
    def code(self) -> int:
        """Number of the candidate's current state, little-endian."""
        code = 0
        for value, level in zip(reversed(self.local_state), reversed(self.levels), strict=True):
            code = code * level + value
        return code

    @cached_property
    def connectivity(self) -> NDArray[np.bool_]:
        """``(n, n)`` declared edges within the candidate, ``[from, to]``."""
        return read_only(self.substrate.connectivity[np.ix_(self.units, self.units)], np.bool_)

    @cached_property
    def effect(self) -> Table:
        """``(S, R)`` P(unit takes value at t+1 | candidate in state s), the others held.

        S candidate states, little-endian; R columns: the values of unit 0, of unit 1, ...
        """
        inside = frozenset(self.units)
        factors = self.substrate.factors
        return self._tabulated([conditioned(factors[i], inside, self.state) for i in self.units])

    @cached_property
    def cause(self) -> Table:
        """``(S, R)`` P(unit takes value at t | candidate was in state s), the others averaged.

        The average is over the posterior of the units outside given the current
        state of all. The same array as :attr:`effect` when no unit is outside.
        """
        if self.n == self.substrate.n_units:
            return self.effect
        inside = frozenset(self.units)
        factors = self.substrate.factors
        return self._tabulated([self.background.averaged(factors[i], inside) for i in self.units])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides results, reference tie orders included."""
        digest = hashlib.sha256(b"iitdask system 1")
        for numbers in (self.levels, self.local_state, self.units):
            digest.update(np.array([len(numbers), *numbers], dtype="<i8").tobytes())
        for edges in (self.connectivity, self.substrate.connectivity):
            digest.update(np.array(edges.shape, dtype="<i8").tobytes())
            digest.update(np.packbits(edges).tobytes())
        for table in (self.effect, self.cause):
            digest.update(table.astype("<f8").tobytes())
        return digest.hexdigest()

    def _tabulated(self, factors: Sequence[Factor | CountingFactor]) -> Table:
        states, columns = math.prod(self.levels), sum(self.levels)
        need, budget = 8 * states * columns, self.background.budget
        if need > budget:
            raise MemoryRefusedError(
                f"system of {self.n} units: its table of {states} states needs "
                f"{need / 2**30:.3g} GiB, more than the budget of {budget / 2**30:.3g} GiB; "
                "choose fewer units or a larger budget"
            )
        local = {unit: i for i, unit in enumerate(self.units)}
        return read_only(np.hstack([factor_rows(factor, local, self.levels) for factor in factors]))


def factor_rows(
    factor: Factor | CountingFactor, local: dict[int, int], levels: tuple[int, ...]
) -> Table:
    """Return the factor as ``(S, k)``: one little-endian row per state of all local units."""
    count = len(levels)
    shape = [1] * count
    for parent, size in zip(factor.parents, factor.table.shape, strict=False):
        shape[local[parent]] = size
    own = factor.table.shape[-1]
    full = np.broadcast_to(factor.table.reshape((*shape, own)), (*levels, own))
    return full.transpose(*reversed(range(count)), count).reshape(-1, own)
