"""Which inputs can make a difference to a set of units, once those outside are fixed.

For a set S of units, the others W, the current state u, and a unit b of S:

*Effect side.* A set D of b's inputs in S is *determining* when b's next value has the same
distribution for all values of b's other inputs in S, those in D and in W being held at u.
All inputs that E_b(x_S) = F_b(x_S, u_W) varies with are one determining set; an AND that
has an input off is determined by that input alone.

*Cause side.* What counts is the likelihood C_b(x_S)[u_b], an average of F_b(x_S, x_W)[u_b]
over values x_W with positive posterior probability. Some units tell their own past: F_k[u_k]
is positive for one value of k's input from itself only. Every state of S from which u_S can
follow then has that value, and so has every specified cause state, which is the likeliest
one. b's *effective* inputs are those of S that F_b[u_b] varies with, for some values of the
other inputs in S that agree with what is told, and some values in W that are possible;
and, where they made a difference to that, the units that told.

Both are monotone. For T part of S, if D is determining in S then the part of D in T is
determining in T: of the inputs that were free, those outside T are now held. An input
effective in T is effective in S: the values at which F_b varies are possible in S, too,
because those of W restricted to b's inputs outside S have positive posterior as a marginal.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from iitdask.errors import MemoryRefusedError
from iitdask.model.background import held
from iitdask.model.wide import Wide

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from iitdask.model.background import Background
    from iitdask.model.factor import Table
    from iitdask.model.substrate import Substrate

__all__ = ["Influence"]

WIDEST = 1 << 16
"""Rows of a table up to which the posterior of all its inputs is asked for."""
EVERY = 8
"""Inputs up to which all minimal determining sets are found; beyond, only some."""


class Influence:
    """Determining and effective inputs of units of one substrate in one state."""

    def __init__(self, substrate: Substrate, state: Sequence[int], background: Background) -> None:
        self._substrate = substrate
        self._state = state
        self._background = background
        self._joints: dict[int, Table | None] = {}
        self._told: dict[int, int | None] = {}
        self._causes: dict[tuple[int, frozenset[int]], frozenset[int]] = {}

    def determining(self, unit: int, inside: Collection[int]) -> tuple[frozenset[int], ...]:
        """Minimal determining sets among ``inside``, smaller ones first; at least one."""
        own = held(self._substrate.factors[unit], inside, self._state)
        now = [self._state[p] for p in own.parents]
        if isinstance(own, Wide):
            return own.minimal(now)
        return _minimal(own.table, own.parents, now)

    def causes(self, unit: int, inside: Collection[int]) -> frozenset[int]:
        """Inputs among ``inside`` that are effective on the cause side.

        Where the posterior is too large to be looked at, all values count as possible.
        """
        factor = self._substrate.factors[unit]
        key = (unit, frozenset(factor.parents).intersection(inside))
        if isinstance(factor, Wide):
            return key[1]
        if key not in self._causes:
            here = _axes(factor.parents, key[1])
            likelihood = factor.table[..., self._state[unit]]
            possible = self._possible(unit, here)
            found = _varying(likelihood, possible) & here
            told = {a: v for a in found if (v := self._own_past(factor.parents[a])) is not None}
            if told:
                fixed = tuple(
                    slice(told[a], told[a] + 1) if a in told else slice(None)
                    for a in range(likelihood.ndim)
                )
                found = set(told) | (_varying(likelihood[fixed], possible) & found)
            self._causes[key] = frozenset(factor.parents[a] for a in found)
        return self._causes[key]

    def effective(self, unit: int, inside: Collection[int]) -> frozenset[int]:
        """Inputs among ``inside`` that E_b or C_b vary with at all, whatever the states."""
        factor = self._substrate.factors[unit]
        if isinstance(factor, Wide):
            return frozenset(factor.parents).intersection(inside)
        here = _axes(factor.parents, inside)
        table = factor.table
        now = [slice(None) if a in here else slice(v, v + 1) for a, v in self._now(unit)]
        found = _varying(table[tuple(now)], np.ones((1,) * table.ndim, bool))
        found |= _varying(table, self._possible(unit, here)[..., None])
        return frozenset(factor.parents[a] for a in found & here)

    def _now(self, unit: int) -> list[tuple[int, int]]:
        return [(a, self._state[p]) for a, p in enumerate(self._substrate.factors[unit].parents)]

    def _possible(self, unit: int, free: set[int]) -> NDArray[np.bool_]:
        """Where the posterior of a unit's inputs is positive, those at some axes being free."""
        joint = self._joint(unit)
        if joint is None:
            return np.ones((1,) * len(self._substrate.factors[unit].parents), bool)
        return np.asarray(joint.sum(axis=tuple(free), keepdims=True) > 0)

    def _own_past(self, unit: int) -> int | None:
        """Value a unit must have had, by what it is now alone; None where both are possible."""
        if unit not in self._told:
            self._told[unit] = None
            factor = self._substrate.factors[unit]
            if unit in factor.parents and not isinstance(factor, Wide):
                axis = factor.parents.index(unit)
                possible = factor.table[..., self._state[unit]] > 0
                others = tuple(a for a in range(possible.ndim) if a != axis)
                values = np.flatnonzero(possible.any(axis=others))
                if len(values) == 1:
                    self._told[unit] = int(values[0])
        return self._told[unit]

    def _joint(self, unit: int) -> Table | None:
        if unit not in self._joints:
            factor, levels = self._substrate.factors[unit], self._substrate.levels
            self._joints[unit] = None
            with suppress(MemoryRefusedError):
                if factor.table.size <= WIDEST * levels[unit]:
                    self._joints[unit] = self._background.joint(factor.parents, levels)
        return self._joints[unit]


def _axes(parents: Sequence[int], inside: Collection[int]) -> set[int]:
    return {axis for axis, parent in enumerate(parents) if parent in inside}


def _varying(table: Table, possible: NDArray[np.bool_]) -> set[int]:
    """Axes along which a table differs somewhere at possible places.

    possible : same number of axes, length 1 along the axes that are free.
    """
    found = set()
    for axis in range(table.ndim):
        differs = (table != table.take([0], axis)).any(axis=axis, keepdims=True)
        if (differs & possible.any(axis=axis, keepdims=True)).any():
            found.add(axis)
    return found


def _minimal(
    table: Table, parents: Sequence[int], now: Sequence[int]
) -> tuple[frozenset[int], ...]:
    """Sets of inputs that, held at their current values, leave the rest without a say."""

    def determines(axes: Collection[int]) -> bool:
        index = tuple(now[a] if a in axes else slice(None) for a in range(len(parents)))
        rows = table[index].reshape(-1, table.shape[-1])
        return bool((rows == rows[0]).all())

    whole = [a for a in range(len(parents)) if (table != table.take([0], a)).any()]
    if not any(determines(set(whole) - {a}) for a in whole):
        found = [set(whole)]
    elif len(whole) <= EVERY:
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
