"""Groups and datasets that are written without Zarr: Zarr and xarray find the same."""

import json

import numpy as np
import pytest
import xarray as xr
import zarr

from iitdask.run.storage import open_store
from iitdask.run.zarr_io import (
    create_group,
    create_root,
    read_attrs,
    repair_groups,
    update_attrs,
    write_dataset,
)


@pytest.fixture(params=["folder", "fsspec"])
def store(request, tmp_path):
    if request.param == "folder":
        return open_store(str(tmp_path / "run.zarr"))
    return open_store(f"memory://{tmp_path.name}/run.zarr")


def read(store, path):
    return xr.open_dataset(store.zarr, group=path, engine="zarr", consolidated=False).load()


def test_groups__are_those_of_zarr(store):
    attrs = {"study": {"state": [1, 0]}, "name": "Φ", "value": 0.1}
    assert create_root(store, attrs)
    assert not create_root(store, {})
    create_group(store, "one", attrs)
    for path in ("", "one"):
        theirs = zarr.open_group(store.zarr, path=path, mode="r+")
        assert theirs.attrs.asdict() == attrs
        theirs.attrs.update({"more": 1})
        assert read_attrs(store, path) == {**attrs, "more": 1}
        update_attrs(store, path, {"more": 2, "most": None})
        assert zarr.open_group(store.zarr, path=path, mode="r").attrs.asdict() == {
            **attrs,
            "more": 2,
            "most": None,
        }


def test_add_attributes__keeps_what_zarr_gathered(store):
    create_root(store, {})
    write_dataset(store, "one", xr.Dataset({"x": ("a", np.arange(3))}))
    with pytest.warns(UserWarning, match="Consolidated metadata"):
        zarr.consolidate_metadata(store.zarr, path="one")
    before = json.loads(store.read("one/zarr.json"))
    assert "x" in before["consolidated_metadata"]["metadata"]
    update_attrs(store, "one", {"whole": True})
    assert json.loads(store.read("one/zarr.json")) == {**before, "attributes": {"whole": True}}


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
def test_mend_groups__replaces_what_cannot_be_read_and_nothing_else(content, store):
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


def test_write_node__is_read_by_xarray(store):
    create_root(store, {})
    write_dataset(store, "result", PLAIN)
    found = read(store, "result")
    wanted = PLAIN.assign_attrs(big_phi=0.25)
    wanted["count"].attrs["range"] = [0, 3]
    assert np.isnan(found.attrs.pop("nan"))
    assert np.isnan(wanted.attrs.pop("nan"))
    xr.testing.assert_identical(found, wanted)
    for name in ("phi", "single", "cut", "mask", "count"):
        assert found[name].dtype == PLAIN[name].dtype
        assert found[name].values.tobytes() == PLAIN[name].values.tobytes()
    # Every chunk ends with a checksum, which those that xarray writes do not.
    assert {"name": "crc32c"} in json.loads(store.read("result/phi/zarr.json"))["codecs"]


ODD = {
    "a second coordinate": PLAIN.assign_coords(label=("unit", [1, 2])),
    "a lone coordinate": PLAIN.assign_coords(moment=3),
    "dates": PLAIN.assign(at=("unit", np.array(["2020-01-01", "2021-01-01"], "M8[ns]"))),
    "complex": PLAIN.assign(z=("unit", np.array([1j, 2]))),
    "encoded": PLAIN.assign(x=xr.Variable("unit", [1.0, np.nan], encoding={"_FillValue": -1.0})),
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_write_node__leaves_what_is_not_plain_to_xarray(data, store):
    data = data.drop_attrs().drop_vars("fixed")
    create_root(store, {})
    write_dataset(store, "result", data)
    xr.testing.assert_identical(read(store, "result"), data)
    assert "zarr.json" in store.list_dir("result/phi")
