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
from iitdask.run.plan import Block
from iitdask.run.stage_group import StageGroup
from iitdask.run.storage import Store
from iitdask.run.task import (
    BlockError,
    BlockResult,
    BundleResult,
    BundleTask,
    ForeignRef,
    InputRef,
    StageContext,
)
from iitdask.run.zarr_ledger import read_stage_variable
from iitdask.theory.stage import Stage, StageRef

__all__ = [
    "clear_caches",
    "compute_block",
    "prepare_inputs",
    "run_bundle",
    "run_pickled",
]

Array = np.ndarray[Any, np.dtype[Any]]

MAX_PREPARED_STAGES = 4
"""Stages whose inputs one process keeps ready."""
ARRAY_CACHE_BYTES = 64 * 2**20
"""Bytes of inputs that one process keeps for stages to come."""
PREPARED_BYTES = 2**30
"""Bytes of ready inputs beyond which those of earlier stages are let go before more are made."""


@dataclass(slots=True, eq=False)
class _ArrayCache:
    """What earlier stages left, read by this process and wanted by several stages."""

    arrays: OrderedDict[tuple[object, ...], Array] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def read(self, store: Store, stored: StageRef) -> Array:
        """Return a variable of a stage; what its lineage names holds the same bits for ever."""
        folder = StageGroup.load(store, stored.stage)
        key = (store, stored, folder.layout.lineage)
        with self.lock:
            if key in self.arrays:
                self.arrays.move_to_end(key)
                return self.arrays[key]
        array = read_stage_variable(folder, stored)
        if not folder.layout.partial and array.nbytes <= ARRAY_CACHE_BYTES:
            with self.lock:
                self.arrays[key] = array
                while sum(each.nbytes for each in self.arrays.values()) > ARRAY_CACHE_BYTES:
                    self.arrays.popitem(last=False)
        return array

    def clear(self) -> None:
        """Let all of it go."""
        with self.lock:
            self.arrays.clear()


@dataclass(slots=True, eq=False)
class _PreparedStage:
    """A stage set up in this process: its inputs made ready, its folder open."""

    prepared: Any
    folder: StageGroup | None

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that were made ready."""
        return _nbytes(self.prepared)


@dataclass(slots=True, eq=False)
class _Entry:
    lock: Lock = field(default_factory=Lock)
    bench: _PreparedStage | None = None


@dataclass(slots=True, eq=False)
class _PreparedStages:
    """The stages this process worked on last."""

    slots: OrderedDict[tuple[object, ...], _Entry] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def get(self, key: tuple[object, ...], make: Callable[[], _PreparedStage]) -> _PreparedStage:
        """Return the bench of a stage, made once however many threads ask."""
        with self.lock:
            slot = self.slots.setdefault(key, _Entry())
            self.slots.move_to_end(key)
            while len(self.slots) > MAX_PREPARED_STAGES:
                self.slots.popitem(last=False)
        with slot.lock:
            if slot.bench is None:
                self.make_room()
                slot.bench = make()
            return slot.bench

    def make_room(self) -> None:
        """Let go of what was worked on longest ago, until little is left."""
        with self.lock:
            ready = [
                (key, slot.bench) for key, slot in self.slots.items() if slot.bench is not None
            ]
            held = sum(bench.nbytes for _, bench in ready)
            for key, bench in ready:
                if held <= PREPARED_BYTES:
                    break
                del self.slots[key]
                held -= bench.nbytes

    def clear(self) -> None:
        """Let all of them go."""
        with self.lock:
            self.slots.clear()


def _nbytes(prepared: Any) -> int:
    """Bytes of the arrays in a nest of tuples and mappings."""
    if isinstance(prepared, np.ndarray):
        return prepared.nbytes
    if isinstance(prepared, dict):
        return sum(map(_nbytes, prepared.values()))
    return sum(map(_nbytes, prepared)) if isinstance(prepared, tuple | list) else 0


# The one mutable thing at module level in this package: reading and preparing the
# inputs of a stage may take longer than a block, so a process does it once.
_PREPARED_STAGES, _ARRAY_CACHE = _PreparedStages(), _ArrayCache()


def run_bundle(
    job: BundleTask, inputs: Mapping[str, Array] | None = None, begun: OnBlockStart | None = None
) -> BundleResult:
    """Fill the blocks of a bundle, one after the other.

    Parameters
    ----------
    job : Job
        The bundle. With a store, blocks are written there; without, their arrays
        travel back in the receipt.
    inputs : mapping of str to ndarray, optional
        The stage's inputs when they travelled apart from the job.
    begun : callable, optional
        Told of every block before it is computed.

    Returns
    -------
    Receipt
        What was filled and what failed. A block that raises does not keep the
        others from being filled.

    Raises
    ------
    StoreError
        The store cannot be written (full), or an input in it is damaged: no block
        of the stage would fare better.
    UnreachableStoreError
        The store cannot be reached.
    """
    setting = job.setting
    filled: list[BlockResult] = []
    failed: list[BlockError] = []
    for block in job.blocks:
        try:
            bench = _PREPARED_STAGES.get(setting.key, lambda: _prepare_stage(setting, inputs))
            if begun is not None:
                begun(setting.layout, block)
            done = _fill_block(setting, bench, block)
        except (StoreError, UnreachableStoreError):
            raise
        except Exception as error:  # noqa: BLE001 the border: whatever a theory raises becomes data
            failed.append(BlockError(block, repr(error), traceback.format_exc()))
            continue
        filled.append(done)
        if done.meets_until:
            break
    worker = f"{socket.gethostname()}:{os.getpid()}"
    return BundleResult(setting.layout.name, worker, tuple(filled), tuple(failed))


def run_pickled(
    parcel: bytes,
    wanted: str,
    inputs: Mapping[str, Array] | None = None,
    begun: OnBlockStart | None = None,
) -> BundleResult:
    """Open what a driver sent, unless it is of another edition, and fill its blocks.

    Parameters
    ----------
    parcel : bytes
        A pickled Job; what is in it means something to the driver's edition alone.
    wanted : str
        Edition of the driver's iitdask.
    inputs, begun
        As for :func:`run_bundle`.

    Raises
    ------
    WorkerMismatchError
        This process has another edition.
    """
    if build_id() != wanted:
        where = f"{socket.gethostname()}:{os.getpid()}"
        raise WorkerMismatchError(
            f"worker {where}: expected iitdask {wanted} as the driver has, got {build_id()}; "
            "install the same on every machine"
        )
    return run_bundle(pickle.loads(parcel), inputs, begun)


def compute_block(setting: StageContext, block: Block) -> dict[str, Array]:
    """Compute one block and write nothing; what it raises passes."""
    bench = _prepare_stage(setting, None)
    computed = setting.stage.compute(bench.prepared, setting.layout.tiling.region(block))
    return setting.layout.validated(block, computed)


def prepare_inputs(setting: StageContext) -> Any:
    """Make the inputs of a stage ready for its `compute`."""
    return _prepare_stage(setting, None).prepared


def clear_caches() -> None:
    """Let go of all inputs this process keeps ready."""
    _PREPARED_STAGES.clear()
    _ARRAY_CACHE.clear()


def _prepare_stage(setting: StageContext, inputs: Mapping[str, Array] | None) -> _PreparedStage:
    folder = None if setting.store is None else StageGroup.load(setting.store, setting.layout.name)
    given = setting.inputs if inputs is None else inputs
    # Writeable and contiguous wherever they come from: compiled kernels are specialised
    # on both, and arrays that crossed a network would otherwise compile them again.
    arrays = {
        name: np.require(_read_input(each, setting, folder), requirements=["C", "A", "W"])
        for name, each in given.items()
    }
    prepare = setting.stage.prepare
    return _PreparedStage(arrays if prepare is None else prepare(arrays), folder)


def _read_input(
    given: Array | StageRef | ForeignRef | InputRef,
    setting: StageContext,
    folder: StageGroup | None,
) -> Array:
    if isinstance(given, np.ndarray):
        return given
    if folder is None or setting.store is None:
        raise StoreError(f"input {given!r} of stage {setting.layout.name!r} needs a store")
    if isinstance(given, ForeignRef):
        return _ARRAY_CACHE.read(given.store, given.stored)
    if isinstance(given, InputRef):
        return folder.read_input(given)
    return _ARRAY_CACHE.read(setting.store, given)


def _fill_block(setting: StageContext, bench: _PreparedStage, block: Block) -> BlockResult:
    stage, layout = setting.stage, setting.layout
    found = _read_filled_block(setting, bench.folder, block)
    if found is not None:
        return found
    started = time.perf_counter()
    computed = stage.compute(bench.prepared, layout.tiling.region(block))
    seconds = time.perf_counter() - started
    arrays = layout.validated(block, computed)
    if bench.folder is not None:
        # A straggler that outlived its scheduler may have been here meanwhile: the first wins.
        found = _read_filled_block(setting, bench.folder, block)
        if found is not None:
            return found
        bench.folder.write(block, arrays, seconds)
        return BlockResult(block, seconds, None, _meets_until(stage, arrays))
    # A copy: compute may hand out the same buffer for the next block.
    kept = {name: array.copy() for name, array in arrays.items()}
    return BlockResult(block, seconds, kept, _meets_until(stage, arrays))


def _read_filled_block(
    setting: StageContext, folder: StageGroup | None, block: Block
) -> BlockResult | None:
    """Return a block that a bundle sent before has filled already, when it is whole."""
    if folder is None or not folder.is_committed(block):
        return None
    try:
        arrays = folder.read(block)
    except DamagedStoreError:
        return None
    seconds = folder.seconds([block]).get(block, 0.0)
    return BlockResult(block, seconds, None, _meets_until(setting.stage, arrays))


def _meets_until(stage: Stage, arrays: Mapping[str, Array]) -> bool:
    return stage.until is not None and bool(stage.until(arrays))
