"""Chunks as Zarr writes them, byte for byte, made and taken apart in the thread that needs them.

Zarr's own way leads a chunk through an event loop and two pools of threads: of a
block that computes for a millisecond, writing would then cost as much again for
every variable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs import VLenUTF8, Zstd

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LEVEL", "decoded", "encoded"]

Array = np.ndarray[Any, np.dtype[Any]]

LEVEL = 3
"""How hard Zstandard tries."""
SUM = 4
"""Bytes of a checksum."""
SAMPLE = 1 << 16
"""Bytes that are tried before much more is packed."""
WORTH = 0.9
"""Part of its length to which a sample must shrink for that."""

_ZSTD, _QUICK = Zstd(level=LEVEL), Zstd(level=-1)
_TEXT = VLenUTF8()


def encoded(array: Array, chunks: Sequence[int], fill: Any, *, packed: bool) -> bytes:
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
    content = _TEXT.encode(array) if array.dtype.kind == "O" else _little(array)
    packer = _packer(content) if packed else None
    content = bytes(content if packer is None else packer.encode(content))
    return content + _sum(content)


def decoded(
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
        content, told = content[:-SUM], content[-SUM:]
        # First: what a flipped bit makes of compressed data may ask for any amount of memory.
        if _sum(content) != told:
            raise ValueError("a chunk does not match its checksum")
    if packed:
        try:
            content = _ZSTD.decode(content)
        except RuntimeError as error:
            raise ValueError(f"a chunk cannot be unpacked ({error})") from error
    little = np.frombuffer(content, dtype.newbyteorder("<"))
    return little.reshape(chunks).astype(dtype, copy=False)


def _packer(content: Any) -> Zstd:
    """What compresses; of numbers that are as good as random it takes little time and nothing off.

    Packing those costs more than computing them, and unpacking them, which every reader
    does, ten times what it costs to copy them.
    """
    data = memoryview(content).cast("B")
    if len(data) < 4 * SAMPLE:
        return _ZSTD
    middle = len(data) // 2
    small = len(_ZSTD.encode(data[middle : middle + SAMPLE])) <= WORTH * SAMPLE
    return _ZSTD if small else _QUICK


def _little(array: Array) -> Array:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _sum(content: bytes) -> bytes:
    found: int = google_crc32c.value(content)
    return found.to_bytes(SUM, "little")
