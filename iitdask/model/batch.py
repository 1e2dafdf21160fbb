"""Many small substrates as flat arrays, and points: what is asked of which of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iitdask.model.factor import Factor
from iitdask.model.substrate import Substrate
from iitdask.model.system import factor_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["LARGEST", "Batch", "is_small", "whole_table"]

LARGEST = 4096
"""States of a substrate up to which its whole table is laid out."""

Array = NDArray[Any]


def is_small(substrate: Substrate) -> bool:
    """Whether the whole table of a substrate is small enough to be laid out."""
    states = 1
    for k in substrate.levels:
        states *= k
        if states > LARGEST:
            return False
    return True


def whole_table(substrate: Substrate) -> Array:
    """``(S, c)`` P(unit takes value | state of all units), little-endian rows."""
    everyone = {i: i for i in range(substrate.n_units)}
    return np.hstack(
        [factor_rows(factor, everyone, substrate.levels) for factor in substrate.factors]
    )


@dataclass(frozen=True, eq=False)
class Batch:
    """Small substrates side by side, see :mod:`iitdask.kernels.batches`."""

    sizes: Array
    """(K,) int64 units of each."""
    levels: Array
    """(K, N) int64 values per unit; 1 beyond its units."""
    starts: Array
    """(K + 1,) int64 where each table begins."""
    tables: Array
    """float64, the values of all units side by side, state by state."""
    children: Array
    """(K, N) int64 mask of the units that each unit feeds."""

    def __len__(self) -> int:
        return len(self.sizes)

    @classmethod
    def empty(cls) -> Batch:
        """No substrates."""
        none = np.zeros(0, np.int64)
        flat = np.zeros((0, 0), np.int64)
        return cls(none, flat, np.zeros(1, np.int64), np.zeros(0), flat)

    @classmethod
    def of(cls, substrates: Sequence[Substrate]) -> Batch:
        """Lay substrates out."""
        each = []
        for substrate in substrates:
            n = substrate.n_units
            edges = substrate.connectivity.astype(np.int64) << np.arange(n)
            each.append(
                cls.alike(
                    substrate.levels, whole_table(substrate)[None], edges.sum(axis=1)[None, :]
                )
            )
        return cls.joined(each)

    @classmethod
    def alike(cls, levels: Sequence[int], tables: Array, children: Array) -> Batch:
        """Lay out substrates with the same units: tables (K, S, c), children (K, N)."""
        count, size = len(tables), tables[0].size if len(tables) else 0
        return cls(
            np.full(count, len(levels), np.int64),
            np.tile(np.array(levels, np.int64), (count, 1)),
            np.arange(count + 1, dtype=np.int64) * size,
            np.ascontiguousarray(tables, np.float64).ravel(),
            np.ascontiguousarray(children, np.int64),
        )

    @classmethod
    def joined(cls, batches: Iterable[Batch]) -> Batch:
        """Put batches side by side."""
        given = [batch for batch in batches if len(batch)]
        if not given:
            return cls.empty()
        if len(given) == 1:
            return given[0]
        most = max(batch.levels.shape[1] for batch in given)

        def wide(array: Array, fill: int) -> Array:
            extra = most - array.shape[1]
            return np.pad(array, ((0, 0), (0, extra)), constant_values=fill)

        lengths = np.concatenate([np.diff(batch.starts) for batch in given])
        return cls(
            np.concatenate([batch.sizes for batch in given]),
            np.concatenate([wide(batch.levels, 1) for batch in given]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([batch.tables for batch in given]),
            np.concatenate([wide(batch.children, 0) for batch in given]),
        )

    def chosen(self, numbers: Array) -> Batch:
        """Some of the substrates, in the order given."""
        lengths = np.diff(self.starts)[numbers]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        picks = within + np.repeat(self.starts[:-1][numbers], lengths)
        return Batch(
            self.sizes[numbers],
            self.levels[numbers],
            starts,
            self.tables[picks],
            self.children[numbers],
        )

    def digests(self) -> Array:
        """(K, 2) uint64: what tells the content of one substrate from that of others."""
        out = np.empty((len(self), 2), np.uint64)
        view = (self.tables + 0.0).view(np.uint8)
        starts = (self.starts * 8).tolist()
        heads = np.column_stack([self.sizes, self.levels, self.children])
        for k, n in enumerate(self.sizes.tolist()):
            state = hashlib.blake2b(view[starts[k] : starts[k + 1]].data, digest_size=16)
            width = self.levels.shape[1]
            state.update(heads[k, : 1 + n].tobytes())
            state.update(heads[k, 1 + width : 1 + width + n].tobytes())
            out[k] = np.frombuffer(state.digest(), np.uint64)
        return out

    def substrate(self, number: int, labels: Sequence[str]) -> Substrate:
        """One of them as a substrate again."""
        n = int(self.sizes[number])
        levels = tuple(self.levels[number, :n].tolist())
        flat = self.tables[self.starts[number] : self.starts[number + 1]]
        rows = flat.reshape(-1, sum(levels))
        edges = (self.children[number, :n, None] >> np.arange(n) & 1).astype(np.bool_)
        factors, column = [], 0
        for i, k in enumerate(levels):
            inputs = tuple(np.flatnonzero(edges[:, i]).tolist())
            own = rows[:, column : column + k].reshape((*levels, k), order="F")
            index = tuple(slice(None) if j in inputs else 0 for j in range(n))
            factors.append(Factor(inputs, np.ascontiguousarray(own[index])))
            column += k
        return Substrate(tuple(factors), edges, levels, tuple(labels))
