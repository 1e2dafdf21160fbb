"""A ledger that lives as long as the process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from iitdask.errors import StoreError
from iitdask.run.checksum import lineage
from iitdask.run.job import Setting
from iitdask.run.layout import Layout
from iitdask.run.plan import Block, Tiling, tile
from iitdask.theory.base import Answer, Stage, Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from iitdask.theory.base import Region

__all__ = ["MemoryLedger"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(slots=True)
class _Shelf:
    layout: Layout
    arrays: dict[str, Array]
    ticks: dict[Block, float] = field(default_factory=dict)


class MemoryLedger:
    """Blocks kept as arrays of this process."""

    def __init__(self) -> None:
        self._name = f"memory-{uuid4().hex}"
        self._shelves: dict[str, _Shelf] = {}

    @property
    def fingerprint(self) -> str:
        """Nothing: a ledger in memory holds whatever is run on it."""
        return ""

    def open(self, stage: Stage, block_seconds: float) -> Tiling:
        """Create a stage, or reopen it with the tiling it was created with."""
        wanted = lineage(stage, lambda name: self._shelf(name).layout.lineage)
        shelf = self._shelves.get(stage.name)
        if shelf is None or shelf.layout.lineage != wanted:
            layout = Layout.of(stage, tile(stage, block_seconds), wanted)
            shelf = _Shelf(layout, {v.name: layout.empty(v) for v in layout.fills})
            self._shelves[stage.name] = shelf
        # Units and prose may have been reworded; the numbers are the same.
        shelf.layout = replace(shelf.layout, fills=stage.fills, version=stage.version)
        return shelf.layout.tiling

    def lend(self, stage: Stage) -> Setting:
        """Read the stored inputs; the driver fills what the workers send back."""
        inputs = {
            name: self.read(given) if isinstance(given, Stored) else np.asarray(given)
            for name, given in stage.inputs.items()
        }
        return Setting.of(stage, self._shelf(stage.name).layout, self._name, None, inputs)

    def tiling(self, stage: str) -> Tiling:
        """Return how an opened stage is cut into blocks."""
        return self._shelf(stage).layout.tiling

    def done(self, stage: str) -> set[Block]:
        """Blocks that are filled."""
        return set(self._shelf(stage).ticks)

    def fill(self, stage: str, block: Block, arrays: Mapping[str, Array], seconds: float) -> None:
        """Keep the arrays of a block and tick it."""
        shelf = self._shelf(stage)
        region = shelf.layout.tiling.region(block)
        for name, array in shelf.layout.accept(block, arrays).items():
            shelf.arrays[name][region] = array
        shelf.ticks[block] = seconds

    def patch(self, stage: str, parts: Iterable[tuple[Region, Mapping[str, Array]]]) -> None:
        """Put arrays into any regions of a stage, ticking nothing."""
        shelf = self._shelf(stage)
        for region, arrays in parts:
            for name, array in arrays.items():
                shelf.arrays[name][region] = array

    def ticks(self, stage: str, blocks: Iterable[Block] | None = None) -> dict[Block, float]:
        """Seconds that filled blocks took; of all, or of some."""
        ticks = self._shelf(stage).ticks
        return dict(ticks) if blocks is None else {b: ticks[b] for b in blocks if b in ticks}

    def arrays(self, stage: str, block: Block) -> dict[str, Array]:
        """Return the arrays of one filled block."""
        shelf = self._shelf(stage)
        if block not in shelf.ticks:
            raise StoreError(f"stage {stage!r}: block {block} is not filled")
        region = shelf.layout.tiling.region(block)
        return {name: array[region].copy() for name, array in shelf.arrays.items()}

    def read(self, stored: Stored) -> Array:
        """Return one variable of a filled stage."""
        shelf = self._shelf(stored.stage)
        variable = shelf.layout.variable(stored.variable)
        missing = len(shelf.layout.tiling) - len(shelf.ticks)
        if missing and not shelf.layout.partial:
            raise StoreError(f"stage {stored.stage!r} is read, but {missing} block(s) are missing")
        return shelf.arrays[variable.name].copy()

    def size(self, stored: Stored) -> int:
        """Bytes of one variable."""
        layout = self._shelf(stored.stage).layout
        return layout.size(layout.variable(stored.variable))

    def answer(self, stage: str) -> Answer:
        """Return the variables of a stage by name."""
        shelf = self._shelf(stage)
        return shelf.layout.answer({name: a.copy() for name, a in shelf.arrays.items()})

    def verify(self, stage: str) -> list[Block]:
        """Return nothing: the memory of this process is taken at its word."""
        self._shelf(stage)
        return []

    def forget(self, stage: str, blocks: Iterable[Block]) -> None:
        """Untick blocks and drop what they hold."""
        shelf = self._shelf(stage)
        for block in blocks:
            shelf.ticks.pop(block, None)
            region = shelf.layout.tiling.region(block)
            for variable in shelf.layout.fills:
                shelf.arrays[variable.name][region] = variable.fill

    def _shelf(self, stage: str) -> _Shelf:
        try:
            return self._shelves[stage]
        except KeyError:
            raise StoreError(f"no stage {stage!r} in this ledger") from None
