"""Orders in which the factors of a system are taken up, as arrays that kernels walk."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.frontier.system_states import Elimination
from iitdask.kernels.linear_order import narrow_order

MAX_JOINT_VALUES = 1 << 20  # Of the units that factors still need, at a time


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

    def with_input_held(self, unit: int, value: int) -> "LocalFactor":
        """Hold an input at a value; this factor where the unit is none of its inputs."""
        if unit not in self.inputs:
            return self
        table = np.asarray(self.table.take(value, axis=self.inputs.index(unit)))
        rest = tuple(a for a in self.inputs if a != unit)
        return LocalFactor(self.unit, rest, table).varying()


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


def split_factors(
    factors: Sequence[LocalFactor], over: Sequence[int]
) -> list[tuple[tuple[int, ...], list[LocalFactor]]]:
    """Divide some units so that the inputs of every factor are in one group.

    Returns
    -------
    list of the units of each group and the factors that read them, by first unit; factors without
        inputs are in none
    """
    group_of = {unit: [unit] for unit in over}
    for factor in factors:
        for a in factor.inputs[1:]:
            one, other = group_of[factor.inputs[0]], group_of[a]
            if one is not other:
                one.extend(other)
                group_of.update(dict.fromkeys(other, one))
    readers = dict[int, list[LocalFactor]]()
    for factor in factors:
        if factor.inputs:
            readers.setdefault(id(group_of[factor.inputs[0]]), []).append(factor)
    groups = {id(units): units for units in group_of.values()}
    listed = sorted((tuple(sorted(units)), key) for key, units in groups.items())
    return [(units, readers.get(key, [])) for units, key in listed]


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
