"""One stage in a Zarr store: an array per variable, and one commit record per block.

A block is one chunk of every variable. Its commit record is written last and holds the
nanoseconds the block took and a checksum of each variable's chunk, so that every read is
verified. Chunks equal to the fill value are written like any other: a missing file of a
committed block is always damage.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
import xarray as xr

from iitdask.errors import DamagedStoreError, UnreachableStoreError
from iitdask.run.checksum import array_crc
from iitdask.run.coordination import critical_section
from iitdask.run.plan import Block
from iitdask.run.storage import Store, open_store, write_errors_as_store_errors
from iitdask.run.task import InputRef, StageContext, StageLayout, region_shape
from iitdask.run.zarr_io import (
    ArrayGroup,
    ArrayLayout,
    open_group,
    read_attrs,
    read_group,
    write_group,
)
from iitdask.theory.stage import Array, Variable

WORK_GROUP = "work"
COMMIT_ARRAY = "tick"  # Array of a stage that holds its commit records
INPUTS_GROUP = "_inputs"  # Group of a stage with the input arrays put there for other processes
FILLED_GROUP = "_filled"  # Group of a stage with its variables as one, for other processes
INPUT_CHECKSUMS = "checksums"  # Attribute of that group: the checksum of every array, by name
SHOWN_BLOCKS = 5
MAX_SEARCHED_FOLDERS = 100  # Of a directory that may be no store, for a stage with blocks
DAMAGE_ERRORS = (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, OSError)
"""Raised on damaged documents and chunks; each level of Zarr's format has its own."""

log = logging.getLogger(__name__)


def read_stage_layout(store: Store, name: str) -> StageLayout | None:
    """Read the layout of a stage; None if there is none, or none that can be trusted."""
    try:
        layout = StageLayout.from_json(read_attrs(store, f"{WORK_GROUP}/{name}"))
    except DAMAGE_ERRORS as error:
        # Where the root is gone, too, the store was deleted: the run ends with a line that says so.
        is_damaged = store.list_dir(f"{WORK_GROUP}/{name}/{COMMIT_ARRAY}")
        if is_damaged and store.exists("zarr.json"):
            log.warning("%s: stage %r has no readable layout (%s)", store.url, name, error)
        return None
    return layout if layout.name == name else None


def list_stages(store: Store, path: str = "") -> list[str]:
    """Return the names of all stages, nested ones too, sorted within each level."""
    stages = []
    for name in sorted(store.list_dir(f"{WORK_GROUP}/{path}" if path else WORK_GROUP)):
        if "." in name or name in (INPUTS_GROUP, FILLED_GROUP, COMMIT_ARRAY):
            continue
        below = f"{path}/{name}" if path else name
        names = store.list_dir(f"{WORK_GROUP}/{below}")
        if COMMIT_ARRAY in names or ("zarr.json" in names and _is_stage(store, below)):
            stages.append(below)
        if {each.split(".")[0] for each in names} - {"c", "zarr"}:
            stages += list_stages(store, below)
    return stages


def has_blocks(store: Store) -> bool:
    """Return whether a store has committed blocks, whatever else of it can be read.

    A directory `work` may be anybody's, with other stores somewhere in it: only stages that say
    that they are where they lie count, and only the first folders are searched.
    """
    folders = [""]
    for _ in range(MAX_SEARCHED_FOLDERS):
        if not folders:
            break
        path = folders.pop()
        names = store.list_dir(f"{WORK_GROUP}/{path}" if path else WORK_GROUP)
        if COMMIT_ARRAY in names:
            is_stage = path and read_stage_layout(store, path) is not None
            if is_stage and store.list_dir(f"{WORK_GROUP}/{path}/{COMMIT_ARRAY}"):
                return True
        else:
            below = sorted((name for name in names if "." not in name), reverse=True)
            folders += [f"{path}/{name}" if path else name for name in below]
    return False


def _is_stage(store: Store, name: str) -> bool:
    with suppress(*DAMAGE_ERRORS):
        return "stage" in read_attrs(store, f"{WORK_GROUP}/{name}")
    return False


def with_stored_inputs(context: StageContext) -> StageContext:
    """Put the input arrays of a stage into its store, for processes that lack them."""
    arrays = {name: x for name, x in context.inputs.items() if isinstance(x, np.ndarray)}
    if context.store is None or not arrays:
        return context
    group = StageGroup.load(context.store, context.layout.name)
    with critical_section(group.store, f"{context.layout.name}-inputs"):
        refs = group.write_inputs(arrays)
    return replace(context, inputs={**context.inputs, **refs})


class StageGroup:
    """The group of one stage in a Zarr store."""

    def __init__(self, store: Store, layout: StageLayout) -> None:
        self.store = store
        self.layout = layout
        self._arrays = {
            v.name: _variable_array_layout(self.path, layout, v) for v in layout.variables
        }
        self._commits = _commit_array_layout(self.path, layout)
        # Checksums carry the lineage: a block that a straggler of an earlier version writes
        # into a stage planned afresh is recognised as foreign.
        self._salt = int(layout.lineage, 16)

    @property
    def path(self) -> str:
        """Path of the group in the store."""
        return f"{WORK_GROUP}/{self.layout.name}"

    @property
    def label(self) -> str:
        """Name of the stage in an error."""
        return f"{self.store.url}: stage {self.layout.name!r}"

    @classmethod
    def create(cls, store: Store, layout: StageLayout) -> StageGroup:
        """Write the document of a stage where it is missing or differs.

        Chunks are left alone: the layout says how to read them, and their checksums tell
        whether that went well.
        """
        stage = cls(store, layout)
        try:
            is_current = stage._has_document()
        except DAMAGE_ERRORS:
            is_current = False
            store.delete(f"{stage.path}/zarr.json")
        if not is_current:
            with write_errors_as_store_errors(f"{stage.path} of the store"):
                stage._document().commit(store)
        return stage

    def is_written(self) -> bool:
        """Return whether the document of the stage is in the store as it should be."""
        with suppress(*DAMAGE_ERRORS):
            return self._has_document()
        return False

    def _document(self) -> ArrayGroup:
        arrays = {**self._arrays, COMMIT_ARRAY: self._commits}
        return ArrayGroup(self.path, self.layout.to_json(), arrays)

    def _has_document(self) -> bool:
        return bool(open_group(self.store, self.path).metadata == self._document().metadata)

    @classmethod
    def load(cls, store: Store, name: str) -> StageGroup:
        """Open the group of a stage; DamagedStoreError if its document is missing or damaged."""
        layout = read_stage_layout(store, name)
        if layout is None:
            raise DamagedStoreError(
                f"{store.url}: stage {name!r} cannot be read; run again to redo it"
            )
        return cls(store, layout)

    def done(self) -> set[Block]:
        """Return the committed blocks: one listing, nothing is read."""
        names = self.store.list_dir(f"{self.path}/{COMMIT_ARRAY}")
        tiling = self.layout.tiling
        blocks = map(_parse_commit_key, names)
        return {block for block in blocks if block is not None and block in tiling}

    def is_committed(self, block: Block) -> bool:
        """Return whether a block is committed: nothing is read."""
        return self.store.exists(self._commit_key(block))

    def write(self, block: Block, arrays: Mapping[str, Array], seconds: float) -> None:
        """Write a block's chunks, then its commit record."""
        variables = self.layout.variables
        checksums = [array_crc(arrays[v.name]) ^ self._salt for v in variables]
        chunks = {
            self._key(v, block): self._arrays[v.name].encode(arrays[v.name])
            for v in variables
            if arrays[v.name].size
        }
        record = np.array([max(1, round(seconds * 1e9)), *checksums], np.uint64)
        with write_errors_as_store_errors(f"{self.label}, block {block}"):
            self.store.write_many(chunks)
            # Only now: a commit record says that all else is there.
            content = self._commits.encode(record.reshape(self._commits.chunks))
            self.store.write(self._commit_key(block), content)

    def seconds(self, blocks: Iterable[Block]) -> dict[Block, float]:
        """Return the seconds that committed blocks took; unreadable records are left out."""
        records, _ = self._read_commits(blocks)
        return {block: int(record[0]) / 1e9 for block, record in records.items() if record[0]}

    def read(self, block: Block) -> dict[str, Array]:
        """Read the arrays of one committed block, verified."""
        records, damaged = self._read_commits([block])
        arrays: dict[str, Array] = {}
        for variable in () if damaged else self.layout.variables:
            for _, array in self._read_chunks(variable, records):
                if array is not None:
                    arrays[variable.name] = array.copy()
        if len(arrays) < len(self.layout.variables):
            raise self.damage_error([block])
        return arrays

    def read_part(self, block: Block, variable: Variable) -> Array:
        """Read one variable of one committed block, verified; it may be read-only."""
        records, _ = self._read_commits([block])
        for _, array in self._read_chunks(variable, records):
            if array is not None:
                return array
        raise self.damage_error([block])

    def read_all(self, variables: Iterable[Variable]) -> dict[str, Array]:
        """Read variables of the whole stage, verified; damaged blocks are deleted and named.

        Cells of uncommitted blocks hold the fill value.
        """
        records, damaged = self._read_commits(self.done())
        arrays = {variable.name: self.layout.empty(variable) for variable in variables}
        for name, array in arrays.items():
            for block, part in self._read_chunks(self.layout.variable(name), records):
                if part is None:
                    damaged.add(block)
                else:
                    array[self.layout.tiling.region(block)] = part
        self.delete_damaged(damaged)
        return arrays

    def damaged_blocks(self) -> set[Block]:
        """Return the committed blocks that are damaged, holding one block at a time."""
        damaged = set()
        for block in self.done():
            try:
                self.read(block)
            except DamagedStoreError:
                damaged.add(block)
        return damaged

    def open_lazy(self) -> dict[str, xr.Variable]:
        """Open the variables so that they are read, unverified, when they are looked at."""
        open_group(self.store, self.path)  # refuses what Zarr would decode, but is not written here
        data = xr.open_zarr(
            open_store(f"{self.store.address}/{self.path}").zarr,
            chunks=None,
            consolidated=True,
            zarr_format=3,
            decode_cf=False,
            drop_variables=[COMMIT_ARRAY],
        )
        return {v.name: data[v.name].variable for v in self.layout.variables}

    def read_partial(self, variable: Variable) -> Array:
        """Read a variable as far as it is written, not verified against commit records."""
        return replace(self._arrays[variable.name], sparse=True).read(self.store)

    def delete_blocks(self, blocks: Iterable[Block]) -> None:
        """Delete blocks, commit records first."""
        for block in blocks:
            self.store.delete(self._commit_key(block))
            for variable in self.layout.variables:
                self.store.delete(self._key(variable, block))

    def delete_damaged(self, damaged: set[Block]) -> None:
        """Delete damaged blocks, if there are any, and raise the error that names them."""
        if damaged:
            self.delete_blocks(damaged)
            raise self.damage_error(damaged)

    def damage_error(self, blocks: Iterable[Block]) -> DamagedStoreError:
        """Return the error that names damaged blocks."""
        listed = sorted(blocks)
        shown = ", ".join(map(str, listed[:SHOWN_BLOCKS]))
        shown += ", …" if len(listed) > SHOWN_BLOCKS else ""
        return DamagedStoreError(
            f"{self.label}, {len(listed)} block(s) are not what was written: {shown}; "
            "run again to redo them"
        )

    def holds_inputs(self, arrays: Mapping[str, Array]) -> bool:
        """Return whether input arrays are where other processes find them."""
        if not arrays:
            return True
        with suppress(DamagedStoreError):
            stored = {name: array_crc(array) for name, array in self.read_inputs().items()}
            return stored == {name: array_crc(array) for name, array in arrays.items()}
        return False

    def write_filled(self, arrays: Mapping[str, Array]) -> None:
        """Write variables of the whole stage as one, for processes that would read every block."""
        path = f"{self.path}/{FILLED_GROUP}"
        attrs = {INPUT_CHECKSUMS: {name: array_crc(array) for name, array in arrays.items()}}
        self.store.delete_groups(path)
        with write_errors_as_store_errors(f"{self.label}"):
            write_group(self.store, path, arrays, {**attrs, "lineage": self.layout.lineage})

    def read_filled(self) -> dict[str, Array] | None:
        """Return what `write_filled` wrote; None if it is not there, or not what was written."""
        try:
            attrs, arrays = read_group(self.store, f"{self.path}/{FILLED_GROUP}")
        except DAMAGE_ERRORS:
            return None
        checksums = {name: array_crc(array) for name, array in arrays.items()}
        wanted = {variable.name for variable in self.layout.variables}
        is_intact = attrs.get("lineage") == self.layout.lineage and arrays.keys() == wanted
        return arrays if is_intact and attrs.get(INPUT_CHECKSUMS) == checksums else None

    def write_inputs(self, arrays: Mapping[str, Array]) -> dict[str, InputRef]:
        """Put all input arrays where other processes find them; return how to verify them.

        What is there already stays if it is the same, and is replaced if it is damaged.
        """
        if not arrays:
            return {}
        refs = {name: InputRef(name, array_crc(array)) for name, array in arrays.items()}
        path = f"{self.path}/{INPUTS_GROUP}"
        if self.holds_inputs(arrays):  # workers of another driver may be reading them
            return refs
        self.store.delete_groups(path)
        what = f"{self.store.url}: inputs of stage {self.layout.name!r}"
        with write_errors_as_store_errors(what):
            checksums = {name: ref.digest for name, ref in refs.items()}
            write_group(self.store, path, arrays, {INPUT_CHECKSUMS: checksums})
        return refs

    def read_input(self, ref: InputRef) -> Array:
        """Read one input array that was put into the store, verified."""
        path = f"{self.path}/{INPUTS_GROUP}"
        try:
            array = open_group(self.store, path).arrays[ref.name].read(self.store)
        except DAMAGE_ERRORS as error:
            raise self._input_error(f"{path}/{ref.name} cannot be read") from error
        if array_crc(array) != ref.digest:
            raise self._input_error(f"{path}/{ref.name} is not what was written")
        return array

    def read_inputs(self) -> dict[str, Array]:
        """Read all input arrays that were put into the store, as they were written.

        The lineage of the stage, which is made from them, tells whether they are the right ones.
        """
        path = f"{self.path}/{INPUTS_GROUP}"
        try:
            attrs, arrays = read_group(self.store, path)
        except DAMAGE_ERRORS as error:
            raise self._input_error(f"{path} cannot be read") from error
        checksums = {name: array_crc(array) for name, array in arrays.items()}
        if attrs.get(INPUT_CHECKSUMS, checksums) != checksums:  # older stores have none
            raise self._input_error(f"{path} is not what was written")
        return arrays

    def _input_error(self, what: str) -> DamagedStoreError:
        return DamagedStoreError(f"{self.store.url}: {what}; run again")

    def clear(self) -> None:
        """Delete the stage, but not stages whose path lies below its own."""
        self.store.delete(f"{self.path}/zarr.json")
        for name in (
            COMMIT_ARRAY,
            INPUTS_GROUP,
            FILLED_GROUP,
            *(v.name for v in self.layout.variables),
        ):
            self.store.delete_groups(f"{self.path}/{name}")

    def _key(self, variable: Variable, block: Block) -> str:
        return self._arrays[variable.name].key((*block, *(0 for _ in variable.inner)))

    def _commit_key(self, block: Block) -> str:
        return self._commits.key((*block, 0))

    def _read_commits(self, blocks: Iterable[Block]) -> tuple[dict[Block, Array], set[Block]]:
        """Return commit records, and the blocks whose record cannot be read."""
        by_key = {self._commit_key(block): block for block in blocks}
        records, damaged = {}, set()
        for key, content in self.store.read_many(by_key):
            try:
                records[by_key[key]] = self._commits.decode(content).reshape(-1)
            except ValueError:
                damaged.add(by_key[key])
        return records, damaged

    def _read_chunks(
        self, variable: Variable, records: Mapping[Block, Array]
    ) -> Iterator[tuple[Block, Array | None]]:
        """Yield the chunks of a variable; None for one that is not what was written."""
        field = 1 + self.layout.variables.index(variable)
        layout = self._arrays[variable.name]
        inner = tuple(n for _, n in variable.inner)
        if 0 in inner:  # such chunks have no cells, and none is written
            for block in records:
                shape = (*region_shape(self.layout.tiling.region(block)), *inner)
                yield block, np.empty(shape, layout.dtype)
            return
        by_key = {self._key(variable, block): block for block in records}
        for key, content in self.store.read_many(by_key):
            block = by_key[key]
            shape = (*region_shape(self.layout.tiling.region(block)), *inner)
            try:
                array = layout.decode(content)[tuple(map(slice, shape))]
            except ValueError:
                yield block, None
                continue
            is_intact = array_crc(array) ^ self._salt == records[block][field]
            yield block, array if is_intact else None


class StageReader:
    """Reads committed blocks of a stage, verified, in a thread while others are computed.

    Of a stage too large to be held blocks are only verified.
    """

    def __init__(self, group: StageGroup, *, holds_arrays: bool) -> None:
        self.group, self.holds_arrays = group, holds_arrays
        layout = group.layout
        variables = layout.variables if holds_arrays else ()
        self._arrays = {variable.name: layout.empty(variable) for variable in variables}
        self._read: set[Block] = set()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reader")

    def add(self, blocks: Iterable[Block]) -> None:
        """Read blocks that have been committed."""
        self._pool.submit(self._read_blocks, tuple(blocks))

    def finish(self) -> dict[str, Array]:
        """Return the variables of the whole stage; damaged blocks are deleted and named."""
        self._pool.shutdown()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reader")
        done = self.group.done()
        self._read_blocks(done - self._read)
        self.group.delete_damaged(done - self._read)
        return self._arrays

    def close(self) -> None:
        """Read no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read_blocks(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            # What cannot be read now is read again in the end: files may take time to be seen.
            with suppress(DamagedStoreError, UnreachableStoreError, OSError):
                arrays = self.group.read(block)
                region = self.group.layout.tiling.region(block)
                for name, whole in self._arrays.items():
                    whole[region] = arrays[name]
                self._read.add(block)


def _parse_commit_key(name: str) -> Block | None:
    parts = name.split(".")
    if parts[0] != "c" or not all(part.isdecimal() for part in parts[1:]):
        return None
    return tuple(map(int, parts[1:-1]))


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
        compressed=False,
    )
