"""The task of a worker: fill the blocks of one bundle and report what became of them."""

from __future__ import annotations

import math
import os
import pickle
import socket
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from iitdask.cluster.local import available_cores
from iitdask.errors import DamagedStoreError, StoreError, UnreachableStoreError, WorkerMismatchError
from iitdask.kernels.jit import compile_seconds
from iitdask.run.checksum import array_crc, array_digest, build_id, text_digest
from iitdask.run.events import OnBlockStart
from iitdask.run.ledger import read_stage_variable
from iitdask.run.plan import MIN_MAPPED_BYTES, Block
from iitdask.run.shared_arrays import Rows, mapped_arrays, release_mapped_arrays, total_bytes
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
from iitdask.theory.stage import Array, Region, SharedArrays, Stage, Variable

MAX_PREPARED_STAGES = 4  # Stages whose prepared inputs one process keeps
MAX_SHARED_ARRAYS = 2  # Sets of arrays for several stages that one process keeps
ARRAY_CACHE_BYTES = 64 * 2**20  # Bytes of variables that one process keeps for later stages
MAX_TABLE_THREADS = 16  # Threads that fill arrays shared by all processes of a machine
PREPARED_BYTES = 2**30  # Bytes of prepared inputs above which those of earlier stages go first


class _PreparedStage(NamedTuple):
    """A stage set up in this process."""

    inputs: Any  # What `prepare` made of the inputs
    group: StageGroup | None  # Group of the stage in the store; None if the driver fills the ledger


@dataclass(slots=True, eq=False)
class _Entry:
    lock: Lock = field(default_factory=Lock)
    value: Any = None


@dataclass(slots=True, eq=False)
class _Cache:
    """Values that this process has made, those used last at the end."""

    max_entries: float = math.inf
    entries: OrderedDict[tuple[object, ...], _Entry] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def get(
        self, key: tuple[object, ...], make: Callable[[], Any], max_bytes: int, nbytes: int = 0
    ) -> Any:
        """Return a value, made once however many threads ask.

        Before one of `nbytes` is made, those used longest ago are dropped while all take more
        than `max_bytes`.
        """
        with self.lock:
            entry = self.entries.setdefault(key, _Entry())
            self.entries.move_to_end(key)
            while len(self.entries) > self.max_entries:
                self.entries.popitem(last=False)
        with entry.lock:
            if entry.value is None:
                self._evict(max_bytes - nbytes)
                entry.value = make()
            return entry.value

    def _evict(self, max_bytes: int) -> None:
        with self.lock:
            sizes = {k: _nbytes(e.value) for k, e in self.entries.items() if e.value is not None}
            total = sum(sizes.values())
            for key, nbytes in sizes.items():
                if total <= max_bytes:
                    break
                del self.entries[key]
                total -= nbytes

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
_PREPARED_STAGES, _ARRAY_CACHE = _Cache(MAX_PREPARED_STAGES), _Cache()
_SHARED_ARRAYS = _Cache(MAX_SHARED_ARRAYS)


def run_bundle(task: BundleTask, on_block_start: OnBlockStart | None = None) -> BundleResult:
    """Compute the blocks of a bundle, one after the other.

    A block that raises does not keep the others from being computed, except by an error of the
    store: no block of the stage would fare better.
    """
    context = task.context
    filled: list[BlockResult] = []
    failed: list[BlockError] = []
    for block in task.blocks:
        try:
            prepare = partial(_prepare_stage, context)
            stage = _PREPARED_STAGES.get(context.key, prepare, PREPARED_BYTES)
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
    context: bytes,
    blocks: bytes,
    expected_build: str,
    inputs: Mapping[str, Array] | None = None,
    on_block_start: OnBlockStart | None = None,
) -> BundleResult:
    """Run blocks of a pickled context; WorkerMismatchError for a driver of another build."""
    if build_id() != expected_build:
        worker = f"{socket.gethostname()}:{os.getpid()}"
        raise WorkerMismatchError(
            f"worker {worker}: expected iitdask {expected_build} as the driver has, got "
            f"{build_id()}; install the same on every machine"
        )
    stage: StageContext = pickle.loads(context)
    if inputs is not None:
        stage = replace(stage, inputs=inputs)
    return run_bundle(BundleTask(stage, pickle.loads(blocks)), on_block_start)


def compute_block(context: StageContext, block: Block) -> dict[str, Array]:
    """Compute one block without writing it, letting its exception through."""
    prepared = prepare_inputs(context)
    computed = context.stage.compute(prepared, context.layout.tiling.region(block))
    return context.layout.validated(block, computed)


def prepare_inputs(context: StageContext) -> Any:
    """Read the inputs of a stage and prepare them for its `compute`."""
    return _prepare_stage(context).inputs


def clear_caches() -> None:
    """Drop all inputs that this process keeps, except arrays that later stages share."""
    _PREPARED_STAGES.clear()
    _ARRAY_CACHE.clear()


def clear_shared_arrays() -> None:
    """Drop the arrays that several stages share: at the end of a run."""
    _SHARED_ARRAYS.clear()
    release_mapped_arrays()


def _prepare_stage(context: StageContext) -> _PreparedStage:
    group = None if context.store is None else StageGroup.load(context.store, context.layout.name)
    # Writeable and contiguous wherever they come from: compiled kernels are specialised
    # on both, and arrays that crossed a network would otherwise compile them again.
    shared, given = context.stage.shared, dict(context.inputs)
    source = None if shared is None else given.pop(shared.source)
    arrays = {
        name: np.require(_read_input(each, group), requirements=["C", "A", "W"])
        for name, each in given.items()
    }
    if shared is not None and source is not None:
        arrays |= _shared_arrays(shared, source, arrays, group)
    prepare = context.stage.prepare
    return _PreparedStage(arrays if prepare is None else prepare(arrays), group)


def _shared_arrays(
    shared: SharedArrays, source: Input, others: Mapping[str, Array], group: StageGroup | None
) -> Mapping[str, Array]:
    """Return the arrays that a stage shares with others, and with other processes if large."""
    shapes = shared.shapes(others)
    nbytes = total_bytes(shapes)
    decided = {name: array_digest(others[name]) for name in shared.uses}
    names = shared.rows.__module__, shared.rows.__qualname__
    if isinstance(source, VariableRef):
        stored = StageGroup.load(source.store, source.variable.stage)
        variable = stored.layout.variable(source.variable.variable)
        threads = min(available_cores(), MAX_TABLE_THREADS)
        open_rows = partial(_rows_of_stored, shared, stored, variable, others, threads)
        key = text_digest([build_id(), names, decided, stored.layout.lineage])

        def make() -> Mapping[str, Array]:
            large = nbytes >= MIN_MAPPED_BYTES
            mapped = mapped_arrays(key, shapes, open_rows, threads) if large else None
            return shared.whole(others, open_rows()) if mapped is None else mapped

    else:
        array = _read_input(source, group)
        key = text_digest([names, decided, array_crc(array)])

        def make() -> Mapping[str, Array]:
            return shared.make({**others, shared.source: array})

    found: Mapping[str, Array] = _SHARED_ARRAYS.get((key,), make, PREPARED_BYTES, nbytes)
    return {name: np.require(found[name], requirements=["C", "A", "W"]) for name in shapes}


def _rows_of_stored(
    shared: SharedArrays,
    stored: StageGroup,
    variable: Variable,
    others: Mapping[str, Array],
    threads: int,
) -> Rows:
    """Read a stage and return what returns rows of the shared arrays that are made of it.

    Damaged blocks are deleted, so that a driver sees what is missing.
    """
    tiling, damaged = stored.layout.tiling, set[Block]()

    def read(block: Block) -> tuple[Region, Array] | None:
        try:
            return tiling.region(block), stored.read_part(block, variable)
        except DamagedStoreError:
            damaged.add(block)
            return None

    with ThreadPoolExecutor(threads, thread_name_prefix="tables") as pool:
        parts = [part for part in pool.map(read, tiling) if part is not None]
    stored.delete_damaged(damaged)
    return partial(shared.rows, others, tiling.grid.shape, parts)


def _read_input(source: Input, group: StageGroup | None) -> Array:
    if isinstance(source, np.ndarray):
        return source
    if isinstance(source, VariableRef):
        return _read_variable(source)
    if group is None:
        raise StoreError(f"input {source.name!r} is in a store, but its stage has none")
    return group.read_input(source)


def _read_variable(ref: VariableRef) -> Array:
    """Return a variable of an earlier stage, for several later ones; a lineage names its bits."""
    group = StageGroup.load(ref.store, ref.variable.stage)
    nbytes = group.layout.size(group.layout.variable(ref.variable.variable))
    read = partial(read_stage_variable, group, ref.variable)
    if group.layout.partial or nbytes > ARRAY_CACHE_BYTES:
        return read()
    array: Array = _ARRAY_CACHE.get((ref, group.layout.lineage), read, ARRAY_CACHE_BYTES, nbytes)
    return array


def _fill_block(context: StageContext, prepared: _PreparedStage, block: Block) -> BlockResult:
    """Compute a block and write it, unless it is filled already."""
    stage, layout, group = context.stage, context.layout, prepared.group
    filled = _read_filled_block(stage, group, block)
    if filled is not None:
        return filled
    # What a kernel takes to be compiled or loaded says nothing about the blocks to come.
    started, compiled = time.perf_counter(), compile_seconds()
    computed = stage.compute(prepared.inputs, layout.tiling.region(block))
    seconds = time.perf_counter() - started - (compile_seconds() - compiled)
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
