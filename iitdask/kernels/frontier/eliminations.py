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
from iitdask.kernels.state_product import StateProduct
from iitdask.kernels.subsets import STATE_TIE_BITS, STATE_TIE_RELATIVE

MAX_JOINT_VALUES = 1 << 20  # Of the units that factors still need, at a time
MAX_SPECIFIED = 1 << 16  # Tied states of units that hang together by common outputs
MAX_WEIGHED = 1 << 21  # Effect states


class LocalFactor(NamedTuple):
    """P(unit takes value | its inputs within the system)."""

    unit: int
    inputs: tuple[int, ...]  # Units of the system, ascending
    table: NDArray[np.float64]  # (levels of the inputs..., values)

    def varying(self) -> "LocalFactor":
        """Leave out inputs with which the table does not vary."""
        table, inputs = self.table, list[int]()
        for a in self.inputs:
            first = table.take([0], axis=len(inputs))
            if (table == first).all():
                table = first.squeeze(axis=len(inputs))
            else:
                inputs.append(a)
        return LocalFactor(self.unit, tuple(inputs), table)


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

    states: StateProduct
    information: float  # Their intrinsic information, bits


def split_factors(
    factors: Sequence[LocalFactor], n: int
) -> list[tuple[tuple[int, ...], list[LocalFactor]]]:
    """Divide n units so that the inputs of every factor are in one group.

    Returns
    -------
    list of the units of each group and the factors that read them; factors without inputs are in
        none
    """
    together = np.arange(n)
    for factor in factors:
        inputs = list(factor.inputs)
        together[np.isin(together, together[inputs])] = min(together[inputs], default=0)
    out = []
    for group in np.unique(together):
        units = tuple(np.flatnonzero(together == group).tolist())
        own = [f for f in factors if f.inputs and together[f.inputs[0]] == group]
        out.append((units, own))
    return out


def order_factors(
    factors: Sequence[LocalFactor], levels: Sequence[int], over: Sequence[int]
) -> FactorOrder:
    """Order the factors of a system so that few units are kept at a time.

    Parameters
    ----------
    factors : of some units, inputs among `over`
    levels : values of each unit
    over : the units whose values are summed over, ascending

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
    place = dict(zip(over, _places(factors, over), strict=True))
    read = {a for factor in factors for a in factor.inputs}
    unread = [LocalFactor(-1, (u,), np.ones((levels[u], 1))) for u in over if u not in read]
    listed = sorted(
        [*factors, *unread], key=lambda f: max((place[a] for a in f.inputs), default=-1)
    )
    steps, entering, slots = [], [], list[int]()
    for f, factor in enumerate(listed):
        later = {a for other in listed[f + 1 :] for a in other.inputs}
        new = tuple(a for a in factor.inputs if a not in slots)
        steps.append(_step(slots, new, factor.inputs, later, levels))
        slots = [a for a in (*slots, *new) if a in later]
        entering.append(new)
    tables = np.zeros((len(listed), max(f.table[..., 0].size for f in listed), max(levels)))
    for f, factor in enumerate(listed):
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
    units, inputs = np.array([f.unit for f in listed]), tuple(f.inputs for f in listed)
    return FactorOrder(elimination, units, inputs, tuple(entering), tuple(levels))


def _places(factors: Sequence[LocalFactor], over: Sequence[int]) -> list[int]:
    """Return the place of each unit in a narrow order, neighbours read by one factor."""
    number = {u: k for k, u in enumerate(over)}
    masks = np.zeros(len(over), np.int64)
    for factor in factors:
        together = sum(1 << number[a] for a in factor.inputs)
        for a in factor.inputs:
            masks[number[a]] |= together & ~(1 << number[a])
    out: list[int] = np.argsort(narrow_order(masks, 2.0)).tolist()
    return out


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


def specified_causes(
    factors: Sequence[LocalFactor], levels: Sequence[int], current: Sequence[int]
) -> SideStates:
    """Return the cause states of largest intrinsic information, all ties.

    Units that no factor reads together tie apart from each other.

    Parameters
    ----------
    factors : of each unit, cause side
    levels : values of each unit
    current : current value of each unit

    Returns
    -------
    SideStates

    Raises
    ------
    StateLimitError
        If there are too many within one group of units.

    References
    ----------
    mathematics.md 4 and 26.7, Eq. (4.1).
    """
    groups = split_factors([f.varying() for f in factors], len(levels))
    found = [_likeliest_of(order_factors(own, levels, over), current) for over, own in groups]
    units, (codes, weights) = tuple(over for over, _ in groups), zip(*found, strict=True)
    states = StateProduct(tuple(levels), units, codes, weights)
    logs = (
        np.log2(w[0]) + np.log2([float(levels[u]) for u in over]).sum()
        for w, over in zip(weights, units, strict=True)
    )
    return SideStates(states, states.weight * float(sum(logs)))


def _likeliest_of(
    order: FactorOrder, current: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the likeliest states of the units summed over, ascending, and their probabilities."""
    values = order.values_of(current)
    total = sum_of_products(order.elimination, values)
    entries, products, is_complete = likeliest_states(order.elimination, values, MAX_SPECIFIED)
    if not is_complete:
        raise StateLimitError(f"more than {MAX_SPECIFIED} cause states tie")
    codes = np.zeros(len(entries), np.int64)
    weights = np.concatenate([[1], np.cumprod(order.levels[:-1], dtype=np.int64)])
    for f, new in enumerate(order.entering):
        left = entries[:, f].copy()
        for a in new:
            codes += left % order.levels[a] * weights[a]
            left //= order.levels[a]
    at = np.argsort(codes)
    return codes[at], products[at] / total


def specified_effects(
    factors: Sequence[LocalFactor], levels: Sequence[int], current: Sequence[int]
) -> SideStates:
    """Return the effect states of largest intrinsic information, all ties.

    Parameters
    ----------
    factors : of each unit, effect side
    levels : values of each unit
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
    reduced = [f.varying() for f in factors]
    constant = [f for f in reduced if not f.inputs]
    order = order_factors([f for f in reduced if f.inputs], levels, range(len(levels)))
    entries, products, best, is_complete = most_informative_effects(
        order.elimination, _effect_bounds(order, current), MAX_WEIGHED
    )
    if not is_complete or len(entries) > MAX_SPECIFIED:
        raise StateLimitError("too many effect states are nearly as informative as the best")
    information = best * math.prod(float(f.table.max()) for f in constant)
    if information <= STATE_TIE_BITS:
        return SideStates(_every_effect(reduced, levels, current), 0.0)
    weights = np.concatenate([[1], np.cumprod(levels[:-1], dtype=np.int64)])
    own = np.flatnonzero(order.units >= 0)
    numbers = entries[:, own] @ weights[order.units[own]]
    at = np.argsort(numbers)
    units = [tuple(sorted(order.units[own].tolist()))]
    codes, likely = [numbers[at]], [products[at]]
    for f in constant:
        values = np.flatnonzero(f.table >= f.table.max() * (1.0 - STATE_TIE_RELATIVE))
        units.append((f.unit,))
        codes.append(values * weights[f.unit])
        likely.append(f.table[values])
    states = StateProduct(tuple(levels), tuple(units), tuple(codes), tuple(likely))
    return SideStates(states, information)


def _every_effect(
    factors: Sequence[LocalFactor], levels: Sequence[int], current: Sequence[int]
) -> StateProduct:
    """Return all states of a system without effect: the impossible ones tie with the others."""
    weights = np.concatenate([[1], np.cumprod(levels[:-1], dtype=np.int64)])
    codes = tuple(np.arange(levels[f.unit]) * weights[f.unit] for f in factors)
    likely = tuple(f.table[tuple(current[a] for a in f.inputs)] for f in factors)
    return StateProduct(tuple(levels), tuple((f.unit,) for f in factors), codes, likely)


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
