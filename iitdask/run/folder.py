"""One stage in a Zarr store: an array per variable, and a tick per block.

A block is one chunk of every variable. Its tick is written last and holds the
nanoseconds it took and a checksum of each variable's chunk, so what is read can
be held against what was written. Chunks that equal the fill value are written
like any other: a file that is missing under a tick is always damage.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from iitdask.errors import DamagedStoreError
from iitdask.run.checksum import digest
from iitdask.run.chunk import CHECKED, PACKED, encoded, key
from iitdask.run.layout import Layout
from iitdask.run.place import delete, erase, explained, has, names, open_store, put_all, sweep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zarr.abc.store import Store

    from iitdask.run.plan import Block
    from iitdask.theory.base import Variable

__all__ = ["UNREADABLE", "WORK", "Folder", "read_layout", "stage_names"]

Array = np.ndarray[Any, np.dtype[Any]]
ZarrArray = zarr.Array[Any]

WORK = "work"
"""Group that holds the stages."""
TICK = "tick"
INPUTS = "_inputs"
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, OSError)
"""What Zarr raises on damaged metadata and chunks; each level of the format has its own."""
# Flat keys: one directory a variable, which one read lists.
KEYS: Any = {"name": "default", "separator": "."}
CONFIG: Any = {"write_empty_chunks": True}

log = logging.getLogger(__name__)


def read_layout(url: str, store: Store, name: str) -> Layout | None:
    """Read the layout of a stage; None when there is none, or none that can be trusted."""
    try:
        attrs = zarr.open_group(store, path=f"{WORK}/{name}", mode="r").attrs.asdict()
        return Layout.from_json(attrs)
    except UNREADABLE as error:
        if names(store, f"{WORK}/{name}/{TICK}"):
            log.warning("%s: stage %r has no readable layout (%s)", url, name, error)
        return None


def stage_names(store: Store, path: str = "") -> list[str]:
    """Names of all stages that have blocks, nested ones too."""
    found = []
    for name in sorted(names(store, f"{WORK}/{path}" if path else WORK)):
        below = f"{path}/{name}" if path else name
        inside = [] if "." in name else names(store, f"{WORK}/{below}")
        if TICK in inside:
            found.append(below)
        if inside and not {"c", "zarr"} >= {each.split(".")[0] for each in inside}:
            found += stage_names(store, below)
    return found


class Folder:
    """The group of one stage in a Zarr store."""

    def __init__(
        self, url: str, store: Store, layout: Layout, opened: dict[str, ZarrArray]
    ) -> None:
        self.url = url
        self.store = store
        self.layout = layout
        self._arrays = opened
        # Checksums carry the lineage: a block that a straggler of an earlier version
        # writes into a stage planned afresh is seen to be none of its own.
        self._salt = int(layout.lineage, 16)

    @property
    def path(self) -> str:
        """Path of the group in the store."""
        return f"{WORK}/{self.layout.name}"

    @classmethod
    def establish(cls, url: str, store: Store, layout: Layout) -> Folder:
        """Create what is missing of a stage's group, and mend metadata that differs."""
        path = f"{WORK}/{layout.name}"
        _mend_groups(store, path)
        opened = {v.name: _settle(store, path, layout, v) for v in layout.fills}
        opened[TICK] = _settle(store, path, layout, None)
        # Last: a group with a layout is a group that is complete.
        group = zarr.open_group(store, path=path, mode="r+")
        if group.attrs.asdict() != layout.to_json():
            group.attrs.put(layout.to_json())
        sweep(store, path)
        return cls(url, store, layout, opened)

    @classmethod
    def load(cls, url: str, name: str) -> Folder:
        """Open the group of a stage that the driver has established."""
        store = open_store(url)
        layout = read_layout(url, store, name)
        if layout is None:
            raise DamagedStoreError(f"{url}: stage {name!r} cannot be read; run again to redo it")
        path = f"{WORK}/{name}"
        try:
            opened = {
                each: zarr.open_array(store, path=f"{path}/{each}", mode="r+", config=CONFIG)
                for each in (*(v.name for v in layout.fills), TICK)
            }
        except UNREADABLE as error:
            raise DamagedStoreError(
                f"{url}: the arrays of stage {name!r} cannot be opened ({error}); "
                "run again to mend them"
            ) from error
        return cls(url, store, layout, opened)

    def done(self) -> set[Block]:
        """Blocks that have a tick: one listing, nothing is read."""
        found = (_ticked(name) for name in names(self.store, f"{self.path}/{TICK}"))
        tiling = self.layout.tiling
        return {block for block in found if block is not None and block in tiling}

    def is_done(self, block: Block) -> bool:
        """Whether a block has a tick: nothing is read."""
        return has(self.store, self._tick_key(block))

    def write(self, block: Block, arrays: Mapping[str, Array], seconds: float) -> tuple[int, ...]:
        """Write a block's chunks, then its tick; return the checksums."""
        fills = self.layout.fills
        digests = tuple(digest(arrays[v.name]) for v in fills)
        record = [max(1, round(seconds * 1e9)), *(each ^ self._salt for each in digests)]
        chunks = {
            self._key(v, block): self._encoded(v, arrays[v.name])
            for v in fills
            if arrays[v.name].size
        }
        tick = np.array(record, np.uint64).reshape(self._arrays[TICK].chunks)
        with explained(f"{self.url}: stage {self.layout.name!r}, block {block}"):
            put_all(self.store, chunks)
            # Only now: a tick says that all else is there.
            ticked = encoded(tick, tick.shape, 0, packed=False)
            put_all(self.store, {self._tick_key(block): ticked})
        return digests

    def seconds(self, blocks: Iterable[Block]) -> dict[Block, float]:
        """Seconds of ticked blocks; those whose tick cannot be read are left out."""
        found = {}
        for block in blocks:
            with suppress(*UNREADABLE):
                nanoseconds = int(self._record(block)[0])
                if nanoseconds:
                    found[block] = nanoseconds / 1e9
        return found

    def read(self, block: Block) -> dict[str, Array]:
        """Arrays of one ticked block; DamagedStoreError when they are not what was written."""
        region = self.layout.tiling.region(block)
        arrays: dict[str, Array] = {}
        try:
            record = self._record(block)
            for number, variable in enumerate(self.layout.fills, 1):
                array = np.asarray(self._arrays[variable.name][region])
                if digest(array) ^ self._salt != record[number]:
                    raise self.damage([block])
                arrays[variable.name] = array
        except UNREADABLE as error:
            if isinstance(error, DamagedStoreError):
                raise
            raise self.damage([block]) from error
        return arrays

    def gather(self, variables: Iterable[Variable]) -> tuple[dict[str, Array], set[Block]]:
        """Whole arrays, and the ticked blocks of them that are damaged.

        Cells of damaged and of unticked blocks hold the fill value.
        """
        done = self.done()
        records, bad = self._records(done)
        gathered: dict[str, Array] = {}
        for variable in variables:
            number = 1 + self.layout.fills.index(variable)
            array = self._whole(variable)
            for block, record in records.items():
                region = self.layout.tiling.region(block)
                if digest(array[region]) ^ self._salt != record[number]:
                    bad.add(block)
            gathered[variable.name] = array
        for block in self.layout.tiling:
            if block not in done or block in bad:
                region = self.layout.tiling.region(block)
                for variable in variables:
                    gathered[variable.name][region] = variable.fill
        return gathered, bad

    def damaged(self) -> set[Block]:
        """Ticked blocks that are not what was written, holding one block at a time."""
        bad = set()
        for block in self.done():
            try:
                self.read(block)
            except DamagedStoreError:
                bad.add(block)
        return bad

    def lazily(self) -> xr.Dataset:
        """Open the stage as a dataset that reads when it is looked at; nothing is checked."""
        found = xr.open_dataset(
            self.store,  # type: ignore[arg-type]
            group=self.path,
            engine="zarr",
            consolidated=False,
            decode_cf=False,
            drop_variables=[TICK],
            cache=False,
        )
        return self.layout.dataset({v.name: found[v.name].variable for v in self.layout.fills})

    def forget(self, blocks: Iterable[Block]) -> None:
        """Remove blocks, ticks first."""
        for block in blocks:
            delete(self.store, self._tick_key(block))
            for variable in self.layout.fills:
                delete(self.store, self._key(variable, block))

    def deposit(self, name: str, array: Array) -> int:
        """Put an input array where workers find it; return its checksum."""
        path = f"{self.path}/{INPUTS}/{name}"
        with suppress(DamagedStoreError):  # another driver's workers may be reading it
            self.withdraw(name, digest(array))
            return digest(array)
        erase(self.store, path)
        with explained(f"{self.url}: input {name!r} of stage {self.layout.name!r}"):
            zarr.create_array(self.store, name=path, data=array, compressors=PACKED)
        return digest(array)

    def withdraw(self, name: str, expected: int) -> Array:
        """Read an input array that was deposited."""
        array = self.input(name)
        if digest(array) != expected:
            path = f"{self.path}/{INPUTS}/{name}"
            raise DamagedStoreError(f"{self.url}: {path} is not what was written; run again")
        return array

    def input(self, name: str) -> Array:
        """Read an input array that was deposited, unchecked."""
        path = f"{self.path}/{INPUTS}/{name}"
        try:
            return np.asarray(zarr.open_array(self.store, path=path, mode="r")[...])
        except UNREADABLE as error:
            raise DamagedStoreError(f"{self.url}: {path} cannot be read; run again") from error

    def wipe(self) -> None:
        """Remove the stage, but not stages whose path lies under its own."""
        delete(self.store, f"{self.path}/zarr.json")
        for name in (TICK, INPUTS, *(v.name for v in self.layout.fills)):
            erase(self.store, f"{self.path}/{name}")

    def damage(self, blocks: Iterable[Block]) -> DamagedStoreError:
        """Build the error that names damaged blocks."""
        listed = sorted(blocks)
        shown = ", ".join(map(str, listed[:5])) + (", …" if len(listed) > 5 else "")
        return DamagedStoreError(
            f"{self.url}: stage {self.layout.name!r}, {len(listed)} block(s) are not what was "
            f"written: {shown}; run again to redo them"
        )

    def _encoded(self, variable: Variable, array: Array) -> bytes:
        target = self._arrays[variable.name]
        return encoded(array, target.chunks, target.fill_value, packed=True)

    def _key(self, variable: Variable, block: Block) -> str:
        index = (*block, *(0 for _ in variable.inner))
        return f"{self.path}/{variable.name}/{key(self._arrays[variable.name], index)}"

    def _tick_key(self, block: Block) -> str:
        return f"{self.path}/{TICK}/{key(self._arrays[TICK], (*block, 0))}"

    def _record(self, block: Block) -> Array:
        return np.asarray(self._arrays[TICK][block])

    def _records(self, done: set[Block]) -> tuple[dict[Block, Array], set[Block]]:
        try:
            ticks = np.asarray(self._arrays[TICK][...])
            return {block: ticks[block] for block in done}, set()
        except UNREADABLE:
            records, bad = {}, set()
            for block in done:
                try:
                    records[block] = self._record(block)
                except UNREADABLE:
                    bad.add(block)
            return records, bad

    def _whole(self, variable: Variable) -> Array:
        """All chunks of a variable; those that cannot be read keep the fill value."""
        source = self._arrays[variable.name]
        try:
            return np.asarray(source[...])
        except UNREADABLE:
            array = self.layout.empty(variable)
            for block in self.layout.tiling:
                region = self.layout.tiling.region(block)
                with suppress(*UNREADABLE):
                    array[region] = source[region]
            return array


def _ticked(name: str) -> Block | None:
    parts = name.split(".")
    if parts[0] != "c" or not all(part.isdecimal() for part in parts[1:]):
        return None
    return tuple(map(int, parts[1:-1]))


def _mend_groups(store: Store, path: str) -> None:
    """Make every step of a path a group, replacing metadata that cannot be read."""
    steps = path.split("/")
    for depth in range(1, len(steps) + 1):
        step = "/".join(steps[:depth])
        try:
            zarr.open_group(store, path=step, mode="r")
        except UNREADABLE:
            delete(store, f"{step}/zarr.json")
            zarr.create_group(store, path=step)


def _settle(store: Store, path: str, layout: Layout, variable: Variable | None) -> ZarrArray:
    """Open an array, or write its metadata anew when they are not as the layout says.

    Chunks are left alone: the layout says how to read them, and their checksums
    tell whether that went well.
    """
    name, described = _tick(layout) if variable is None else _described(layout, variable)
    where = f"{path}/{name}"
    expected = zarr.create_array(MemoryStore(), name=name, **described)
    with suppress(*UNREADABLE):
        array = zarr.open_array(store, path=where, mode="r+", config=CONFIG)
        if _same(array, expected):
            return array
    delete(store, f"{where}/zarr.json")
    with explained(f"{where} of the store"):
        return zarr.create_array(store, name=where, config=CONFIG, **described)


def _same(one: ZarrArray, other: ZarrArray) -> bool:
    # As text, since a NaN fill value is not equal to itself.
    one_text, other_text = (
        json.dumps(array.metadata.to_dict(), sort_keys=True, default=str) for array in (one, other)
    )
    return one_text == other_text


def _described(layout: Layout, variable: Variable) -> tuple[str, dict[str, Any]]:
    inner = tuple(n for _, n in variable.inner)
    return variable.name, {
        "shape": layout.shape(variable),
        "chunks": (*layout.tiling.chunks, *(max(n, 1) for n in inner)),
        "dtype": variable.dtype,
        "fill_value": np.dtype(variable.dtype).type(variable.fill),
        "compressors": PACKED,
        "dimension_names": layout.dims(variable),
        "attributes": layout.attrs(variable),
        "chunk_key_encoding": KEYS,
    }


def _tick(layout: Layout) -> tuple[str, dict[str, Any]]:
    counts = layout.tiling.counts
    fields = ["nanoseconds", *(v.name for v in layout.fills)]
    return TICK, {
        "shape": (*counts, len(fields)),
        "chunks": (*(1 for _ in counts), len(fields)),
        "dtype": "uint64",
        "fill_value": 0,
        "compressors": CHECKED,
        "dimension_names": (*(f"{dim}_block" for dim in layout.tiling.grid.dims), "field"),
        "attributes": {
            "fields": fields,
            "comment": "Per block: nanoseconds it took, then a checksum of each variable.",
        },
        "chunk_key_encoding": KEYS,
    }
