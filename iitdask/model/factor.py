"""Factors: the conditional probabilities of one unit over its inputs.

A factor is a table over the inputs; a gate over very many inputs that only counts how many are
on is a `CountingFactor`, whose likelihood is a chain of small tables.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from iitdask.errors import MemoryRefusedError, SubstrateError
from iitdask.model.array_input import (
    SUM_TOLERANCE,
    coarse_tolerance,
    first_index,
    first_outside,
    normalised,
    probability_text,
)
from iitdask.model.contraction import Tensor
from iitdask.types import Array, Mask, Table

UNDECLARED_TOLERANCE = 1e-13  # Largest variation of a table with an input that is not declared
ROUNDED_SUM = 1e-15  # Largest difference from 1 of a sum that only its addition rounds


class Factor(NamedTuple):
    """P(unit = value at t+1 | its inputs at t)."""

    parents: tuple[int, ...]  # Unit numbers of the inputs the table varies with, ascending
    table: Table  # ``table[x_p0, x_p1, ..., value]``

    @property
    def n_values(self) -> int:
        """Number of values of the unit."""
        return int(self.table.shape[-1])

    def conditioned(self, inside: Collection[int], state: Sequence[int]) -> Factor:
        """Return the factor over its inputs ``inside``, the others fixed at ``state``."""
        index = tuple(slice(None) if p in inside else state[p] for p in self.parents)
        return Factor(tuple(p for p in self.parents if p in inside), self.table[index])

    def likelihoods(self, value: int, auxiliary: int) -> list[Tensor]:  # noqa: ARG002
        """Return the likelihood of the inputs given a value; see `CountingFactor.likelihoods`."""
        return [Tensor(self.parents, self.table[..., value])]


def read_only(array: Array, dtype: type = np.float64) -> Array:
    """Return a private, contiguous, read-only copy."""
    copy: Array = np.array(array, dtype=dtype, order="C")
    copy.setflags(write=False)
    return copy


def describe_row(index: Sequence[int], inputs: Sequence[str], levels: Sequence[int]) -> str:
    """Return ``row 3 (A=1, B=1, C=0)``: the little-endian number of a row and its meaning."""
    row, stride = 0, 1
    for value, level in zip(index, levels, strict=True):
        row, stride = row + int(value) * stride, stride * level
    if len(inputs) > 8:
        return f"row {row} (state {''.join(str(int(value)) for value in index)})"
    meaning = ", ".join(f"{name}={int(v)}" for name, v in zip(inputs, index, strict=True))
    return f"row {row} ({meaning})" if meaning else "its only row"


def checked_probabilities(table: Table, unit: str, inputs: Sequence[str], where: str) -> Table:
    """Return the table with rounding errors removed; refuse anything worse.

    Values outside [0, 1] are clipped, rows of half or single precision add up to 1 afterwards.
    """
    levels = table.shape[:-1]
    if (index := first_outside(table)) is not None:
        raise SubstrateError(
            f"{where}: unit {unit!r}, {describe_row(index[:-1], inputs, levels)}, "
            f"value {index[-1]}: expected a probability from 0 to 1, "
            f"got {probability_text(table[index])}"
        )
    sums = table.sum(axis=-1)
    errors = np.abs(sums - 1)
    rounding = coarse_tolerance(table) if (errors > ROUNDED_SUM).any() else 0.0
    if (index := first_index(sums, errors > max(SUM_TOLERANCE, rounding))) is not None:
        raise SubstrateError(
            f"{where}: unit {unit!r}, {describe_row(index, inputs, levels)}: "
            f"expected probabilities that sum to 1, got {sums[index]}"
        )
    return normalised(table, rounding)


def with_input_axes(table: Table, inputs: Sequence[int], levels: int, where: str) -> Table:
    """Return the table with one axis per input; of several inputs little-endian rows do, too."""
    shape = (*inputs, levels)
    if table.shape == shape:
        return table
    rows = int(np.prod(inputs, dtype=object)) if inputs else 1
    if len(inputs) != 1 and table.shape == (rows, levels):
        return table.reshape(shape, order="F")
    raise SubstrateError(
        f"{where}: expected a table of shape {shape} (inputs' values, own values) "
        f"or {(rows, levels)} (little-endian rows, own values), got {table.shape}"
    )


def prune_inputs(parents: Sequence[int], table: Table) -> Factor:
    """Return the factor over ascending parents, without inputs that make no difference.

    An input is dropped only when the table is bitwise the same for all its
    values, so that no probability changes.
    """
    order = sorted(range(len(parents)), key=lambda axis: parents[axis])
    table = table.transpose(*order, len(parents))
    kept: list[int] = []
    for position in order:
        before: tuple[Any, ...] = (slice(None),) * len(kept)
        along: tuple[Any, ...] = (*(0,) * len(kept), slice(None))
        corner = table[(*along, *(0,) * (table.ndim - len(along)))]
        # The corner mostly tells without the rest.
        if len(set(corner.tolist())) == 1 and (table == table[(*before, slice(1))]).all():
            table = table[(*before, 0)]
        else:
            kept.append(parents[position])
    return Factor(tuple(kept), read_only(table))


def restrict_to_declared(
    factor: Factor, allowed: Mask, unit: int, labels: Sequence[str], where: str, *, rounding: float
) -> Factor:
    """Return the factor over declared inputs only.

    `rounding` is by how much its table may vary with the others, see :func:`coarse_tolerance`.
    """
    omitted = tuple(a for a, parent in enumerate(factor.parents) if not allowed[parent])
    for axis in omitted:
        size = float(np.ptp(factor.table, axis=axis).max())
        if size > UNDECLARED_TOLERANCE and size > rounding:
            source = labels[factor.parents[axis]]
            raise SubstrateError(
                f"{where}: connectivity omits the edge {source!r} -> {labels[unit]!r}, but "
                f"{labels[unit]!r} depends on {source!r} by {size:.3g}; declare the edge"
            )
    if not omitted:
        return factor
    kept = tuple(parent for parent in factor.parents if allowed[parent])
    return Factor(kept, read_only(factor.table.mean(axis=omitted)))


MAX_TABLE_INPUTS = 16  # Free inputs up to which a counting factor becomes a table


class CountingFactor(NamedTuple):
    """P(unit = value at t+1 | how many of its two-valued inputs are on)."""

    parents: tuple[int, ...]  # Unit numbers of the inputs, ascending
    probability_by_count: Table  # ``(inputs + 1, 2)``: P(value | number of inputs that are on)

    @property
    def n_values(self) -> int:
        """Number of values of the unit."""
        return 2

    @property
    def table(self) -> NoReturn:
        """No table: it would not fit any memory."""
        raise MemoryRefusedError(
            f"a unit of {len(self.parents)} inputs: a table over all of them does not fit any "
            "memory; only what leaves most of them at their current values can be computed"
        )

    def conditioned(self, inside: Collection[int], state: Sequence[int]) -> Factor | CountingFactor:
        """Return the factor over its inputs ``inside``, the others fixed at ``state``."""
        free = tuple(p for p in self.parents if p in inside)
        on = sum(int(state[p]) for p in self.parents if p not in inside)
        left = self.probability_by_count[on : on + len(free) + 1]
        if len(free) > MAX_TABLE_INPUTS:
            return CountingFactor(free, left)
        return Factor(free, left[np.indices((2,) * len(free)).sum(axis=0)])

    def likelihoods(self, value: int, auxiliary: int) -> list[Tensor]:
        """Return tables whose product, summed over variables from `auxiliary` on, is P(value)."""
        weight = self.probability_by_count[:, value]
        up, down = _settled_count(weight), _settled_count(weight[::-1])
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
                tensors.append(Tensor(variables, weight[after] if before else weight[after][0]))
                break
            reached = np.arange(min(k + 1, up) + 1)
            step = (after[..., None] == reached).astype(np.float64)
            tensors.append(Tensor((*variables, auxiliary + k), step if before else step[0]))
            before = (auxiliary + k,)
        return tensors

    def minimal_determining_sets(self, now: Sequence[int]) -> tuple[frozenset[int], ...]:
        """Return some minimal determining sets for the values ``now`` of the inputs.

        With the inputs of such a set fixed, the others have no effect (mathematics 24.1).
        """
        on = [p for p, value in zip(self.parents, now, strict=True) if value]
        off = [p for p, value in zip(self.parents, now, strict=True) if not value]
        found: set[frozenset[int]] = set()
        fewest = len(off) + 1
        for least in range(len(on) + 1):
            rows = self.probability_by_count[least:]
            constant = ((rows[: len(rows) - k] == rows[0]).all() for k in range(fewest))
            most = next((k for k, is_constant in enumerate(constant) if is_constant), fewest)
            if most == fewest:
                continue
            fewest = most
            starts = range(max(len(on), len(off), 1))
            found |= {
                frozenset((on[start:] + on[:start])[:least] + (off[start:] + off[:start])[:most])
                for start in starts
            }
            if most == 0:
                break
        return tuple(sorted(found, key=lambda each: (len(each), sorted(each))))


def _settled_count(weight: Table) -> int:
    """Return the count from which on a weight is constant."""
    return int(np.flatnonzero(weight != weight[-1])[-1]) + 1 if (weight != weight[-1]).any() else 0
