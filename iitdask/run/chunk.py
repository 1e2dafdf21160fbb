"""Chunks as Zarr writes them, byte for byte, made and written in the thread that computed them.

Zarr's own way leads a chunk through an event loop and two pools of threads: of a
block that computes for a millisecond, writing would then cost as much again for
every variable. What is read goes through Zarr.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs import Zstd
from zarr.codecs import Crc32cCodec, ZstdCodec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zarr import Array as ZarrArray

__all__ = ["CHECKED", "PACKED", "encoded", "key"]

Array = np.ndarray[Any, np.dtype[Any]]

LEVEL = 3
PACKED: list[Any] = [ZstdCodec(level=LEVEL), Crc32cCodec()]
"""Compressors of data. Zarr's default ones read a flipped bit without a word."""
CHECKED: list[Any] = [Crc32cCodec()]
"""Compressors of what is too short to be packed."""

_ZSTD = Zstd(level=LEVEL)


def encoded(array: Array, chunks: Sequence[int], fill: Any, *, packed: bool) -> bytes:
    """Encode one chunk.

    Parameters
    ----------
    array : ndarray
        What the chunk holds; shorter than the chunk at the end of an axis.
    chunks : sequence of int
        Shape of a chunk.
    fill : scalar
        Value of the cells beyond the end.
    packed : bool
        Whether the array's compressors are PACKED; CHECKED otherwise.
    """
    if array.shape != tuple(chunks):
        whole = np.full(chunks, fill, array.dtype)
        whole[tuple(map(slice, array.shape))] = array
        array = whole
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    content = bytes(_ZSTD.encode(little)) if packed else little.tobytes()
    checksum: int = google_crc32c.value(content)
    return content + checksum.to_bytes(4, "little")


def key(array: ZarrArray[Any], index: tuple[int, ...]) -> str:
    """Key of a chunk, under the array's own path."""
    return str(array.metadata.encode_chunk_key(index))
