"""Zarr groups of arrays read and written as plain keys.

A group is one document, its ``zarr.json``, and the chunks of its arrays. The document holds the
group's attributes and, as consolidated metadata, the description of every array below it. It is
written last and in one step: a group whose document can be read is complete, and a chunk that is
missing under a document is damage. An array without axes has no chunk: its value is the fill
value in its description.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.errors import StoreError
from iitdask.run.storage import Store
from iitdask.run.zarr_array import NUMERIC_KINDS, TEXT_KINDS, Array, ArrayLayout

if TYPE_CHECKING:
    import xarray as xr

NON_DIMENSION_COORDINATES = "coordinates"
"""Group attribute in which xarray looks for coordinates that are no dimension."""
STORE_FORMAT = 2
"""Version of the way iitdask lays out a store."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayGroup:
    """What the document of a group says."""

    path: str
    attrs: Mapping[str, Any]
    arrays: Mapping[str, ArrayLayout] = field(default_factory=dict)
    groups: Mapping[str, ArrayGroup] = field(default_factory=dict)

    def metadata(self) -> dict[str, Any]:
        """Return the document as zarr writes it."""
        return {
            "attributes": dict(self.attrs),
            "zarr_format": 3,
            "consolidated_metadata": {
                "kind": "inline",
                "must_understand": False,
                "metadata": dict(self._nodes()),
            },
            "node_type": "group",
        }

    def _nodes(self, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        for name, layout in self.arrays.items():
            yield f"{prefix}{name}", layout.metadata()
        for name, group in self.groups.items():
            yield f"{prefix}{name}", ArrayGroup(group.path, group.attrs).metadata()
            yield from group._nodes(f"{prefix}{name}/")

    def commit(self, store: Store) -> None:
        """Write the document, which completes the group."""
        store.write(_metadata_key(self.path), _json_bytes(self.metadata()))

    def read(self, store: Store) -> dict[str, Array]:
        """Read all arrays; ValueError if a chunk is damaged or missing."""
        return {name: layout.read(store) for name, layout in self.arrays.items()}


def open_group(store: Store, path: str = "") -> ArrayGroup:
    """Read the document of a group; FileNotFoundError if there is none, ValueError if damaged.

    In stores of format 1 the arrays of a group have documents of their own.
    """
    document = _group_metadata(store, path)
    if "consolidated_metadata" not in document:
        return _open_group_of_format_1(store, path, document["attributes"])
    try:
        nodes = dict(document["consolidated_metadata"]["metadata"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{_metadata_key(path)} is damaged: {error!r}") from error
    return _group_from_nodes(path, document["attributes"], nodes)


def _group_from_nodes(path: str, attrs: Any, nodes: Mapping[str, Any]) -> ArrayGroup:
    arrays: dict[str, ArrayLayout] = {}
    groups: dict[str, ArrayGroup] = {}
    for name, node in nodes.items():
        if "/" in name:
            continue
        below = f"{path}/{name}" if path else name
        if isinstance(node, dict) and node.get("node_type") == "group":
            prefix = f"{name}/"
            deeper = {k.removeprefix(prefix): v for k, v in nodes.items() if k.startswith(prefix)}
            groups[name] = _group_from_nodes(below, node.get("attributes", {}), deeper)
        else:
            arrays[name] = ArrayLayout.from_metadata(below, node, sparse=False)
    return ArrayGroup(path, dict(attrs), arrays, groups)


def _open_group_of_format_1(store: Store, path: str, attrs: Mapping[str, Any]) -> ArrayGroup:
    arrays: dict[str, ArrayLayout] = {}
    groups: dict[str, ArrayGroup] = {}
    for name in sorted(store.list_dir(path)):
        below = f"{path}/{name}" if path else name
        content = store.read(_metadata_key(below))
        if name == "zarr.json" or content is None:
            continue
        node = json.loads(content)
        if isinstance(node, dict) and node.get("node_type") == "group":
            groups[name] = open_group(store, below)
        else:
            arrays[name] = ArrayLayout.from_metadata(below, node, sparse=True)
    return ArrayGroup(path, dict(attrs), arrays, groups)


def write_group(
    store: Store,
    path: str,
    arrays: Mapping[str, Array | xr.Variable],
    attrs: Mapping[str, Any],
    *,
    groups: Mapping[str, ArrayGroup] | None = None,
    chunks: Mapping[str, tuple[int, ...]] | None = None,
    standalone: bool = False,
) -> ArrayGroup:
    """Write a group: the chunks of its arrays, then the document that completes it.

    With `standalone` each array has a document of its own too: only then xarray finds the arrays
    of the very group it is told to open with ``consolidated=False``.
    """
    layouts: dict[str, ArrayLayout] = {}
    for name, value in arrays.items():
        values = np.asarray(value)
        if values.dtype.kind in TEXT_KINDS:
            values = values.astype(object)
        _require_storable(name, values)
        more: dict[str, Any] = {}
        if not isinstance(value, np.ndarray):
            more = {"dims": tuple(map(str, value.dims)), "attrs": _json_attrs(value.attrs)}
        layout = ArrayLayout.from_array(f"{path}/{name}", values, (chunks or {}).get(name), **more)
        layout.write(store, values)
        if standalone:
            store.write(_metadata_key(layout.path), _json_bytes(layout.metadata()))
        layouts[name] = layout
    group = ArrayGroup(path, _json_attrs(attrs), layouts, groups or {})
    group.commit(store)
    return group


def read_group(store: Store, path: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read the attributes and all arrays of a group; errors as of :func:`open_group`."""
    group = open_group(store, path)
    return dict(group.attrs), group.read(store)


def _require_storable(name: str, values: Array) -> None:
    kind = values.dtype.kind
    is_text = kind == "O" and all(isinstance(item, str) for item in values.ravel().tolist())
    if not is_text and (kind not in NUMERIC_KINDS or values.dtype.itemsize > 8):
        raise TypeError(f"array {name!r}: expected numbers or text, got {values.dtype}")


def write_dataset(store: Store, path: str, data: xr.Dataset, **options: Any) -> ArrayGroup:
    """Write a dataset as a group, from which xarray reads the same; see :func:`write_group`."""
    attrs = dict(data.attrs)
    other = " ".join(str(name) for name in data.coords if name not in data.sizes)
    if other:
        attrs[NON_DIMENSION_COORDINATES] = other
    variables = {str(name): variable for name, variable in data.variables.items()}
    return write_group(store, path, variables, attrs, **options)


def read_dataset(store: Store, group: ArrayGroup) -> xr.Dataset:
    """Read a group as a dataset; ValueError if a chunk is damaged or missing."""
    import xarray as xr  # noqa: PLC0415 heavy, and not needed to fill blocks

    attrs = dict(group.attrs)
    coords = set(str(attrs.pop(NON_DIMENSION_COORDINATES, "")).split())
    variables = {
        name: xr.Variable(layout.dims or (), layout.read(store), layout.attrs)
        for name, layout in group.arrays.items()
    }
    dims = {str(dim) for variable in variables.values() for dim in variable.dims}
    coords |= dims & set(variables)
    return xr.Dataset(
        {name: value for name, value in variables.items() if name not in coords},
        {name: value for name, value in variables.items() if name in coords},
        attrs,
    )


def write_tree(
    store: Store, path: str, tree: xr.DataTree, *, standalone: bool = True
) -> ArrayGroup:
    """Write a tree of datasets; the document of its root, written last, completes it."""
    groups = {
        name: write_tree(store, f"{path}/{name}", child, standalone=False)
        for name, child in tree.children.items()
    }
    data = tree.to_dataset(inherit=False)
    return write_dataset(store, path, data, groups=groups, standalone=standalone)


def read_tree(store: Store, path: str) -> xr.DataTree:
    """Read a tree of datasets; errors as of :func:`open_group`."""
    import xarray as xr  # noqa: PLC0415

    def collect(node: str, group: ArrayGroup) -> Iterator[tuple[str, xr.Dataset]]:
        yield node or "/", read_dataset(store, group)
        for name, child in group.groups.items():
            yield from collect(f"{node}/{name}", child)

    return xr.DataTree.from_dict(dict(collect("", open_group(store, path))))


def read_attrs(store: Store, path: str = "") -> dict[str, Any]:
    """Read the attributes of a group; errors as of :func:`open_group`."""
    return dict(_group_metadata(store, path)["attributes"])


def require_current_format(store: Store, attrs: Mapping[str, Any]) -> None:
    """Raise a StoreError unless a store has the format that this version writes."""
    written = attrs.get("format")
    if written == STORE_FORMAT:
        return
    if isinstance(written, int) and written < STORE_FORMAT:
        raise StoreError(
            f"{store.url} has store format {written}, which can be shown, exported and viewed, but "
            f"not changed or verified (this iitdask writes {STORE_FORMAT}); use another store"
        )
    raise StoreError(
        f"{store.url} has store format {written!r}, this iitdask reads {STORE_FORMAT}; "
        "use the version that wrote it"
    )


def create_root(store: Store, attrs: Mapping[str, Any]) -> bool:
    """Create the group at the root unless another process has; return whether it was created."""
    return store.create(_metadata_key(""), _group_json(attrs))


def create_group(store: Store, path: str, attrs: Mapping[str, Any]) -> None:
    """Create a group with exactly these attributes, replacing old ones; no arrays are in it."""
    store.write(_metadata_key(path), _group_json(attrs))


def update_attrs(store: Store, path: str, attrs: Mapping[str, Any]) -> None:
    """Add attributes to a group that exists, replacing those of the same names."""
    document = _group_metadata(store, path)
    document["attributes"] = {**document["attributes"], **attrs}
    store.write(_metadata_key(path), _json_bytes(document))


def repair_groups(store: Store, path: str) -> None:
    """Make every part of a path a group, replacing documents that cannot be read."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        part = "/".join(parts[:depth])
        try:
            read_attrs(store, part)
        except (OSError, ValueError):
            store.delete(_metadata_key(part))
            create_group(store, part, {})


def _json_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(name): value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for name, value in attrs.items()
    }


def _group_metadata(store: Store, path: str) -> dict[str, Any]:
    content = store.read(_metadata_key(path))
    if content is None:
        raise FileNotFoundError(f"{_metadata_key(path)} does not exist")
    document = json.loads(content)
    match document:
        case {"node_type": "group", "zarr_format": 3, "attributes": dict()}:
            return dict(document)
    raise ValueError(f"{_metadata_key(path)} is not that of a group")


def _group_json(attrs: Mapping[str, Any]) -> bytes:
    return _json_bytes({"attributes": dict(attrs), "zarr_format": 3, "node_type": "group"})


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _metadata_key(path: str) -> str:
    return f"{path}/zarr.json" if path else "zarr.json"
