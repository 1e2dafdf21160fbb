"""Chunks, arrays and groups written without Zarr: byte for byte what Zarr and xarray read."""

import contextlib
import json
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore, StorePath

from iitdask.errors import StoreError
from iitdask.run import zarr_io
from iitdask.run.storage import Store, open_store
from iitdask.run.zarr_io import (
    ArrayLayout,
    create_group,
    create_root,
    open_group,
    read_attrs,
    read_dataset,
    read_group,
    read_tree,
    repair_groups,
    require_current_format,
    update_attrs,
    write_dataset,
    write_group,
    write_tree,
)

CRC_ONLY = [Crc32cCodec()]
COMPRESSED = [ZstdCodec(level=3), Crc32cCodec()]

ARRAYS = {
    "scalar": np.array(3.5),
    "nan": np.array(np.nan),
    "negative nan": np.array(-np.nan),
    "infinity": np.array(-np.inf, np.float32),
    "negative zero": np.array(-0.0),
    "truth": np.array(True),
    "large": np.array(2**64 - 1, np.uint64),
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


@pytest.fixture(params=["directory", "memory"])
def store(request, tmp_path):
    if request.param == "directory":
        return open_store(str(tmp_path / "run.zarr"))
    return Store("memory", MemoryStore())


def assert_same_bits(read, array):
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    assert read.tobytes() == np.ascontiguousarray(array).tobytes()


def zarr_chunk(array, chunks, fill, compressors):
    """The only chunk of an array, as zarr writes it."""
    store = Store("memory", MemoryStore())
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


def chunk_layout(chunks, dtype, fill=0, **more):
    """An array of one chunk."""
    return ArrayLayout("x", chunks, chunks, np.dtype(dtype), fill, **more)


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
def test_encode__gives_the_bytes_zarr_writes(array, chunks, fill, compressed):
    layout = chunk_layout(chunks, array.dtype, fill, compressed=compressed)
    content = layout.encode(array)
    assert content == zarr_chunk(array, chunks, fill, COMPRESSED if compressed else CRC_ONLY)
    again = layout.decode(content)
    assert again[tuple(map(slice, array.shape))].tobytes() == array.tobytes()


def test_encode__writes_little_endian_on_every_machine():
    little = np.arange(4, dtype="<i4")
    layout = chunk_layout((4,), "<i4", compressed=False)
    assert layout.encode(little.astype(">i4")) == layout.encode(little)


@pytest.mark.parametrize("compressed", [True, False])
def test_decode__refuses_any_flipped_bit(compressed):
    """Also one in the length that compressed data claim to have."""
    layout = chunk_layout((6,), np.int16, compressed=compressed)
    content = layout.encode(np.arange(6, dtype=np.int16))
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="checksum"):
            layout.decode(bytes(damaged))


@pytest.mark.parametrize("content", [b"", b"\x00", b"(\xb5/\xfd", b"x" * 40])
@pytest.mark.parametrize("has_crc", [True, False])
def test_decode__refuses_what_is_no_chunk(content, has_crc):
    with pytest.raises(ValueError, match=r"checksum|decompressed|buffer|reshape"):
        chunk_layout((6,), np.int16, has_crc=has_crc).decode(content)


@pytest.mark.parametrize("random", [True, False])
def test_encode__compresses_large_chunks_where_it_pays(random):
    array = np.arange(2**16, dtype=float)
    if random:
        array = np.random.default_rng(0).random(2**16)
    layout = chunk_layout(array.shape, array.dtype, 0.0)
    content = layout.encode(array)
    assert (len(content) > 0.9 * array.nbytes) == random
    store = Store("memory", MemoryStore())
    read = zarr.create_array(
        store.zarr, name="x", shape=array.shape, chunks=array.shape, dtype=float,
        compressors=COMPRESSED,
    )  # fmt: skip
    store.write("x/c/0", content)
    for again in (read[...], layout.decode(content)):
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


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_write_group__is_read_by_zarr_with_the_same_bits(array, store):
    write_group(store, "one", {"x": array}, {"comment": "Φ"})
    group = zarr.open_group(store.zarr, path="one", mode="r")
    assert group.attrs.asdict() == {"comment": "Φ"}
    assert_same_bits(np.asarray(group["x"][...]), array)
    attrs, arrays = read_group(store, "one")
    assert attrs == {"comment": "Φ"}
    assert_same_bits(arrays["x"], array)


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_open_group__reads_arrays_that_zarr_wrote(array, store):
    create_group(store, "old", {})
    zarr.create_array(store.zarr, name="old/plain", data=array)
    zarr.create_array(
        store.zarr,
        name="old/cut",
        shape=array.shape,
        chunks=tuple(min(max(n, 1), 2) for n in array.shape),
        dtype=array.dtype,
        compressors=COMPRESSED,
        chunk_key_encoding={"name": "default", "separator": "."},
    )[...] = array
    _, arrays = read_group(store, "old")
    assert_same_bits(arrays["plain"], array)
    assert_same_bits(arrays["cut"], array)


def test_write_group__stores_text_that_zarr_reads(store):
    text = np.array([["A", "", "naïve"], ["Φ", "AB/C", "x" * 1000]], object)
    write_group(store, "one", {"x": text, "one": np.array("Φ", object)}, {})
    group = zarr.open_group(store.zarr, path="one", mode="r")
    np.testing.assert_array_equal(group["x"][...], text)
    assert group["one"][...] == "Φ"
    arrays = read_group(store, "one")[1]
    assert arrays["x"].dtype == object
    np.testing.assert_array_equal(arrays["x"], text)
    assert arrays["one"].item() == "Φ"


def test_write_group__cuts_large_arrays_along_their_first_axis(store, monkeypatch):
    monkeypatch.setattr(zarr_io, "MAX_CHUNK_BYTES", 100)
    array = np.arange(35.0).reshape(7, 5)
    write_group(store, "one", {"x": array}, {})
    assert set(store.list_dir("one/x")) == {"c.0.0", "c.1.0", "c.2.0", "c.3.0"}
    assert_same_bits(np.asarray(zarr.open_group(store.zarr, path="one")["x"][...]), array)
    assert_same_bits(read_group(store, "one")[1]["x"], array)


def test_write_group__needs_no_file_for_a_scalar(store):
    write_group(store, "one", {"x": np.array(0.25), "y": np.arange(2)}, {})
    assert sorted(store.list_dir("one")) == ["y", "zarr.json"]


def test_write_group__writes_its_document_last(store, monkeypatch):
    def fail(layout, content):
        raise OSError("killed")

    monkeypatch.setattr(ArrayLayout, "encode", fail)
    with pytest.raises(OSError, match="killed"):
        write_group(store, "one", {"x": np.arange(2)}, {})
    with pytest.raises(FileNotFoundError, match=r"one/zarr[.]json does not exist"):
        open_group(store, "one")


@pytest.mark.parametrize(
    "array", [np.array([1j]), np.array(["2020"], "M8[D]"), np.array([None])], ids=str
)
def test_write_group__refuses_what_is_neither_numbers_nor_text(array, store):
    with pytest.raises(TypeError, match="array 'x': expected numbers or text, got"):
        write_group(store, "one", {"x": array}, {})


def changed(metadata, **values):
    return {**metadata, **values}


DAMAGE = {
    "a list": lambda given: [],
    "another format": lambda given: changed(given, zarr_format=2),
    "no shape": lambda given: changed(given, shape=None),
    "too few chunks": lambda given: changed(
        given, chunk_grid={"name": "regular", "configuration": {"chunk_shape": [2]}}
    ),
    "empty chunks": lambda given: changed(
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
    "text of another codec": lambda given: changed(given, data_type="string"),
    "an unknown type": lambda given: changed(given, data_type="float63"),
    "no fill value": lambda given: changed(given, fill_value="none"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_open_group__refuses_array_metadata_it_does_not_know(damage, store):
    array = np.arange(6.0).reshape(2, 3)
    document = write_group(store, "one", {"x": array}, {}).metadata
    nodes = document["consolidated_metadata"]["metadata"]
    nodes["x"] = damage(nodes["x"])
    store.write("one/zarr.json", json.dumps(document).encode())
    with pytest.raises(ValueError, match="the array at one/x cannot be opened"):
        open_group(store, "one")


def test_open_group__refuses_damaged_consolidated_metadata(store):
    document = write_group(store, "one", {}, {}).metadata
    document["consolidated_metadata"] = 3
    store.write("one/zarr.json", json.dumps(document).encode())
    with pytest.raises(ValueError, match=r"one/zarr[.]json is damaged"):
        open_group(store, "one")


def test_read_group__refuses_a_damaged_chunk_and_a_missing_one(store):
    write_group(store, "one", {"x": np.arange(6.0).reshape(2, 3)}, {})
    content = store.read("one/x/c.0.0")
    for damaged in (b"", content[:-1], content[:9] + bytes([content[9] ^ 4]) + content[10:]):
        store.write("one/x/c.0.0", damaged)
        with pytest.raises(ValueError, match="does not match its checksum"):
            read_group(store, "one")
    store.delete("one/x/c.0.0")
    with pytest.raises(ValueError, match="a chunk of one/x is missing"):
        read_group(store, "one")


def without_checksum(group):
    """Attributes as zarr reads them, without the checksum that the root has."""
    return {name: value for name, value in group.attrs.asdict().items() if name != "checksum"}


def test_groups__are_those_of_zarr(store):
    attrs = {"study": {"state": [1, 0]}, "name": "Φ", "value": 0.1}
    assert create_root(store, attrs)
    assert not create_root(store, {})
    create_group(store, "one", attrs)
    for path in ("", "one"):
        theirs = zarr.open_group(store.zarr, path=path, mode="r+")
        assert without_checksum(theirs) == attrs
        theirs.attrs.update({"more": 1})
        assert read_attrs(store, path) == {**attrs, "more": 1}
        update_attrs(store, path, {"more": 2, "most": None})
        theirs = zarr.open_group(store.zarr, path=path, mode="r")
        assert without_checksum(theirs) == {**attrs, "more": 2, "most": None}


def test_read_attrs__finds_every_change_of_the_root(store):
    attrs = {"study": {"state": [1, 0], "noise": 0.25}, "format": 2, "result_check": "9f2c61d0"}
    create_root(store, attrs)
    group = write_dataset(store, "result", PLAIN.drop_attrs())
    update_attrs(store, "", {"finished": "now"}, {"result": group})
    attrs, whole = read_attrs(store), store.read("zarr.json")
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1
        store.write("zarr.json", bytes(content))
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found = read_attrs(store)
            # Only the name of the checksum can change unseen: then there is none.
            assert {name: found.get(name) for name in attrs} == attrs, place
    for content in (b"", whole[: len(whole) // 2], b"\0" * len(whole)):
        store.write("zarr.json", content)
        with pytest.raises(ValueError, match=r"Expecting value|Unterminated|delimiter|decode"):
            read_attrs(store)


def test_read_attrs__takes_roots_of_versions_without_checksum_and_later_ones(store):
    document = {"zarr_format": 3, "node_type": "group"}
    store.write("zarr.json", json.dumps({**document, "attributes": {"format": 2}}).encode())
    assert read_attrs(store) == {"format": 2}
    update_attrs(store, "", {"more": 1})
    assert "checksum" in json.loads(store.read("zarr.json"))["attributes"]
    later = {"format": 3, "checksum": "of another kind"}
    store.write("zarr.json", json.dumps({**document, "attributes": later}).encode())
    assert read_attrs(store) == {"format": 3}


def test_decode__asks_for_no_memory_that_a_chunk_of_numbers_names(store):
    texts = np.array(["a", "b"], object)
    text = ArrayLayout.from_array("x", texts)
    numbers = ArrayLayout.from_array("y", np.array([2**62 - 1, 7]))
    assert text.decode(text.encode(texts)).tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="a chunk does not hold 2 texts"):
        text.decode(numbers.encode(np.array([2**62 - 1, 7])))


def test_write_dataset__describes_a_group_as_zarr_consolidates_it(store):
    create_root(store, {})
    ours = write_dataset(store, "one", PLAIN.drop_attrs(), standalone=True).metadata
    with pytest.warns(UserWarning, match="Consolidated metadata"):
        zarr.consolidate_metadata(store.zarr, path="one")
    theirs = json.loads(store.read("one/zarr.json"))
    assert theirs["consolidated_metadata"] == ours["consolidated_metadata"]


def test_update_attrs__keeps_the_arrays(store):
    group = write_group(store, "one", {"x": np.arange(3)}, {})
    update_attrs(store, "one", {"more": True})
    again = open_group(store, "one")
    assert again.attrs == {"more": True}
    assert again.arrays["x"].metadata == group.arrays["x"].metadata


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff",
        b"[]",
        b'{"zarr_format": 3, "node_type": "array", "attributes": {}}',
        b'{"zarr_format": 2, "node_type": "group", "attributes": {}}',
        b'{"zarr_format": 3, "node_type": "group", "attributes": []}',
    ],
)
def test_repair_groups__replaces_what_cannot_be_read_and_nothing_else(content, store):
    create_group(store, "one", {"kept": 1})
    store.write("one/two/zarr.json", content)
    with pytest.raises(ValueError, match=r"one/two|Expecting|decode"):
        read_attrs(store, "one/two")
    with pytest.raises(FileNotFoundError, match=r"one/two/three/zarr[.]json does not exist"):
        read_attrs(store, "one/two/three")
    repair_groups(store, "one/two/three")
    assert read_attrs(store, "one") == {"kept": 1}
    assert read_attrs(store, "one/two") == read_attrs(store, "one/two/three") == {}


PLAIN = xr.Dataset(
    {
        "phi": (("mechanism", "unit"), np.array([[0.5, np.nan], [-0.0, np.inf]]), {"units": "bit"}),
        "single": ("unit", np.array([1.5, 2.5], np.float32)),
        "cut": ("unit", np.array([True, False])),
        "mask": ("unit", np.array([0, 2**64 - 1], np.uint64)),
        "count": ((), np.int64(-1), {"comment": "of what", "range": np.array([0, 3])}),
        "part": ("unit", np.array(["A/B", "Φ"], object)),
        "fixed": ("unit", np.array(["AB", ""])),
        "none": (("mechanism", "nothing"), np.zeros((2, 0))),
    },
    {"unit": np.array(["A", "B"], object), "mechanism": np.array([1, 3])},
    {"big_phi": np.float64(0.25), "search": {"pairs": 3}, "labels": ["A", "B"], "nan": np.nan},
)


def assert_holds_plain(data):
    wanted = PLAIN.assign_attrs(big_phi=0.25)
    wanted["count"].attrs["range"] = [0, 3]
    assert np.isnan(data.attrs.pop("nan"))
    assert np.isnan(wanted.attrs.pop("nan"))
    xr.testing.assert_identical(data, wanted)
    for name in ("phi", "single", "cut", "mask", "count"):
        assert data[name].dtype == PLAIN[name].dtype
        assert data[name].values.tobytes() == PLAIN[name].values.tobytes()


@pytest.mark.parametrize("standalone", [True, False])
def test_write_dataset__is_read_by_xarray(standalone, store):
    create_root(store, {})
    group = write_dataset(store, "result", PLAIN, standalone=standalone)
    assert_holds_plain(read_dataset(store, group))
    assert_holds_plain(read_dataset(store, open_group(store, "result")))
    below = StorePath(store.zarr, "result")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_holds_plain(xr.open_dataset(below, engine="zarr").load())
        if standalone:
            how = {"group": "result", "engine": "zarr", "consolidated": False}
            assert_holds_plain(xr.open_dataset(store.zarr, **how).load())
    for layout in group.arrays.values():
        assert {"name": "crc32c"} in layout.metadata["codecs"]


COORDINATES = {
    "a second coordinate": PLAIN.assign_coords(label=("unit", [1, 2])),
    "a lone coordinate": PLAIN.assign_coords(moment=3),
    "an encoded variable": PLAIN.assign(
        x=xr.Variable("unit", [1.0, np.nan], encoding={"_FillValue": -1.0})
    ),
}


@pytest.mark.parametrize("data", COORDINATES.values(), ids=COORDINATES)
def test_write_dataset__keeps_coordinates_that_are_no_dimension(data, store):
    data = data.drop_attrs().drop_vars("fixed")
    write_dataset(store, "result", data)
    xr.testing.assert_identical(read_dataset(store, open_group(store, "result")), data)
    below = StorePath(store.zarr, "result")
    xr.testing.assert_identical(xr.open_dataset(below, engine="zarr").load(), data)


def test_write_tree__is_read_by_xarray_without_a_warning(store):
    create_root(store, {})
    plain = PLAIN.drop_attrs().drop_vars("fixed")
    top = xr.Dataset({"top": ("x", np.arange(2))}, attrs={"big_phi": 0.5})
    tree = xr.DataTree.from_dict({"/": top, "/b": plain, "/a/deep": plain})
    write_tree(store, "result", tree)
    again = read_tree(store, "result")
    xr.testing.assert_identical(again, tree)
    assert list(again.children) == ["b", "a"]
    below = StorePath(store.zarr, "result")
    how = {"group": "result", "engine": "zarr", "consolidated": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.testing.assert_identical(xr.open_datatree(below, engine="zarr").load(), tree)
        xr.testing.assert_identical(xr.open_datatree(store.zarr, **how).load(), tree)


def test_update_attrs__lets_readers_begin_at_the_root(store):
    create_root(store, {"format": 2})
    plain = PLAIN.drop_attrs().drop_vars("fixed")
    tree = xr.DataTree.from_dict({"/": xr.Dataset(), "/system": plain})
    group = write_tree(store, "result", tree)
    update_attrs(store, "", {"finished": "now"}, {"result": group})
    described = json.loads(store.read("zarr.json"))["consolidated_metadata"]
    assert described["metadata"]["result/system"]["node_type"] == "group"
    update_attrs(store, "", {"finished": "now"})  # leaves it as it is
    assert json.loads(store.read("zarr.json"))["consolidated_metadata"] == described
    assert read_attrs(store) == {"format": 2, "finished": "now"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(store.zarr, group="result", engine="zarr").load()
        node = xr.open_dataset(store.zarr, group="result/system", engine="zarr").load()
        array = zarr.open_group(store.zarr, mode="r")["result/system/single"][...]
    xr.testing.assert_identical(tree["system"].to_dataset(), plain)
    xr.testing.assert_identical(node, plain)
    np.testing.assert_array_equal(array, plain["single"].values)
    update_attrs(store, "", {}, {})
    assert "consolidated_metadata" not in json.loads(store.read("zarr.json"))
    assert read_attrs(store) == {"format": 2, "finished": "now"}


def test_require_current_format__names_older_and_newer_stores(store):
    require_current_format(store, {"format": 2})
    with pytest.raises(StoreError, match=r"has store format 1, which can be shown, exported"):
        require_current_format(store, {"format": 1})
    with pytest.raises(StoreError, match="has store format 3, this iitdask reads 2"):
        require_current_format(store, {"format": 3})


FOREIGN = {
    "format": ({"zarr_format": 2}, "expected Zarr format 3, got 2"),
    "codec": ({"codecs": [{"name": "bytes"}, {"name": "pickle"}]}, "got 'pickle'"),
    "first codec": ({"codecs": [{"name": "numcodecs.pickle"}]}, "got 'numcodecs.pickle'"),
    "long name": ({"codecs": [{"name": "x" * 5000}]}, "got 'xxx"),
    "filters": ({"filters": [{"id": "pickle"}]}, "got 'filters'"),
    "compressor": ({"compressor": {"id": "pickle"}}, "got 'compressor'"),
    "transformer": ({"storage_transformers": [{"name": "evil"}]}, "got 'storage_transformers'"),
}


@pytest.mark.parametrize(("changes", "named"), FOREIGN.values(), ids=FOREIGN)
def test_open_group__names_what_is_not_written_here_and_decodes_nothing(tmp_path, changes, named):
    store = open_store(tmp_path / "s")
    create_root(store, {})
    write_group(store, "one", {"x": np.arange(3.0)}, {})
    path = tmp_path / "s" / "one" / "zarr.json"
    document = json.loads(path.read_bytes())
    document["consolidated_metadata"]["metadata"]["x"] |= changes
    path.write_text(json.dumps(document))
    with pytest.raises(
        ValueError, match=r"the array at one/x cannot be opened: .*expected"
    ) as error:
        read_group(store, "one")
    assert named in str(error.value)
    assert len(str(error.value)) < 400
