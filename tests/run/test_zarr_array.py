"""Chunks and metadata of arrays are byte for byte what Zarr writes."""

import json

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from iitdask.run.storage import RemoteStore, open_store
from iitdask.run.zarr_io import ArrayLayout, decode_chunk, encode_chunk

CRC_ONLY = [Crc32cCodec()]
COMPRESSED = [ZstdCodec(level=3), Crc32cCodec()]


@pytest.fixture(params=["directory", "fsspec"])
def store(request, tmp_path):
    if request.param == "directory":
        return open_store(str(tmp_path / "run.zarr"))
    return open_store(f"memory://{tmp_path.name}/run.zarr")


def zarr_chunk(array, chunks, fill, compressors):
    """The only chunk of an array, as zarr writes it."""
    store = RemoteStore("memory", MemoryStore())
    written = zarr.create_array(
        store.zarr,
        name="x",
        shape=array.shape,
        chunks=chunks,
        dtype=array.dtype,
        fill_value=fill,
        compressors=compressors,
        config={"write_empty_chunks": True},
    )
    written[...] = array
    return store.read("x/c" + "/0" * array.ndim)


@pytest.mark.parametrize("compressed", [True, False])
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
def test_encode_chunk__gives_the_bytes_zarr_writes(array, chunks, fill, compressed):
    content = encode_chunk(array, chunks, fill, compressed=compressed)
    assert content == zarr_chunk(array, chunks, fill, COMPRESSED if compressed else CRC_ONLY)
    again = decode_chunk(content, chunks, array.dtype, compressed=compressed)
    assert again[tuple(map(slice, array.shape))].tobytes() == array.tobytes()


def test_encode_chunk__writes_little_endian_on_every_machine():
    little = np.arange(4, dtype="<i4")
    assert encode_chunk(little.astype(">i4"), (4,), 0, compressed=False) == encode_chunk(
        little, (4,), 0, compressed=False
    )


@pytest.mark.parametrize("compressed", [True, False])
def test_decode_chunk__refuses_any_flipped_bit(compressed):
    """Also one in the length that compressed data claim to have."""
    content = encode_chunk(np.arange(6, dtype=np.int16), (6,), 0, compressed=compressed)
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="checksum"):
            decode_chunk(bytes(damaged), (6,), np.dtype(np.int16), compressed=compressed)


@pytest.mark.parametrize("content", [b"", b"\x00", b"(\xb5/\xfd", b"x" * 40])
@pytest.mark.parametrize("has_crc", [True, False])
def test_decode_chunk__refuses_what_is_no_chunk(content, has_crc):
    with pytest.raises(ValueError, match=r"checksum|decompressed|buffer|reshape"):
        decode_chunk(content, (6,), np.dtype(np.int16), compressed=True, has_crc=has_crc)


@pytest.mark.parametrize("random", [True, False])
def test_encode_chunk__compresses_large_chunks_where_it_pays(random):
    array = np.arange(2**16, dtype=float)
    if random:
        array = np.random.default_rng(0).random(2**16)
    content = encode_chunk(array, array.shape, 0.0, compressed=True)
    assert (len(content) > 0.9 * array.nbytes) == random
    store = RemoteStore("memory", MemoryStore())
    read = zarr.create_array(
        store.zarr, name="x", shape=array.shape, chunks=array.shape, dtype=float,
        compressors=COMPRESSED,
    )  # fmt: skip
    store.write("x/c/0", content)
    for again in (read[...], decode_chunk(content, array.shape, array.dtype, compressed=True)):
        np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf, 0.5, 0.0])
@pytest.mark.parametrize("compressed", [True, False])
def test_metadata__are_those_zarr_writes(fill, compressed, store):
    layout = ArrayLayout(
        path="x",
        shape=(5, 4),
        chunks=(2, 4),
        dtype=np.dtype("float64"),
        fill=fill,
        dims=("row", "column"),
        attrs={"comment": "Φ"},
        compressed=compressed,
    )
    zarr.create_array(
        store.zarr,
        name="x",
        shape=(5, 4),
        chunks=(2, 4),
        dtype="float64",
        fill_value=fill,
        dimension_names=("row", "column"),
        attributes={"comment": "Φ"},
        compressors=COMPRESSED if compressed else CRC_ONLY,
        chunk_key_encoding={"name": "default", "separator": "."},
    )
    theirs = json.loads(store.read("x/zarr.json"))
    assert theirs == layout.metadata
    again = ArrayLayout.from_metadata("x", theirs, sparse=True)
    assert again.metadata == layout.metadata
    np.testing.assert_array_equal(again.read(store), np.full((5, 4), fill))
