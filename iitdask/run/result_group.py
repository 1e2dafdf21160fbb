"""The result of a run in its store: what anyone opens with xarray alone."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from iitdask.errors import DamagedStoreError, StoreError
from iitdask.run.checksum import array_digest, text_digest
from iitdask.run.coordination import critical_section
from iitdask.run.stage_group import DAMAGE_ERRORS, WORK_GROUP
from iitdask.run.storage import Store, disk_full_as_error, open_store
from iitdask.run.zarr_io import read_attrs, repair_groups, update_attrs, write_dataset

__all__ = [
    "IncrementalResult",
    "append_point_ids",
    "chunk_lengths",
    "consolidate",
    "drop_blocks",
    "is_finished",
    "load_partial_result",
    "load_result",
    "read_point_ids",
    "save_result",
    "save_tree",
    "set_attrs",
    "store_attrs",
    "tree_digest",
]

RESULT_GROUP = "result"
COMPLETE = "whole"


def save_result(
    url: str,
    tree: xr.DataTree,
    provenance: Mapping[str, Any],
    costs: Mapping[str, Any] | None = None,
) -> None:
    """Write a result beside the blocks it was made from; the mark that it is whole comes last.

    Parameters
    ----------
    url : str
        Address of the store.
    tree : DataTree
        The result.
    provenance : mapping
        Where and with what it was made.
    costs : mapping, optional
        Forecast and actual seconds of each stage.
    """
    store = open_store(url)
    check = tree_digest(tree)
    # One after the other: two drivers that end together would tear up each other's writing.
    with disk_full_as_error(url), critical_section(store, RESULT_GROUP):
        if _is_already_saved(url, check):
            return
        store.delete_prefix(RESULT_GROUP)
        _write_tree(store, RESULT_GROUP, tree)
        marks: dict[str, Any] = {
            "finished": _utc_now(),
            "result_check": check,
            "result_order": {node.path: list(map(str, node.variables)) for node in tree.subtree},
            "provenance": dict(provenance),
        }
        update_attrs(store, "", marks | ({} if costs is None else {"costs": dict(costs)}))


def save_tree(url: str, group: str, tree: xr.DataTree) -> None:
    """Write one more tree into a store, unless it is there whole."""
    store = open_store(url)
    with disk_full_as_error(url), critical_section(store, group):
        if _is_complete(store, group):
            return
        store.delete_prefix(group)
        _write_tree(store, group, tree)
        update_attrs(store, group, {COMPLETE: True})


def _write_tree(store: Store, group: str, tree: xr.DataTree) -> None:
    repair_groups(store, group)
    # Node by node: xarray cannot yet write a tree below the root of a store.
    for node in tree.subtree:
        write_dataset(store, f"{group}{node.path}".rstrip("/"), node.to_dataset(inherit=False))


def _is_complete(store: Store, group: str) -> bool:
    try:
        return COMPLETE in read_attrs(store, group)
    except DAMAGE_ERRORS:
        return False


def consolidate(url: str) -> None:
    """Gather the metadata of a result, so that a plain `xarray.open_zarr` opens it at once."""
    with warnings.catch_warnings(), disk_full_as_error(url):
        # zarr says that other readers may not know it; they read the arrays' own instead.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(open_store(url).zarr, path=RESULT_GROUP)


def load_result(url: str) -> xr.DataTree:
    """Read the result of a finished store into memory, checked.

    Raises
    ------
    StoreError
        The run has not finished.
    DamagedStoreError
        What is there is not what was written.
    """
    about = store_attrs(url)
    if "finished" not in about:
        raise StoreError(f"{url}: the run has not finished; repeat `iitdask run` to go on")
    again = "repeat `iitdask run` to write it anew"
    try:
        tree = _read_tree(url)
    except (*DAMAGE_ERRORS, ArithmeticError, AssertionError) as error:
        what = " ".join(str(error).split())
        raise DamagedStoreError(f"{url}: result cannot be read ({what}); {again}") from error
    if tree_digest(tree) != about.get("result_check"):
        raise DamagedStoreError(f"{url}: result is not what was written; {again}")
    return _in_saved_order(tree, about.get("result_order"))


def load_partial_result(url: str) -> xr.DataTree:
    """Read the result of a finished store, or what there is of the cube of a sweep."""
    about = store_attrs(url)
    if "finished" in about or "axes" not in about:
        return load_result(url)
    try:
        return _read_tree(url)
    except DAMAGE_ERRORS as error:
        raise StoreError(
            f"{url}: nothing of the sweep is there yet; repeat `iitdask run` to go on"
        ) from error


def store_attrs(url: str) -> dict[str, Any]:
    """Root attributes of a store: study, fingerprint, versions, dates."""
    try:
        attrs = read_attrs(open_store(url))
    except DAMAGE_ERRORS as error:
        what = " ".join(str(error).split())
        raise StoreError(f"{url}: expected a store of iitdask, found none ({what})") from error
    if "study" not in attrs:
        raise StoreError(f"{url}: a Zarr group, but not a store of iitdask")
    return attrs


def is_finished(url: str) -> bool:
    """Whether the run that owns a store has written its result."""
    return "finished" in store_attrs(url)


def set_attrs(url: str, values: Mapping[str, Any]) -> None:
    """Write root attributes of a store, unless they are there already."""
    about = store_attrs(url)
    if any(about.get(key) != value for key, value in values.items()):
        with disk_full_as_error(url):
            update_attrs(open_store(url), "", values)


def drop_blocks(url: str) -> None:
    """Drop the blocks of a finished store and keep its result.

    Raises
    ------
    StoreError
        The result is not there, or is damaged: the blocks are needed to write it again.
    """
    load_result(url)
    store = open_store(url)
    update_attrs(store, "", {"tidied": _utc_now()})
    store.delete_prefix(WORK_GROUP)


def tree_digest(tree: xr.DataTree) -> str:
    """Digest of every name, number, label and attribute of a tree."""
    state = blake2b(digest_size=16)
    for node in sorted(tree.subtree, key=lambda each: each.path):
        for part in _digest_parts(node.to_dataset(inherit=False)):
            state.update(f"{node.path}|{part}\n".encode())
    return state.hexdigest()


def _digest_parts(data: xr.Dataset) -> Iterator[str]:
    yield _attrs_json(data.attrs)
    yield json.dumps(sorted((str(k), n) for k, n in data.sizes.items()))
    for name in sorted(map(str, data.variables)):
        variable = data.variables[name]
        yield f"{name} {variable.dims} {_attrs_json(variable.attrs)} {_values_digest(variable.values)}"


def _values_digest(values: Any) -> str:
    array = np.asarray(values)
    # Text has as many forms as there are libraries; what it says is the same.
    if array.dtype.kind in "OUST":
        return text_digest([array.shape, *map(str, array.ravel().tolist())])
    return str(array_digest(array))


def _attrs_json(attrs: Mapping[Any, Any]) -> str:
    kept = {str(k): v for k, v in attrs.items() if k not in ("_FillValue", "coordinates")}
    return json.dumps(kept, sort_keys=True, default=_json_default)


def _json_default(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _read_tree(url: str) -> xr.DataTree:
    with warnings.catch_warnings():
        # What is missing or cannot be read is found by the checksum, and then named.
        warnings.simplefilter("ignore")
        with xr.open_datatree(
            open_store(url).zarr,  # type: ignore[arg-type]
            group=RESULT_GROUP,
            engine="zarr",
            consolidated=False,
            chunks=None,
        ) as tree:
            return tree.load()


def _in_saved_order(tree: xr.DataTree, order: Any) -> xr.DataTree:
    """Put nodes and variables in the order in which they were made: Zarr keeps none."""
    if not isinstance(order, dict):
        return tree
    found = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    nodes: dict[str, xr.Dataset] = {}
    for path in [*(p for p in order if p in found), *(p for p in found if p not in order)]:
        data = found[path]
        given = order.get(path, ())
        names = [*(n for n in given if n in data.variables)]
        names += [str(n) for n in data.variables if n not in names]
        coords = {n: data.variables[n] for n in names if n in data.coords}
        values = {n: data.variables[n] for n in names if n not in data.coords}
        nodes[path] = xr.Dataset(values, coords, data.attrs)
    return xr.DataTree.from_dict(nodes)


def _is_already_saved(url: str, check: str) -> bool:
    """Whether the result is there already: two drivers write it once."""
    try:
        about = store_attrs(url)
        if "finished" not in about or about.get("result_check") != check:
            return False
        load_result(url)
    except StoreError:
        return False
    return True


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


CHUNK_CELLS = 1 << 16
"""Cells of a chunk, about."""


def chunk_lengths(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunk lengths of about ``CHUNK_CELLS`` cells: the last axes whole, the first ones cut."""
    out, room = [], CHUNK_CELLS
    for length in reversed(shape):
        out.append(max(1, min(length, room)))
        room //= out[-1]
    return tuple(reversed(out))


class IncrementalResult:
    """The result group of a store while its numbers arrive."""

    def __init__(self, url: str, data: xr.Dataset) -> None:
        self.url = url
        store = open_store(url)
        with disk_full_as_error(url), critical_section(store, RESULT_GROUP):
            store.delete_prefix(RESULT_GROUP)
            encoding = {
                str(name): {"chunks": chunk_lengths(values.shape)}
                for name, values in data.data_vars.items()
                if values.ndim
            }
            data.to_zarr(
                store.zarr,
                group=RESULT_GROUP,
                mode="w",
                zarr_format=3,
                consolidated=False,
                encoding=encoding,
            )
        consolidate(url)
        group = zarr.open_group(store.zarr, path=RESULT_GROUP, mode="r+")
        self._arrays: dict[str, Any] = {str(name): group[str(name)] for name in data.data_vars}

    def update(self, data: xr.Dataset, changed: NDArray[Any]) -> None:
        """Write the chunks in which a cell has changed; changed has the shape of the cube."""
        with disk_full_as_error(self.url), critical_section(open_store(self.url), RESULT_GROUP):
            for name, array in self._arrays.items():
                values = data[name].values
                for region in _chunk_regions(array.shape, array.chunks):
                    if changed[region].any():
                        array[region] = np.asarray(values[region])


def _chunk_regions(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Any:
    steps = [range(0, length, chunk) for length, chunk in zip(shape, chunks, strict=True)]
    for corner in product(*steps):
        yield tuple(
            slice(start, min(start + chunk, length))
            for start, chunk, length in zip(corner, chunks, shape, strict=True)
        )


POINT_IDS_GROUP = "roll"


def read_point_ids(url: str) -> list[NDArray[Any]]:
    """Return the digests of the points of a store, ``(P, 2)`` uint64 each time it grew.

    Raises
    ------
    DamagedStoreError
        One of the lists cannot be read.
    """
    store = open_store(url)
    found: list[NDArray[Any]] = []
    for number in sorted(int(name) for name in store.list_dir(POINT_IDS_GROUP) if name.isdigit()):
        try:
            array = zarr.open_array(store.zarr, path=f"{POINT_IDS_GROUP}/{number}", mode="r")
            if COMPLETE not in array.attrs:
                break  # a run died while it wrote it, before it computed any of its points
            found.append(np.asarray(array[...]))
        except DAMAGE_ERRORS as error:
            what = " ".join(str(error).split())
            raise DamagedStoreError(
                f"{url}: {POINT_IDS_GROUP}/{number} cannot be read ({what})"
            ) from error
    return found


def append_point_ids(url: str, number: int, digests: NDArray[Any]) -> None:
    """Keep one more list of points; a mark that it is whole is written last."""
    store = open_store(url)
    path = f"{POINT_IDS_GROUP}/{number}"
    with disk_full_as_error(f"{url}: {path}"):
        store.delete_prefix(path)
        codecs: Any = [ZstdCodec(level=3), Crc32cCodec()]
        about: dict[str, Any] = {
            "comment": "Digests of points; their order is that of the stage of this number."
        }
        array = zarr.create_array(
            store.zarr, name=path, data=digests, compressors=codecs, attributes=about
        )
        array.attrs.update({COMPLETE: True})
