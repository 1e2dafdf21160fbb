"""Many states of a system, as combinations of states of groups of its units, and unions of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StateProduct:
    """States of a system: one of each group of its units, in every combination.

    The number of a state is the sum of the numbers of its parts, little-endian.
    """

    levels: tuple[int, ...]  # Values of each unit
    units: tuple[tuple[int, ...], ...]  # Of each group; together all units, each once
    # Of each group: (m,) int64, its states, ascending, other units 0; (m,) their probabilities
    codes: tuple[NDArray[np.int64], ...]
    weights: tuple[NDArray[np.float64], ...]

    @classmethod
    def listed(
        cls, levels: Sequence[int], codes: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> Self:
        """Return states that are listed one by one, ascending."""
        return cls(tuple(levels), (tuple(range(len(levels))),), (codes,), (weights,))

    @property
    def count(self) -> int:
        """Number of states."""
        return math.prod(len(codes) for codes in self.codes)

    @property
    def first(self) -> int:
        """The state of the smallest number."""
        return sum(int(codes[0]) for codes in self.codes)

    @property
    def weight(self) -> float:
        """Probability of the first state."""
        return math.prod(float(weights[0]) for weights in self.weights)

    def take(self, members: Sequence[NDArray[np.int64]]) -> Self:
        """Return the combinations of some states of each group, given by position, ascending."""
        codes = tuple(c[at] for c, at in zip(self.codes, members, strict=True))
        weights = tuple(w[at] for w, at in zip(self.weights, members, strict=True))
        return replace(self, codes=codes, weights=weights)

    def one_by_one(self) -> Self:
        """List all states as those of one group."""
        codes, weights = np.zeros(1, np.int64), np.ones(1)
        for more, factor in zip(self.codes, self.weights, strict=True):
            codes = (codes[:, None] + more).ravel()
            weights = (weights[:, None] * factor).ravel()
        order = np.argsort(codes)
        return self.listed(self.levels, codes[order], weights[order])

    def values(self, group: int) -> NDArray[np.int64]:
        """Return the value of every unit in each state of a group, 0 for others; (m, n)."""
        return unit_values(self.codes[group], self.levels)

    def states_of(self, group: int) -> NDArray[np.int64]:
        """Return the value of every unit in each state of a group, others as in the first."""
        others = self.first - int(self.codes[group][0])
        return unit_values(self.codes[group] + others, self.levels)

    def places_of(self, code: int) -> list[int] | None:
        """Return which state of each group a state has; None if it is none of these states."""
        values, places = unit_values(np.array([code]), self.levels)[0], list[int]()
        for group, units in enumerate(self.units):
            own = list(units)
            at = np.flatnonzero((self.values(group)[:, own] == values[own]).all(axis=1))
            if len(at) == 0:
                return None
            places.append(int(at[0]))
        return places

    def lowest(self, order: Sequence[int]) -> int:
        """Return the state of the smallest values, those of the units in this order compared."""
        code = 0
        for group, codes in enumerate(self.codes):
            at = np.lexsort(self.values(group)[:, list(reversed(order))].T)
            code += int(codes[at[0]])
        return code


@dataclass(frozen=True)
class StateUnion:
    """States of a system, as products of which no two share a state."""

    products: tuple[StateProduct, ...]

    @property
    def levels(self) -> tuple[int, ...]:
        """Values of each unit."""
        return self.products[0].levels

    @property
    def count(self) -> int:
        """Number of states."""
        return sum(one.count for one in self.products)

    @property
    def first(self) -> int:
        """The state of the smallest number."""
        return min(one.first for one in self.products)

    @property
    def largest_weight(self) -> float:
        """Probability of the likeliest state."""
        return max(math.prod(float(w.max()) for w in one.weights) for one in self.products)

    @property
    def least_weight(self) -> float:
        """Probability of the least likely state."""
        return min(math.prod(float(w.min()) for w in one.weights) for one in self.products)

    def one_by_one(self) -> StateProduct:
        """List all states as those of one group."""
        if len(self.products) == 1 and len(self.products[0].units) == 1:
            return self.products[0]
        listed = [one.one_by_one() for one in self.products]
        codes = np.concatenate([one.codes[0] for one in listed])
        weights = np.concatenate([one.weights[0] for one in listed])
        order = np.argsort(codes)
        return StateProduct.listed(self.levels, codes[order], weights[order])


def unit_values(codes: NDArray[np.int64], levels: Sequence[int]) -> NDArray[np.int64]:
    """Return the value of every unit in each of some states; (m, n)."""
    sizes = np.array(levels, np.int64)
    weights = np.concatenate([[1], np.cumprod(sizes[:-1], dtype=np.int64)])
    out: NDArray[np.int64] = codes[:, None] // weights % sizes
    return out
