"""Groups of a store and what is said of them, read and written as plain keys.

What lies in the store is what Zarr writes and reads; see :mod:`iitdask.run.chunk`
for why it is not Zarr that does so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.run.place import create, delete, get, put
from iitdask.run.sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from zarr.abc.store import Store

__all__ = [
    "add_attributes",
    "attributes",
    "make_group",
    "make_root",
    "mend_groups",
    "write_node",
]

NUMBERS, TEXT = "biuf", "OUT"
"""Kinds of arrays that are written here."""


def attributes(store: Store, path: str = "") -> dict[str, Any]:
    """Read what is said of a group.

    Raises
    ------
    FileNotFoundError
        There is no group.
    ValueError
        Its metadata are damaged.
    """
    return dict(_document(store, path)["attributes"])


def make_root(store: Store, attrs: Mapping[str, Any]) -> bool:
    """Make the group at the root, unless another process has; whether it was made."""
    return create(store, _key(""), _written(attrs))


def make_group(store: Store, path: str, attrs: Mapping[str, Any]) -> None:
    """Make a group of which this is said and nothing else."""
    put(store, _key(path), _written(attrs))


def add_attributes(store: Store, path: str, attrs: Mapping[str, Any]) -> None:
    """Say more of a group that is there."""
    document = _document(store, path)
    document["attributes"] = {**document["attributes"], **attrs}
    put(store, _key(path), _text(document))


def mend_groups(store: Store, path: str) -> None:
    """Make every step of a path a group, replacing metadata that cannot be read."""
    steps = path.split("/")
    for depth in range(1, len(steps) + 1):
        step = "/".join(steps[:depth])
        try:
            attributes(store, step)
        except (OSError, ValueError):
            delete(store, _key(step))
            make_group(store, step, {})


def write_node(store: Store, path: str, data: xr.Dataset) -> None:
    """Write a dataset into a group of its own, where xarray reads the same."""
    if not _is_plain(data):
        # What is said beyond numbers and text on named axes, xarray says best.
        data.to_zarr(store, group=path, mode="w", zarr_format=3, consolidated=False)
        return
    make_group(store, path, _jsonable(data.attrs))
    for name, variable in data.variables.items():
        array = np.asarray(variable.values)
        if array.dtype.kind in TEXT:
            array = array.astype(object)
        more: dict[str, Any] = {"fill": float("nan")} if array.dtype.kind == "f" else {}
        dims = tuple(map(str, variable.dims)) or None
        attrs = _jsonable(variable.attrs)
        Sheet.of(f"{path}/{name}", array, dims=dims, attrs=attrs, **more).write(store, array)


def _is_plain(data: xr.Dataset) -> bool:
    if not set(data.coords) <= set(data.sizes) or "coordinates" in data.attrs:
        return False
    try:
        json.dumps(_jsonable(data.attrs))
        return all(map(_is_plain_variable, data.variables.values()))
    except TypeError:
        return False


def _is_plain_variable(variable: xr.Variable) -> bool:
    attrs, dtype = _jsonable(variable.attrs), variable.dtype
    json.dumps(attrs)
    if variable.encoding or {"coordinates", "_FillValue"} & set(attrs):
        return False
    if dtype.kind in TEXT:
        return all(isinstance(each, str) for each in np.ravel(variable.values))
    return dtype.kind in NUMBERS and dtype.itemsize <= 8


def _jsonable(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(name): value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for name, value in attrs.items()
    }


def _document(store: Store, path: str) -> dict[str, Any]:
    content = get(store, _key(path))
    if content is None:
        raise FileNotFoundError(f"{_key(path)} does not exist")
    document = json.loads(content)
    if not isinstance(document, dict) or document.get("node_type") != "group":
        raise ValueError(f"{_key(path)} is not that of a group")
    if document.get("zarr_format") != 3 or not isinstance(document.get("attributes"), dict):
        raise ValueError(f"{_key(path)} is not that of a group")
    return document


def _written(attrs: Mapping[str, Any]) -> bytes:
    return _text({"attributes": dict(attrs), "zarr_format": 3, "node_type": "group"})


def _text(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _key(path: str) -> str:
    return f"{path}/zarr.json" if path else "zarr.json"
