"""The protocol through which a run stores blocks, and the ledger that keeps them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import uuid4

import numpy as np

from iitdask.errors import StoreError
from iitdask.run.checksum import lineage
from iitdask.run.plan import Block, Tiling, tile
from iitdask.run.task import StageContext, StageLayout
from iitdask.theory.stage import Array, Filled, Region, Stage, StageRef


class Ledger(Protocol):
    """Stores the blocks of stages, and knows which are committed.

    After `open`, stages go by their name.
    """

    @property
    def fingerprint(self) -> str:
        """Digest that tells the study of this ledger from others."""

    def open(self, stage: Stage, block_seconds: float) -> Tiling:
        """Create a stage, or reopen it with the tiling it was created with.

        A stage whose lineage changed (its version, grid, variables or inputs) is cleared and
        tiled anew.
        """

    def worker_context(self, stage: Stage) -> StageContext:
        """Return what a worker needs to fill blocks of a stage."""

    def tiling(self, stage: str) -> Tiling:
        """Return how an opened stage is cut into blocks."""

    def done(self, stage: str) -> set[Block]:
        """Return the committed blocks."""

    def write_block(
        self, stage: str, block: Block, arrays: Mapping[str, Array], seconds: float
    ) -> None:
        """Store the arrays of a block and commit it; `seconds` is what it took to compute."""

    def block_seconds(
        self, stage: str, blocks: Iterable[Block] | None = None
    ) -> dict[Block, float]:
        """Return the seconds that committed blocks took; of all, or of some."""

    def read_block(self, stage: str, block: Block) -> dict[str, Array]:
        """Return the arrays of one committed block, verified."""

    def read_variable(self, stored: StageRef) -> Array:
        """Return one variable of a filled stage, verified."""

    def variable_bytes(self, stored: StageRef) -> int:
        """Return the bytes of one variable."""

    def read_stage(self, stage: str) -> Filled:
        """Return the variables of a stage by name; DamagedStoreError if blocks were damaged."""

    def delete_blocks(self, stage: str, blocks: Iterable[Block]) -> None:
        """Delete blocks, commit records first."""


def read_inputs(ledger: Ledger, stage: Stage) -> dict[str, Array]:
    """Read all input arrays of a stage, those of earlier stages from the ledger."""
    return {
        name: ledger.read_variable(given) if isinstance(given, StageRef) else np.asarray(given)
        for name, given in stage.inputs.items()
    }


@dataclass(slots=True)
class _MemoryStage:
    """One stage: its arrays and the seconds of its committed blocks."""

    layout: StageLayout
    arrays: dict[str, Array]
    seconds: dict[Block, float] = field(default_factory=dict)


class MemoryLedger:
    """Blocks kept as arrays of this process."""

    def __init__(self) -> None:
        self.fingerprint = ""  # a ledger in memory is not bound to a study
        self._name = f"memory-{uuid4().hex}"
        self._stages: dict[str, _MemoryStage] = {}

    def open(self, stage: Stage, block_seconds: float) -> Tiling:
        """Create a stage, or reopen it with the tiling it was created with."""
        wanted = lineage(stage, lambda name: self._stage(name).layout.lineage)
        stored = self._stages.get(stage.name)
        if stored is None or stored.layout.lineage != wanted:
            layout = StageLayout.from_stage(stage, tile(stage, block_seconds), wanted)
            stored = _MemoryStage(layout, {v.name: layout.empty(v) for v in layout.variables})
            self._stages[stage.name] = stored
        # Units and prose may have been reworded; the numbers are the same.
        stored.layout = replace(stored.layout, variables=stage.variables, version=stage.version)
        return stored.layout.tiling

    def worker_context(self, stage: Stage) -> StageContext:
        """Return what a worker needs, inputs included; its blocks come back to this ledger."""
        layout = self._stage(stage.name).layout
        return StageContext.from_stage(stage, layout, self._name, None, read_inputs(self, stage))

    def tiling(self, stage: str) -> Tiling:
        """Return how an opened stage is cut into blocks."""
        return self._stage(stage).layout.tiling

    def done(self, stage: str) -> set[Block]:
        """Return the committed blocks."""
        return set(self._stage(stage).seconds)

    def write_block(
        self, stage: str, block: Block, arrays: Mapping[str, Array], seconds: float
    ) -> None:
        """Copy the arrays of a block and commit it."""
        stored = self._stage(stage)
        region = stored.layout.tiling.region(block)
        for name, array in stored.layout.validated(block, arrays).items():
            stored.arrays[name][region] = array
        stored.seconds[block] = seconds

    def patch(self, stage: str, parts: Iterable[tuple[Region, Mapping[str, Array]]]) -> None:
        """Copy arrays into any regions of a stage, committing nothing."""
        stored = self._stage(stage)
        for region, arrays in parts:
            for name, array in arrays.items():
                stored.arrays[name][region] = array

    def block_seconds(
        self, stage: str, blocks: Iterable[Block] | None = None
    ) -> dict[Block, float]:
        """Return the seconds that committed blocks took; of all, or of some."""
        seconds = self._stage(stage).seconds
        if blocks is None:
            return dict(seconds)
        return {block: seconds[block] for block in blocks if block in seconds}

    def read_block(self, stage: str, block: Block) -> dict[str, Array]:
        """Return the arrays of one committed block."""
        stored = self._stage(stage)
        if block not in stored.seconds:
            raise StoreError(f"stage {stage!r}: block {block} is not filled")
        region = stored.layout.tiling.region(block)
        return {name: array[region].copy() for name, array in stored.arrays.items()}

    def read_variable(self, stored: StageRef) -> Array:
        """Return a copy of one variable of a filled stage."""
        stage = self._stage(stored.stage)
        variable = stage.layout.variable(stored.variable)
        missing = len(stage.layout.tiling) - len(stage.seconds)
        if missing and not stage.layout.partial:
            raise StoreError(f"stage {stored.stage!r} is read, but {missing} block(s) are missing")
        return stage.arrays[variable.name].copy()

    def variable_bytes(self, stored: StageRef) -> int:
        """Return the bytes of one variable."""
        layout = self._stage(stored.stage).layout
        return layout.size(layout.variable(stored.variable))

    def read_stage(self, stage: str) -> Filled:
        """Return copies of the variables of a stage, by name."""
        stored = self._stage(stage)
        return stored.layout.label_arrays({name: a.copy() for name, a in stored.arrays.items()})

    def delete_blocks(self, stage: str, blocks: Iterable[Block]) -> None:
        """Reset blocks to the fill value; they are no longer committed."""
        stored = self._stage(stage)
        for block in blocks:
            stored.seconds.pop(block, None)
            region = stored.layout.tiling.region(block)
            for variable in stored.layout.variables:
                stored.arrays[variable.name][region] = variable.fill

    def _stage(self, stage: str) -> _MemoryStage:
        try:
            return self._stages[stage]
        except KeyError:
            raise StoreError(f"no stage {stage!r} in this ledger") from None
