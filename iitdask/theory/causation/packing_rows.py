"""Gains of occurrences in sparse networks, and best packings of irreducible pairs within them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from iitdask.kernels.packings import (
    add_row,
    additive_row,
    cause_gains,
    close_row,
    component_within,
    compressed,
    offer_packings,
    reach_of,
)
from iitdask.model.labels import units_of_mask
from iitdask.theory.causation.local_values import LocalTable, parents_of, with_unknown
from iitdask.theory.stage import Array

ROW_BYTES = 256 * 2**20  # Rows that a process keeps; others are computed again when needed
# Purviews of a mechanism and their gains, bits
Purviews = tuple[Array, Array]
NO_PURVIEW: Purviews = np.zeros(1, np.int64), np.zeros(1)


class RowCache:
    """Rows by mask, the last used ones up to a number of bytes."""

    def __init__(self, make: Callable[[int], Array], budget: int = ROW_BYTES) -> None:
        self._make, self._left = make, budget
        self._rows: dict[int, Array] = {}
        self._lock = threading.Lock()  # Blocks of one stage share the rows

    def get(self, mask: int) -> Array:
        """Return the row of a mask."""
        with self._lock:
            row = self._rows.pop(mask, None)
            if row is not None:
                self._rows[mask] = row
                return row
        row = self._make(mask)
        with self._lock:
            if mask not in self._rows:
                self._rows[mask] = row
                self._left -= row.nbytes
            while self._left < 0 and len(self._rows) > 1:
                self._left += self._rows.pop(next(iter(self._rows))).nbytes
        return row


@dataclass(frozen=True, slots=True)
class PairGraph:
    """Edges between the mechanism units and the purview units of one direction."""

    children: Array  # (a,) mask of the effects that each cause feeds
    forward: bool  # True if mechanisms are causes and purviews effects
    reached: Array  # (units,) mask of the purview units that each mechanism unit has an edge with

    @classmethod
    def build(cls, children: Array, forward: bool, n_effects: int) -> PairGraph:
        """Build the graph of one direction."""
        reached = children if forward else np.array(parents_of(children, n_effects), np.int64)
        return cls(children, forward, reached)

    def reached_by(self, mechanism: int) -> int:
        """Return the mask of the purview units that a mechanism has an edge with."""
        return int(reach_of(mechanism, self.reached))

    def component(self, mechanism: int, inside: int = -1) -> int:
        """Return the part connected with the first unit by purview units, of those `inside`."""
        return int(component_within(mechanism, self.reached, inside))


@dataclass(frozen=True, slots=True)
class LocalGains:
    """Gains of connected mechanisms with every set of purview units that they reach."""

    graph: PairGraph
    parents: Array  # (b,) mask of the causes of each effect
    radices: Array  # (a,) number of values of each cause, and one
    order: Array  # (a,) causes as they are summed over
    # By effect: P(value after | each of its causes known or not), flat, and where they begin
    tables: tuple[Array, Array]
    # By effect: log2 of it with each set of its causes in their state, little-endian; the same
    at_state: tuple[Array, Array]

    @classmethod
    def build(
        cls,
        graph: PairGraph,
        tables: Sequence[LocalTable],
        state: Array,
        radices: Array,
        order: Array,
    ) -> LocalGains:
        """Build from the tables of the effects over their causes, which ascend."""
        known = [(inputs, with_unknown(table)) for inputs, table in tables]
        at_state = []
        for inputs, table in known:
            chosen = table[np.ix_(*([-1, state[unit]] for unit in inputs))] if inputs else table
            with np.errstate(divide="ignore"):
                at_state.append(np.log2(chosen.reshape(-1, order="F")))
        parents = np.array([sum(1 << u for u in inputs) for inputs, _ in tables], np.int64)
        flat = concatenated([table.reshape(-1) for _, table in known])
        return cls(graph, parents, radices, order, flat, concatenated(at_state))

    def row(self, mechanism: int) -> Array:
        """Return the gain with each set of purview units, bits; NaN if it is impossible."""
        reach = self.graph.reached_by(mechanism)
        if not self.graph.forward:
            order = self.order[reach >> self.order & 1 == 1]
            sides = (*self.tables, self.parents, self.radices, *self.at_state)
            return np.asarray(cause_gains(*sides, mechanism, order, reach))
        out = np.empty(1 << reach.bit_count())
        gains = [self._effect_gain(mechanism, unit) for unit in units_of_mask(reach)]
        additive_row(np.array(gains), out)
        return out

    def _effect_gain(self, mechanism: int, effect: int) -> float:
        parents, (bits, starts) = int(self.parents[effect]), self.at_state
        known = compressed(mechanism & parents, parents)
        return float(bits[starts[effect] + known] - bits[starts[effect]])

    def free_bits(self, purview: int) -> float:
        """Return log2 of the probability of a purview's state without a mechanism."""
        units = units_of_mask(purview)
        bits, starts = self.at_state
        if self.graph.forward:
            return float(sum(bits[starts[unit]] for unit in units))
        return -float(sum(np.log2(self.radices[unit] - 1.0) for unit in units))


def concatenated(rows: Sequence[Array]) -> tuple[Array, Array]:
    """Return rows one behind the other, and where each of them begins."""
    return np.concatenate(rows), np.cumsum([0, *map(len, rows)])


@dataclass(slots=True)
class PackingRows:
    """Best packings of irreducible pairs within a mechanism and each set of purview units."""

    graph: PairGraph
    # By mechanism, purviews that gain more than each partition and each purview within them
    pairs: dict[int, Purviews] = field(default_factory=dict)
    _by_first: dict[int, list[int]] = field(default_factory=dict)
    _cache: RowCache = field(init=False)

    def __post_init__(self) -> None:
        self._cache = RowCache(self._row)

    def add(self, mechanism: int, purviews: Purviews) -> None:
        """Add the irreducible pairs of a mechanism; after those of all its subsets."""
        if len(purviews[0]):
            self.pairs[mechanism] = purviews
            self._by_first.setdefault(mechanism & -mechanism, []).append(mechanism)

    def best(self, mechanism: int) -> Array:
        """Return the best packings of a mechanism, the whole of it included, bits."""
        return self._cache.get(mechanism)

    def best_at(self, mechanism: int, purview: int) -> float:
        """Return the best packing of a mechanism and a purview."""
        reach = self.graph.reached_by(mechanism)
        return float(self.best(mechanism)[compressed(purview & reach, reach)])

    def best_parts(self, mechanism: int) -> Array:
        """Return the best packings of a connected mechanism but for blocks that have all of it."""
        reach, low = self.graph.reached_by(mechanism), mechanism & -mechanism
        out = np.zeros(1 << reach.bit_count())
        self._offer(NO_PURVIEW, mechanism ^ low, reach, out)
        for block in self._by_first.get(low, ()):
            if block & ~mechanism == 0 and block != mechanism:
                self._offer(self.pairs[block], mechanism ^ block, reach, out)
        close_row(out)
        return out

    def _offer(self, pairs: Purviews, rest: int, reach: int, out: Array) -> None:
        offer_packings(*pairs, self.best(rest), self.graph.reached_by(rest), reach, out)

    def _row(self, mechanism: int) -> Array:
        if mechanism == 0:
            return np.zeros(1)
        part = self.graph.component(mechanism)
        if part == mechanism:
            out = self.best_parts(mechanism)
            if mechanism in self.pairs:
                self._offer(self.pairs[mechanism], 0, self.graph.reached_by(mechanism), out)
                close_row(out)
            return out
        reach, left = self.graph.reached_by(mechanism), mechanism
        out = np.zeros(1 << reach.bit_count())
        while left:
            part = self.graph.component(left)
            add_row(self.best(part), self.graph.reached_by(part), reach, out)
            left ^= part
        return out


def gains_of(inputs: Mapping[str, Array]) -> LocalGains:
    """Build the gains of one direction from the arrays of a stage."""
    n_effects, forward, *_ = inputs["numbers"].tolist()
    levels = inputs["levels"].tolist()
    graph = PairGraph.build(inputs["children"], bool(forward), n_effects)
    tables, begin = [], 0
    for mask in parents_of(inputs["children"], n_effects):
        own = units_of_mask(mask)
        shape = [levels[unit] for unit in own]
        size = int(np.prod(shape, dtype=np.int64))
        tables.append((own, inputs["tables"][begin : begin + size].reshape(shape)))
        begin += size
    radices = np.require(inputs["levels"] + 1, np.int64)
    return LocalGains.build(graph, tables, inputs["state"], radices, inputs["order"])
