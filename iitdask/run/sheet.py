"""One array of a store, its metadata and its chunks read and written as plain keys.

What lies in the store is exactly what Zarr writes and reads; see
:mod:`iitdask.run.chunk` for why it is not Zarr that does so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.run.chunk import LEVEL, decoded, encoded
from iitdask.run.place import get, get_all, put_all

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = ["Sheet"]

Array = np.ndarray[Any, np.dtype[Any]]

LARGEST = 64 * 2**20
"""Bytes of a chunk beyond which an array that is written as a whole is cut along its first axis."""
TEXT = "string"


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
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
    def of(cls, path: str, array: Array, **more: Any) -> Sheet:
        """Lay out an array that is written as a whole."""
        each = math.prod(array.shape[1:]) * array.dtype.itemsize
        rows = max(1, LARGEST // max(each, 1))
        lengths = (min(rows, array.shape[0]), *array.shape[1:]) if array.ndim else ()
        fill: Any = "" if array.dtype.kind == "O" else np.zeros((), array.dtype).item()
        chunks = tuple(max(n, 1) for n in lengths)
        return cls(path, array.shape, chunks, array.dtype, **{"fill": fill, **more})

    @classmethod
    def found(cls, store: Store, path: str) -> Sheet:
        """Read how an array of numbers lies in a store.

        Raises
        ------
        FileNotFoundError
            There is none.
        ValueError
            Its metadata are damaged, or of a kind that is not written here.
        """
        content = get(store, f"{path}/zarr.json")
        if content is None:
            raise FileNotFoundError(f"no array at {path}")
        try:
            return _parsed(path, json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"the array at {path} cannot be opened: {error!r}") from error

    def metadata(self) -> dict[str, Any]:
        """Return what ``zarr.json`` holds."""
        little = {"configuration": {"endian": "little"}} if self.dtype.itemsize > 1 else {}
        text = self.dtype.kind == "O"
        first = {"name": "vlen-utf8", "configuration": {}} if text else {"name": "bytes", **little}
        zstd = {"name": "zstd", "configuration": {"level": LEVEL, "checksum": False}}
        return {
            "shape": list(self.shape),
            "data_type": TEXT if text else self.dtype.name,
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

    def is_described(self, content: bytes | None, *, closely: bool) -> bool:
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
        return encoded(array, self.chunks, self.fill, packed=self.packed)

    def decoded(self, content: bytes | None) -> Array:
        """Decode one chunk, cells beyond the end of the array among them; ValueError if damaged."""
        if content is None:
            raise ValueError("a chunk is missing")
        return decoded(content, self.chunks, self.dtype, packed=self.packed, checked=self.checked)

    def write(self, store: Store, array: Array) -> None:
        """Write all of it, metadata last."""
        for index, region in self._chunks():
            put_all(store, {self.key(index): self.encoded(np.asarray(array[region]))})
        put_all(store, self.described())

    def read(self, store: Store) -> Array:
        """Read all of it; chunks that are missing are read as the fill value.

        Raises
        ------
        ValueError
            A chunk is damaged.
        """
        whole = np.full(self.shape, self.fill, self.dtype)
        regions = {self.key(index): region for index, region in self._chunks()}
        for key, content in get_all(store, regions):
            if content is not None:
                inside = tuple(slice(part.stop - part.start) for part in regions[key])
                whole[regions[key]] = self.decoded(content)[inside]
        return whole

    def _chunks(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        counts = [-(-n // c) for n, c in zip(self.shape, self.chunks, strict=True)]
        for index in product(*map(range, counts)):
            ends = zip(index, self.chunks, self.shape, strict=True)
            yield index, tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in ends)


def _parsed(path: str, given: Any) -> Sheet:
    names = [codec["name"] for codec in given["codecs"]]
    endian = given["codecs"][0].get("configuration", {}).get("endian", "little")
    keys = given["chunk_key_encoding"]
    dtype, fill = np.dtype(given["data_type"]), given["fill_value"]
    sheet = Sheet(
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
