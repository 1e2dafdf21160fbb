"""Zarr arrays and groups, read and written as plain keys.

The bytes are those that zarr-python writes and reads. Its own way leads every chunk through an
event loop and two thread pools, which for a block of a millisecond costs as much as computing it.

A group is one document, its ``zarr.json``, and the chunks of its arrays. The document holds the
group's attributes and, as consolidated metadata, the description of every array below it. It is
written last and in one step: a group whose document can be read is complete, and a chunk that is
missing under a document is damage. Every chunk ends with a CRC-32C. An array without axes has no
chunk: its value is the fill value in its description. The document of the root, which nothing else
vouches for, has a checksum of its own among its attributes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs import VLenUTF8, Zstd

from iitdask.errors import StoreError, quote
from iitdask.run.checksum import text_digest
from iitdask.run.storage import Store

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[Any]]

ZSTD_LEVEL = 3
MIN_COMPRESSED_BYTES = 512  # Below, a chunk takes no less space on disk if it is compressed
CRC_BYTES = 4
SAMPLE_BYTES = 1 << 16  # Bytes compressed on trial before a much longer chunk is
MAX_COMPRESSION_RATIO = 0.9  # To which it must shrink for the chunk to be compressed in full
MAX_CHUNK_BYTES = 64 * 2**20  # Of an array written at once; longer ones are cut by rows
NUMERIC_KINDS, TEXT_KINDS = "biuf", "OUT"  # Kinds of numpy data types that are stored
TEXT_DATA_TYPE = "string"
CODECS = ("bytes", "vlen-utf8", "zstd", "crc32c")  # All that are written here, and read
TEXT_COUNT_BYTES = 4  # Bytes at the start of a decompressed chunk of text: how many follow

_ZSTD, _ZSTD_FAST = Zstd(level=ZSTD_LEVEL), Zstd(level=-1)
_TEXT_CODEC = VLenUTF8()


def _compressor(content: Any) -> Zstd:
    """Return the compressor for a chunk, a fast one for numbers that look random.

    Compressing those at full level costs more than computing them, and decompressing them,
    which every reader does, ten times what it costs to copy them.
    """
    data = memoryview(content).cast("B")
    if len(data) < 4 * SAMPLE_BYTES:
        return _ZSTD
    middle = len(data) // 2
    sample = len(_ZSTD.encode(data[middle : middle + SAMPLE_BYTES]))
    return _ZSTD if sample <= MAX_COMPRESSION_RATIO * SAMPLE_BYTES else _ZSTD_FAST


def _crc32c(content: bytes | Array) -> bytes:
    value: int = google_crc32c.value(content)
    return value.to_bytes(CRC_BYTES, "little")


@dataclass(frozen=True, eq=False)
class ArrayLayout:
    """Description of one array in a store: what zarr calls its metadata."""

    path: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]  # Data type; object for text
    fill: Any = 0  # Fill value: the value of cells never written, and of an array without axes
    dims: tuple[str, ...] | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    separator: str = "."  # Between the indices in a chunk's key; a dot keeps all in one directory
    compressed: bool = True
    has_crc: bool = True  # Whether chunks end with a CRC-32C; those of other writers may not
    sparse: bool = False  # Whether a missing chunk holds the fill value, as of other writers

    @classmethod
    def from_array(
        cls, path: str, array: Array, chunks: tuple[int, ...] | None = None, **more: Any
    ) -> ArrayLayout:
        """Describe an array that is written at once."""
        row_bytes = math.prod(array.shape[1:]) * array.dtype.itemsize
        rows = max(1, MAX_CHUNK_BYTES // max(row_bytes, 1))
        if chunks is None:
            chunks = (min(rows, array.shape[0]), *array.shape[1:]) if array.ndim else ()
        fill = array[()] if array.ndim == 0 else _default_fill(array.dtype)
        chunks = tuple(max(n, 1) for n in chunks)
        more = {"fill": fill, "compressed": array.nbytes >= MIN_COMPRESSED_BYTES, **more}
        return cls(path, array.shape, chunks, array.dtype, **more)

    @classmethod
    def from_metadata(cls, path: str, metadata: Any, *, sparse: bool) -> ArrayLayout:
        """Read the description of an array; ValueError if it is damaged."""
        try:
            return _parse_metadata(path, metadata, sparse)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"the array at {path} cannot be opened: {error!r}") from error

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The description as zarr writes it."""
        little = {"configuration": {"endian": "little"}} if self.dtype.itemsize > 1 else {}
        text = self.dtype.kind == "O"
        first = {"name": "vlen-utf8", "configuration": {}} if text else {"name": "bytes", **little}
        zstd = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}
        return {
            "shape": list(self.shape),
            "data_type": TEXT_DATA_TYPE if text else self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.chunks)}},
            "chunk_key_encoding": {
                "name": "default",
                "configuration": {"separator": self.separator},
            },
            "fill_value": _fill_json(self.fill),
            "codecs": [first, *([zstd] if self.compressed else []), {"name": "crc32c"}],
            "attributes": dict(self.attrs),
            **({} if self.dims is None else {"dimension_names": list(self.dims)}),
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        }

    def key(self, index: tuple[int, ...]) -> str:
        """Return the key of a chunk."""
        return f"{self.path}/{self.separator.join(('c', *map(str, index)))}"

    def encode(self, array: Array) -> bytes:
        """Encode a chunk as zarr does, filled up to its shape, with a CRC-32C at its end."""
        if array.shape != tuple(self.chunks):
            padded = np.full(self.chunks, self.fill, array.dtype)
            padded[tuple(map(slice, array.shape))] = array
            array = padded
        text = array.dtype.kind == "O"
        little = array if text else np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        content = _TEXT_CODEC.encode(array) if text else little
        content = bytes(_compressor(content).encode(content) if self.compressed else content)
        return content + _crc32c(content)

    def decode(self, content: bytes | None) -> Array:
        """Decode one chunk, cells beyond the end of the array included, numbers read-only.

        ValueError if it is not what was written.
        """
        if content is None:
            if self.sparse:
                return np.full(self.chunks, self.fill, self.dtype)
            raise ValueError(f"a chunk of {self.path} is missing")
        data: bytes | Array = content
        if self.has_crc:  # before decompression: damaged data may ask for any amount of memory
            data = np.frombuffer(content, np.uint8)[:-CRC_BYTES]  # not copied, as bytes would be
            if _crc32c(data) != content[-CRC_BYTES:]:
                raise ValueError("a chunk does not match its checksum")
        if self.compressed:
            try:
                data = _ZSTD.decode(data)
            except RuntimeError as error:
                raise ValueError(f"a chunk cannot be decompressed ({error})") from error
        if self.dtype.kind == "O":
            return _decode_text(data, math.prod(self.chunks)).reshape(self.chunks)
        little = np.frombuffer(data, self.dtype.newbyteorder("<"))
        return little.reshape(self.chunks).astype(self.dtype, copy=False)

    def chunk_regions(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Yield every chunk: its index and the cells it holds."""
        counts = [-(-n // c) for n, c in zip(self.shape, self.chunks, strict=True)]
        for index in product(*map(range, counts)):
            ends = zip(index, self.chunks, self.shape, strict=True)
            yield index, tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in ends)

    def write(self, store: Store, array: Array, changed: Array | None = None) -> None:
        """Write all chunks, or those in which a cell has changed, but not the description."""
        for index, region in self.chunk_regions() if self.shape else ():
            if changed is None or changed[region].any():
                store.write(self.key(index), self.encode(np.asarray(array[region])))

    def read(self, store: Store) -> Array:
        """Read the whole array; ValueError if a chunk is damaged or missing."""
        array = np.full(self.shape, self.fill, self.dtype)
        if not self.shape and not self.sparse:
            return array
        regions = {self.key(index): region for index, region in self.chunk_regions()}
        for key, content in store.read_many(regions):
            inside = tuple(slice(part.stop - part.start) for part in regions[key])
            array[regions[key]] = self.decode(content)[inside]
        return array


def _decode_text(content: bytes | Array, n_texts: int) -> Array:
    """Decode a chunk of text; ValueError if there are not so many texts in it."""
    # Before decoding: the number in another chunk's bytes may ask for any amount of memory.
    if int.from_bytes(content[:TEXT_COUNT_BYTES], "little") != n_texts:
        raise ValueError(f"a chunk does not hold {n_texts} texts")
    return np.asarray(_TEXT_CODEC.decode(content), object)


def _default_fill(dtype: np.dtype[Any]) -> Any:
    if dtype.kind in TEXT_KINDS:
        return ""
    return dtype.type("nan") if dtype.kind == "f" else dtype.type(0)


def _parse_metadata(path: str, given: Any, sparse: bool) -> ArrayLayout:
    codecs = _codec_names(given)
    endian = given["codecs"][0].get("configuration", {}).get("endian", "little")
    keys = given["chunk_key_encoding"]
    text = given["data_type"] == TEXT_DATA_TYPE
    dtype = np.dtype(object) if text else np.dtype(given["data_type"])
    layout = ArrayLayout(
        path=path,
        shape=tuple(given["shape"]),
        chunks=tuple(given["chunk_grid"]["configuration"]["chunk_shape"]),
        dtype=dtype,
        fill=given["fill_value"] if text else _fill_from_json(given["fill_value"], dtype),
        dims=tuple(given["dimension_names"]) if given.get("dimension_names") else None,
        attrs=given["attributes"],
        separator=keys.get("configuration", {}).get("separator", "/"),
        compressed="zstd" in codecs,
        has_crc="crc32c" in codecs,
        sparse=sparse,
    )
    first = "vlen-utf8" if text else "bytes"
    known = [first, *["zstd"] * layout.compressed, *["crc32c"] * layout.has_crc]
    regular = given["chunk_grid"]["name"] == "regular" and keys["name"] == "default"
    is_array = given["node_type"] == "array" and (text or dtype.kind in NUMERIC_KINDS)
    if not (is_array and regular and endian == "little" and codecs == known):
        raise ValueError("of a kind that is not written here")
    if len(layout.shape) != len(layout.chunks) or min((*layout.chunks, 1)) < 1:
        raise ValueError("its chunks do not fit it")
    return layout


def _codec_names(given: Any) -> list[str]:
    """Return the codecs of an array; ValueError if iitdask never writes one: some run code."""
    if given["zarr_format"] != 3:
        raise ValueError(f"expected Zarr format 3, got {quote(given['zarr_format'])}")
    names = [codec["name"] for codec in given["codecs"]]
    others = [name for name in ("storage_transformers", "filters", "compressor") if given.get(name)]
    if foreign := [name for name in (*names, *others) if name not in CODECS]:
        raise ValueError(f"expected codecs {', '.join(CODECS)}, got {quote(foreign[0])}")
    return names


def _fill_json(fill: Any) -> Any:
    # JSON has no NaN and no infinities; a NaN with other bits than numpy's own is given by them.
    value = fill.item() if isinstance(fill, np.generic) else fill
    if not isinstance(value, float) or math.isfinite(value):
        return value
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    fill = np.asarray(fill)
    if fill.tobytes() == np.asarray(np.nan, fill.dtype).tobytes():
        return "NaN"
    return f"0x{int.from_bytes(fill.astype(fill.dtype.newbyteorder('>')).tobytes(), 'big'):x}"


def _fill_from_json(value: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(value, str) and value.startswith("0x"):
        big = int(value, 16).to_bytes(dtype.itemsize, "big")
        return np.frombuffer(big, dtype.newbyteorder(">")).astype(dtype)[0]
    return dtype.type(float(value) if isinstance(value, str) else value)


NON_DIMENSION_COORDINATES = "coordinates"  # Attribute of a group where xarray looks for them
STORE_FORMAT = 2  # Version of the way iitdask lays out a store
CHECKSUM_ATTRIBUTE = "checksum"  # Attribute of the root: digest of all else in its document


@dataclass(frozen=True, eq=False)
class ArrayGroup:
    """What the document of a group says."""

    path: str
    attrs: Mapping[str, Any]
    arrays: Mapping[str, ArrayLayout] = field(default_factory=dict)
    groups: Mapping[str, ArrayGroup] = field(default_factory=dict)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The document as zarr writes it."""
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
            yield f"{prefix}{name}", layout.metadata
        for name, group in self.groups.items():
            yield f"{prefix}{name}", ArrayGroup(group.path, group.attrs).metadata
            yield from group._nodes(f"{prefix}{name}/")

    def commit(self, store: Store) -> None:
        """Write the document, which completes the group."""
        store.write(_metadata_key(self.path), _json_bytes(self.metadata))

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
            store.write(_metadata_key(layout.path), _json_bytes(layout.metadata))
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
    return store.create(_metadata_key(""), _document_bytes("", _group_document(attrs)))


def replace_root(store: Store, attrs: Mapping[str, Any]) -> None:
    """Write the group at the root anew, whatever is in its place."""
    store.delete(_metadata_key(""))  # it may be a directory
    create_group(store, "", attrs)


def create_group(store: Store, path: str, attrs: Mapping[str, Any]) -> None:
    """Create a group with exactly these attributes, replacing old ones; no arrays are in it."""
    store.write(_metadata_key(path), _document_bytes(path, _group_document(attrs)))


def update_attrs(
    store: Store,
    path: str,
    attrs: Mapping[str, Any],
    groups: Mapping[str, ArrayGroup] | None = None,
) -> None:
    """Add attributes to a group that exists, replacing those of the same names.

    With `groups` its document describes these, and nothing else: in that of the root
    ``xarray.open_datatree(STORE, group=...)`` and ``zarr.open_group(STORE)[...]`` look for them.
    """
    stored = _group_metadata(store, path)
    document = {**stored, "attributes": {**stored["attributes"], **attrs}}
    if groups is not None:
        document.pop("consolidated_metadata", None)
    if groups:
        document = ArrayGroup(path, document["attributes"], {}, groups).metadata
    if document != stored:
        store.write(_metadata_key(path), _document_bytes(path, document))


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
            return dict(document) if path else _verified_root(document)
    raise ValueError(f"{_metadata_key(path)} is not that of a group")


def _verified_root(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document of the root without its checksum; ValueError if that does not fit."""
    attrs = dict(document["attributes"])
    checksum = attrs.pop(CHECKSUM_ATTRIBUTE, None)  # older stores have none
    document = {**document, "attributes": attrs}
    if checksum is not None and not _is_root_intact(document, checksum):
        raise ValueError("zarr.json does not match its checksum")
    return document


def _is_root_intact(document: Mapping[str, Any], checksum: Any) -> bool:
    attrs = document["attributes"]
    written = attrs.get("format")
    if isinstance(written, int) and written > STORE_FORMAT:
        # A later version may make checksums otherwise. Ours fits only if that digit is damaged.
        ours = {**document, "attributes": {**attrs, "format": STORE_FORMAT}}
        return not (isinstance(checksum, dict) and _is_root_intact(ours, checksum))
    return bool(checksum == _root_checksum(document, checksum["attributes"]))


def _root_checksum(document: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the checksum of a root with certain attributes: users may have added others."""
    attrs = {name: document["attributes"][name] for name in names}
    return {"attributes": list(attrs), "digest": text_digest([{**document, "attributes": attrs}])}


def _group_document(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {"attributes": dict(attrs), "zarr_format": 3, "node_type": "group"}


def _document_bytes(path: str, document: Mapping[str, Any]) -> bytes:
    """Return the document of a group as the store has it: that of the root with a checksum."""
    content = _json_bytes(document)
    if path:
        return content
    # Of what a reader will find: keys become text, tuples become lists.
    stored = json.loads(content)
    checksum = _root_checksum(stored, stored["attributes"])
    return _json_bytes(
        {**stored, "attributes": {**stored["attributes"], CHECKSUM_ATTRIBUTE: checksum}}
    )


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _metadata_key(path: str) -> str:
    return f"{path}/zarr.json" if path else "zarr.json"
