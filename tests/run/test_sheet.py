"""Arrays that are written and read without Zarr: Zarr finds the same, and we find what it wrote."""

import json

import numpy as np
import pytest
import zarr

from iitdask.run import zarr_io as room
from iitdask.run.storage import open_store
from iitdask.run.zarr_io import ArrayLayout

ARRAYS = {
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 3)),
    "hollow": np.zeros((2, 0), np.int64),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(9)[::2],
    "odd": np.array([0.0, -0.0, np.nan, -np.nan, np.inf, 5e-324]),
    "bool": np.arange(4) > 2,
    "byte": np.arange(256, dtype=np.uint8),
    "int16": np.arange(-3, 3, dtype=np.int16).reshape(3, 2),
    "uint64": np.array([2**64 - 1, 0], np.uint64),
    "float32": np.array([[0.1], [np.nan]], np.float32),
}


@pytest.fixture(params=["folder", "fsspec"])
def store(request, tmp_path):
    if request.param == "folder":
        return open_store(str(tmp_path / "run.zarr"))
    return open_store(f"memory://{tmp_path.name}/run.zarr")


def same(found, array):
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_sheet__is_read_by_zarr_with_the_same_bits(array, separator, store):
    attrs = {"units": "bit", "fields": [1, 2]}
    dims = tuple("abc"[: array.ndim]) or None
    written = ArrayLayout.of("one/x", array, dims=dims, attrs=attrs, separator=separator)
    written.write(store, array)
    found = zarr.open_array(store.zarr, path="one/x", mode="r")
    same(np.asarray(found[...]), array)
    assert found.attrs.asdict() == attrs
    same(ArrayLayout.found(store, "one/x").read(store), array)


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_sheet__reads_what_zarr_wrote(array, store):
    zarr.create_array(store.zarr, name="plain", data=array)
    same(ArrayLayout.found(store, "plain").read(store), array)
    zarr.create_array(
        store.zarr,
        name="cut",
        shape=array.shape,
        chunks=tuple(min(max(n, 1), 2) for n in array.shape),
        dtype=array.dtype,
        compressors=[zarr.codecs.ZstdCodec(level=3), zarr.codecs.Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
    )[...] = array
    same(ArrayLayout.found(store, "cut").read(store), array)


@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf, 0.5, 0.0])
@pytest.mark.parametrize("packed", [True, False])
def test_metadata__are_those_zarr_writes(fill, packed, store):
    sheet = ArrayLayout(
        path="x",
        shape=(5, 4),
        chunks=(2, 4),
        dtype=np.dtype("float64"),
        fill=fill,
        dims=("row", "column"),
        attrs={"comment": "Φ"},
        separator=".",
        packed=packed,
    )
    codecs = [zarr.codecs.ZstdCodec(level=3), zarr.codecs.Crc32cCodec()]
    zarr.create_array(
        store.zarr,
        name="x",
        shape=(5, 4),
        chunks=(2, 4),
        dtype="float64",
        fill_value=fill,
        dimension_names=("row", "column"),
        attributes={"comment": "Φ"},
        compressors=codecs if packed else codecs[1:],
        chunk_key_encoding={"name": "default", "separator": "."},
    )
    theirs = store.read("x/zarr.json")
    assert json.loads(theirs) == sheet.metadata()
    assert sheet.matches(theirs, closely=True)
    again = ArrayLayout.found(store, "x")
    assert again.metadata() == ({**sheet.metadata(), "codecs": again.metadata()["codecs"]})
    np.testing.assert_array_equal(again.read(store), np.full((5, 4), fill))


def test_text__is_read_by_zarr(store):
    text = np.array([["A", "", "naïve"], ["Φ", "AB/C", "x" * 1000]], object)
    ArrayLayout.of("x", text).write(store, text)
    np.testing.assert_array_equal(zarr.open_array(store.zarr, path="x", mode="r")[...], text)


def test_large_arrays__are_cut_along_their_first_axis(store, monkeypatch):
    monkeypatch.setattr(room, "MAX_CHUNK_BYTES", 100)
    array = np.arange(35.0).reshape(7, 5)
    ArrayLayout.of("x", array, separator=".").write(store, array)
    assert {"c.0.0", "c.1.0", "c.2.0", "c.3.0"} <= set(store.list_dir("x"))
    same(np.asarray(zarr.open_array(store.zarr, path="x", mode="r")[...]), array)
    same(ArrayLayout.found(store, "x").read(store), array)


def changed(metadata, **values):
    return json.dumps({**metadata, **values}).encode()


HARMS = {
    "no JSON": lambda given: b"{",
    "no text": lambda given: b"\xff\xfe",
    "a list": lambda given: b"[]",
    "a group": lambda given: changed(given, node_type="group"),
    "another format": lambda given: changed(given, zarr_format=2),
    "no shape": lambda given: changed(given, shape=None),
    "too few chunks": lambda given: changed(
        given, chunk_grid={"name": "regular", "configuration": {"chunk_shape": [2]}}
    ),
    "chunks of nothing": lambda given: changed(
        given, chunk_grid={"name": "regular", "configuration": {"chunk_shape": [0, 3]}}
    ),
    "an irregular grid": lambda given: changed(
        given, chunk_grid={**given["chunk_grid"], "name": "rectilinear"}
    ),
    "other keys": lambda given: changed(given, chunk_key_encoding={"name": "v2"}),
    "big-endian": lambda given: changed(
        given, codecs=[{"name": "bytes", "configuration": {"endian": "big"}}]
    ),
    "another codec": lambda given: changed(given, codecs=[*given["codecs"], {"name": "blosc"}]),
    "no codec": lambda given: changed(given, codecs=[]),
    "no numbers": lambda given: changed(given, data_type="string"),
    "no such numbers": lambda given: changed(given, data_type="float63"),
    "no fill value": lambda given: changed(given, fill_value="none"),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_found__refuses_what_it_does_not_know(harm, store):
    array = np.arange(6.0).reshape(2, 3)
    sheet = ArrayLayout.of("x", array)
    sheet.write(store, array)
    harmed = harm(sheet.metadata())
    store.write("x/zarr.json", harmed)
    assert not sheet.matches(harmed, closely=False)
    with pytest.raises(ValueError, match="the array at x cannot be opened"):
        ArrayLayout.found(store, "x")


def test_found__says_where_nothing_is(store):
    with pytest.raises(FileNotFoundError, match="no array at x/y"):
        ArrayLayout.found(store, "x/y")


def test_read__refuses_a_damaged_chunk_and_fills_in_a_missing_one(store):
    array = np.arange(6.0).reshape(2, 3)
    sheet = ArrayLayout.of("x", array, fill=np.nan)
    sheet.write(store, array)
    content = store.read("x/c.0.0")
    for harmed in (b"", content[:-1], content[:9] + bytes([content[9] ^ 4]) + content[10:]):
        store.write("x/c.0.0", harmed)
        with pytest.raises(ValueError, match="does not match its checksum"):
            sheet.read(store)
    store.delete("x/c.0.0")
    np.testing.assert_array_equal(sheet.read(store), np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="a chunk is missing"):
        sheet.decoded(store.read("x/c.0.0"))


def test_is_described__minds_prose_only_when_asked_to(store):
    array = np.arange(3)
    ours, other = (ArrayLayout.of("x", array, attrs={"units": unit}) for unit in ("bit", "nat"))
    content = other.described()["x/zarr.json"]
    assert ours.matches(content, closely=False)
    assert not ours.matches(content, closely=True)
    assert not ours.matches(None, closely=False)
    shorter = ArrayLayout.of("x", array[:2])
    assert not ours.matches(shorter.described()["x/zarr.json"], closely=False)
