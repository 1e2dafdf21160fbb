"""The result of a run in its store: what anyone opens with xarray alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from iitdask.errors import DamagedStoreError, MissingStoreError, StoreError
from iitdask.run.checksum import array_digest, text_digest
from iitdask.run.coordination import CLAIMS_GROUP, LOG_GROUP, critical_section, open_session
from iitdask.run.events import list_logs, logged_studies
from iitdask.run.stage_group import DAMAGE_ERRORS, WORK_GROUP, has_blocks
from iitdask.run.storage import TEMP_SUFFIX, Store, write_errors_as_store_errors
from iitdask.run.zarr_io import (
    CHECKSUM_ATTRIBUTE,
    STORE_FORMAT,
    read_attrs,
    read_group,
    read_tree,
    replace_root,
    require_current_format,
    update_attrs,
    write_dataset,
    write_group,
    write_tree,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULT_GROUP = "result"
SUBSTRATE_GROUP = "substrate"  # Group of the tables of a problem's substrate
STRUCTURES_GROUP = "structures"  # Group of the whole results of a sweep's points
POINT_IDS_GROUP = "roll"  # Group of the identifiers of a sweep's points
CHUNK_CELLS = 1 << 16  # Cells of a chunk of a sweep's result, about
RESULT_ERRORS = (*DAMAGE_ERRORS, ArithmeticError, AssertionError, MemoryError)
"""Raised where a damaged result is read."""
OWN_GROUPS = (WORK_GROUP, RESULT_GROUP, SUBSTRATE_GROUP, POINT_IDS_GROUP, STRUCTURES_GROUP)
"""Groups at the root of a store, besides that of the log."""
EMPTIED_ATTRIBUTE = "emptied"  # Attribute of a root without study: when the store was emptied
MADE_OF_ATTRIBUTE = "made_of"  # Attribute of the root: what the result was made of, and by whom
REPEAT = "repeat `iitdask run` to write it anew"


def save_result(
    store: Store,
    tree: xr.DataTree,
    provenance: Mapping[str, Any],
    costs: Mapping[str, Any] | None = None,
    made_of: Mapping[str, Any] | None = None,
) -> None:
    """Write a result beside the blocks it was made from, then mark the run as finished.

    `made_of` is what :func:`result_made_of` compares.
    """
    check = tree_digest(tree)
    made = {} if made_of is None else {MADE_OF_ATTRIBUTE: dict(made_of)}
    # One after the other: two processes that end together would mix what they write.
    with write_errors_as_store_errors(store.url), critical_section(store, RESULT_GROUP):
        if _is_already_saved(store, check):
            set_attrs(store, made)
            return
        _hide_result(store)
        store.delete_groups(RESULT_GROUP)
        group = write_tree(store, RESULT_GROUP, tree)
        marks = {"finished": _utc_now(), "result_check": check, "provenance": dict(provenance)}
        marks |= made
        marks |= {} if costs is None else {"costs": dict(costs)}
        update_attrs(store, "", marks, {RESULT_GROUP: group})


def _hide_result(store: Store) -> None:
    """Let the root describe no result, for which a reader finds chunks missing: they read as 0."""
    update_attrs(store, "", {}, groups={})


def save_tree(store: Store, path: str, tree: xr.DataTree) -> None:
    """Write one more tree into a store, unless this very one is there."""
    with write_errors_as_store_errors(store.url), critical_section(store, path):
        with suppress(*RESULT_ERRORS):
            if tree_digest(read_tree(store, path)) == tree_digest(tree):
                return
        store.delete_groups(path)
        write_tree(store, path, tree)


def load_result(store: Store) -> xr.DataTree:
    """Read the result of a finished store into memory, verified."""
    attrs = store_attrs(store)
    if "finished" not in attrs:
        raise StoreError(f"{store.url}: the run has not finished; repeat `iitdask run` to go on")
    try:
        tree = read_tree(store, RESULT_GROUP)
    except PermissionError as error:
        raise StoreError(f"{store.url}: result may not be read ({error.strerror})") from error
    except RESULT_ERRORS as error:
        reason = " ".join(str(error).split())
        raise DamagedStoreError(
            f"{store.url}: result cannot be read ({reason}); {REPEAT}"
        ) from error
    if tree_digest(tree) != attrs.get("result_check"):
        raise DamagedStoreError(f"{store.url}: result is not what was written; {REPEAT}")
    return _in_saved_order(tree, attrs.get("result_order"))


def result_made_of(store: Store, made_of: Mapping[str, Any]) -> xr.DataTree | None:
    """Return the result of a finished store if it is intact and made of the very same."""
    attrs = store_attrs(store)
    if "finished" not in attrs or attrs.get(MADE_OF_ATTRIBUTE) != made_of:
        return None
    with suppress(DamagedStoreError):
        return load_result(store)
    return None


def load_with_structures(store: Store) -> xr.DataTree:
    """Load a result, and read the whole results of a sweep's points too if there are any."""
    tree = load_result(store)
    data = tree.to_dataset()
    groups = np.unique(data["structure"].values.astype(str)) if "structure" in data else ()
    for path in filter(None, map(str, groups)):
        try:
            read_tree(store, path)
        except RESULT_ERRORS as error:
            reason = " ".join(str(error).split())
            raise DamagedStoreError(
                f"{store.url}: {path} cannot be read ({reason}); {REPEAT}"
            ) from error
    return tree


def load_partial_result(store: Store) -> xr.DataTree:
    """Read the result of a finished store, or what there is of the cube of a sweep."""
    attrs = store_attrs(store)
    if "finished" in attrs or "axes" not in attrs:
        return load_result(store)
    try:
        return read_tree(store, RESULT_GROUP)
    except DAMAGE_ERRORS as error:
        raise StoreError(
            f"{store.url}: nothing of the sweep is there yet; repeat `iitdask run` to go on"
        ) from error


def store_attrs(store: Store) -> dict[str, Any]:
    """Return the root attributes of a store: study, fingerprint, versions, dates."""
    try:
        attrs = read_attrs(store)
    except PermissionError as error:
        raise StoreError(f"{store.url}: zarr.json may not be read ({error.strerror})") from error
    except DAMAGE_ERRORS as error:
        reason = " ".join(str(error).split())
        if holds_run(store):
            raise DamagedStoreError(
                f"{store.url}: zarr.json is damaged ({reason}); repeat `iitdask run` with its "
                "study to write it anew, or begin again with --fresh"
            ) from error
        raise MissingStoreError(
            f"{store.url}: expected a store of iitdask, found none ({reason})"
        ) from error
    if EMPTIED_ATTRIBUTE in attrs:
        raise StoreError(f"{store.url}: emptied by --fresh; `iitdask run` begins again")
    if "study" not in attrs:
        raise MissingStoreError(f"{store.url}: a Zarr group, but not a store of iitdask")
    return attrs


def holds_run(store: Store) -> bool:
    """Return whether a directory is a store of iitdask whose root cannot be read."""
    if has_blocks(store) or logged_studies(store):
        return True
    names = {name for name in store.list_dir("") if not name.endswith(TEMP_SUFFIX)}
    own = {"zarr.json", LOG_GROUP}
    return own <= names <= own | {*OWN_GROUPS}


def empty_store(store: Store) -> None:
    """Delete what iitdask has written into a store, and nothing else, for a run from the start.

    StoreError if it is not a store of iitdask, BusyStoreError if a session is at work on it.
    """
    if not store.list_dir(""):
        return
    try:
        store_attrs(store)
    except DamagedStoreError:
        pass
    except StoreError:
        if not is_emptied(store):
            raise
    with open_session(store) as session, session.exclusive(RESULT_GROUP):
        comment = "Emptied store of iitdask."
        emptied = {"comment": comment, "format": STORE_FORMAT, EMPTIED_ATTRIBUTE: _utc_now()}
        replace_root(store, emptied)
        delete_own_groups(store)
        store.delete_prefix(CLAIMS_GROUP)
        for key in list_logs(store):
            store.delete(key)


def delete_own_groups(store: Store) -> None:
    """Delete all of a store but its root and its log."""
    for group in OWN_GROUPS:
        store.delete_groups(group)


def is_emptied(store: Store) -> bool:
    """Return whether a store has been emptied, and no run has begun since."""
    with suppress(*DAMAGE_ERRORS):
        return EMPTIED_ATTRIBUTE in read_attrs(store)
    return False


def is_finished(store: Store) -> bool:
    """Return whether the run of a store has written its result."""
    return "finished" in store_attrs(store)


def set_attrs(store: Store, values: Mapping[str, Any]) -> None:
    """Set root attributes of a store, writing only if one differs."""
    attrs = store_attrs(store)
    if any(attrs.get(key) != value for key, value in values.items()):
        with write_errors_as_store_errors(store.url):
            update_attrs(store, "", values)


def drop_blocks(store: Store) -> None:
    """Delete the blocks of a finished store and keep its result."""
    require_current_format(store, store_attrs(store))
    load_result(store)
    with (
        write_errors_as_store_errors(store.url),
        open_session(store) as session,
        session.exclusive(RESULT_GROUP),
    ):
        update_attrs(store, "", {"tidied": _utc_now()})
        store.delete_groups(WORK_GROUP)
        store.delete_abandoned_temp(is_alone=True)


def tree_digest(tree: xr.DataTree) -> str:
    """Return a digest of every name, number, label and attribute of a tree."""
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
        attrs, values = _attrs_json(variable.attrs), _values_digest(variable.values)
        yield f"{name} {variable.dims} {attrs} {values}"


def _values_digest(values: Any) -> str:
    array = np.asarray(values)
    # Text has as many types as there are libraries; its characters are the same.
    if array.dtype.kind in "OUST":
        return text_digest([array.shape, *map(str, array.ravel().tolist())])
    return str(array_digest(array))


def _attrs_json(attrs: Mapping[Any, Any]) -> str:
    kept = {str(k): v for k, v in attrs.items() if k not in ("_FillValue", "coordinates")}
    return json.dumps(kept, sort_keys=True, default=json_default)


def json_default(value: Any) -> Any:
    """Return numbers of numpy as lists or Python numbers, functions by name, others as text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(getattr(value, "__qualname__", value))  # not the address of a function


def _in_saved_order(tree: xr.DataTree, order: Any) -> xr.DataTree:
    """Put nodes and variables into the order in which a store of format 1 recorded them."""
    if not isinstance(order, dict):
        return tree
    stored = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    nodes: dict[str, xr.Dataset] = {}
    for path in [*(p for p in order if p in stored), *(p for p in stored if p not in order)]:
        data = stored[path]
        names = [name for name in order.get(path, ()) if name in data.variables]
        names += [str(name) for name in data.variables if name not in names]
        coords = {name: data.variables[name] for name in names if name in data.coords}
        values = {name: data.variables[name] for name in names if name not in data.coords}
        nodes[path] = xr.Dataset(values, coords, data.attrs)
    return xr.DataTree.from_dict(nodes)


def _is_already_saved(store: Store, check: str) -> bool:
    """Return whether this very result is there, as when another process wrote it."""
    with suppress(StoreError):
        if store_attrs(store).get("result_check") == check:
            load_result(store)
            return True
    return False


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def chunk_lengths(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return chunk lengths of about ``CHUNK_CELLS`` cells: the last axes whole, the first cut."""
    lengths, cells = [], CHUNK_CELLS
    for length in reversed(shape):
        lengths.append(max(1, min(length, cells)))
        cells //= lengths[-1]
    return tuple(reversed(lengths))


class IncrementalResult:
    """The result group of a sweep while its numbers arrive: readable all the time."""

    def __init__(self, store: Store, data: xr.Dataset) -> None:
        self._store = store
        chunks = {str(k): chunk_lengths(v.shape) for k, v in data.data_vars.items() if v.ndim}
        with write_errors_as_store_errors(store.url), critical_section(store, RESULT_GROUP):
            # A result that has grown since must not be hidden by the old one.
            _hide_result(store)
            store.delete_groups(RESULT_GROUP)
            group = write_dataset(store, RESULT_GROUP, data, chunks=chunks, standalone=True)
        self._layouts = {str(name): group.arrays[str(name)] for name in data.data_vars}

    def update(self, data: xr.Dataset, changed: NDArray[Any]) -> None:
        """Write the chunks in which a cell has changed."""
        with (
            write_errors_as_store_errors(self._store.url),
            critical_section(self._store, RESULT_GROUP),
        ):
            for name, layout in self._layouts.items():
                values = np.asarray(data[name].values)
                if values.dtype.kind in "UT":
                    values = values.astype(object)
                layout.write(self._store, values, changed)


def read_point_ids(store: Store) -> list[NDArray[Any]]:
    """Return the identifiers of a sweep's points, one array each time the sweep grew.

    DamagedStoreError if one is not what was written.
    """
    lists, reason = _read_point_ids(store)
    if reason:
        raise DamagedStoreError(f"{store.url}: {reason}; {REPEAT}")
    return lists


def intact_point_ids(store: Store) -> list[NDArray[Any]]:
    """Return the identifiers of points that can be trusted, and delete all after a damaged list.

    The points of deleted lists join the sweep anew.
    """
    lists, reason = _read_point_ids(store)
    if reason:
        for name in store.list_dir(POINT_IDS_GROUP):
            if name.isdigit() and int(name) >= len(lists):
                store.delete_groups(f"{POINT_IDS_GROUP}/{name}")
    return lists


def _read_point_ids(store: Store) -> tuple[list[NDArray[Any]], str]:
    """Return the lists before the first that is not what was written, and what it is."""
    lists: list[NDArray[Any]] = []
    numbers = sorted(int(name) for name in store.list_dir(POINT_IDS_GROUP) if name.isdigit())
    for position, number in enumerate(numbers):
        path = f"{POINT_IDS_GROUP}/{number}"
        try:
            attrs, arrays = read_group(store, path)
            checksum = attrs.get(CHECKSUM_ATTRIBUTE)  # older stores have none
            if position != number or checksum not in (None, str(array_digest(arrays["points"]))):
                return lists, f"{path} is not what was written"
            lists.append(arrays["points"])
        except DAMAGE_ERRORS as error:
            return lists, f"{path} cannot be read ({' '.join(str(error).split())})"
    return lists, ""


def append_point_ids(store: Store, number: int, digests: NDArray[Any]) -> None:
    """Store the identifiers of the points by which a sweep grew."""
    path = f"{POINT_IDS_GROUP}/{number}"
    comment = "Digests of points; their order is that of the stage of this number."
    attrs = {"comment": comment, CHECKSUM_ATTRIBUTE: str(array_digest(digests))}
    with write_errors_as_store_errors(f"{store.url}: {path}"):
        store.delete_groups(path)
        write_group(store, path, {"points": digests}, attrs)
