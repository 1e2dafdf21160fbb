"""A substrate in a state as the flat arrays that kernels walk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.errors import MemoryRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from iitdask.model.pool import Pool

__all__ = ["net_arrays"]


def net_arrays(pool: Pool, units: Iterable[int]) -> dict[str, NDArray[Any]]:
    """Lay out tables and posteriors of some units, see :mod:`iitdask.kernels.candidates`.

    Raises
    ------
    MemoryRefusedError
        The exact posterior of a unit's inputs needs a table larger than the budget.
    """
    substrate, needed = pool.substrate, set(units)
    counts: list[tuple[int, int, int]] = [(0, 0, 0)]
    parents: list[NDArray[Any]] = []
    tables: list[NDArray[Any]] = []
    posteriors: list[NDArray[Any]] = []
    for unit, factor in enumerate(substrate.factors):
        if unit not in needed:
            counts.append((0, 0, 0))
            continue
        try:
            table = factor.table
            joint = pool.background.joint(factor.parents, substrate.levels)
        except MemoryRefusedError as error:
            raise MemoryRefusedError(f"unit {substrate.labels[unit]!r}: {error}") from None
        # Rows little-endian: the first input fastest.
        rows = np.moveaxis(table, -1, 0).reshape(table.shape[-1], -1, order="F")
        parents.append(np.array(factor.parents, np.int64))
        tables.append(rows.T.ravel())
        posteriors.append(joint.ravel(order="F"))
        counts.append((len(factor.parents), table.size, joint.size))
    starts = np.cumsum(np.array(counts, np.int64), axis=0)
    return {
        "levels": np.array(substrate.levels, np.int64),
        "state": np.array(pool.state, np.int64),
        "starts": np.ascontiguousarray(starts[:, 0]),
        "parents": _joined(parents, np.int64),
        "table_starts": np.ascontiguousarray(starts[:, 1]),
        "tables": _joined(tables, np.float64),
        "posterior_starts": np.ascontiguousarray(starts[:, 2]),
        "posteriors": _joined(posteriors, np.float64),
    }


def _joined(parts: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)
