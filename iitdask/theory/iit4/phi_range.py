"""The least and the largest Phi over all choices among ties.

Every distinction has one or more bindings, what its admissible causes and effects can bind; a joint
choice takes one binding of each. Phi is a sum over unit-states of what lies over them, so only the
unit-states whose share of some distinction varies matter, and distinctions that have no such
unit-state in common are searched apart. Within a group, distinctions are taken up by decreasing
share: what one adds depends on nothing but how many have been taken up over each unit-state.

References: docs/mathematics.md 11.2 and 23.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from iitdask.model.labels import units_of_mask
from iitdask.theory.iit4.relations import fixed_point

# States of the search kept at a step: with no more joint choices than that none is dropped
KEPT_STATES = 4096
KEPT_BEYOND_BUDGET = 16  # The same when the budget is spent
COUNT_BITS = 16  # Of a state of the search, for the number of distinctions over one unit-state
COUNT_MASK = (1 << COUNT_BITS) - 1


class Binding(NamedTuple):
    """What one choice of cause and effect binds."""

    union: int  # Unit-states of cause or effect, bitmask
    common: int  # Number of unit-states that cause and effect share


@dataclass(frozen=True, slots=True)
class BindingChoices:
    """A distinction and the different bindings among which it can choose."""

    phi: float
    bindings: tuple[Binding, ...]

    @property
    def varying(self) -> int:
        """Unit-states whose share of this distinction depends on the choice, bitmask.

        They are those bound in some bindings only; all of them if the number of unit-states bound,
        hence phi per unit-state, depends on the choice.
        """
        some, every, sizes = 0, -1, set()
        for union, _ in self.bindings:
            some, every = some | union, every & union
            sizes.add(union.bit_count())
        return some & ~every if len(sizes) == 1 else some


@dataclass(slots=True)
class SearchBudget:
    """How many more steps a search may take before it drops states, and whether it did."""

    steps: int
    # Whether states were dropped: the extremes found are attained, but others may lie beyond
    is_exhausted: bool = field(default=False, init=False)

    @property
    def kept_states(self) -> int:
        """States to be kept at a step."""
        return KEPT_STATES if self.steps > 0 else KEPT_BEYOND_BUDGET

    def enter(self, choices: int) -> int:
        """Return how many of the choices of a distinction are considered; one costs nothing."""
        considered = min(choices, self.kept_states)
        self.is_exhausted |= considered < choices
        self.steps -= max(0, considered - 1)
        return considered


class _Event(NamedTuple):
    """A share that a distinction has, in bindings to choose among or whatever is chosen."""

    share: float
    mask: int  # Unit-states that get the share whatever is chosen
    # Bit of the distinction that may choose among `bindings`, -1 if nothing is to be chosen
    distinction: int = -1
    bindings: tuple[Binding, ...] = ()
    is_last: bool = True  # False if the distinction may still choose one of a smaller share


# Least and largest value by what later ones depend on: how many distinctions that chose lie over
# each unit-state, packed, and which distinctions that could still choose have chosen, a bitmask.
States = dict[tuple[int, int], tuple[int, int]]


def big_phi_range(distinctions: Sequence[BindingChoices], budget: SearchBudget) -> tuple[int, int]:
    """Return the least and the largest Phi over all joint choices.

    Parameters
    ----------
    distinctions : all distinctions, each with what it can bind
    budget : reduced by the steps taken

    Returns
    -------
    tuple of int, bits as whole multiples of 2**-FIXED_POINT_BITS; both are attained

    References
    ----------
    docs/mathematics.md 23.1.
    """
    varying = [d.varying for d in distinctions]
    total = sum(fixed_point(d.phi) for d in distinctions)
    unconditional, choosing = list[_Event](), list[int]()
    for k, d in enumerate(distinctions):
        union, common = d.bindings[0]
        share = d.phi / union.bit_count()
        if len(d.bindings) > 1:
            choosing.append(k)
        else:
            total += fixed_point(share) * (common - union.bit_count())
        if union & ~varying[k]:  # bound in the same share whatever is chosen
            unconditional.append(_Event(share, union & ~varying[k]))
    groups = list(_groups(choosing, varying))
    every = 0
    for mask, _ in groups:
        every |= mask
    elsewhere = [event._replace(mask=event.mask & ~every) for event in unconditional]
    least = largest = total + _extremes(elsewhere, budget)[0]
    for mask, members in groups:
        events = [e._replace(mask=e.mask & mask) for e in unconditional if e.mask & mask]
        for bit, k in enumerate(members):
            events += _choice_events(distinctions[k], varying[k], bit)
        low, high = _extremes(events, budget)
        least, largest = least + low, largest + high
    return least, largest


def _groups(choosing: Sequence[int], varying: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield groups of distinctions that share no varying unit-state, each with all of these."""
    groups: list[tuple[int, list[int]]] = []
    for k in choosing:
        mask, members, apart = varying[k], [k], []
        for other in groups:
            if other[0] & mask:
                mask, members = mask | other[0], other[1] + members
            else:
                apart.append(other)
        groups = [*apart, (mask, members)]
    yield from groups


def _choice_events(distinction: BindingChoices, varying: int, bit: int) -> Iterator[_Event]:
    """Yield one event for every share that a distinction can choose, the largest first."""
    by_size = sorted(distinction.bindings, key=lambda binding: binding.union.bit_count())
    most = by_size[-1].union.bit_count()
    for size, bindings in groupby(by_size, key=lambda binding: binding.union.bit_count()):
        gains = tuple(Binding(union & varying, common - size) for union, common in bindings)
        yield _Event(distinction.phi / size, 0, bit, gains, size == most)


def _extremes(events: Sequence[_Event], budget: SearchBudget) -> tuple[int, int]:
    """Return the least and the largest sum of what events add, one binding per distinction.

    By decreasing share r, an event adds r 2**m to every unit-state it gives it to, m the number of
    events that gave to it before: the sum over all sets of one or more of them of the least share.
    """
    order = sorted(events, key=lambda event: -event.share)
    alive = _alive_masks(order)
    # By unit-state: how many unconditional shares there were, and what the last of them add
    unconditional, pending = dict[int, int](), dict[int, int]()
    states: States = {(0, 0): (0, 0)}
    for event, still in zip(order, alive, strict=True):
        share = fixed_point(event.share)
        for a in units_of_mask(event.mask):
            before = unconditional.get(a, 0)
            unconditional[a] = before + 1
            pending[a] = pending.get(a, 0) + (share << before)
        if event.distinction >= 0:
            states = _add_pending(states, pending)
            pending = {}
            choosing = sum(not taken >> event.distinction & 1 for _, taken in states)
            budget.steps -= choosing * len(event.bindings)
            states = _choose(states, event, unconditional, still)
            states = _keep_extremes(states, budget)
    values = _add_pending(states, pending).values()
    return min(low for low, _ in values), max(high for _, high in values)


def _alive_masks(order: Sequence[_Event]) -> list[int]:
    """Return, after every event, the mask of a state's bits on which a later event depends."""
    alive, out = 0, list[int]()
    for event in reversed(order):
        out.append(alive)
        union = event.mask
        for binding in event.bindings:
            union |= binding.union
        for a in units_of_mask(union):
            alive |= COUNT_MASK << COUNT_BITS * a
    return out[::-1]


def _add_pending(states: States, pending: dict[int, int]) -> States:
    """Add what events gave to unit-states since the last choice, by what lies over these."""
    if not pending:
        return states
    parts = [(COUNT_BITS * a, value) for a, value in pending.items()]
    out: States = {}
    for key, (low, high) in states.items():
        gain = sum(value << (key[0] >> shift & COUNT_MASK) for shift, value in parts)
        out[key] = low + gain, high + gain
    return out


def _choose(states: States, event: _Event, unconditional: dict[int, int], alive: int) -> States:
    """Return the states after a distinction chose a binding of this share, or a later one."""
    bit, share, out = 1 << event.distinction, fixed_point(event.share), States()
    options = []
    for union, common in event.bindings:
        parts = [(COUNT_BITS * a, share << unconditional.get(a, 0)) for a in units_of_mask(union)]
        options.append((share * common, parts, sum(1 << shift for shift, _ in parts)))

    def merge(counts: int, taken: int, low: int, high: int) -> None:
        key = counts & alive, taken & ~bit if event.is_last else taken
        old = out.get(key)
        out[key] = (low, high) if old is None else (min(old[0], low), max(old[1], high))

    for (counts, taken), (low, high) in states.items():
        if taken & bit or not event.is_last:
            merge(counts, taken, low, high)
        if taken & bit:
            continue
        for self_relation, parts, more in options:
            gain = self_relation
            for shift, value in parts:
                gain += value << (counts >> shift & COUNT_MASK)
            merge(counts + more, taken | bit, low + gain, high + gain)
    return out


def _keep_extremes(states: States, budget: SearchBudget) -> States:
    """Return the states of the least and of the largest values, no more than the budget allows."""
    half = budget.kept_states // 2
    if len(states) <= 2 * half:
        return states
    budget.is_exhausted = True
    items = list(states.items())
    lowest = sorted(items, key=lambda item: item[1][0])[:half]
    highest = sorted(items, key=lambda item: -item[1][1])[:half]
    return dict(lowest + highest)
