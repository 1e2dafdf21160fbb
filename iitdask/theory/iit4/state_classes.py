"""Specified states of a system that tie, in classes, and the pairs of them that tie for phi_s."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from iitdask.kernels.state_product import StateProduct, unit_values
from iitdask.theory.stage import Array


@dataclass(frozen=True)
class StateClasses:
    """States of one side, in classes at whose states the units lose the same.

    A class takes one set of states of each group; classes are numbered with the last group fastest.
    """

    states: StateProduct
    groups: Sequence[Sequence[Array]]  # By group of units its sets of states, as positions

    @classmethod
    def together(cls, states: StateProduct) -> StateClasses:
        """Put all states into one class."""
        return cls(states, [[np.arange(len(codes))] for codes in states.codes])

    @classmethod
    def singles(cls, states: StateProduct) -> StateClasses:
        """Make a class of every state."""
        return cls(states, [list(np.arange(len(codes))[:, None]) for codes in states.codes])

    @property
    def count(self) -> int:
        """Number of classes."""
        return math.prod(len(sets) for sets in self.groups)

    def products(self) -> Iterator[StateProduct]:
        """Yield the states of each class."""
        return (self.states.take(members) for members in product(*self.groups))

    def number_of(self, code: int) -> int:
        """Return the class of a state."""
        levels, number = self.states.levels, 0
        values = unit_values(np.array([code]), levels)[0]
        for group, sets in enumerate(self.groups):
            units = list(self.states.units[group])
            of_group = self.states.values(group)[:, units]
            at = int(np.flatnonzero((of_group == values[units]).all(axis=1))[0])
            number = number * len(sets) + next(k for k, own in enumerate(sets) if at in own)
        return number

    def united(self, numbers: Array) -> list[StateProduct]:
        """Return the states of some classes, as few products as are seen at once."""
        if len(numbers) == self.count:
            return [self.states]
        if len(self.groups) == 1:
            members = np.concatenate([self.groups[0][k] for k in numbers.tolist()])
            return [self.states.take([np.sort(members)])]
        shape = [len(sets) for sets in self.groups]
        places = zip(*np.unravel_index(numbers, shape), strict=True)
        return [
            self.states.take([sets[k] for sets, k in zip(self.groups, at, strict=True)])
            for at in places
        ]


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
