"""Whole transition probability matrices in the forms in which people have them.

Each form is taken apart into one table per unit; see `Substrate.from_tpm`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from iitdask.errors import SubstrateError, quote
from iitdask.model import labels as notation
from iitdask.model.array_input import (
    SUM_TOLERANCE,
    as_array,
    coarse_tolerance,
    first_index,
    first_outside,
    normalised,
    probability_text,
)
from iitdask.model.factor import CountingFactor, checked_probabilities, describe_row
from iitdask.types import Table

TPM_SHAPES = (
    "(2^N, N) state-by-node, (2, ..., 2, N) state-by-node, (2^N, 2^N) state-by-state "
    "or (k_0, ..., k_N-1, N, max k)"
)

UnitTable = tuple[tuple[int, ...], Table | CountingFactor]
"""Inputs of a unit and its table over them, before they are checked."""


def _tpm_form(
    shape: tuple[int, ...], where: str
) -> tuple[Callable[[Table, Sequence[str], str], list[Table]], int]:
    """Return what takes a matrix of a shape apart into tables, and the number of its units."""
    if len(shape) == 2 and shape[0] == shape[1]:
        count = shape[0].bit_length() - 1
        if count < 1 or shape[0] != 1 << count:
            raise SubstrateError(
                f"{where}: expected a square (state-by-state) matrix to have 2^N rows, got {shape}"
            )
        return _from_state_by_state, count
    count, levels = (shape[-1] if shape else 0), shape[:-2]
    if 1 <= count <= 62 and shape in ((1 << count, count), (2,) * count + (count,)):
        return _from_state_by_node, count
    if levels and shape[-2] == len(levels):
        if 1 in levels:
            raise SubstrateError(
                f"{where}: expected units with two or more values, got shape {shape}"
            )
        if shape[-1] == max(levels) and min(levels) >= 2:
            return _from_padded, len(levels)
    raise SubstrateError(f"{where}: expected shape {TPM_SHAPES}, got {shape}")


def _from_padded(array: Table, labels: Sequence[str], where: str) -> list[Table]:
    levels = array.shape[:-2]
    for i, level in enumerate(levels):
        padding = array[..., i, level:]
        if (index := first_index(padding, padding != 0)) is not None:  # true for nan
            raise SubstrateError(
                f"{where}: {describe_row(index[:-1], labels, levels)}, unit {labels[i]!r} has "
                f"{level} values: expected 0 for value {level + index[-1]}, got {padding[index]}"
            )
    return [array[..., i, :level] for i, level in enumerate(levels)]


def _from_state_by_node(array: Table, labels: Sequence[str], where: str) -> list[Table]:
    array = array.reshape((2,) * len(labels) + (len(labels),), order="F")
    # Checked here, where the number is still the one the caller wrote.
    if (index := first_outside(array)) is not None:
        raise SubstrateError(
            f"{where}: {describe_row(index[:-1], labels, array.shape[:-1])}, unit "
            f"{labels[index[-1]]!r}: expected a probability from 0 to 1, "
            f"got {probability_text(array[index])}"
        )
    on = np.clip(array, 0.0, 1.0)
    return [np.stack([1.0 - on[..., i], on[..., i]], axis=-1) for i in range(len(labels))]


def _from_state_by_state(array: Table, labels: Sequence[str], where: str) -> list[Table]:
    """Return the tables of a state-by-state matrix, which must be their product."""
    count = len(labels)
    if (index := first_outside(array)) is not None:
        raise SubstrateError(
            f"{where}: row {index[0]} (state {_state_digits(index[0], count)}), column {index[1]}: "
            f"expected a probability from 0 to 1, got {probability_text(array[index])}"
        )
    sums = array.sum(axis=1)
    rounding = coarse_tolerance(array)
    if (bad := first_index(sums, np.abs(sums - 1) > max(SUM_TOLERANCE, rounding))) is not None:
        raise SubstrateError(
            f"{where}: row {bad[0]} (state {_state_digits(bad[0], count)}): "
            f"expected probabilities that sum to 1, got {sums[bad]}"
        )
    if rounding and (sums != 1).any():
        array = normalised(array, rounding)
    bits = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
    on = np.clip(array @ bits.astype(np.float64), 0.0, 1.0)
    product = np.ones_like(array)
    for i in range(count):
        product *= np.where(bits[:, i] == 1, on[:, i, None], 1.0 - on[:, i, None])
    error = np.abs(array - product)
    excess = error - (max(1e-8, rounding) + 1e-5 * product)
    if excess.max() > 0:
        row, column = divmod(int(np.argmax(error)), 1 << count)
        raise SubstrateError(
            f"{where}: not conditionally independent: from state {_state_digits(row, count)} to "
            f"{_state_digits(column, count)} the units' own probabilities give "
            f"{product[row, column]:.9g}, expected the same in the matrix, "
            f"got {array[row, column]:.9g}, off by {error[row, column]:.3g}; "
            f"{int((excess > 0).any(axis=1).sum())} of {len(array)} rows are off; "
            "Substrate.nearest_product takes it"
        )
    return _from_state_by_node(on, labels, where)


def parse_factors(
    factors: Any, labels: Iterable[str] | None, where: str
) -> tuple[tuple[str, ...], list[UnitTable]]:
    """Return labels, and inputs and table of every unit as they are given."""
    pairs = notation.entries_of(factors, where)
    for i, pair in enumerate(pairs):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise SubstrateError(
                f"{where}: factor {i}: expected (inputs, table), got {quote(pair)}"
            )
    named = notation.parse_labels(labels, len(pairs), where)
    given: list[UnitTable] = []
    for label, (inputs, table) in zip(named, pairs, strict=True):
        place = f"{where}: unit {label!r}"
        notation.require_order(inputs, f"{place}: inputs")
        # Numbers are meant as they are here, even if labels are digits.
        names = notation.with_labels(inputs, named)
        numbers = notation.parse_units(names, named, f"{place}: inputs", SubstrateError)
        given.append((numbers, as_array(table, place)))
    return named, given


def marginal_tables(
    given: Any, levels: Sequence[int] | None, labels: Iterable[str] | None, where: str
) -> tuple[tuple[str, ...], list[UnitTable], dict[str, Any]]:
    """Return labels, each unit's marginal table of a state-by-state matrix, and how far it is.

    References
    ----------
    mathematics.md, Eq. (1.3).
    """
    array = as_array(given, where)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise SubstrateError(
            f"{where}: expected a square (state-by-state) matrix, got shape {array.shape}"
        )
    sizes = [2] * max(len(array).bit_length() - 1, 1) if levels is None else list(levels)
    if min(sizes, default=0) < 2 or math.prod(sizes) != len(array):
        raise SubstrateError(
            f"{where}: expected one row for each state of units with {sizes} values, "
            f"got {len(array)}"
        )
    rows = checked_probabilities(array, "all", ["state"], where)
    joint = rows.reshape((len(array), *sizes), order="F")
    named = notation.parse_labels(labels, len(sizes), where)
    tables: list[UnitTable] = []
    product = np.ones_like(joint)
    for i, size in enumerate(sizes):
        others = tuple(1 + j for j in range(len(sizes)) if j != i)
        marginal = joint.sum(axis=others)
        shape = [size if j == i else 1 for j in range(len(sizes))]
        product = product * marginal.reshape(-1, *shape)
        table = marginal.reshape((*sizes, size), order="F")
        tables.append((tuple(range(len(sizes))), table))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(joint > 0, joint * np.log2(joint / product), 0.0)
    divergence = terms.reshape(len(array), -1).sum(axis=1)
    worst = int(np.argmax(divergence))
    attrs = {
        "largest_row_divergence": max(float(divergence[worst]), 0.0),
        "largest_row": notation.state_text(notation.decode_state(worst, sizes)),
    }
    return named, tables, attrs


def _state_digits(row: int, count: int) -> str:
    return "".join(str(row >> i & 1) for i in range(count))


def _factors_from_arrays(arrays: Sequence[Any], where: str) -> list[UnitTable]:
    """Return inputs and table per unit of factors whose axes of size 1 are no inputs."""
    count = len(arrays)
    given: list[UnitTable] = []
    for i, values in enumerate(arrays):
        table = as_array(values, f"{where}: factor {i}")
        if table.ndim != count + 1:
            raise SubstrateError(
                f"{where}: factor {i}: expected {count + 1} axes (every unit, own value), "
                f"got shape {table.shape}"
            )
        inputs = tuple(j for j in range(count) if table.shape[j] != 1)
        unused = tuple(j for j in range(count) if table.shape[j] == 1)
        given.append((inputs, table.squeeze(axis=unused)))
    return given


def parse_tpm(
    given: Any, labels: Iterable[str] | None, where: str
) -> tuple[tuple[str, ...], list[UnitTable]]:
    """Return labels and every unit's table of a whole matrix."""
    is_list = isinstance(given, (list, tuple))  # whose arrays may be the rows of a matrix, too
    if is_list and any(isinstance(f, np.ndarray) and f.ndim == len(given) + 1 for f in given):
        named = notation.parse_labels(labels, len(given), where)
        return named, _factors_from_arrays(given, where)
    array = as_array(given, where)
    tables_of, count = _tpm_form(array.shape, where)
    named = notation.parse_labels(labels, count, where)
    return named, [(tuple(range(count)), table) for table in tables_of(array, named, where)]
