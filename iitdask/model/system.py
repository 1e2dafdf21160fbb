"""Targets of a computation, and the most common one: a candidate system in a state."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from iitdask.errors import MemoryRefusedError, StateError
from iitdask.model.background import Background, require_reachable
from iitdask.model.contraction import TABLE_BUDGET_BYTES
from iitdask.model.factor import CountingFactor, Factor, read_only
from iitdask.model.substrate import Substrate
from iitdask.types import Mask, Table

HASHED_STATES = 1 << 16  # Of a system whose tables over all states are its fingerprint


@dataclass(frozen=True, eq=False)
class Target(ABC):
    """What a computation is about, built from fields of a study."""

    # Names of the fields, attributes of the target; the first ones are required
    FIELDS: ClassVar[tuple[str, ...]]
    REQUIRED: ClassVar[int]  # Number of fields that a study must have
    ALTERNATIVES: ClassVar[Mapping[str, str]] = {}  # Field that may stand for a required one

    substrate: Substrate  # All units

    @classmethod
    @abstractmethod
    def build(cls, substrate: Substrate, *fields: Any, **more: Any) -> Self:
        """Build the target from fields of a study, in the order of `FIELDS` or by name."""

    @classmethod
    def own_substrate(cls, **_fields: Any) -> Substrate | None:
        """Return the substrate of a study that names none; None where it must."""
        return None

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the units that the masks of its stages number."""
        return self.substrate.labels

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides results; labels do not."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that build the target again, as plain numbers and lists."""
        return {name: _nested_list(getattr(self, name)) for name in self.FIELDS}

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        # Unpickled arrays would be writable: compute them where they are used.
        return type(self), tuple(getattr(self, field.name) for field in fields(self))


def _nested_list(value: Any) -> Any:
    return [_nested_list(each) for each in value] if isinstance(value, tuple) else value


@dataclass(frozen=True, eq=False)
class CandidateSystem(Target):
    """What theories ask of a candidate system; it may bring its own cause and effect tables.

    :class:`System` computes both tables from the factors of its substrate. Units of another
    grain, for example, are not among those factors: their system has tables of its own.
    """

    state: tuple[int, ...]  # Current state of all units
    units: tuple[int, ...]  # Unit numbers of the candidate, ascending

    @property
    @abstractmethod
    def effect(self) -> Table:
        """``(S, R)`` P(unit takes value at t+1 | candidate in state s), see :class:`System`."""

    @property
    @abstractmethod
    def cause(self) -> Table:
        """``(S, R)`` P(unit takes value at t | candidate was in state s), see :class:`System`."""

    @property
    @abstractmethod
    def budget_bytes(self) -> int:
        """Bytes that one table may take."""

    @property
    def micro_units(self) -> tuple[int, ...]:
        """Unit numbers of the elements of the substrate inside, ascending."""
        return self.units

    @property
    def micro_state(self) -> tuple[int, ...]:
        """Current state of all elements of the substrate."""
        return self.state

    @property
    def network(self) -> Substrate:
        """Substrate among whose units `units` are, by which the published order numbers them."""
        return self.substrate

    @property
    def two_sided_network(self) -> Substrate:
        """The same with all that tells its units apart: what the canonical order numbers."""
        return self.network

    @property
    def effect_factors(self) -> list[Factor | CountingFactor]:
        """The columns of `effect` by unit, over the units of the candidate, numbered from 0."""
        return self._factors_of(self.effect)

    @property
    def cause_factors(self) -> list[Factor | CountingFactor]:
        """The same of `cause`."""
        return self._factors_of(self.cause)

    def _factors_of(self, table: Table) -> list[Factor | CountingFactor]:
        cube = table.reshape(*self.levels, -1, order="F")
        ends = np.cumsum(self.levels)[:-1]
        return [Factor(tuple(range(self.n)), part) for part in np.split(cube, ends, axis=-1)]

    @property
    def n(self) -> int:
        """Number of units of the candidate."""
        return len(self.units)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Number of values of each unit of the candidate."""
        return tuple(self.substrate.levels[i] for i in self.units)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the candidate's units."""
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
    def connectivity(self) -> Mask:
        """``(n, n)`` declared edges within the candidate, ``[from, to]``."""
        return read_only(self.substrate.connectivity[np.ix_(self.units, self.units)], np.bool_)


@dataclass(frozen=True, eq=False)
class System(CandidateSystem):
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
    REQUIRED: ClassVar[int] = 1

    background: Background  # Posterior of the previous state of all units

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
        """Build a candidate system; `background` is that of another candidate in the same state."""
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

    @property
    def budget_bytes(self) -> int:
        """Bytes that one table may take."""
        return self.background.budget

    @cached_property
    def effect(self) -> Table:
        """``(S, R)`` P(unit takes value at t+1 | candidate in state s), the other units fixed.

        S candidate states, little-endian; R columns: the values of unit 0, of unit 1, ...
        Mathematics 2.1.
        """
        return self._tabulated(self._conditioned_factors())

    @property
    def effect_factors(self) -> list[Factor | CountingFactor]:
        """The factors of the candidate's units over its units, numbered from 0."""
        return self._renumbered(self._conditioned_factors())

    def _conditioned_factors(self) -> list[Factor | CountingFactor]:
        inside, factors = frozenset(self.units), self.substrate.factors
        return [factors[i].conditioned(inside, self.state) for i in self.units]

    @cached_property
    def cause(self) -> Table:
        """``(S, R)`` P(unit takes value at t | candidate was in state s), the other units averaged.

        The average is over the posterior of the units outside, given the current state of
        all units. The same array as :attr:`effect` if no unit is outside. Mathematics 2.1.
        """
        if self.n == self.substrate.n_units:
            return self.effect
        return self._tabulated(self._averaged_factors())

    @property
    def cause_factors(self) -> list[Factor | CountingFactor]:
        """The same for causes, the units outside averaged."""
        if self.n == self.substrate.n_units:
            return self.effect_factors
        return self._renumbered(self._averaged_factors())

    def _averaged_factors(self) -> list[Factor | CountingFactor]:
        inside, factors = frozenset(self.units), self.substrate.factors
        return [self.background.averaged(factors[i], inside) for i in self.units]

    def _renumbered(self, factors: Sequence[Factor | CountingFactor]) -> list[Any]:
        local = {unit: i for i, unit in enumerate(self.units)}
        return [f._replace(parents=tuple(local[unit] for unit in f.parents)) for f in factors]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides results, reference tie orders included."""
        digest = hashlib.sha256(b"iitdask system 1")
        for numbers in (self.levels, self.local_state, self.units):
            digest.update(np.array([len(numbers), *numbers], dtype="<i8").tobytes())
        for edges in (self.connectivity, self.substrate.connectivity):
            digest.update(np.array(edges.shape, dtype="<i8").tobytes())
            digest.update(np.packbits(edges).tobytes())
        if math.prod(self.levels) <= HASHED_STATES:
            for table in (self.effect, self.cause):
                digest.update(table.astype("<f8").tobytes())
            return digest.hexdigest()
        for factor in (*self.effect_factors, *self.cause_factors):
            is_counting = isinstance(factor, CountingFactor)
            table = factor[1]
            shape = [is_counting, len(factor.parents), *factor.parents, *table.shape]
            digest.update(np.array(shape, "<i8").tobytes())
            digest.update(table.astype("<f8").tobytes())
        return digest.hexdigest()

    def _tabulated(self, factors: Sequence[Factor | CountingFactor]) -> Table:
        return tabulate(
            factors, self.units, self.levels, budget=self.budget_bytes,
            name=f"system of {self.n} units", advice="choose fewer units or a larger budget",
        )  # fmt: skip


def tabulate(
    factors: Sequence[Factor | CountingFactor],
    units: Sequence[int],
    levels: tuple[int, ...],
    *,
    budget: int,
    name: str,
    advice: str,
) -> Table:
    """Return ``(S, R)`` factors over the same units side by side, a little-endian row per state."""
    local = {unit: i for i, unit in enumerate(units)}
    states, columns = math.prod(levels), sum(factor.n_values for factor in factors)
    need = 8 * states * columns
    if need > budget:
        raise MemoryRefusedError(
            f"{name}: its table of {states} states needs {need / 2**30:.3g} GiB, more than the "
            f"budget of {budget / 2**30:.3g} GiB; {advice}"
        )
    return read_only(np.hstack([factor_rows(factor, local, levels) for factor in factors]))


def factor_rows(
    factor: Factor | CountingFactor, local: dict[int, int], levels: tuple[int, ...]
) -> Table:
    """Return ``(S, k)``: a factor over all units of a system, one little-endian row per state."""
    count = len(levels)
    shape = [1] * count
    for parent, size in zip(factor.parents, factor.table.shape, strict=False):
        shape[local[parent]] = size
    own = factor.table.shape[-1]
    full = np.broadcast_to(factor.table.reshape((*shape, own)), (*levels, own))
    return full.transpose(*reversed(range(count)), count).reshape(-1, own)
