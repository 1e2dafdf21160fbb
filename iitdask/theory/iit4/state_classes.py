"""Specified states of a system that tie, in classes, and the pairs of them that tie for phi_s."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from iitdask.kernels.state_product import StateProduct, StateUnion
from iitdask.theory.stage import Array


@dataclass(frozen=True)
class StateClasses:
    """States of one side, in classes at whose states the units lose the same.

    A class takes one set of states of each group of a product; classes are numbered product by
    product, with the last group fastest.
    """

    states: Sequence[StateProduct]  # Of which no two share a state
    groups: Sequence[Sequence[Sequence[Array]]]  # Of each by group its sets of states, as positions

    @classmethod
    def together(cls, states: StateUnion) -> StateClasses:
        """Put all states of a product into one class."""
        groups = [[[np.arange(len(codes))] for codes in one.codes] for one in states.products]
        return cls(states.products, groups)

    @classmethod
    def singles(cls, states: StateProduct) -> StateClasses:
        """Make a class of every state."""
        return cls([states], [[list(np.arange(len(codes))[:, None]) for codes in states.codes]])

    @property
    def count(self) -> int:
        """Number of classes."""
        return sum(self._counts)

    @cached_property
    def _counts(self) -> list[int]:
        """Number of classes of each product."""
        return [math.prod(len(sets) for sets in groups) for groups in self.groups]

    def products(self) -> Iterator[StateProduct]:
        """Yield the states of each class."""
        for states, groups in zip(self.states, self.groups, strict=True):
            yield from (states.take(members) for members in product(*groups))

    def number_of(self, code: int) -> int:
        """Return the class of a state."""
        before = 0
        for states, groups, count in zip(self.states, self.groups, self._counts, strict=True):
            places = states.places_of(code)
            if places is not None:
                number = 0
                for at, sets in zip(places, groups, strict=True):
                    number = number * len(sets) + next(k for k, own in enumerate(sets) if at in own)
                return before + number
            before += count
        raise ValueError(f"expected one of the states, got {code}")

    def united(self, numbers: Array) -> list[StateProduct]:
        """Return the states of some classes, ascending, as few products as are seen at once."""
        out, before = list[StateProduct](), 0
        for states, groups, count in zip(self.states, self.groups, self._counts, strict=True):
            own = numbers[(numbers >= before) & (numbers < before + count)] - before
            out += _united(states, groups, own, count)
            before += count
        return out


def _united(
    states: StateProduct, groups: Sequence[Sequence[Array]], numbers: Array, count: int
) -> list[StateProduct]:
    """Return the states of some of the classes into which a product is divided."""
    if len(numbers) == count:
        return [states]
    if len(groups) == 1:
        if len(numbers) == 0:
            return []
        members = np.concatenate([groups[0][k] for k in numbers.tolist()])
        return [states.take([np.sort(members)])]
    places = zip(*np.unravel_index(numbers, [len(sets) for sets in groups]), strict=True)
    return [states.take([sets[k] for sets, k in zip(groups, at, strict=True)]) for at in places]


@dataclass(frozen=True)
class TiedStates:
    """Pairs of cause and effect states of a system that tie.

    Every cause of a pair of products pairs with every effect; no pair occurs twice.
    """

    pairs: tuple[tuple[StateProduct, StateProduct], ...]

    @cached_property
    def count(self) -> int:
        """Number of pairs of states."""
        return sum(cause.count * effect.count for cause, effect in self.pairs)


def tied_states(causes: StateClasses, effects: StateClasses, pairs: Array) -> TiedStates:
    """Collect the pairs of states of which classes tie.

    Parameters
    ----------
    causes, effects : classes of both sides
    pairs : (ties, 2) a class of each, causes ascending

    Returns
    -------
    TiedStates
    """
    starts = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1))
    by_effects: dict[bytes, tuple[Array, list[int]]] = {}
    for own in np.split(pairs, starts[1:]):
        with_all = by_effects.setdefault(own[:, 1].tobytes(), (own[:, 1], []))
        with_all[1].append(int(own[0, 0]))
    out = [
        (cause, effect)
        for partners, own in by_effects.values()
        for cause in causes.united(np.array(own))
        for effect in effects.united(partners)
    ]
    return TiedStates(tuple(out))
