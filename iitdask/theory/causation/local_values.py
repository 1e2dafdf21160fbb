"""Causes in sparse networks: log-probabilities from sums of products over connected occurrences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

import numpy as np

from iitdask.kernels.linear_order import greedy_order
from iitdask.model.labels import units_of_mask
from iitdask.theory.stage import Array

MIN_LOCAL_CAUSES = 9  # Fewer causes have so few states that sums over all of them take no time
# Measured: seconds of a step of an elimination, of a summand, of a connected part put in a row
SECONDS_PER_STEP, SECONDS_PER_SUMMAND, SECONDS_PER_PART = 3e-5, 6e-9, 6e-5

# Inputs of a unit, and a number for each of their states; the last one of an axis: not known
LocalTable = tuple[tuple[int, ...], Array]


def sharing_units(sets: Sequence[int]) -> Array:
    """Return for each unit the mask of those whose sets meet its own, ``(n,)``."""
    masks = np.asarray(sets, np.int64)
    weights = 1 << np.arange(len(masks), dtype=np.int64)
    return np.asarray(((masks[:, None] & masks) != 0) @ weights)


def union_over(masks: Array, sets: Array) -> Array:
    """Return the union of the sets of the units of each mask."""
    out = np.zeros_like(masks)
    for unit, members in enumerate(sets.tolist()):
        out |= np.where(masks >> unit & 1, members, 0)
    return out


def first_components(masks: Array, neighbours: Array) -> Array:
    """Return the part of each set that hangs together with its first unit.

    Parameters
    ----------
    masks : (m,) sets of units
    neighbours : (n,) mask of the units that each unit has an edge with

    Returns
    -------
    ndarray, (m,) masks; a set that hangs together is its own

    References
    ----------
    docs/mathematics.md 25.3.
    """
    reached = masks & -masks
    while True:
        grown = reached | union_over(reached, neighbours) & masks
        if (grown == reached).all():
            return np.asarray(reached)
        reached = grown


def parents_of(children: Array, n_effects: int) -> list[int]:
    """Return the mask of the causes of each effect; `children` has the effects of each cause."""
    return [
        sum(1 << cause for cause, mask in enumerate(children.tolist()) if mask >> effect & 1)
        for effect in range(n_effects)
    ]


def elimination_order(children: Array, levels: Sequence[int]) -> tuple[int, ...]:
    """Return an order of the causes in which few share an effect with later ones."""
    others = ~(1 << np.arange(len(children), dtype=np.int64))
    order = greedy_order(sharing_units(children.tolist()) & others, float(np.mean(levels)))
    return tuple(order.tolist())


class LocalCost(NamedTuple):
    """What the log-probabilities of some occurrences are predicted to take."""

    seconds: Array  # (occurrences,)
    scratch: int  # Bytes


def local_cost(
    children: Array, levels: Sequence[int], n_effects: int, masks: Array
) -> LocalCost | None:
    """Predict what the log-probabilities of occurrences take, see :class:`LocalCauses`.

    Parameters
    ----------
    children : (a,) mask of the effects of each cause
    levels : number of values of each cause
    n_effects : number of effects
    masks : (m,) occurrences

    Returns
    -------
    LocalCost, or None where there are too few causes for it to be of use
    """
    if len(levels) < MIN_LOCAL_CAUSES:
        return None
    parents = parents_of(children, n_effects)
    summands, held = elimination_numbers(children, levels, parents)
    neighbours = sharing_units(parents)
    hang = first_components(masks, neighbours) == masks
    each = SECONDS_PER_STEP * len(levels) + SECONDS_PER_SUMMAND * summands
    shared = masks[hang & recurs(masks, neighbours)]
    sizes = np.bitwise_count(union_over(shared, np.array(parents, np.int64)))
    stored = np.exp2(sizes.astype(float)).sum()
    return LocalCost(SECONDS_PER_PART + each * hang, int(8 * stored + 24 * held))


def elimination_numbers(
    children: Array, levels: Sequence[int], parents: Sequence[int]
) -> tuple[float, float]:
    """Return how many numbers a sweep over all causes makes, and how many it holds at once."""
    left, live, summands, held = list(parents), 0, 0.0, 0.0
    for step, unit in enumerate(elimination_order(children, levels)):
        live |= 1 << unit
        for mask in [mask for mask in left if mask >> unit & 1]:
            live |= mask
            left.remove(mask)
        numbers = 2.0**step * prod(levels[u] + 1.0 for u in units_of_mask(live))
        summands, held = summands + numbers, max(held, numbers)
        live ^= 1 << unit
    return summands, held


def recurs(masks: Array, neighbours: Array) -> Array:
    """Tell which connected sets are a component of larger sets, too."""
    everyone = (1 << len(neighbours)) - 1
    return np.asarray((masks | union_over(masks, neighbours)) != everyone)


@dataclass(frozen=True, slots=True)
class LocalCauses:
    """Tables over the inputs of single effects, and what connected occurrences share."""

    tables: tuple[LocalTable, ...]  # P(effect has its value after | state of a part of its inputs)
    state: tuple[int, ...]  # State of the causes
    order: tuple[int, ...]  # In which causes are summed over
    components: Mapping[int, int]  # By occurrence, see ``first_components``
    recurring: frozenset[int]  # Occurrences that are a component of larger ones, too
    free: Array  # (2, ..., 2) log-probability of each set of causes, the last one first, bits
    # By connected occurrence: log-probabilities of the parts of its inputs, bits
    found: dict[int, Array] = field(default_factory=dict)

    @property
    def n_purviews(self) -> int:
        """Number of sets of causes."""
        return int(self.free.size)

    def write_row(self, mechanism: int, out: Array) -> None:
        """Write the log-probability of every set of causes, given an occurrence, ``(2**a,)``."""
        row, reached, left = out.reshape(self.free.shape), set[int](), mechanism
        row[...] = 0.0
        while left:
            part = self.components[left]
            left ^= part
            units = self._inputs(part)
            reached.update(units)
            row += self._connected(part, units)
        row += self.free[self._axes(reached, slice(0, 1), slice(None))]

    def _inputs(self, mechanism: int) -> set[int]:
        return {u for effect in units_of_mask(mechanism) for u in self.tables[effect][0]}

    def _axes(self, units: set[int], inside: slice, outside: slice) -> tuple[slice, ...]:
        n = self.free.ndim
        return tuple(inside if n - 1 - axis in units else outside for axis in range(n))

    def _connected(self, mechanism: int, units: set[int]) -> Array:
        known = self.found.get(mechanism)
        if known is not None:
            return known
        tables = [self.tables[effect] for effect in units_of_mask(mechanism)]
        bits = cause_bits(tables, self.state, [unit for unit in self.order if unit in units])
        bits = bits.reshape([2 if u in units else 1 for u in reversed(range(self.free.ndim))])
        if mechanism in self.recurring:
            self.found[mechanism] = bits
        return bits


def cause_bits(tables: Sequence[LocalTable], state: Sequence[int], order: Sequence[int]) -> Array:
    """Return the log-probabilities of all sets of an occurrence's inputs, given the occurrence.

    Parameters
    ----------
    tables : of the effects in the occurrence
    state : of the causes
    order : inputs of these effects, as they are summed over

    Returns
    -------
    ndarray, (2**inputs,) bits, little-endian over the inputs in ascending order; not a number where
        the occurrence is impossible

    References
    ----------
    docs/mathematics.md 25.3, Eq. (25.8).
    """
    actual = [(inputs, _at_state(inputs, table, state)) for inputs, table in tables]
    total = sum_product(tables, order)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.log2(sum_product(actual, order) / total)
    # axes from the units as they were summed over, the last one first, to their numbers
    axes = [len(order) - 1 - order.index(unit) for unit in sorted(order, reverse=True)]
    return np.asarray(bits.reshape((2,) * len(order)).transpose(axes).reshape(-1))


def _at_state(inputs: tuple[int, ...], table: Array, state: Sequence[int]) -> Array:
    chosen = [[state[unit], -1] for unit in inputs]
    return np.asarray(table[np.ix_(*chosen)]) if chosen else table


def with_unknown(table: Array) -> Array:
    """Append to each axis of a table the mean over it, for an input that is not known."""
    for axis in range(table.ndim):
        table = np.concatenate((table, table.mean(axis=axis, keepdims=True)), axis=axis)
    return table


def sum_product(tables: Sequence[LocalTable], order: Sequence[int]) -> Array:
    """Sum a product of tables over the values of each set of units, the others not known.

    Parameters
    ----------
    tables : inputs and numbers
    order : the units, as they are summed over

    Returns
    -------
    ndarray, (2**units,), bit t for the unit at place t

    References
    ----------
    docs/mathematics.md 25.3.
    """
    left, live, whole = list(tables), list[int](), np.ones(1)
    for unit in order:
        for inputs, table in [each for each in left if unit in each[0]]:
            new = [u for u in inputs if u not in live]
            live += new
            whole = whole.reshape((*whole.shape[:-1], *(1 for _ in new), whole.shape[-1]))
            ranked = sorted(range(len(inputs)), key=lambda k: live.index(inputs[k]))
            sizes = [table.shape[inputs.index(u)] if u in inputs else 1 for u in live]
            whole = whole * table.transpose(ranked).reshape((*sizes, 1))
        left = [each for each in left if unit not in each[0]]
        whole = np.moveaxis(whole, live.index(unit), 0)
        live.remove(unit)
        whole = np.concatenate((whole[-1], whole[:-1].sum(axis=0)), axis=-1)
    for _, table in left:  # without inputs
        whole = whole * table
    return whole


def prepare_local_values(inputs: Mapping[str, Array]) -> LocalCauses:
    """Tabulate what each effect does given every state of every part of its own inputs."""
    tpm, children = inputs["tpm"], inputs["children"]
    levels, state = inputs["levels"].tolist(), inputs["state"].tolist()
    n_effects = tpm.shape[1]
    cube = tpm.reshape((*levels, n_effects), order="F")
    parents = parents_of(children, n_effects)
    tables = []
    for effect, mask in enumerate(parents):
        own = units_of_mask(mask)
        table = cube[(*(slice(None) if u in own else 0 for u in range(len(levels))), effect)]
        tables.append((own, with_unknown(table)))
    free = np.zeros((2,) * len(levels))
    for unit, k in enumerate(levels):
        free[(slice(None),) * (len(levels) - 1 - unit) + (1,)] -= np.log2(k)
    masks, neighbours = inputs["masks"], sharing_units(parents)
    components = first_components(masks, neighbours).tolist()
    return LocalCauses(
        tuple(tables),
        tuple(state),
        elimination_order(children, levels),
        dict(zip(masks.tolist(), components, strict=True)),
        frozenset(masks[recurs(masks, neighbours)].tolist()),
        free,
    )
