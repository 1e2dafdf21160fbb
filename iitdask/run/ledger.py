"""The protocol through which a run stores blocks, and the ledger that keeps them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from uuid import uuid4

import numpy as np

from iitdask.errors import StoreError
from iitdask.run.checksum import lineage
from iitdask.run.plan import Block, Tiling, tile
from iitdask.run.task import StageContext, StageLayout
from iitdask.theory.stage import Filled, Region, Stage, StageRef

__all__ = [
    "Ledger",
    "MemoryLedger",
]

Array = np.ndarray[Any, np.dtype[Any]]


class Ledger(Protocol):
    """Keeps the blocks of stages, and knows which are filled.

    After `open`, stages go by their name.
    """

    @property
    def fingerprint(self) -> str:
        """What tells the study of this ledger from others."""
        ...

    def open(self, stage: Stage, block_seconds: float) -> Tiling:
        """Create a stage, or reopen it with the tiling it was created with.

        A stage whose lineage changed (its version, grid, variables or inputs) is
        wiped and tiled anew.
        """
        ...

    def worker_context(self, stage: Stage) -> StageContext:
        """Make a stage's inputs reachable for workers, and say how to fill it."""
        ...

    def tiling(self, stage: str) -> Tiling:
        """Return how an opened stage is cut into blocks."""
        ...

    def done(self, stage: str) -> set[Block]:
        """Blocks that are filled."""
        ...

    def fill(self, stage: str, block: Block, arrays: Mapping[str, Array], seconds: float) -> None:
        """Keep the arrays of a block and tick it."""
        ...

    def ticks(self, stage: str, blocks: Iterable[Block] | None = None) -> dict[Block, float]:
        """Seconds that filled blocks took; of all, or of some."""
        ...

    def arrays(self, stage: str, block: Block) -> dict[str, Array]:
        """Return the arrays of one filled block, checked."""
        ...

    def read(self, stored: StageRef) -> Array:
        """Return one variable of a filled stage, checked."""
        ...

    def size(self, stored: StageRef) -> int:
        """Bytes of one variable."""
        ...

    def answer(self, stage: str) -> Filled:
        """Return the variables of a stage by name, every filled block checked.

        Damaged blocks are unticked and named by a DamagedStoreError.
        """
        ...

    def delete_blocks(self, stage: str, blocks: Iterable[Block]) -> None:
        """Untick blocks and drop what they hold."""
        ...


@dataclass(slots=True)
class _MemoryStage:
    layout: StageLayout
    arrays: dict[str, Array]
    ticks: dict[Block, float] = field(default_factory=dict)


class MemoryLedger:
    """Blocks kept as arrays of this process."""

    def __init__(self) -> None:
        self._name = f"memory-{uuid4().hex}"
        self._stages: dict[str, _MemoryStage] = {}

    @property
    def fingerprint(self) -> str:
        """Nothing: a ledger in memory holds whatever is run on it."""
        return ""

    def open(self, stage: Stage, block_seconds: float) -> Tiling:
        """Create a stage, or reopen it with the tiling it was created with."""
        wanted = lineage(stage, lambda name: self._stage(name).layout.lineage)
        shelf = self._stages.get(stage.name)
        if shelf is None or shelf.layout.lineage != wanted:
            layout = StageLayout.of(stage, tile(stage, block_seconds), wanted)
            shelf = _MemoryStage(layout, {v.name: layout.empty(v) for v in layout.variables})
            self._stages[stage.name] = shelf
        # Units and prose may have been reworded; the numbers are the same.
        shelf.layout = replace(shelf.layout, variables=stage.variables, version=stage.version)
        return shelf.layout.tiling

    def worker_context(self, stage: Stage) -> StageContext:
        """Read the stored inputs; the driver fills what the workers send back."""
        inputs = {
            name: self.read(given) if isinstance(given, StageRef) else np.asarray(given)
            for name, given in stage.inputs.items()
        }
        return StageContext.from_stage(
            stage, self._stage(stage.name).layout, self._name, None, inputs
        )

    def tiling(self, stage: str) -> Tiling:
        """Return how an opened stage is cut into blocks."""
        return self._stage(stage).layout.tiling

    def done(self, stage: str) -> set[Block]:
        """Blocks that are filled."""
        return set(self._stage(stage).ticks)

    def fill(self, stage: str, block: Block, arrays: Mapping[str, Array], seconds: float) -> None:
        """Keep the arrays of a block and tick it."""
        shelf = self._stage(stage)
        region = shelf.layout.tiling.region(block)
        for name, array in shelf.layout.validated(block, arrays).items():
            shelf.arrays[name][region] = array
        shelf.ticks[block] = seconds

    def patch(self, stage: str, parts: Iterable[tuple[Region, Mapping[str, Array]]]) -> None:
        """Put arrays into any regions of a stage, ticking nothing."""
        shelf = self._stage(stage)
        for region, arrays in parts:
            for name, array in arrays.items():
                shelf.arrays[name][region] = array

    def ticks(self, stage: str, blocks: Iterable[Block] | None = None) -> dict[Block, float]:
        """Seconds that filled blocks took; of all, or of some."""
        ticks = self._stage(stage).ticks
        return dict(ticks) if blocks is None else {b: ticks[b] for b in blocks if b in ticks}

    def arrays(self, stage: str, block: Block) -> dict[str, Array]:
        """Return the arrays of one filled block."""
        shelf = self._stage(stage)
        if block not in shelf.ticks:
            raise StoreError(f"stage {stage!r}: block {block} is not filled")
        region = shelf.layout.tiling.region(block)
        return {name: array[region].copy() for name, array in shelf.arrays.items()}

    def read(self, stored: StageRef) -> Array:
        """Return one variable of a filled stage."""
        shelf = self._stage(stored.stage)
        variable = shelf.layout.variable(stored.variable)
        missing = len(shelf.layout.tiling) - len(shelf.ticks)
        if missing and not shelf.layout.partial:
            raise StoreError(f"stage {stored.stage!r} is read, but {missing} block(s) are missing")
        return shelf.arrays[variable.name].copy()

    def size(self, stored: StageRef) -> int:
        """Bytes of one variable."""
        layout = self._stage(stored.stage).layout
        return layout.size(layout.variable(stored.variable))

    def answer(self, stage: str) -> Filled:
        """Return the variables of a stage by name."""
        shelf = self._stage(stage)
        return shelf.layout.answer({name: a.copy() for name, a in shelf.arrays.items()})

    def delete_blocks(self, stage: str, blocks: Iterable[Block]) -> None:
        """Untick blocks and drop what they hold."""
        shelf = self._stage(stage)
        for block in blocks:
            shelf.ticks.pop(block, None)
            region = shelf.layout.tiling.region(block)
            for variable in shelf.layout.variables:
                shelf.arrays[variable.name][region] = variable.fill

    def _stage(self, stage: str) -> _MemoryStage:
        try:
            return self._stages[stage]
        except KeyError:
            raise StoreError(f"no stage {stage!r} in this ledger") from None
