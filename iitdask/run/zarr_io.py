"""Zarr arrays and groups read and written as plain keys, in the thread that needs them.

The bytes are those that zarr-python writes and reads. Its own way leads every chunk through an event
loop and two thread pools, which for a block of a millisecond costs as much as computing it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs import VLenUTF8, Zstd

from iitdask.run.storage import Store

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "ZSTD_LEVEL",
    "ArrayLayout",
    "create_group",
    "create_root",
    "decode_chunk",
    "encode_chunk",
    "read_attrs",
    "repair_groups",
    "update_attrs",
    "write_dataset",
]

Array = np.ndarray[Any, np.dtype[Any]]

ZSTD_LEVEL = 3
"""How hard Zstandard tries."""
CRC_BYTES = 4
"""Bytes of a checksum."""
SAMPLE_BYTES = 1 << 16
"""Bytes that are tried before much more is packed."""
MAX_COMPRESSION_RATIO = 0.9
"""Part of its length to which a sample must shrink for that."""

_ZSTD, _ZSTD_FAST = Zstd(level=ZSTD_LEVEL), Zstd(level=-1)
_TEXT_CODEC = VLenUTF8()


def encode_chunk(array: Array, chunks: Sequence[int], fill: Any, *, packed: bool) -> bytes:
    """Encode one chunk; a checksum ends it, since Zarr alone reads a flipped bit without a word.

    Parameters
    ----------
    array : ndarray
        What the chunk holds; shorter than the chunk at the end of an axis. Objects are text.
    chunks : sequence of int
        Shape of a chunk.
    fill : scalar
        Value of the cells beyond the end.
    packed : bool
        Whether it is compressed.
    """
    if array.shape != tuple(chunks):
        whole = np.full(chunks, fill, array.dtype)
        whole[tuple(map(slice, array.shape))] = array
        array = whole
    content = _TEXT_CODEC.encode(array) if array.dtype.kind == "O" else _little_endian(array)
    packer = _compressor(content) if packed else None
    content = bytes(content if packer is None else packer.encode(content))
    return content + _crc32c(content)


def decode_chunk(
    content: bytes,
    chunks: Sequence[int],
    dtype: np.dtype[Any],
    *,
    packed: bool,
    checked: bool = True,
) -> Array:
    """Decode one chunk of numbers; the array is read-only.

    Parameters
    ----------
    content : bytes
        The chunk.
    chunks : sequence of int
        Shape of a chunk.
    dtype : dtype
        Kind of its numbers.
    packed : bool
        Whether it is compressed.
    checked : bool
        Whether a checksum ends it.

    Raises
    ------
    ValueError
        This is not what was written.
    """
    if checked:
        content, told = content[:-CRC_BYTES], content[-CRC_BYTES:]
        # First: what a flipped bit makes of compressed data may ask for any amount of memory.
        if _crc32c(content) != told:
            raise ValueError("a chunk does not match its checksum")
    if packed:
        try:
            content = _ZSTD.decode(content)
        except RuntimeError as error:
            raise ValueError(f"a chunk cannot be unpacked ({error})") from error
    little = np.frombuffer(content, dtype.newbyteorder("<"))
    return little.reshape(chunks).astype(dtype, copy=False)


def _compressor(content: Any) -> Zstd:
    """What compresses; of numbers that are as good as random it takes little time and nothing off.

    Packing those costs more than computing them, and unpacking them, which every reader
    does, ten times what it costs to copy them.
    """
    data = memoryview(content).cast("B")
    if len(data) < 4 * SAMPLE_BYTES:
        return _ZSTD
    middle = len(data) // 2
    small = (
        len(_ZSTD.encode(data[middle : middle + SAMPLE_BYTES]))
        <= MAX_COMPRESSION_RATIO * SAMPLE_BYTES
    )
    return _ZSTD if small else _ZSTD_FAST


def _little_endian(array: Array) -> Array:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _crc32c(content: bytes) -> bytes:
    found: int = google_crc32c.value(content)
    return found.to_bytes(CRC_BYTES, "little")


MAX_CHUNK_BYTES = 64 * 2**20
"""Bytes of a chunk beyond which an array that is written as a whole is cut along its first axis."""
TEXT_DATA_TYPE = "string"


@dataclass(frozen=True, slots=True, eq=False)
class ArrayLayout:
    """How one array lies in a store."""

    path: str
    """Where."""
    shape: tuple[int, ...]
    """Lengths of its axes."""
    chunks: tuple[int, ...]
    """Lengths of a chunk's axes."""
    dtype: np.dtype[Any]
    """Kind of its numbers; object for text."""
    fill: Any = 0
    """What is read where nothing was written."""
    dims: tuple[str, ...] | None = None
    """Names of its axes."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """What is said of it."""
    separator: str = "."
    """Between the numbers of a chunk's key; with a dot, one directory has all chunks."""
    packed: bool = True
    """Whether chunks are compressed."""
    checked: bool = True
    """Whether chunks end with a checksum; those of other writers may not."""

    @classmethod
    def of(cls, path: str, array: Array, **more: Any) -> ArrayLayout:
        """Lay out an array that is written as a whole."""
        each = math.prod(array.shape[1:]) * array.dtype.itemsize
        rows = max(1, MAX_CHUNK_BYTES // max(each, 1))
        lengths = (min(rows, array.shape[0]), *array.shape[1:]) if array.ndim else ()
        fill: Any = "" if array.dtype.kind == "O" else np.zeros((), array.dtype).item()
        chunks = tuple(max(n, 1) for n in lengths)
        return cls(path, array.shape, chunks, array.dtype, **{"fill": fill, **more})

    @classmethod
    def found(cls, store: Store, path: str) -> ArrayLayout:
        """Read how an array of numbers lies in a store.

        Raises
        ------
        FileNotFoundError
            There is none.
        ValueError
            Its metadata are damaged, or of a kind that is not written here.
        """
        content = store.read(f"{path}/zarr.json")
        if content is None:
            raise FileNotFoundError(f"no array at {path}")
        try:
            return _layout_from_metadata(path, json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"the array at {path} cannot be opened: {error!r}") from error

    def metadata(self) -> dict[str, Any]:
        """Return what ``zarr.json`` holds."""
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
            "codecs": [first, *([zstd] if self.packed else []), {"name": "crc32c"}],
            "attributes": dict(self.attrs),
            **({} if self.dims is None else {"dimension_names": list(self.dims)}),
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        }

    def described(self) -> dict[str, bytes]:
        """Return the metadata as the content of a key."""
        text = json.dumps(self.metadata())
        return {f"{self.path}/zarr.json": text.encode()}

    def matches(self, content: bytes | None, *, closely: bool) -> bool:
        """Whether metadata lay out this array; closely: whether what they say of it is the same."""
        try:
            given = json.loads(content or b"")
        except ValueError:
            return False
        wanted = self.metadata()
        said = () if closely else ("attributes",)
        return isinstance(given, dict) and all(
            given.get(name) == value for name, value in wanted.items() if name not in said
        )

    def key(self, index: tuple[int, ...]) -> str:
        """Key of a chunk."""
        return f"{self.path}/{self.separator.join(('c', *map(str, index)))}"

    def encoded(self, array: Array) -> bytes:
        """Encode what one chunk holds."""
        return encode_chunk(array, self.chunks, self.fill, packed=self.packed)

    def decoded(self, content: bytes | None) -> Array:
        """Decode one chunk, cells beyond the end of the array among them; ValueError if damaged."""
        if content is None:
            raise ValueError("a chunk is missing")
        return decode_chunk(
            content, self.chunks, self.dtype, packed=self.packed, checked=self.checked
        )

    def write(self, store: Store, array: Array) -> None:
        """Write all of it, metadata last."""
        for index, region in self._chunks():
            store.write_many({self.key(index): self.encoded(np.asarray(array[region]))})
        store.write_many(self.described())

    def read(self, store: Store) -> Array:
        """Read all of it; chunks that are missing are read as the fill value.

        Raises
        ------
        ValueError
            A chunk is damaged.
        """
        whole = np.full(self.shape, self.fill, self.dtype)
        regions = {self.key(index): region for index, region in self._chunks()}
        for key, content in store.read_many(regions):
            if content is not None:
                inside = tuple(slice(part.stop - part.start) for part in regions[key])
                whole[regions[key]] = self.decoded(content)[inside]
        return whole

    def _chunks(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        counts = [-(-n // c) for n, c in zip(self.shape, self.chunks, strict=True)]
        for index in product(*map(range, counts)):
            ends = zip(index, self.chunks, self.shape, strict=True)
            yield index, tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in ends)


def _layout_from_metadata(path: str, given: Any) -> ArrayLayout:
    names = [codec["name"] for codec in given["codecs"]]
    endian = given["codecs"][0].get("configuration", {}).get("endian", "little")
    keys = given["chunk_key_encoding"]
    dtype, fill = np.dtype(given["data_type"]), given["fill_value"]
    sheet = ArrayLayout(
        path=path,
        shape=tuple(given["shape"]),
        chunks=tuple(given["chunk_grid"]["configuration"]["chunk_shape"]),
        dtype=dtype,
        fill=dtype.type(float(fill) if isinstance(fill, str) else fill),
        dims=tuple(given["dimension_names"]) if given.get("dimension_names") else None,
        attrs=given["attributes"],
        separator=keys.get("configuration", {}).get("separator", "/"),
        packed="zstd" in names,
        checked="crc32c" in names,
    )
    known = ["bytes", *["zstd"] * sheet.packed, *["crc32c"] * sheet.checked]
    plain = given["chunk_grid"]["name"] == "regular" and keys["name"] == "default"
    numbers = sheet.dtype.kind in "biuf"
    right = given["zarr_format"] == 3 and given["node_type"] == "array"
    if not (right and plain and numbers and endian == "little" and names == known):
        raise ValueError("of a kind that is not written here")
    if len(sheet.shape) != len(sheet.chunks) or min((*sheet.chunks, 1)) < 1:
        raise ValueError("its chunks do not fit it")
    return sheet


def _fill_json(fill: Any) -> Any:
    # JSON has no NaN and no infinities.
    value = fill.item() if isinstance(fill, np.generic) else fill
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


NUMERIC_KINDS, TEXT_KINDS = "biuf", "OUT"
"""Kinds of arrays that are written here."""


def read_attrs(store: Store, path: str = "") -> dict[str, Any]:
    """Read what is said of a group.

    Raises
    ------
    FileNotFoundError
        There is no group.
    ValueError
        Its metadata are damaged.
    """
    return dict(_group_metadata(store, path)["attributes"])


def create_root(store: Store, attrs: Mapping[str, Any]) -> bool:
    """Make the group at the root, unless another process has; whether it was made."""
    return store.create(_metadata_key(""), _group_json(attrs))


def create_group(store: Store, path: str, attrs: Mapping[str, Any]) -> None:
    """Make a group of which this is said and nothing else."""
    store.write(_metadata_key(path), _group_json(attrs))


def update_attrs(store: Store, path: str, attrs: Mapping[str, Any]) -> None:
    """Say more of a group that is there."""
    document = _group_metadata(store, path)
    document["attributes"] = {**document["attributes"], **attrs}
    store.write(_metadata_key(path), _json_bytes(document))


def repair_groups(store: Store, path: str) -> None:
    """Make every step of a path a group, replacing metadata that cannot be read."""
    steps = path.split("/")
    for depth in range(1, len(steps) + 1):
        step = "/".join(steps[:depth])
        try:
            read_attrs(store, step)
        except (OSError, ValueError):
            store.delete(_metadata_key(step))
            create_group(store, step, {})


def write_dataset(store: Store, path: str, data: xr.Dataset) -> None:
    """Write a dataset into a group of its own, where xarray reads the same."""
    if not _can_write_directly(data):
        # What is said beyond numbers and text on named axes, xarray says best.
        data.to_zarr(store.zarr, group=path, mode="w", zarr_format=3, consolidated=False)
        return
    create_group(store, path, _json_attrs(data.attrs))
    for name, variable in data.variables.items():
        array = np.asarray(variable.values)
        if array.dtype.kind in TEXT_KINDS:
            array = array.astype(object)
        more: dict[str, Any] = {"fill": float("nan")} if array.dtype.kind == "f" else {}
        dims = tuple(map(str, variable.dims)) or None
        attrs = _json_attrs(variable.attrs)
        ArrayLayout.of(f"{path}/{name}", array, dims=dims, attrs=attrs, **more).write(store, array)


def _can_write_directly(data: xr.Dataset) -> bool:
    if not set(data.coords) <= set(data.sizes) or "coordinates" in data.attrs:
        return False
    try:
        json.dumps(_json_attrs(data.attrs))
        return all(map(_can_write_variable_directly, data.variables.values()))
    except TypeError:
        return False


def _can_write_variable_directly(variable: xr.Variable) -> bool:
    attrs, dtype = _json_attrs(variable.attrs), variable.dtype
    json.dumps(attrs)
    if variable.encoding or {"coordinates", "_FillValue"} & set(attrs):
        return False
    if dtype.kind in TEXT_KINDS:
        return all(isinstance(each, str) for each in np.ravel(variable.values))
    return dtype.kind in NUMERIC_KINDS and dtype.itemsize <= 8


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
    if not isinstance(document, dict) or document.get("node_type") != "group":
        raise ValueError(f"{_metadata_key(path)} is not that of a group")
    if document.get("zarr_format") != 3 or not isinstance(document.get("attributes"), dict):
        raise ValueError(f"{_metadata_key(path)} is not that of a group")
    return document


def _group_json(attrs: Mapping[str, Any]) -> bytes:
    return _json_bytes({"attributes": dict(attrs), "zarr_format": 3, "node_type": "group"})


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _metadata_key(path: str) -> str:
    return f"{path}/zarr.json" if path else "zarr.json"
