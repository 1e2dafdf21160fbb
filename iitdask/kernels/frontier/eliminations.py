"""Orders in which the factors of a system are taken up, as arrays that kernels walk."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.frontier.system_states import (
    EffectBounds,
    Elimination,
    likeliest_states,
    most_informative_effects,
    sum_of_products,
)
from iitdask.kernels.linear_order import narrow_order
from iitdask.kernels.subsets import STATE_TIE_BITS

MAX_JOINT_VALUES = 1 << 20  # Of the units that factors still need, at a time
MAX_SPECIFIED = 1 << 16  # Tied states
MAX_WEIGHED = 1 << 21  # Effect states


class LocalFactor(NamedTuple):
    """P(unit takes value | its inputs within the system)."""

    inputs: tuple[int, ...]  # Units of the system, ascending
    table: NDArray[np.float64]  # (levels of the inputs..., values)


class StateLimitError(Exception):
    """Specified states that take too much: a frontier too wide, or too many states."""


class FactorOrder(NamedTuple):
    """An elimination, and which unit each of its steps belongs to."""

    elimination: Elimination
    units: NDArray[np.int64]  # (f,) unit whose factor is taken up, -1 for a factor of ones
    inputs: tuple[tuple[int, ...], ...]  # Of the factor of each step
    entering: tuple[tuple[int, ...], ...]  # Units that enter at each step
    levels: tuple[int, ...]  # Values of each unit

    def values_of(self, state: Sequence[int]) -> NDArray[np.int64]:
        """Return the value of the unit of each step in a state; (f,)."""
        return np.array([state[u] if u >= 0 else 0 for u in self.units], np.int64)


class SideStates(NamedTuple):
    """States that a system specifies on one side."""

    states: NDArray[np.int64]  # (m,) little-endian, ascending
    information: float  # Their intrinsic information, bits
    selectivity: NDArray[np.float64]  # (m,) their probabilities


def order_factors(factors: Sequence[LocalFactor], levels: Sequence[int]) -> FactorOrder:
    """Order the factors of a system so that few units are kept at a time.

    Parameters
    ----------
    factors : of each unit
    levels : values of each unit

    Returns
    -------
    FactorOrder

    Raises
    ------
    StateLimitError
        If too many joint values would have to be kept.

    References
    ----------
    mathematics.md 26.7.
    """
    n = len(factors)
    masks = np.zeros(n, np.int64)
    for factor in factors:
        together = sum(1 << a for a in factor.inputs)
        for a in factor.inputs:
            masks[a] |= together & ~(1 << a)
    place = np.argsort(narrow_order(masks, 2.0))
    read = {a for factor in factors for a in factor.inputs}
    unread = [LocalFactor((u,), np.ones((levels[u], 1))) for u in range(n) if u not in read]
    listed = [*enumerate(factors), *((-1, factor) for factor in unread)]
    listed.sort(key=lambda item: max((int(place[a]) for a in item[1].inputs), default=-1))
    steps, entering, slots = [], [], list[int]()
    for f, (_, factor) in enumerate(listed):
        later = {a for _, other in listed[f + 1 :] for a in other.inputs}
        new = tuple(a for a in factor.inputs if a not in slots)
        steps.append(_step(slots, new, factor.inputs, later, levels))
        slots = [a for a in (*slots, *new) if a in later]
        entering.append(new)
    tables = np.zeros((len(listed), max(f.table[..., 0].size for _, f in listed), max(levels)))
    for f, (_, factor) in enumerate(listed):
        rows = np.moveaxis(factor.table, -1, 0).reshape(factor.table.shape[-1], -1, order="F").T
        tables[f, : len(rows), : rows.shape[1]] = rows
    before, rows_of, after, sizes = zip(*steps, strict=True)
    elimination = Elimination(
        np.concatenate([[0], np.cumsum([len(row) for row in rows_of])]),
        np.array(before),
        np.concatenate(rows_of),
        np.concatenate(after),
        np.array([*before, sizes[-1]]),
        tables,
    )
    units, inputs = np.array([unit for unit, _ in listed]), tuple(f.inputs for _, f in listed)
    return FactorOrder(elimination, units, inputs, tuple(entering), tuple(levels))


def _step(
    slots: Sequence[int],
    new: Sequence[int],
    inputs: Sequence[int],
    later: set[int],
    levels: Sequence[int],
) -> tuple[int, NDArray[np.int64], NDArray[np.int64], int]:
    """Return joint values before a step, rows and joint values after it, and how many there are."""
    here = [*slots, *new]
    shape = [levels[a] for a in here]
    if math.prod(shape) > MAX_JOINT_VALUES:
        raise StateLimitError("the factors of the system share too many inputs")
    count = math.prod(shape)
    every = np.unravel_index(np.arange(count), shape, order="F") if here else ()
    digits = dict(zip(here, every, strict=True))
    row, after, size = np.zeros(count, np.int64), np.zeros(count, np.int64), 1
    for a in inputs:
        row += digits[a] * size
        size *= levels[a]
    size = 1
    for a in here:
        if a in later:
            after += digits[a] * size
            size *= levels[a]
    return math.prod(levels[a] for a in slots), row, after, size


def specified_causes(order: FactorOrder, current: Sequence[int]) -> SideStates:
    """Return the cause states of largest intrinsic information, all ties.

    Parameters
    ----------
    order : factors of the cause side
    current : current value of each unit

    Returns
    -------
    SideStates

    Raises
    ------
    StateLimitError
        If there are too many.

    References
    ----------
    mathematics.md 4 and 26.7, Eq. (4.1).
    """
    values = order.values_of(current)
    total = sum_of_products(order.elimination, values)
    entries, products, is_complete = likeliest_states(order.elimination, values, MAX_SPECIFIED)
    if not is_complete:
        raise StateLimitError(f"more than {MAX_SPECIFIED} cause states tie")
    codes = np.zeros(len(entries), np.int64)
    weights = np.cumprod([1, *order.levels])
    for f, new in enumerate(order.entering):
        left = entries[:, f].copy()
        for a in new:
            codes += left % order.levels[a] * weights[a]
            left //= order.levels[a]
    at = np.argsort(codes)
    selectivity = products[at] / total
    log_states = float(np.log2(np.array(order.levels, float)).sum())
    bits = float(np.log2(products[at[0]] / total) + log_states)
    return SideStates(codes[at], float(selectivity[0]) * bits, selectivity)


def specified_effects(order: FactorOrder, current: Sequence[int]) -> SideStates:
    """Return the effect states of largest intrinsic information, all ties.

    Parameters
    ----------
    order : factors of the effect side
    current : current value of each unit

    Returns
    -------
    SideStates

    Raises
    ------
    StateLimitError
        If there are too many, or too many have to be weighed.

    References
    ----------
    mathematics.md 4 and 26.7, Eq. (4.2).
    """
    bounds = _effect_bounds(order, current)
    entries, products, best, is_complete = most_informative_effects(
        order.elimination, bounds, MAX_WEIGHED
    )
    if not is_complete or len(entries) > MAX_SPECIFIED:
        raise StateLimitError("too many effect states are nearly as informative as the best")
    if best <= STATE_TIE_BITS:
        return _every_effect(order, current)
    weights = np.cumprod([1, *order.levels])
    own = np.flatnonzero(order.units >= 0)
    codes = entries[:, own] @ weights[order.units[own]]
    at = np.argsort(codes)
    return SideStates(codes[at], float(best), products[at])


def _every_effect(order: FactorOrder, current: Sequence[int]) -> SideStates:
    """Return all states of a system without effect: the impossible ones tie with the others."""
    states = math.prod(order.levels)
    if states > MAX_SPECIFIED:
        raise StateLimitError(f"the current state has no effect: all of {states} states tie")
    codes, products = np.arange(states), np.ones(states)
    weights = np.cumprod([1, *order.levels])
    for f in np.flatnonzero(order.units >= 0):
        unit, row, size = order.units[f], 0, 1
        for a in order.inputs[f]:
            row, size = row + current[a] * size, size * order.levels[a]
        products *= order.elimination.tables[f, row][codes // weights[unit] % order.levels[unit]]
    return SideStates(codes, 0.0, products)


def _effect_bounds(order: FactorOrder, current: Sequence[int]) -> EffectBounds:
    """Return what every unit's value adds at most to the information of an effect state."""
    e = order.elimination
    steps, _, widest = e.tables.shape
    likely, value, gain = np.zeros((3, steps, widest))
    log_states = float(np.log2(np.array(order.levels, float)).sum())
    open_gain, rest = np.zeros(steps + 1), np.ones(steps + 1)
    for f in range(steps - 1, -1, -1):
        size, row = 1, 0
        for a in order.inputs[f]:
            row, size = row + current[a] * size, size * order.levels[a]
        table = e.tables[f, :size]
        own = table[row]
        by = np.argsort(-own, kind="stable")
        likely[f], value[f] = own[by], by
        lead = table[:, by[0]]
        for k in range(1, widest):
            if own[by[k]] > 0:
                least = (table[lead > 0, by[k]] / lead[lead > 0]).min()
                odd = own[by[k]] / own[by[0]]
                gain[f, k] = min(log_states, np.log2(odd / least)) if least > 0 else log_states
                open_gain[f] = max(open_gain[f], odd * gain[f, k])
        open_gain[f] += open_gain[f + 1]
        rest[f] = rest[f + 1] * own[by[0]]
    return EffectBounds(likely, value.astype(np.int64), gain, rest, open_gain, log_states)
