"""Gates over more inputs than a table can hold, which only count how many are on.

An OR of 256 inputs has no table, but its likelihood is a chain of small ones: each adds an
input to the count so far, and a count that cannot matter any more is not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np

from iitdask.errors import MemoryRefusedError
from iitdask.model.contraction import Tensor
from iitdask.model.factor import Factor, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

__all__ = ["Wide"]

NARROW = 16
"""Inputs up to which a gate becomes a table once the others are held."""


class Wide(NamedTuple):
    """P(unit = value at t+1 | how many of its two-valued inputs are on)."""

    parents: tuple[int, ...]
    """Unit numbers of the inputs, ascending."""
    counted: Table
    """``counted[inputs on, value]``."""

    @property
    def table(self) -> NoReturn:
        """There is none.

        Raises
        ------
        MemoryRefusedError
            Always.
        """
        raise MemoryRefusedError(
            f"a unit of {len(self.parents)} inputs: a table over all of them does not fit any "
            "memory; only what leaves most of them at their current values can be computed"
        )

    def declared(self, allowed: NDArray[np.bool_]) -> bool:
        """Whether a connectivity declares all inputs."""
        return bool(allowed[list(self.parents)].all())

    def held(self, inside: Collection[int], state: Sequence[int]) -> Factor | Wide:
        """Return the gate over its inputs ``inside``, the others held at ``state``."""
        free = tuple(p for p in self.parents if p in inside)
        on = sum(int(state[p]) for p in self.parents if p not in inside)
        left = self.counted[on : on + len(free) + 1]
        if len(free) > NARROW:
            return Wide(free, left)
        count = np.zeros((1,) * len(free), np.int64)
        for axis in range(len(free)):
            count = count + np.arange(2).reshape([-1 if a == axis else 1 for a in range(len(free))])
        return Factor(free, left[count])

    def likelihoods(self, value: int, auxiliary: int) -> list[Tensor]:
        """Return tables whose product, summed over auxiliary numbers, is P(value | inputs).

        Parameters
        ----------
        value
            Value of the unit.
        auxiliary
            Number of the first of ``len(parents) - 1`` auxiliary variables, beyond all units.
        """
        weight = self.counted[:, value]
        up, down = _needed(weight), _needed(weight[::-1])
        steps = np.array([0, 1])
        if down < up:  # count those that are off instead
            weight, up, steps = weight[::-1], down, np.array([1, 0])
        tensors = []
        before: tuple[int, ...] = ()
        reached = np.array([0])
        for k, parent in enumerate(self.parents):
            after = np.minimum(reached[:, None] + steps, up)
            variables = (*before, parent)
            if k == len(self.parents) - 1:
                tensors.append(Tensor(variables, _without(before, weight[after])))
                break
            reached = np.arange(min(k + 1, up) + 1)
            step = (after[..., None] == reached).astype(np.float64)
            tensors.append(Tensor((*variables, auxiliary + k), _without(before, step)))
            before = (auxiliary + k,)
        return tensors

    def minimal(self, now: Sequence[int]) -> tuple[frozenset[int], ...]:
        """Some minimal sets of inputs that, held at ``now``, leave the rest without a say."""
        on = [p for p, value in zip(self.parents, now, strict=True) if value]
        off = [p for p, value in zip(self.parents, now, strict=True) if not value]
        found: set[frozenset[int]] = set()
        fewest = len(off) + 1
        for least in range(len(on) + 1):
            rows = self.counted[least:]
            most = next((k for k in range(fewest) if _constant(rows[: len(rows) - k])), fewest)
            if most == fewest:
                continue
            fewest = most
            starts = range(max(len(on), len(off), 1))
            found |= {
                frozenset(_turned(on, start)[:least] + _turned(off, start)[:most])
                for start in starts
            }
            if most == 0:
                break
        return tuple(sorted(found, key=lambda each: (len(each), sorted(each))))


def _needed(weight: Table) -> int:
    """Count from which on a weight stays the same."""
    return int(np.flatnonzero(weight != weight[-1])[-1]) + 1 if (weight != weight[-1]).any() else 0


def _without(before: tuple[int, ...], values: Table) -> Table:
    return values if before else values[0]


def _constant(rows: Table) -> bool:
    return bool((rows == rows[0]).all())


def _turned(units: list[int], start: int) -> list[int]:
    return units[start:] + units[:start]
