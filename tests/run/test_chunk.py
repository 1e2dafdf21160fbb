"""Chunks are byte for byte what Zarr writes, so that any Zarr reads them."""

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from iitdask.run.storage import RemoteStore
from iitdask.run.zarr_io import decode_chunk, encode_chunk

CHECKED = [Crc32cCodec()]
PACKED = [ZstdCodec(level=3), Crc32cCodec()]


def written(array, chunks, fill, compressors):
    store = RemoteStore("memory", MemoryStore())
    made = zarr.create_array(
        store.zarr,
        name="x",
        shape=array.shape,
        chunks=chunks,
        dtype=array.dtype,
        fill_value=fill,
        compressors=compressors,
        config={"write_empty_chunks": True},
    )
    made[...] = array
    return store.read("x/c" + "/0" * array.ndim)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("array", "chunks", "fill"),
    [
        (np.arange(6.0).reshape(2, 3), (2, 3), np.nan),
        (np.arange(6.0).reshape(2, 3), (4, 3), np.nan),
        (np.arange(5, dtype=np.int16), (8,), -1),
        (np.array([True, False, True]), (4,), False),
        (np.arange(40, dtype=np.uint64).reshape(5, 8)[:, ::2], (8, 4), 7),
        (np.zeros((3, 1)), (3, 1), 0.0),
    ],
)
def test_a_chunk_is_what_zarr_writes(array, chunks, fill, packed):
    """Whole chunks and short ones, padded with the fill value."""
    made = encode_chunk(array, chunks, fill, packed=packed)
    assert made == written(array, chunks, fill, PACKED if packed else CHECKED)
    again = decode_chunk(made, chunks, array.dtype, packed=packed)
    assert again[tuple(map(slice, array.shape))].tobytes() == array.tobytes()


def test_bytes_lie_the_same_way_on_every_machine():
    """Big-endian arrays are turned."""
    little = np.arange(4, dtype="<i4")
    assert encode_chunk(little.astype(">i4"), (4,), 0, packed=False) == encode_chunk(
        little, (4,), 0, packed=False
    )


@pytest.mark.parametrize("packed", [True, False])
def test_a_chunk_with_any_bit_flipped_is_refused(packed):
    """Whatever the bit says: also the length that compressed data claim to have."""
    made = encode_chunk(np.arange(6, dtype=np.int16), (6,), 0, packed=packed)
    for bit in range(8 * len(made)):
        harmed = bytearray(made)
        harmed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="does not match its checksum"):
            decode_chunk(bytes(harmed), (6,), np.dtype(np.int16), packed=packed)


@pytest.mark.parametrize("content", [b"", b"abc", b"\x00" * 40])
def test_what_is_no_chunk_is_refused(content):
    """Cut short, or something else; with a checksum or without one."""
    for checked in (True, False):
        with pytest.raises(ValueError, match=r"checksum|unpacked|reshape"):
            decode_chunk(content, (6,), np.dtype(np.int16), packed=True, checked=checked)


@pytest.mark.parametrize("random", [True, False])
def test_large_chunks_are_packed_where_that_is_worth_it(random):
    """Zarr reads both; what is as good as random is not squeezed."""
    chance = np.random.default_rng(1)
    array = chance.uniform(size=1 << 16) if random else np.arange(1 << 16) % 100 * 0.5
    made = encode_chunk(array, array.shape, 0.0, packed=True)
    squeezed = written(array, array.shape, 0.0, PACKED)
    assert (made == squeezed) is not random
    store = RemoteStore("memory", MemoryStore())
    read = zarr.create_array(
        store.zarr, name="x", shape=array.shape, chunks=array.shape, dtype=float, compressors=PACKED
    )
    store.write("x/c/0", made)
    for found in (read[...], decode_chunk(made, array.shape, array.dtype, packed=True)):
        assert found.tobytes() == array.tobytes()
