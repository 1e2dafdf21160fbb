"""What one task does: fill the blocks of a bundle and give a receipt."""

from __future__ import annotations

import os
import pickle
import socket
import time
import traceback
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.errors import (
    DamagedStoreError,
    StoreError,
    UnreachableStoreError,
    WorkerMismatchError,
)
from iitdask.run.edition import edition
from iitdask.run.folder import Folder
from iitdask.run.job import Deposit, Failure, Filled, Job, Receipt, Setting, Shelved
from iitdask.run.store import read_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iitdask.run.doings import Begun
    from iitdask.run.plan import Block
    from iitdask.theory.base import Stage, Stored

__all__ = ["compute_block", "prepared", "release", "run_bundle", "run_parcel"]

Array = np.ndarray[Any, np.dtype[Any]]

KEPT = 4
"""Stages whose inputs one process keeps ready."""
SHARED = 64 * 2**20
"""Bytes of inputs that one process keeps for stages to come."""
LARGE = 2**30
"""Bytes of ready inputs beyond which those of earlier stages are let go before more are made."""


@dataclass(slots=True, eq=False)
class _Library:
    """What earlier stages left, read by this process and wanted by several stages."""

    arrays: OrderedDict[tuple[object, ...], Array] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def read(self, url: str, stored: Stored) -> Array:
        """Return a variable of a stage; what its lineage names holds the same bits for ever."""
        folder = Folder.load(url, stored.stage)
        key = (url, stored, folder.layout.lineage)
        with self.lock:
            if key in self.arrays:
                self.arrays.move_to_end(key)
                return self.arrays[key]
        array = read_stored(folder, stored)
        if not folder.layout.partial and array.nbytes <= SHARED:
            with self.lock:
                self.arrays[key] = array
                while sum(each.nbytes for each in self.arrays.values()) > SHARED:
                    self.arrays.popitem(last=False)
        return array

    def clear(self) -> None:
        """Let all of it go."""
        with self.lock:
            self.arrays.clear()


@dataclass(slots=True, eq=False)
class _Bench:
    """A stage set up in this process: its inputs made ready, its folder open."""

    prepared: Any
    folder: Folder | None

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that were made ready."""
        return _bytes(self.prepared)


@dataclass(slots=True, eq=False)
class _Slot:
    lock: Lock = field(default_factory=Lock)
    bench: _Bench | None = None


@dataclass(slots=True, eq=False)
class _Benches:
    """The stages this process worked on last."""

    slots: OrderedDict[tuple[object, ...], _Slot] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def get(self, key: tuple[object, ...], make: Callable[[], _Bench]) -> _Bench:
        """Return the bench of a stage, made once however many threads ask."""
        with self.lock:
            slot = self.slots.setdefault(key, _Slot())
            self.slots.move_to_end(key)
            while len(self.slots) > KEPT:
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
                if held <= LARGE:
                    break
                del self.slots[key]
                held -= bench.nbytes

    def clear(self) -> None:
        """Let all of them go."""
        with self.lock:
            self.slots.clear()


def _bytes(prepared: Any) -> int:
    """Bytes of the arrays in a nest of tuples and mappings."""
    if isinstance(prepared, np.ndarray):
        return prepared.nbytes
    if isinstance(prepared, dict):
        return sum(map(_bytes, prepared.values()))
    return sum(map(_bytes, prepared)) if isinstance(prepared, tuple | list) else 0


# The one mutable thing at module level in this package: reading and preparing the
# inputs of a stage may take longer than a block, so a process does it once.
_BENCHES, _LIBRARY = _Benches(), _Library()


def run_bundle(
    job: Job, inputs: Mapping[str, Array] | None = None, begun: Begun | None = None
) -> Receipt:
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
    filled: list[Filled] = []
    failed: list[Failure] = []
    for block in job.blocks:
        try:
            bench = _BENCHES.get(setting.key, lambda: _set_up(setting, inputs))
            if begun is not None:
                begun(setting.layout, block)
            done = _fill(setting, bench, block)
        except (StoreError, UnreachableStoreError):
            raise
        except Exception as error:  # noqa: BLE001 the border: whatever a theory raises becomes data
            failed.append(Failure(block, repr(error), traceback.format_exc()))
            continue
        filled.append(done)
        if done.enough:
            break
    worker = f"{socket.gethostname()}:{os.getpid()}"
    return Receipt(setting.layout.name, worker, tuple(filled), tuple(failed))


def run_parcel(
    parcel: bytes,
    wanted: str,
    inputs: Mapping[str, Array] | None = None,
    begun: Begun | None = None,
) -> Receipt:
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
    if edition() != wanted:
        where = f"{socket.gethostname()}:{os.getpid()}"
        raise WorkerMismatchError(
            f"worker {where}: expected iitdask {wanted} as the driver has, got {edition()}; "
            "install the same on every machine"
        )
    return run_bundle(pickle.loads(parcel), inputs, begun)


def compute_block(setting: Setting, block: Block) -> dict[str, Array]:
    """Compute one block and write nothing; what it raises passes."""
    bench = _set_up(setting, None)
    computed = setting.stage.compute(bench.prepared, setting.layout.tiling.region(block))
    return setting.layout.accept(block, computed)


def prepared(setting: Setting) -> Any:
    """Make the inputs of a stage ready for its `compute`."""
    return _set_up(setting, None).prepared


def release() -> None:
    """Let go of all inputs this process keeps ready."""
    _BENCHES.clear()
    _LIBRARY.clear()


def _set_up(setting: Setting, inputs: Mapping[str, Array] | None) -> _Bench:
    folder = None if setting.store is None else Folder.load(setting.store, setting.layout.name)
    given = setting.inputs if inputs is None else inputs
    # Writeable and contiguous wherever they come from: compiled kernels are specialised
    # on both, and arrays that crossed a network would otherwise compile them again.
    arrays = {
        name: np.require(_fetched(each, setting, folder), requirements=["C", "A", "W"])
        for name, each in given.items()
    }
    prepare = setting.stage.prepare
    return _Bench(arrays if prepare is None else prepare(arrays), folder)


def _fetched(
    given: Array | Stored | Shelved | Deposit, setting: Setting, folder: Folder | None
) -> Array:
    if isinstance(given, np.ndarray):
        return given
    if folder is None or setting.store is None:
        raise StoreError(f"input {given!r} of stage {setting.layout.name!r} needs a store")
    if isinstance(given, Shelved):
        return _LIBRARY.read(given.url, given.stored)
    if isinstance(given, Deposit):
        return folder.withdraw(given.name, given.digest)
    return _LIBRARY.read(setting.store, given)


def _fill(setting: Setting, bench: _Bench, block: Block) -> Filled:
    stage, layout = setting.stage, setting.layout
    found = _found(setting, bench.folder, block)
    if found is not None:
        return found
    started = time.perf_counter()
    computed = stage.compute(bench.prepared, layout.tiling.region(block))
    seconds = time.perf_counter() - started
    arrays = layout.accept(block, computed)
    if bench.folder is not None:
        # A straggler that outlived its scheduler may have been here meanwhile: the first wins.
        found = _found(setting, bench.folder, block)
        if found is not None:
            return found
        bench.folder.write(block, arrays, seconds)
        return Filled(block, seconds, None, _is_enough(stage, arrays))
    # A copy: compute may hand out the same buffer for the next block.
    kept = {name: array.copy() for name, array in arrays.items()}
    return Filled(block, seconds, kept, _is_enough(stage, arrays))


def _found(setting: Setting, folder: Folder | None, block: Block) -> Filled | None:
    """Return a block that a bundle sent before has filled already, when it is whole."""
    if folder is None or not folder.is_done(block):
        return None
    try:
        arrays = folder.read(block)
    except DamagedStoreError:
        return None
    seconds = folder.seconds([block]).get(block, 0.0)
    return Filled(block, seconds, None, _is_enough(setting.stage, arrays))


def _is_enough(stage: Stage, arrays: Mapping[str, Array]) -> bool:
    return stage.until is not None and bool(stage.until(arrays))
