"""Which inputs can make a difference, once the units outside a set are fixed.

For a set S of units, the others W, and a unit b of S, an input a of b in S is

- *effective on the effect side* when E_b(x_S) = F_b(x_S, u_W) varies with x_a for some
  values of the other units of S, W being held at the current state u;
- *effective on the cause side* when F_b varies with x_a for some values of the other units
  of S and some values of b's inputs in W that have positive posterior probability given u.

Both are monotone: if T is part of S, an input that is effective in T is effective in S.
*Effect*: values of T's units at which E_b varies, with the rest at u, are values of S's
units. *Cause*: if F_b varies at values y of b's inputs outside T with q(y) > 0, let its
inputs in S outside T have the values y gives them; the rest of y has positive posterior
probability as a marginal of q. So a graph of S bounds the graphs of all parts of S.

An input that is not effective on the cause side does not change C_b, which is an average
of F_b over exactly those values (Albantakis et al. 2023, eq. 3 and 4).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from iitdask.errors import MemoryRefusedError
from iitdask.model.background import held

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from iitdask.model.background import Background
    from iitdask.model.factor import Table
    from iitdask.model.substrate import Substrate

__all__ = ["Influence"]

WIDEST = 1 << 16
"""Rows of a table up to which the posterior of all its inputs is asked for."""


class Influence:
    """Effective inputs of units of one substrate in one state."""

    def __init__(self, substrate: Substrate, state: Sequence[int], background: Background) -> None:
        self._substrate = substrate
        self._state = state
        self._background = background
        self._joints: dict[int, Table | None] = {}
        self._effects: dict[tuple[int, frozenset[int]], frozenset[int]] = {}
        self._causes: dict[tuple[int, frozenset[int]], frozenset[int]] = {}

    def effects(self, unit: int, inside: Collection[int]) -> frozenset[int]:
        """Inputs among ``inside`` that are effective on the effect side."""
        factor = self._substrate.factors[unit]
        key = (unit, frozenset(factor.parents).intersection(inside))
        if key not in self._effects:
            own = held(factor, key[1], self._state)
            self._effects[key] = _varying(own.table, own.parents, None)
        return self._effects[key]

    def causes(self, unit: int, inside: Collection[int]) -> frozenset[int]:
        """Inputs among ``inside`` that are effective on the cause side.

        Where the posterior is too large to be looked at, all of them.
        """
        factor = self._substrate.factors[unit]
        key = (unit, frozenset(factor.parents).intersection(inside))
        if key not in self._causes:
            joint = self._joint(unit)
            support = None
            if joint is not None:
                axes = tuple(i for i, p in enumerate(factor.parents) if p in key[1])
                support = joint.sum(axis=axes, keepdims=True) > 0
            varying = _varying(factor.table, factor.parents, support)
            self._causes[key] = varying & key[1]
        return self._causes[key]

    def _joint(self, unit: int) -> Table | None:
        if unit not in self._joints:
            parents = self._substrate.factors[unit].parents
            levels = self._substrate.levels
            self._joints[unit] = None
            if self._substrate.factors[unit].table.size <= WIDEST * levels[unit]:
                with suppress(MemoryRefusedError):
                    self._joints[unit] = self._background.joint(parents, levels)
        return self._joints[unit]


def _varying(table: Table, parents: Sequence[int], support: np.ndarray | None) -> frozenset[int]:
    """Inputs along whose axis a table differs somewhere, at the supported places if any."""
    found = set()
    for axis, parent in enumerate(parents):
        differs = (table != table.take([0], axis)).any(axis=(axis, -1), keepdims=True)[..., 0]
        if support is not None:
            differs = differs & support.any(axis=axis, keepdims=True)
        if differs.any():
            found.add(parent)
    return frozenset(found)
