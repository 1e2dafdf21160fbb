"""The ``result`` group of a store: what anyone opens with xarray alone."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from iitdask.errors import DamagedStoreError, StoreError
from iitdask.run.checksum import digest, text_digest
from iitdask.run.folder import UNREADABLE, WORK
from iitdask.run.lease import alone
from iitdask.run.place import erase, explained, open_store
from iitdask.run.tree import add_attributes, attributes, mend_groups, write_node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zarr.abc.store import Store

__all__ = [
    "consolidate",
    "is_finished",
    "load_result",
    "note",
    "save_apart",
    "save_result",
    "study_of",
    "tidy",
    "tree_digest",
    "what_is_there",
]

GROUP = "result"
WHOLE = "whole"


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
    with explained(url), alone(store, GROUP):
        if _holds(url, check):
            return
        erase(store, GROUP)
        _write(store, GROUP, tree)
        marks: dict[str, Any] = {
            "finished": _now(),
            "result_check": check,
            "result_order": {node.path: list(map(str, node.variables)) for node in tree.subtree},
            "provenance": dict(provenance),
        }
        add_attributes(store, "", marks | ({} if costs is None else {"costs": dict(costs)}))


def save_apart(url: str, group: str, tree: xr.DataTree) -> None:
    """Write one more tree into a store, unless it is there whole."""
    store = open_store(url)
    with explained(url), alone(store, group):
        if _is_whole(store, group):
            return
        erase(store, group)
        _write(store, group, tree)
        add_attributes(store, group, {WHOLE: True})


def _write(store: Store, group: str, tree: xr.DataTree) -> None:
    mend_groups(store, group)
    # Node by node: xarray cannot yet write a tree below the root of a store.
    for node in tree.subtree:
        write_node(store, f"{group}{node.path}".rstrip("/"), node.to_dataset(inherit=False))


def _is_whole(store: Store, group: str) -> bool:
    try:
        return WHOLE in attributes(store, group)
    except UNREADABLE:
        return False


def consolidate(url: str) -> None:
    """Gather the metadata of a result, so that a plain `xarray.open_zarr` opens it at once."""
    with warnings.catch_warnings(), explained(url):
        # zarr says that other readers may not know it; they read the arrays' own instead.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(open_store(url), path=GROUP)


def load_result(url: str) -> xr.DataTree:
    """Read the result of a finished store into memory, checked.

    Raises
    ------
    StoreError
        The run has not finished.
    DamagedStoreError
        What is there is not what was written.
    """
    about = study_of(url)
    if "finished" not in about:
        raise StoreError(f"{url}: the run has not finished; repeat `iitdask run` to go on")
    again = "repeat `iitdask run` to write it anew"
    try:
        tree = _read(url)
    except (*UNREADABLE, ArithmeticError, AssertionError) as error:
        what = " ".join(str(error).split())
        raise DamagedStoreError(f"{url}: result cannot be read ({what}); {again}") from error
    if tree_digest(tree) != about.get("result_check"):
        raise DamagedStoreError(f"{url}: result is not what was written; {again}")
    return _ordered(tree, about.get("result_order"))


def what_is_there(url: str) -> xr.DataTree:
    """Read the result of a finished store, or what there is of the cube of a sweep."""
    about = study_of(url)
    if "finished" in about or "axes" not in about:
        return load_result(url)
    try:
        return _read(url)
    except UNREADABLE as error:
        raise StoreError(
            f"{url}: nothing of the sweep is there yet; repeat `iitdask run` to go on"
        ) from error


def study_of(url: str) -> dict[str, Any]:
    """Root attributes of a store: study, fingerprint, versions, dates."""
    try:
        attrs = attributes(open_store(url))
    except UNREADABLE as error:
        what = " ".join(str(error).split())
        raise StoreError(f"{url}: expected a store of iitdask, found none ({what})") from error
    if "study" not in attrs:
        raise StoreError(f"{url}: a Zarr group, but not a store of iitdask")
    return attrs


def is_finished(url: str) -> bool:
    """Whether the run that owns a store has written its result."""
    return "finished" in study_of(url)


def note(url: str, values: Mapping[str, Any]) -> None:
    """Write root attributes of a store, unless they are there already."""
    about = study_of(url)
    if any(about.get(key) != value for key, value in values.items()):
        with explained(url):
            add_attributes(open_store(url), "", values)


def tidy(url: str) -> None:
    """Drop the blocks of a finished store and keep its result.

    Raises
    ------
    StoreError
        The result is not there, or is damaged: the blocks are needed to write it again.
    """
    load_result(url)
    store = open_store(url)
    add_attributes(store, "", {"tidied": _now()})
    erase(store, WORK)


def tree_digest(tree: xr.DataTree) -> str:
    """Digest of every name, number, label and attribute of a tree."""
    state = blake2b(digest_size=16)
    for node in sorted(tree.subtree, key=lambda each: each.path):
        for part in _parts(node.to_dataset(inherit=False)):
            state.update(f"{node.path}|{part}\n".encode())
    return state.hexdigest()


def _parts(data: xr.Dataset) -> Iterator[str]:
    yield _attrs(data.attrs)
    yield json.dumps(sorted((str(k), n) for k, n in data.sizes.items()))
    for name in sorted(map(str, data.variables)):
        variable = data.variables[name]
        yield f"{name} {variable.dims} {_attrs(variable.attrs)} {_values(variable.values)}"


def _values(values: Any) -> str:
    array = np.asarray(values)
    # Text has as many forms as there are libraries; what it says is the same.
    if array.dtype.kind in "OUST":
        return text_digest([array.shape, *map(str, array.ravel().tolist())])
    return str(digest(array))


def _attrs(attrs: Mapping[Any, Any]) -> str:
    kept = {str(k): v for k, v in attrs.items() if k not in ("_FillValue", "coordinates")}
    return json.dumps(kept, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _read(url: str) -> xr.DataTree:
    with warnings.catch_warnings():
        # What is missing or cannot be read is found by the checksum, and then named.
        warnings.simplefilter("ignore")
        with xr.open_datatree(
            open_store(url),  # type: ignore[arg-type]
            group=GROUP,
            engine="zarr",
            consolidated=False,
            chunks=None,
        ) as tree:
            return tree.load()


def _ordered(tree: xr.DataTree, order: Any) -> xr.DataTree:
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


def _holds(url: str, check: str) -> bool:
    """Whether the result is there already: two drivers write it once."""
    try:
        about = study_of(url)
        if "finished" not in about or about.get("result_check") != check:
            return False
        load_result(url)
    except StoreError:
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
