"""One stage in a Zarr store: an array per variable, and one commit record per block.

A block is one chunk of every variable. Its commit record is written last and holds the nanoseconds the
block took and a checksum of each variable's chunk, so that every read is verified. Chunks equal to the
fill value are written like any other: a missing file of a committed block is always damage.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import xarray as xr

from iitdask.errors import DamagedStoreError
from iitdask.run.checksum import array_digest
from iitdask.run.plan import Block
from iitdask.run.storage import Store, disk_full_as_error, open_store
from iitdask.run.task import StageLayout
from iitdask.run.zarr_io import ArrayLayout, create_group, read_attrs, repair_groups
from iitdask.theory.stage import Region, Variable

__all__ = [
    "DAMAGE_ERRORS",
    "WORK_GROUP",
    "StageGroup",
    "list_stages",
    "read_stage_layout",
]

Array = np.ndarray[Any, np.dtype[Any]]

WORK_GROUP = "work"
"""Group that holds the stages."""
COMMIT_ARRAY = "tick"
INPUTS_GROUP = "_inputs"
DAMAGE_ERRORS = (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, OSError)
"""What is raised on damaged metadata and chunks; each level of Zarr's format has its own."""

log = logging.getLogger(__name__)


def read_stage_layout(url: str, store: Store, name: str) -> StageLayout | None:
    """Read the layout of a stage; None when there is none, or none that can be trusted."""
    try:
        return StageLayout.from_json(read_attrs(store, f"{WORK_GROUP}/{name}"))
    except DAMAGE_ERRORS as error:
        if store.list_dir(f"{WORK_GROUP}/{name}/{COMMIT_ARRAY}"):
            log.warning("%s: stage %r has no readable layout (%s)", url, name, error)
        return None


def list_stages(store: Store, path: str = "") -> list[str]:
    """Names of all stages that have blocks, nested ones too."""
    found = []
    for name in sorted(store.list_dir(f"{WORK_GROUP}/{path}" if path else WORK_GROUP)):
        below = f"{path}/{name}" if path else name
        inside = [] if "." in name else store.list_dir(f"{WORK_GROUP}/{below}")
        if COMMIT_ARRAY in inside:
            found.append(below)
        if inside and not {"c", "zarr"} >= {each.split(".")[0] for each in inside}:
            found += list_stages(store, below)
    return found


class StageGroup:
    """The group of one stage in a Zarr store."""

    def __init__(self, url: str, store: Store, layout: StageLayout) -> None:
        self.url = url
        self.store = store
        self.layout = layout
        self._sheets = {
            v.name: _variable_array_layout(self.path, layout, v) for v in layout.variables
        }
        self._ticks = _commit_array_layout(self.path, layout)
        # Checksums carry the lineage: a block that a straggler of an earlier version
        # writes into a stage planned afresh is seen to be none of its own.
        self._salt = int(layout.lineage, 16)

    @property
    def path(self) -> str:
        """Path of the group in the store."""
        return f"{WORK_GROUP}/{self.layout.name}"

    @classmethod
    def create(cls, url: str, store: Store, layout: StageLayout) -> StageGroup:
        """Create what is missing of a stage's group, and mend metadata that differs.

        Chunks are left alone: the layout says how to read them, and their checksums
        tell whether that went well.
        """
        folder = cls(url, store, layout)
        repair_groups(store, f"{folder.path}/{INPUTS_GROUP}")
        with disk_full_as_error(f"{folder.path} of the store"):
            for sheet in folder._mismatched_arrays(closely=True):
                store.delete(f"{sheet.path}/zarr.json")
                store.write_many(sheet.described())
            # Last: a group with a layout is a group that is complete.
            if read_attrs(store, folder.path) != layout.to_json():
                create_group(store, folder.path, layout.to_json())
        store.delete_stale_temp(folder.path)
        return folder

    @classmethod
    def load(cls, url: str, name: str) -> StageGroup:
        """Open the group of a stage that the driver has established."""
        store = open_store(url)
        layout = read_stage_layout(url, store, name)
        if layout is None:
            raise DamagedStoreError(f"{url}: stage {name!r} cannot be read; run again to redo it")
        folder = cls(url, store, layout)
        wrong = folder._mismatched_arrays(closely=False)
        if wrong:
            listed = ", ".join(sheet.path for sheet in wrong)
            raise DamagedStoreError(
                f"{url}: the arrays of stage {name!r} cannot be opened ({listed}); "
                "run again to mend them"
            )
        return folder

    def _mismatched_arrays(self, *, closely: bool) -> list[ArrayLayout]:
        """Arrays whose metadata are not as the layout says."""
        sheets = {f"{each.path}/zarr.json": each for each in (*self._sheets.values(), self._ticks)}
        return [
            sheets[key]
            for key, content in self.store.read_many(sheets)
            if not sheets[key].matches(content, closely=closely)
        ]

    def done(self) -> set[Block]:
        """Blocks that have a tick: one listing, nothing is read."""
        found = (
            _parse_commit_key(name) for name in self.store.list_dir(f"{self.path}/{COMMIT_ARRAY}")
        )
        tiling = self.layout.tiling
        return {block for block in found if block is not None and block in tiling}

    def is_committed(self, block: Block) -> bool:
        """Whether a block has a tick: nothing is read."""
        return self.store.exists(self._commit_key(block))

    def write(self, block: Block, arrays: Mapping[str, Array], seconds: float) -> None:
        """Write a block's chunks, then its tick."""
        fills = self.layout.variables
        digests = tuple(array_digest(arrays[v.name]) for v in fills)
        record = [max(1, round(seconds * 1e9)), *(each ^ self._salt for each in digests)]
        chunks = {
            self._key(v, block): self._sheets[v.name].encoded(arrays[v.name])
            for v in fills
            if arrays[v.name].size
        }
        tick = np.array(record, np.uint64).reshape(self._ticks.chunks)
        with disk_full_as_error(f"{self.url}: stage {self.layout.name!r}, block {block}"):
            self.store.write_many(chunks)
            # Only now: a tick says that all else is there.
            self.store.write_many({self._commit_key(block): self._ticks.encoded(tick)})

    def seconds(self, blocks: Iterable[Block]) -> dict[Block, float]:
        """Seconds of ticked blocks; those whose tick cannot be read are left out."""
        records, _ = self._read_commits(blocks)
        nanoseconds = {block: int(record[0]) for block, record in records.items()}
        return {block: each / 1e9 for block, each in nanoseconds.items() if each}

    def read(self, block: Block) -> dict[str, Array]:
        """Arrays of one ticked block; DamagedStoreError when they are not what was written."""
        records, bad = self._read_commits([block])
        arrays: dict[str, Array] = {}
        for variable in () if bad else self.layout.variables:
            for _, array in self._chunks(variable, records):
                if array is not None:
                    arrays[variable.name] = array.copy()
        if len(arrays) < len(self.layout.variables):
            raise self.damage_error([block])
        return arrays

    def gather(self, variables: Iterable[Variable]) -> tuple[dict[str, Array], set[Block]]:
        """Whole arrays, and the ticked blocks of them that are damaged.

        Cells of damaged and of unticked blocks hold the fill value.
        """
        records, bad = self._read_commits(self.done())
        # Where all blocks are there, no cell is left to hold the fill value.
        full = len(records) == len(self.layout.tiling)
        make = self.layout.blank if full else self.layout.empty
        gathered = {variable.name: make(variable) for variable in variables}
        for name, array in gathered.items():
            for block, part in self._chunks(self.layout.variable(name), records):
                if part is None:
                    bad.add(block)
                else:
                    array[self.layout.tiling.region(block)] = part
        for block in bad:
            region = self.layout.tiling.region(block)
            for name, array in gathered.items():
                array[region] = self.layout.variable(name).fill
        return gathered, bad

    def damaged_blocks(self) -> set[Block]:
        """Ticked blocks that are not what was written, holding one block at a time."""
        bad = set()
        for block in self.done():
            try:
                self.read(block)
            except DamagedStoreError:
                bad.add(block)
        return bad

    def open_lazy(self) -> dict[str, xr.Variable]:
        """Open the stage as variables that read when they are looked at; nothing is checked."""
        found = xr.open_dataset(
            self.store.zarr,  # type: ignore[arg-type]
            group=self.path,
            engine="zarr",
            consolidated=False,
            decode_cf=False,
            drop_variables=[COMMIT_ARRAY],
            cache=False,
        )
        return {v.name: found[v.name].variable for v in self.layout.variables}

    def delete_blocks(self, blocks: Iterable[Block]) -> None:
        """Remove blocks, ticks first."""
        for block in blocks:
            self.store.delete(self._commit_key(block))
            for variable in self.layout.variables:
                self.store.delete(self._key(variable, block))

    def write_input(self, name: str, array: Array) -> int:
        """Put an input array where workers find it; return its checksum."""
        path, expected = self._input_path(name), array_digest(array)
        with suppress(DamagedStoreError):  # another driver's workers may be reading it
            self.read_input(name, expected)
            return expected
        self.store.delete_prefix(path)
        with disk_full_as_error(f"{self.url}: input {name!r} of stage {self.layout.name!r}"):
            ArrayLayout.of(path, array).write(self.store, array)
        return expected

    def read_input(self, name: str, expected: int) -> Array:
        """Read an input array that was deposited."""
        array = self.input(name)
        if array_digest(array) != expected:
            path = self._input_path(name)
            raise DamagedStoreError(f"{self.url}: {path} is not what was written; run again")
        return array

    def input(self, name: str) -> Array:
        """Read an input array that was deposited, unchecked."""
        path = self._input_path(name)
        try:
            return ArrayLayout.found(self.store, path).read(self.store)
        except DAMAGE_ERRORS as error:
            raise DamagedStoreError(f"{self.url}: {path} cannot be read; run again") from error

    def clear(self) -> None:
        """Remove the stage, but not stages whose path lies under its own."""
        self.store.delete(f"{self.path}/zarr.json")
        for name in (COMMIT_ARRAY, INPUTS_GROUP, *(v.name for v in self.layout.variables)):
            self.store.delete_prefix(f"{self.path}/{name}")

    def damage_error(self, blocks: Iterable[Block]) -> DamagedStoreError:
        """Build the error that names damaged blocks."""
        listed = sorted(blocks)
        shown = ", ".join(map(str, listed[:5])) + (", …" if len(listed) > 5 else "")
        return DamagedStoreError(
            f"{self.url}: stage {self.layout.name!r}, {len(listed)} block(s) are not what was "
            f"written: {shown}; run again to redo them"
        )

    def _input_path(self, name: str) -> str:
        return f"{self.path}/{INPUTS_GROUP}/{name}"

    def _key(self, variable: Variable, block: Block) -> str:
        return self._sheets[variable.name].key((*block, *(0 for _ in variable.inner)))

    def _commit_key(self, block: Block) -> str:
        return self._ticks.key((*block, 0))

    def _read_commits(self, blocks: Iterable[Block]) -> tuple[dict[Block, Array], set[Block]]:
        """What ticks say, and the blocks whose tick cannot be read."""
        by_key = {self._commit_key(block): block for block in blocks}
        records, bad = {}, set()
        for key, content in self.store.read_many(by_key):
            try:
                records[by_key[key]] = self._ticks.decoded(content).reshape(-1)
            except ValueError:
                bad.add(by_key[key])
        return records, bad

    def _chunks(
        self, variable: Variable, records: Mapping[Block, Array]
    ) -> Iterator[tuple[Block, Array | None]]:
        """Chunks of a variable, block by block; None where one is not what was written."""
        number = 1 + self.layout.variables.index(variable)
        sheet = self._sheets[variable.name]
        inner = tuple(n for _, n in variable.inner)
        if 0 in inner:  # such chunks hold nothing, and none is written
            for block in records:
                yield (
                    block,
                    np.empty(
                        (*_region_shape(self.layout.tiling.region(block)), *inner), sheet.dtype
                    ),
                )
            return
        by_key = {self._key(variable, block): block for block in records}
        for key, content in self.store.read_many(by_key):
            block = by_key[key]
            shape = (*_region_shape(self.layout.tiling.region(block)), *inner)
            try:
                array = sheet.decoded(content)[tuple(map(slice, shape))]
            except ValueError:
                yield block, None
                continue
            whole = array_digest(array) ^ self._salt == records[block][number]
            yield block, array if whole else None


def _parse_commit_key(name: str) -> Block | None:
    parts = name.split(".")
    if parts[0] != "c" or not all(part.isdecimal() for part in parts[1:]):
        return None
    return tuple(map(int, parts[1:-1]))


def _region_shape(region: Region) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in region)


def _variable_array_layout(path: str, layout: StageLayout, variable: Variable) -> ArrayLayout:
    inner = tuple(n for _, n in variable.inner)
    dtype = np.dtype(variable.dtype)
    return ArrayLayout(
        path=f"{path}/{variable.name}",
        shape=layout.shape(variable),
        chunks=(*layout.tiling.chunks, *(max(n, 1) for n in inner)),
        dtype=dtype,
        fill=dtype.type(variable.fill),
        dims=layout.dims(variable),
        attrs=layout.attrs(variable),
    )


def _commit_array_layout(path: str, layout: StageLayout) -> ArrayLayout:
    counts = layout.tiling.counts
    fields = ["nanoseconds", *(v.name for v in layout.variables)]
    return ArrayLayout(
        path=f"{path}/{COMMIT_ARRAY}",
        shape=(*counts, len(fields)),
        chunks=(*(1 for _ in counts), len(fields)),
        dtype=np.dtype(np.uint64),
        dims=(*(f"{dim}_block" for dim in layout.tiling.grid.dims), "field"),
        attrs={
            "fields": fields,
            "comment": "Per block: nanoseconds it took, then a checksum of each variable.",
        },
        packed=False,
    )
