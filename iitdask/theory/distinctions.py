"""From tied causes and effects to the distinctions of a cause-effect structure (spec.md 10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.orders import set_order, size_order
from iitdask.model.system import System
from iitdask.theory.base import Answer
from iitdask.theory.mechanisms import CAUSE, EFFECT
from iitdask.theory.states import restrictions
from iitdask.theory.symmetry import canonical_ranks
from iitdask.theory.tables import child_masks

__all__ = ["Choices", "Distinction", "PurviewOrder", "Side", "choose", "gather_choices"]

Array = NDArray[Any]
REFERENCE_UNITS = 14  # beyond, the published order would walk 2**N purviews per mechanism
TieKey = Callable[[int, bool, Sequence[int]], list[int]]


class Side(NamedTuple):
    """A cause or effect of a mechanism: one purview among those that tie."""

    purview: int
    """Mask."""
    phi: float
    """Integrated information over this purview, bits."""
    information: float
    """Intrinsic information, bits."""
    state: int
    """Representative specified state, little-endian over the purview."""
    states: tuple[int, ...]
    """All specified states whose phi ties, in state order."""
    kept: tuple[int, ...]
    """(n,) partners each unit still sees under the named partition; -1 where none applies."""


class Choices(NamedTuple):
    """An irreducible mechanism with its tied purviews, the representative first."""

    mechanism: int
    """Mask."""
    cause: tuple[Side, ...]
    """Tied cause purviews."""
    effect: tuple[Side, ...]
    """Tied effect purviews."""


class Distinction(NamedTuple):
    """A mechanism with the cause and effect chosen for it."""

    choices: Choices
    """What could be chosen."""
    cause: Side
    """Chosen cause; its ``state`` agrees with the system's."""
    effect: Side
    """Chosen effect, likewise."""

    @property
    def phi(self) -> float:
        """phi_d, bits."""
        return min(self.choices.cause[0].phi, self.choices.effect[0].phi)


class PurviewOrder:
    """Orders the tied purviews of a mechanism: by the published set order, or canonically."""

    def __init__(self, system: System, ties: str) -> None:
        self._system = system
        self._reference = ties == "reference" and system.substrate.n_units <= REFERENCE_UNITS
        self._ranks: Array | None = None
        self._sequence: Array | None = None
        self._children = child_masks(system.substrate.connectivity) if self._reference else None

    def sort(self, mechanism: int, forward: bool, purviews: Sequence[int]) -> list[int]:
        """Purview masks in order; the first is the representative."""
        if len(purviews) == 1:
            return list(purviews)
        if not self._reference:
            return sorted(purviews, key=self.canonical_key)
        if self._sequence is None:
            self._sequence = size_order(self._system.substrate.n_units)
        outer = {self._outer(p): p for p in purviews}
        order = set_order(self._outer(mechanism), self._sequence, self._children, forward)
        return [outer[p] for p in order.tolist() if p in outer]

    def canonical_key(self, purview: int) -> tuple[int, tuple[int, ...]]:
        """Larger first, then by the units' ranks in a label-independent numbering."""
        if self._ranks is None:
            self._ranks = canonical_ranks(self._system)[list(self._system.units)]
        units = [i for i in range(self._system.n) if purview >> i & 1]
        return -len(units), tuple(sorted(int(self._ranks[i]) for i in units))

    def _outer(self, mask: int) -> int:
        """Mask over the substrate's units."""
        return sum(1 << unit for i, unit in enumerate(self._system.units) if mask >> i & 1)


def gather_choices(pairs: Array, details: Answer, order: PurviewOrder) -> list[Choices]:
    """Collect the details of tied pairs by mechanism, each side in tie order."""
    sides: dict[tuple[int, int], list[Side]] = {}
    bits = details["tied_states"].values
    names = ("phi", "information", "state", "ties", "kept")
    columns = [details[name].values.tolist() for name in names]
    rows = zip(pairs.tolist(), *columns, strict=True)
    for k, ((direction, mechanism, purview), phi, information, state, ties, kept) in enumerate(
        rows
    ):
        tied: tuple[int, ...] = (state,)
        if ties > 1:
            tied = tuple(np.flatnonzero(np.unpackbits(bits[k], bitorder="little")).tolist())
        side = Side(purview, phi, information, state, tied, tuple(kept))
        sides.setdefault((mechanism, direction), []).append(side)
    return [
        Choices(
            mechanism,
            _ranked(mechanism, sides[mechanism, CAUSE], order, forward=False),
            _ranked(mechanism, sides[mechanism, EFFECT], order, forward=True),
        )
        for mechanism in sorted({m for m, _ in sides})
    ]


def _ranked(
    mechanism: int, found: Sequence[Side], order: PurviewOrder, forward: bool
) -> tuple[Side, ...]:
    """Tied sides of a mechanism, the representative first."""
    if len(found) == 1:
        return (found[0],)
    sides = {side.purview: side for side in found}
    return tuple(sides[p] for p in order.sort(mechanism, forward, sorted(sides)))


def choose(
    system: System, every: Sequence[Choices], states: tuple[int, int], ties: str
) -> list[Distinction]:
    """Keep the mechanisms whose cause and effect can agree with the system's states."""
    implied = [restrictions(state, system.levels) for state in states]
    out = []
    for choices in every:
        cause = _congruent(choices.cause, implied[0], ties)
        effect = _congruent(choices.effect, implied[1], ties)
        if cause is not None and effect is not None:
            out.append(Distinction(choices, cause, effect))
    return out


def alternatives(found: Distinction, implied: Sequence[Array]) -> tuple[list[Side], list[Side]]:
    """Every admissible cause and effect of a distinction, the chosen ones included.

    implied : of every purview, the state that the system's cause and effect state imply
    """
    out = []
    for side, states in ((found.choices.cause, implied[0]), (found.choices.effect, implied[1])):
        fitting = [_agreeing(s, states) for s in side]
        out.append([s for s in fitting if s is not None])
    return out[0], out[1]


def _agreeing(side: Side, implied: Array) -> Side | None:
    """The side in the state a system state implies, if that is one of its tied states."""
    wanted = int(implied[side.purview])
    if wanted == side.state:
        return side  # as nearly always: one that ties for itself alone
    return side._replace(state=wanted) if wanted in side.states else None


def _congruent(sides: Sequence[Side], implied: Array, ties: str) -> Side | None:
    """Spec.md 10: the representative's tied states first, then the largest tied purview."""
    if ties == "canonical":  # congruent, then larger, then the label-independent order
        fitting = (_agreeing(side, implied) for side in sides)
        return next((side for side in fitting if side is not None), None)
    first = _agreeing(sides[0], implied)
    if first is not None:
        return first
    others = [s for s in sides[1:] if s.state == implied[s.purview]]
    return max(others, key=lambda s: s.purview.bit_count(), default=None)
