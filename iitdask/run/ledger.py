"""The ledger, in which a run stores blocks, and the one that keeps them in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from uuid import uuid4

import numpy as np

from iitdask.errors import DamagedStoreError, StoreError
from iitdask.run.checksum import lineage
from iitdask.run.plan import Block, Tiling, tile
from iitdask.run.stage_group import StageGroup, StageReader
from iitdask.run.task import StageContext, StageLayout
from iitdask.theory.stage import Array, Filled, Region, Stage, StageRef, Variable


class Ledger(ABC):
    """Stores the blocks of stages, and knows which are committed.

    After `open`, stages go by their name.
    """

    fingerprint: str  # Digest that tells the study of this ledger from others

    @abstractmethod
    def open(self, stage: Stage, block_seconds: float) -> Tiling:
        """Create a stage, or reopen it with the tiling it was created with.

        A stage whose lineage changed (its version, grid, variables or inputs) is cleared and
        tiled anew.
        """

    @abstractmethod
    def worker_context(self, stage: Stage) -> StageContext:
        """Return what a worker needs to fill blocks of a stage."""

    @abstractmethod
    def stage(self, name: str) -> StageBlocks:
        """Return the blocks of a stage; StoreError if there is none of that name."""

    def lineage(self, stage: Stage) -> str:
        """Return the lineage of a stage whose inputs are in this ledger."""
        return lineage(stage, lambda name: self.stage(name).layout.lineage)

    def tiling(self, stage: str) -> Tiling:
        """Return how an opened stage is cut into blocks."""
        return self.stage(stage).layout.tiling

    def done(self, stage: str) -> set[Block]:
        """Return the committed blocks."""
        return self.stage(stage).done()

    def write_block(
        self, stage: str, block: Block, arrays: Mapping[str, Array], seconds: float
    ) -> None:
        """Store the arrays of a block and commit it; `seconds` is what it took to compute."""
        blocks = self.stage(stage)
        blocks.write(block, blocks.layout.validated(block, arrays), seconds)

    def block_seconds(
        self, stage: str, blocks: Iterable[Block] | None = None
    ) -> dict[Block, float]:
        """Return the seconds that committed blocks took; of all, or of some."""
        stored = self.stage(stage)
        return stored.seconds(stored.done() if blocks is None else blocks)

    def read_block(self, stage: str, block: Block) -> dict[str, Array]:
        """Return the arrays of one committed block, verified."""
        stored = self.stage(stage)
        if not stored.is_committed(block):
            raise StoreError(f"{stored.label}, block {block} is not filled")
        try:
            return stored.read(block)
        except DamagedStoreError:
            stored.delete_blocks([block])
            raise

    def read_variable(self, stored: StageRef) -> Array:
        """Return one variable of a filled stage, verified."""
        return read_stage_variable(self.stage(stored.stage), stored)

    def read_inputs(self, stage: Stage) -> dict[str, Array]:
        """Read all input arrays of a stage, those of earlier stages from the ledger."""
        return {
            name: self.read_variable(source) if isinstance(source, StageRef) else np.asarray(source)
            for name, source in stage.inputs.items()
        }

    def input_bytes(self, source: Array | StageRef) -> int:
        """Return the bytes of an input: of an array, or of a variable of an earlier stage."""
        if not isinstance(source, StageRef):
            return source.nbytes
        layout = self.stage(source.stage).layout
        return layout.size(layout.variable(source.variable))

    def reader(self, stage: str) -> StageReader | None:  # noqa: ARG002 of stores only
        """Return what reads blocks of a stage while others are computed; None where none need."""
        return None

    def read_stage(self, stage: str, reader: StageReader | None = None) -> Filled:  # noqa: ARG002
        """Return the variables of a stage by name; DamagedStoreError if blocks were damaged.

        `reader` has read some of them already.
        """
        stored = self.stage(stage)
        return stored.layout.label_arrays(stored.read_all(stored.layout.variables))

    def delete_blocks(self, stage: str, blocks: Iterable[Block]) -> None:
        """Delete blocks, commit records first."""
        self.stage(stage).delete_blocks(blocks)


@dataclass(slots=True)
class _MemoryStage:
    """The blocks of one stage as arrays of this process."""

    layout: StageLayout
    arrays: dict[str, Array]
    committed: dict[Block, float] = field(default_factory=dict)  # Seconds of the committed blocks

    @property
    def label(self) -> str:
        return f"stage {self.layout.name!r}"

    def done(self) -> set[Block]:
        return set(self.committed)

    def is_committed(self, block: Block) -> bool:
        return block in self.committed

    def write(self, block: Block, arrays: Mapping[str, Array], seconds: float) -> None:
        self.patch(self.layout.tiling.region(block), arrays)
        self.committed[block] = seconds

    def patch(self, region: Region, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            self.arrays[name][region] = array

    def seconds(self, blocks: Iterable[Block]) -> dict[Block, float]:
        return {block: self.committed[block] for block in blocks if block in self.committed}

    def read(self, block: Block) -> dict[str, Array]:
        region = self.layout.tiling.region(block)
        return {name: array[region].copy() for name, array in self.arrays.items()}

    def read_all(self, variables: Iterable[Variable]) -> dict[str, Array]:
        return {v.name: self.arrays[v.name].copy() for v in variables}

    def delete_blocks(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self.committed.pop(block, None)
            for variable in self.layout.variables:
                self.arrays[variable.name][self.layout.tiling.region(block)] = variable.fill


StageBlocks = StageGroup | _MemoryStage  # The blocks of one stage in a ledger


def read_stage_variable(stage: StageBlocks, stored: StageRef) -> Array:
    """Return one variable of a filled stage, verified."""
    variable = stage.layout.variable(stored.variable)
    missing = len(stage.layout.tiling) - len(stage.done())
    if missing and not stage.layout.partial:
        raise DamagedStoreError(f"{stage.label} is read, but {missing} block(s) are missing")
    return stage.read_all([variable])[variable.name]


class MemoryLedger(Ledger):
    """Blocks kept as arrays of this process."""

    def __init__(self) -> None:
        self.fingerprint = ""  # a ledger in memory is not bound to a study
        self._name = f"memory-{uuid4().hex}"
        self._stages: dict[str, _MemoryStage] = {}

    def open(self, stage: Stage, block_seconds: float) -> Tiling:
        """Create a stage, or reopen it with the tiling it was created with."""
        wanted = self.lineage(stage)
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
        layout = self.stage(stage.name).layout
        return StageContext.from_stage(stage, layout, self._name, None, self.read_inputs(stage))

    def patch(self, stage: str, parts: Iterable[tuple[Region, Mapping[str, Array]]]) -> None:
        """Copy arrays into any regions of a stage, committing nothing."""
        for region, arrays in parts:
            self.stage(stage).patch(region, arrays)

    def stage(self, name: str) -> _MemoryStage:
        """Return the blocks of a stage; StoreError if there is none of that name."""
        try:
            return self._stages[name]
        except KeyError:
            raise StoreError(f"no stage {name!r} in this ledger") from None
