"""Tied partitions of a pair in a sparse network: how many there are, and the one that is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from iitdask.kernels.causation import (
    MAX_COUNTED_TIES,
    TIE_SLACK_BITS,
    is_lexicographically_first,
)
from iitdask.kernels.packings import compressed, tied_purviews
from iitdask.model.labels import units_of_mask
from iitdask.theory.causation.packing_rows import PackingRows, PairGraph, RowCache
from iitdask.theory.stage import Array

Block = tuple[int, int]  # Mask of mechanism units, mask of purview units


class Core(NamedTuple):
    """Connected blocks of a partition; what is left shares no edge with its own block."""

    blocks: tuple[Block, ...]
    alone: int  # Mask of the mechanism units without an edge in their block
    spare: int  # Mask of such purview units


@dataclass(frozen=True, slots=True)
class TiedPackings:
    """Counts the partitions that attain the best value of a pair."""

    rows: PackingRows
    gains: RowCache  # Of connected mechanisms
    n_mechanism_units: int
    n_purview_units: int

    def count(self, mechanism: int, purview: int) -> tuple[int, Array]:
        """Count the tied partitions of an irreducible pair, and name one.

        Returns
        -------
        tuple, how many there are, -1 beyond MAX_COUNTED_TIES; (mechanism units,) masks of the
            purview units that each keeps under the named one

        References
        ----------
        docs/mathematics.md 15.1 and 25.4.
        """
        named = np.zeros(self.n_mechanism_units, np.int64)
        shape = self.n_mechanism_units, self.n_purview_units
        ties = 0
        for kept in self._partitions(mechanism, purview):
            if ties == 0 or is_lexicographically_first(
                kept, named, mechanism, purview, *shape, self.rows.graph.forward
            ):
                named = kept
            ties += 1
            if ties > MAX_COUNTED_TIES:
                return -1, named
        return ties, named

    def _partitions(self, mechanism: int, purview: int) -> Iterator[Array]:
        """What each mechanism unit keeps under each tied partition."""
        reach = self.rows.graph.reached_by(mechanism)
        goal = float(self.rows.best_parts(mechanism)[compressed(purview, reach)])
        for core in self._cores(mechanism, mechanism, purview, goal):
            for blocks in joined_blocks(self.rows.graph, core):
                if all(part != mechanism for part, _ in blocks):
                    kept = np.zeros(self.n_mechanism_units, np.int64)
                    for part, found in blocks:
                        kept[list(units_of_mask(part))] = found
                    yield kept

    def _blocks(self, left: int, whole: int, spare: int, goal: float) -> Iterator[Block]:
        """Connected blocks with the first unit left that attain a goal with the best of the rest.

        None of them has the `whole` mechanism.
        """
        rows, graph, least = self.rows, self.rows.graph, goal - TIE_SLACK_BITS
        for part in connected_with_first(graph, left, spare):
            rest = left ^ part
            if part == whole or rows.best_at(part, spare) + rows.best_at(rest, spare) < least:
                continue
            sides = (
                self.gains.get(part),
                graph.reached_by(part),
                rows.best(rest),
                graph.reached_by(rest),
            )
            for purview in tied_purviews(*sides, spare, least).tolist():
                if graph.component(part, purview) == part:
                    yield part, purview

    def _cores(self, left: int, whole: int, spare: int, goal: float) -> Iterator[Core]:
        if left == 0:
            yield Core((), 0, spare)
            return
        low = left & -left
        best = self.rows.best_at(left ^ low, spare)
        if best >= goal - TIE_SLACK_BITS:
            for core in self._cores(left ^ low, whole, spare, best):
                yield core._replace(alone=core.alone | low)
        for part, purview in self._blocks(left, whole, spare, goal):
            rest, remaining = left ^ part, spare & ~purview
            best = self.rows.best_at(rest, remaining)
            for core in self._cores(rest, whole, remaining, best):
                yield core._replace(blocks=((part, purview), *core.blocks))


def connected_with_first(graph: PairGraph, left: int, spare: int) -> Iterator[int]:
    """List the sets of mechanism units that the purview units `spare` connect with the first."""
    low = left & -left
    pending = [(low, left ^ low)]  # Units taken, units that may be
    while pending:
        taken, free = pending.pop()
        covered = graph.reached_by(taken) & spare
        near = next((u for u in units_of_mask(free) if graph.reached[u] & covered), None)
        if near is None:
            if covered:
                yield taken
            continue
        pending.append((taken, free ^ 1 << near))
        pending.append((taken | 1 << near, free ^ 1 << near))


def joined_blocks(graph: PairGraph, core: Core) -> Iterator[list[Block]]:
    """List the partitions whose blocks, without units that share no edge in them, are the core's.

    Connected blocks may be joined where no edge leads from one to the other, and units without an
    edge may be added to a block, or make one.
    """
    parts = [*core.blocks, *((1 << unit, 0) for unit in units_of_mask(core.alone))]
    parts += [(0, 1 << unit) for unit in units_of_mask(core.spare)]
    pending: list[tuple[int, tuple[Block, ...]]] = [(0, ())]
    while pending:
        at, blocks = pending.pop()
        if at == len(parts):
            if all(purview for _, purview in blocks):
                yield list(blocks)
            continue
        part, purview = parts[at]
        if not (part and purview):  # in no block
            pending.append((at + 1, blocks))
        if (purview and part) or (part and core.spare):
            pending.append((at + 1, (*blocks, (part, purview))))
        for k, (other, found) in enumerate(blocks):
            if not (graph.reached_by(part) & found or graph.reached_by(other) & purview):
                joined = (other | part, found | purview)
                pending.append((at + 1, (*blocks[:k], joined, *blocks[k + 1 :])))
