"""Candidate systems of a network, and which inputs can make a difference to a set of units.

Determining sets and effective inputs: mathematics.md 24.1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations
from typing import ClassVar

import numpy as np

from iitdask.errors import MemoryRefusedError, StateError, quote
from iitdask.model.background import Background, decided_values
from iitdask.model.contraction import TABLE_BUDGET_BYTES, Tensor
from iitdask.model.factor import CountingFactor
from iitdask.model.labels import is_listed
from iitdask.model.substrate import Substrate, target_fingerprint
from iitdask.model.system import System, Target
from iitdask.types import Array, Mask, Table


@dataclass(frozen=True, eq=False)
class CandidateSet(Target):
    """All candidate systems of a substrate in a state, or some of them.

    Build one with :meth:`build`. Units outside the pool are background of every candidate.

    Examples
    --------
    >>> from iitdask.model.examples import load
    >>> candidates = CandidateSet.build(load("basic"), "100", max_size=2)
    >>> candidates.units, candidates.largest
    ((0, 1, 2), 2)
    """

    FIELDS: ClassVar[tuple[str, ...]] = ("state", "units", "max_size", "candidates")
    REQUIRED: ClassVar[int] = 1

    state: tuple[int, ...]  # Current state of all units
    units: tuple[int, ...]  # Unit numbers of the pool, ascending
    max_size: int | None  # Most units of a candidate; None: as many as there are
    # The candidates, when they were listed; None: all subsets of the pool
    candidates: tuple[tuple[int, ...], ...] | None
    background: Background  # Posterior of the previous state of all units

    @classmethod
    def build(
        cls,
        substrate: Substrate,
        state: object,
        units: object = None,
        max_size: int | None = None,
        candidates: Iterable[object] | None = None,
        *,
        budget: int = TABLE_BUDGET_BYTES,
    ) -> CandidateSet:
        """Build the set of candidates among which complexes are searched."""
        now = substrate.parse_state(state)
        pool = substrate.parse_units(units)
        if not pool:
            raise StateError("units: expected at least one unit, got none")
        if max_size is not None and not _is_size(max_size):
            raise StateError(f"max_size: expected a whole number from 1, got {quote(max_size)}")
        if candidates is not None:
            candidates = _parse_candidates(substrate, candidates, pool, max_size)
        background = Background.from_state(substrate, now, budget)
        most = None if max_size is None else int(max_size)
        return cls(substrate, now, pool, most, candidates, background)

    @property
    def largest(self) -> int:
        """Most units that a candidate may have."""
        return min(self.max_size or len(self.units), len(self.units))

    @cached_property
    def units_with_inputs_and_outputs(self) -> tuple[int, ...]:
        """Units of the pool with a declared input and a declared output: mathematics.md 9."""
        edges = self.substrate.connectivity
        both = np.flatnonzero(edges.any(axis=0) & edges.any(axis=1))
        return tuple(sorted(set(self.units).intersection(both.tolist())))

    def system(self, units: tuple[int, ...]) -> System:
        """Return one candidate as a system of its own."""
        labels = [self.substrate.labels[unit] for unit in units]
        return System.build(self.substrate, self.state, labels, background=self.background)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides results."""
        lists: list[Sequence[int]] = [self.state, self.units, (self.max_size or 0,)]
        if self.candidates is not None:
            lists += [(), *self.candidates]
        return target_fingerprint("pool", self.substrate, lists)


def _is_size(value: object) -> bool:
    """Return True for a number of units, one that an array can hold."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return False
    return 1 <= int(value) < 2**63


def _parse_candidates(
    substrate: Substrate, candidates: Iterable[object], pool: tuple[int, ...], most: int | None
) -> tuple[tuple[int, ...], ...]:
    """Return listed candidates, each once, in the order of mathematics 9."""
    if isinstance(candidates, str) or not is_listed(candidates):
        raise StateError(f"candidates: expected a list of sets of units, got {quote(candidates)}")
    found = set()
    for number, each in enumerate(candidates):
        place = f"candidates: entry {number}"
        if each is None:
            raise StateError(f"{place}: expected units, got none")
        try:
            units = substrate.parse_units(each)
        except StateError as error:
            raise StateError(f"{place}: {error}") from None
        if not units or not set(units) <= set(pool):
            raise StateError(f"{place}: expected units of the pool, got {quote(each)}")
        if most is not None and len(units) > most:
            raise StateError(f"{place}: expected at most {most} units (max_size), got {len(units)}")
        found.add(units)
    if not found:
        raise StateError("candidates: expected at least one, got none")
    return tuple(sorted(found, key=lambda u: (-len(u), tuple(-i for i in reversed(u)))))


def flat_factors(pool: CandidateSet, units: Iterable[int]) -> dict[str, Array]:
    """Return tables and posteriors of some units as arguments of the kernels of ``system_phi``."""
    substrate, needed = pool.substrate, set(units)
    counts: list[tuple[int, int, int]] = [(0, 0, 0)]
    parents, tables, posteriors = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0)]
    for unit, factor in enumerate(substrate.factors):
        if unit not in needed:
            counts.append((0, 0, 0))
            continue
        try:
            table = factor.table
            joint = pool.background.joint(factor.parents, substrate.levels)
        except MemoryRefusedError as error:
            raise MemoryRefusedError(f"unit {substrate.labels[unit]!r}: {error}") from None
        # Rows little-endian: the first input fastest.
        rows = np.moveaxis(table, -1, 0).reshape(table.shape[-1], -1, order="F")
        parents.append(np.array(factor.parents, np.int64))
        tables.append(rows.T.ravel())
        posteriors.append(joint.ravel(order="F"))
        counts.append((len(factor.parents), table.size, joint.size))
    starts = np.cumsum(np.array(counts, np.int64), axis=0)
    return {
        "levels": np.array(substrate.levels, np.int64),
        "state": np.array(pool.state, np.int64),
        "starts": np.ascontiguousarray(starts[:, 0]),
        "parents": np.concatenate(parents),
        "table_starts": np.ascontiguousarray(starts[:, 1]),
        "tables": np.concatenate(tables),
        "posterior_starts": np.ascontiguousarray(starts[:, 2]),
        "posteriors": np.concatenate(posteriors),
    }


MAX_POSTERIOR_ROWS = 1 << 16  # Rows of a table up to which the posterior of its inputs is computed
EXHAUSTIVE_INPUTS = 8  # Inputs up to which all minimal determining sets are searched, not only some


class Influence:
    """Determining and effective inputs of units of one substrate in one state."""

    def __init__(self, substrate: Substrate, state: Sequence[int], background: Background) -> None:
        self._substrate, self._state, self._background = substrate, state, background
        self._joint, self._own_past = cache(self._find_joint), cache(self._find_own_past)
        self._causes = cache(self._find_causes)

    def parents(self, unit: int) -> tuple[int, ...]:
        """Return the inputs of a unit's factor."""
        return self._substrate.factors[unit].parents

    def determining(self, unit: int, inside: Collection[int]) -> tuple[frozenset[int], ...]:
        """Return minimal determining sets among ``inside``, smaller ones first; at least one."""
        own = self._substrate.factors[unit].conditioned(inside, self._state)
        now = [self._state[p] for p in own.parents]
        if isinstance(own, CountingFactor):
            return own.minimal_determining_sets(now)
        return _minimal_determining_sets(own.table, own.parents, now)

    def causes(self, unit: int, inside: Collection[int]) -> frozenset[int]:
        """Return the inputs among ``inside`` that are effective on the cause side.

        Where the posterior is too large to be looked at, all values count as possible.
        """
        return self._causes(unit, frozenset(self._substrate.factors[unit].parents) & set(inside))

    def _find_causes(self, unit: int, inputs: frozenset[int]) -> frozenset[int]:
        factor = self._substrate.factors[unit]
        if isinstance(factor, CountingFactor):
            return inputs
        here = _input_axes(factor.parents, inputs)
        likelihood = factor.table[..., self._state[unit]]
        possible = self._possible(unit, here)
        found = _varying_axes(likelihood, possible) & here
        past = {a: v for a in found if (v := self._own_past(factor.parents[a])) is not None}
        if past:
            axes = range(likelihood.ndim)
            fixed = tuple(slice(past[a], past[a] + 1) if a in past else slice(None) for a in axes)
            found = set(past) | (_varying_axes(likelihood[fixed], possible) & found)
        return frozenset(factor.parents[a] for a in found)

    def effective(self, unit: int, inside: Collection[int]) -> frozenset[int]:
        """Return the inputs among ``inside`` that E_b or C_b vary with in any state."""
        factor = self._substrate.factors[unit]
        if isinstance(factor, CountingFactor):
            return frozenset(factor.parents).intersection(inside)
        here = _input_axes(factor.parents, inside)
        table = factor.table
        values = enumerate(self._state[p] for p in factor.parents)
        now = [slice(None) if a in here else slice(v, v + 1) for a, v in values]
        found = _varying_axes(table[tuple(now)], np.ones((1,) * table.ndim, bool))
        found |= _varying_axes(table, self._possible(unit, here)[..., None])
        return frozenset(factor.parents[a] for a in found & here)

    def _possible(self, unit: int, free: set[int]) -> Mask:
        """Return where the posterior of a unit's inputs is positive, summed over free axes."""
        joint = self._joint(unit)
        if joint is None:
            return np.ones((1,) * len(self._substrate.factors[unit].parents), bool)
        return np.asarray(joint.sum(axis=tuple(free), keepdims=True) > 0)

    def _find_own_past(self, unit: int) -> int | None:
        """Return the previous value that a unit's current one implies; None if several may be."""
        factor = self._substrate.factors[unit]
        if unit not in factor.parents or isinstance(factor, CountingFactor):
            return None
        likelihood = factor.table[..., self._state[unit]]
        return decided_values(Tensor(factor.parents, likelihood)).get(unit)

    def _find_joint(self, unit: int) -> Table | None:
        factor, levels = self._substrate.factors[unit], self._substrate.levels
        with suppress(MemoryRefusedError):
            if factor.table.size <= MAX_POSTERIOR_ROWS * levels[unit]:
                return self._background.joint(factor.parents, levels)
        return None


def _input_axes(parents: Sequence[int], inside: Collection[int]) -> set[int]:
    return {axis for axis, parent in enumerate(parents) if parent in inside}


def _varying_axes(table: Table, possible: Mask) -> set[int]:
    """Return the axes along which a table differs where possible (length 1 along free axes)."""
    found = set()
    for axis in range(table.ndim):
        differs = (table != table.take([0], axis)).any(axis=axis, keepdims=True)
        if (differs & possible.any(axis=axis, keepdims=True)).any():
            found.add(axis)
    return found


def _minimal_determining_sets(
    table: Table, parents: Sequence[int], now: Sequence[int]
) -> tuple[frozenset[int], ...]:
    """Return minimal determining sets of inputs (mathematics 24.1)."""

    def determines(axes: Collection[int]) -> bool:
        index = tuple(now[a] if a in axes else slice(None) for a in range(len(parents)))
        rows = table[index].reshape(-1, table.shape[-1])
        return bool((rows == rows[0]).all())

    whole = [a for a in range(len(parents)) if (table != table.take([0], a)).any()]
    if not any(determines(set(whole) - {a}) for a in whole):
        found = [set(whole)]
    elif len(whole) <= EXHAUSTIVE_INPUTS:
        found = []
        for size in range(len(whole)):
            for axes in map(set, combinations(whole, size)):
                if not any(each <= axes for each in found) and determines(axes):
                    found.append(axes)
    else:
        found = [{a} for a in whole if determines({a})]
        for start in range(len(whole)):
            left = set(whole)
            for a in whole[start:] + whole[:start]:
                if determines(left - {a}):
                    left -= {a}
            if not any(each <= left for each in found):
                found.append(left)
    return tuple(frozenset(parents[a] for a in axes) for axes in sorted(found, key=len))
