"""The task of a worker: fill the blocks of one bundle and report what became of them."""

from __future__ import annotations

import os
import pickle
import socket
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from iitdask.errors import DamagedStoreError, StoreError, UnreachableStoreError, WorkerMismatchError
from iitdask.run.checksum import build_id
from iitdask.run.events import OnBlockStart
from iitdask.run.ledger import read_stage_variable
from iitdask.run.plan import Block
from iitdask.run.stage_group import StageGroup
from iitdask.run.task import (
    BlockError,
    BlockResult,
    BundleResult,
    BundleTask,
    Input,
    StageContext,
    VariableRef,
)
from iitdask.theory.stage import Array, Stage

MAX_PREPARED_STAGES = 4
"""Stages whose prepared inputs one process keeps."""
ARRAY_CACHE_BYTES = 64 * 2**20
"""Bytes of variables that one process keeps for later stages."""
PREPARED_BYTES = 2**30
"""Bytes of prepared inputs above which those of earlier stages are dropped first."""


@dataclass(slots=True, eq=False)
class _ArrayCache:
    """Variables of earlier stages that this process has read, for several later stages."""

    arrays: OrderedDict[tuple[object, ...], Array] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def read(self, ref: VariableRef) -> Array:
        """Return a variable of a stage; a lineage always names the same bits."""
        group = StageGroup.load(ref.store, ref.variable.stage)
        key = (ref, group.layout.lineage)
        with self.lock:
            if key in self.arrays:
                self.arrays.move_to_end(key)
                return self.arrays[key]
        array = read_stage_variable(group, ref.variable)
        if not group.layout.partial and array.nbytes <= ARRAY_CACHE_BYTES:
            with self.lock:
                self.arrays[key] = array
                while sum(kept.nbytes for kept in self.arrays.values()) > ARRAY_CACHE_BYTES:
                    self.arrays.popitem(last=False)
        return array

    def clear(self) -> None:
        with self.lock:
            self.arrays.clear()


@dataclass(slots=True, eq=False)
class _PreparedStage:
    """A stage set up in this process."""

    inputs: Any
    """What `prepare` made of the inputs."""
    group: StageGroup | None
    """Group of the stage in the store; None if the driver fills the ledger."""


@dataclass(slots=True, eq=False)
class _Entry:
    lock: Lock = field(default_factory=Lock)
    stage: _PreparedStage | None = None


@dataclass(slots=True, eq=False)
class _PreparedStages:
    """The stages this process worked on last, a small cache."""

    entries: OrderedDict[tuple[object, ...], _Entry] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def get(self, key: tuple[object, ...], make: Callable[[], _PreparedStage]) -> _PreparedStage:
        """Return a prepared stage, prepared once however many threads ask."""
        with self.lock:
            entry = self.entries.setdefault(key, _Entry())
            self.entries.move_to_end(key)
            while len(self.entries) > MAX_PREPARED_STAGES:
                self.entries.popitem(last=False)
        with entry.lock:
            if entry.stage is None:
                self.evict()
                entry.stage = make()
            return entry.stage

    def evict(self) -> None:
        """Drop the least recently used stages while the cache holds too many bytes."""
        with self.lock:
            stages = [(key, entry.stage) for key, entry in self.entries.items() if entry.stage]
            total = sum(_nbytes(stage.inputs) for _, stage in stages)
            for key, stage in stages:
                if total <= PREPARED_BYTES:
                    break
                del self.entries[key]
                total -= _nbytes(stage.inputs)

    def clear(self) -> None:
        with self.lock:
            self.entries.clear()


def _nbytes(prepared: Any) -> int:
    """Return the bytes of all arrays in nested tuples, lists and dicts."""
    if isinstance(prepared, np.ndarray):
        return prepared.nbytes
    if isinstance(prepared, dict):
        return sum(map(_nbytes, prepared.values()))
    return sum(map(_nbytes, prepared)) if isinstance(prepared, tuple | list) else 0


# The one mutable thing at module level in this package: reading and preparing the
# inputs of a stage may take longer than a block, so a process does it once.
_PREPARED_STAGES, _ARRAY_CACHE = _PreparedStages(), _ArrayCache()


def run_bundle(
    task: BundleTask,
    inputs: Mapping[str, Array] | None = None,
    on_block_start: OnBlockStart | None = None,
) -> BundleResult:
    """Compute the blocks of a bundle, one after the other.

    A block that raises does not keep the others from being computed, except by an error of the
    store: no block of the stage would fare better.
    """
    context = task.context
    filled: list[BlockResult] = []
    failed: list[BlockError] = []
    for block in task.blocks:
        try:
            stage = _PREPARED_STAGES.get(context.key, lambda: _prepare_stage(context, inputs))
            if on_block_start is not None:
                on_block_start(context.layout, block)
            result = _fill_block(context, stage, block)
        except (StoreError, UnreachableStoreError):
            raise
        except Exception as error:  # noqa: BLE001 the border: whatever a theory raises becomes data
            failed.append(BlockError(block, repr(error), traceback.format_exc()))
            continue
        filled.append(result)
        if result.meets_until:
            break
    worker = f"{socket.gethostname()}:{os.getpid()}"
    return BundleResult(context.layout.name, worker, tuple(filled), tuple(failed))


def run_pickled(
    task: bytes,
    expected_build: str,
    inputs: Mapping[str, Array] | None = None,
    on_block_start: OnBlockStart | None = None,
) -> BundleResult:
    """Unpickle and run a task; WorkerMismatchError if its driver has another build of iitdask."""
    if build_id() != expected_build:
        worker = f"{socket.gethostname()}:{os.getpid()}"
        raise WorkerMismatchError(
            f"worker {worker}: expected iitdask {expected_build} as the driver has, got "
            f"{build_id()}; install the same on every machine"
        )
    return run_bundle(pickle.loads(task), inputs, on_block_start)


def compute_block(context: StageContext, block: Block) -> dict[str, Array]:
    """Compute one block without writing it, letting its exception through."""
    prepared = prepare_inputs(context)
    computed = context.stage.compute(prepared, context.layout.tiling.region(block))
    return context.layout.validated(block, computed)


def prepare_inputs(context: StageContext) -> Any:
    """Read the inputs of a stage and prepare them for its `compute`."""
    return _prepare_stage(context, None).inputs


def clear_caches() -> None:
    """Drop all inputs that this process keeps."""
    _PREPARED_STAGES.clear()
    _ARRAY_CACHE.clear()


def _prepare_stage(context: StageContext, inputs: Mapping[str, Array] | None) -> _PreparedStage:
    group = None if context.store is None else StageGroup.load(context.store, context.layout.name)
    sources = context.inputs if inputs is None else inputs
    # Writeable and contiguous wherever they come from: compiled kernels are specialised
    # on both, and arrays that crossed a network would otherwise compile them again.
    arrays = {
        name: np.require(_read_input(source, group), requirements=["C", "A", "W"])
        for name, source in sources.items()
    }
    prepare = context.stage.prepare
    return _PreparedStage(arrays if prepare is None else prepare(arrays), group)


def _read_input(source: Input, group: StageGroup | None) -> Array:
    if isinstance(source, np.ndarray):
        return source
    if isinstance(source, VariableRef):
        return _ARRAY_CACHE.read(source)
    if group is None:
        raise StoreError(f"input {source.name!r} is in a store, but its stage has none")
    return group.read_input(source)


def _fill_block(context: StageContext, prepared: _PreparedStage, block: Block) -> BlockResult:
    """Compute a block and write it, unless it is filled already."""
    stage, layout, group = context.stage, context.layout, prepared.group
    filled = _read_filled_block(stage, group, block)
    if filled is not None:
        return filled
    started = time.perf_counter()
    computed = stage.compute(prepared.inputs, layout.tiling.region(block))
    seconds = time.perf_counter() - started
    arrays = layout.validated(block, computed)
    if group is None:
        # A copy: compute may return the same buffer for the next block.
        copies = {name: array.copy() for name, array in arrays.items()}
        return BlockResult(block, seconds, copies, _meets_until(stage, arrays))
    # A straggler that outlived its scheduler may have filled it meanwhile: the first one wins.
    filled = _read_filled_block(stage, group, block)
    if filled is not None:
        return filled
    group.write(block, arrays, seconds)
    return BlockResult(block, seconds, None, _meets_until(stage, arrays))


def _read_filled_block(stage: Stage, group: StageGroup | None, block: Block) -> BlockResult | None:
    """Return a block that another task has filled already; None if not, or if it is damaged."""
    if group is None or not group.is_committed(block):
        return None
    try:
        arrays = group.read(block)
    except DamagedStoreError:
        return None
    seconds = group.seconds([block]).get(block, 0.0)
    return BlockResult(block, seconds, None, _meets_until(stage, arrays))


def _meets_until(stage: Stage, arrays: Mapping[str, Array]) -> bool:
    return stage.until is not None and bool(stage.until(arrays))
