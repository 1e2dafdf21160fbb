"""The forms in which a whole transition probability matrix may be given.

Every form becomes one table per unit over all units of the substrate:
``(k_0, ..., k_{N-1}, k_i)``. Rows are little-endian: unit 0 varies fastest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.errors import SubstrateError
from iitdask.model.factor import ROUNDING, Table, as_array, row_name, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["tables", "unit_count"]

FORMS = (
    "(2^N, N) state-by-node, (2, ..., 2, N) state-by-node, (2^N, 2^N) state-by-state "
    "or (k_0, ..., k_N-1, N, max k)"
)


def unit_count(array: Table, where: str) -> int:
    """Return N, or say that the shape is none of the forms."""
    shape: tuple[int, ...] = array.shape
    if array.ndim == 2 and shape[0] == shape[1]:
        count = shape[0].bit_length() - 1
        if count >= 1 and shape[0] == 1 << count:
            return count
        raise SubstrateError(
            f"{where}: expected a square (state-by-state) matrix to have 2^N rows, got {shape}"
        )
    if array.ndim == 2 and 1 <= shape[1] <= 62 and shape[0] == 1 << shape[1]:
        return shape[1]
    if _is_nodes(shape):
        return shape[-1]
    if _is_alphabet(shape):
        return shape[-2]
    if array.ndim >= 3 and 1 in shape[:-2] and shape[-2] == array.ndim - 2:
        raise SubstrateError(f"{where}: expected units with two or more values, got shape {shape}")
    raise SubstrateError(f"{where}: expected shape {FORMS}, got {shape}")


def _is_nodes(shape: tuple[int, ...]) -> bool:
    count = len(shape) - 1
    return count >= 1 and shape == (2,) * count + (count,)


def _is_alphabet(shape: tuple[int, ...]) -> bool:
    count = len(shape) - 2
    return (
        count >= 1 and shape[-2] == count and shape[-1] == max(shape[:-2]) and min(shape[:-2]) >= 2
    )


def tables(array: Table, labels: Sequence[str], where: str) -> list[Table]:
    """Return one table per unit, ``(k_0, ..., k_{N-1}, k_i)``.

    Parameters
    ----------
    array
        Any of the forms, already known to be one (:func:`unit_count`).
    labels
        ``N`` labels, for messages.
    """
    count = len(labels)
    if array.ndim == 2 and array.shape[0] == array.shape[1]:
        array = _from_states(array, labels, where)
    if array.ndim == 2:
        array = array.reshape((2,) * count + (count,), order="F")
    if _is_nodes(array.shape):
        return _from_nodes(array, labels, where)
    return _from_alphabet(array, labels, where)


def _from_nodes(array: Table, labels: Sequence[str], where: str) -> list[Table]:
    # Checked here, where the number is still the one the caller wrote.
    _require_probabilities(array, labels, where)
    on = np.clip(array, 0.0, 1.0)
    return [np.stack([1.0 - on[..., i], on[..., i]], axis=-1) for i in range(len(labels))]


def _require_probabilities(array: Table, labels: Sequence[str], where: str) -> None:
    index = within(array, ~((array >= -ROUNDING) & (array <= 1 + ROUNDING)))
    if index is not None:
        raise SubstrateError(
            f"{where}: {row_name(index[:-1], labels, array.shape[:-1])}, unit "
            f"{labels[index[-1]]!r}: expected a probability from 0 to 1, got {array[index]}"
        )


def _from_alphabet(array: Table, labels: Sequence[str], where: str) -> list[Table]:
    levels = array.shape[:-2]
    for i, level in enumerate(levels):
        padding = array[..., i, level:]
        index = within(padding, padding != 0)  # true for nan
        if index is not None:
            raise SubstrateError(
                f"{where}: {row_name(index[:-1], labels, levels)}, unit {labels[i]!r} has "
                f"{level} values: expected 0 for value {level + index[-1]}, got {padding[index]}"
            )
    return [array[..., i, :level] for i, level in enumerate(levels)]


def _from_states(array: Table, labels: Sequence[str], where: str) -> Table:
    """Return the state-by-node form of a state-by-state matrix, which must be a product."""
    count = len(labels)
    _require_rows(array, count, where)
    bits = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
    on = np.clip(array @ bits.astype(np.float64), 0.0, 1.0)
    product = np.ones_like(array)
    for i in range(count):
        product *= np.where(bits[:, i] == 1, on[:, i, None], 1.0 - on[:, i, None])
    off = np.abs(array - product) - (1e-8 + 1e-5 * product)
    worst = int(np.argmax(off))
    if off.flat[worst] > 0:
        row, column = divmod(worst, 1 << count)
        raise SubstrateError(
            f"{where}: not conditionally independent: from state {_bits(row, count)} to "
            f"{_bits(column, count)} the units' own probabilities give "
            f"{product[row, column]:.9g}, expected the same in the matrix, "
            f"got {array[row, column]:.9g}"
        )
    return on


def _require_rows(array: Table, count: int, where: str) -> None:
    index = within(array, ~((array >= -ROUNDING) & (array <= 1 + ROUNDING)))
    if index is not None:
        raise SubstrateError(
            f"{where}: row {index[0]} (state {_bits(index[0], count)}), column {index[1]}: "
            f"expected a probability from 0 to 1, got {array[index]}"
        )
    sums = array.sum(axis=1)
    off: NDArray[np.bool_] = np.abs(sums - 1) > 1e-8
    if off.any():
        row = int(np.argmax(off))
        raise SubstrateError(
            f"{where}: row {row} (state {_bits(row, count)}): "
            f"expected probabilities that sum to 1, got {sums[row]}"
        )


def _bits(row: int, count: int) -> str:
    return "".join(str(row >> i & 1) for i in range(count))


def factor_list(arrays: Sequence[Any], where: str) -> list[tuple[list[int], Table]]:
    """Return inputs and table per unit of factors whose axes of size 1 are no inputs.

    Parameters
    ----------
    arrays
        N arrays ``(k_0 or 1, ..., k_{N-1} or 1, k_i)``.
    """
    count = len(arrays)
    given: list[tuple[list[int], Table]] = []
    for i, values in enumerate(arrays):
        table = as_array(values, where)
        if table.ndim != count + 1:
            raise SubstrateError(
                f"{where}: factor {i}: expected {count + 1} axes (every unit, own value), "
                f"got shape {table.shape}"
            )
        inputs = [j for j in range(count) if table.shape[j] != 1]
        unused = tuple(j for j in range(count) if table.shape[j] == 1)
        given.append((inputs, table.squeeze(axis=unused)))
    return given
