"""Datasets and trees that are put together directly equal those xarray makes itself."""

import numpy as np
import pytest
import xarray as xr

from iitdask.theory.variables import (
    assemble_dataset,
    assemble_tree,
    coordinate_labels,
    make_dataset,
    replace_dataset,
)

LABELS = np.array(["A", "B", "C"], object)
COORDS = {
    "unit": ("unit", LABELS),
    "source": ("source", LABELS),
    "before": ("unit", np.array([0, 1, 0])),
    "degree": ("degree", np.arange(1, 3)),
}


def variables():
    return {
        "phi": xr.Variable((), np.asarray(0.5), {"units": "bit"}),
        "cut": xr.Variable(("source", "unit"), np.eye(3, dtype=bool)),
        "count": xr.Variable(("degree",), np.array([3, 4])),
        "free": xr.Variable(("row",), np.zeros(0)),
    }


def layout(data):
    """Everything about a dataset that the eye cannot see in its values."""
    named = data.variables.items()
    return (
        [(name, type(v), v.dims, v.dtype, v.attrs) for name, v in named],
        dict(data.sizes),
        set(data.coords),
        {name: (type(index), index.index.dtype) for name, index in data.xindexes.items()},
    )


@pytest.mark.parametrize("coords", [COORDS, {}, {"unit": ("unit", np.array([], object))}])
def test_assemble_dataset__equals_that_of_xarray(coords):
    some = variables() if len(coords) != 1 else {"phi": variables()["phi"]}
    ours = assemble_dataset(some, coords, {"theory": "iit4"})
    theirs = xr.Dataset(some, coords, {"theory": "iit4"})
    xr.testing.assert_identical(ours, theirs)
    assert layout(ours) == layout(theirs)


def test_assemble_dataset__refuses_lengths_that_differ():
    some = {"a": xr.Variable("x", np.zeros(2)), "b": xr.Variable("x", np.zeros(3))}
    with pytest.raises(ValueError, match="conflicting sizes for dimension 'x'"):
        assemble_dataset(some, {}, {})


def test_assemble_dataset__can_be_changed_afterwards():
    data = assemble_dataset(variables(), COORDS, {})
    data["phi"] = data["phi"] + 1
    assert data.sel(unit="B")["cut"].values.tolist() == [False, True, False]
    assert float(data["phi"]) == 1.5


def test_assemble_tree__equals_that_of_xarray():
    nodes = {
        "/": xr.Dataset(attrs={"big_phi": 1.0}),
        "/system": xr.Dataset(variables(), COORDS),
        "/relations": xr.Dataset({"count": ("degree", [1, 2, 3])}),
    }
    ours, theirs = assemble_tree(nodes), xr.DataTree.from_dict(nodes)
    xr.testing.assert_identical(ours, theirs)
    assert [node.path for node in ours.subtree] == [node.path for node in theirs.subtree]
    assert ours["system"].parent is ours
    ours["system"]["phi"] = 3.0
    assert float(ours["system"]["phi"]) == 3.0
    assert float(nodes["/system"]["phi"]) == 0.5


def test_replace_dataset__equals_an_assignment():
    first, second = xr.Dataset({"a": ("x", [1, 2])}), xr.Dataset({"b": ("y", [3])}, {"y": ["A"]})
    ours, theirs = (xr.DataTree.from_dict({"/system": first}) for _ in range(2))
    replace_dataset(ours["system"], second)
    theirs["system"].dataset = second
    xr.testing.assert_identical(ours, theirs)
    assert list(ours["system"].data_vars) == ["b"]


def test_assemble_tree__without_a_root():
    nodes = {"/complexes": xr.Dataset({"phi": 1.0})}
    xr.testing.assert_identical(assemble_tree(nodes), xr.DataTree.from_dict(nodes))


def test_make_dataset__says_unit_and_meaning():
    data = make_dataset({"phi": ((), 0.25), "cut": (("source", "target"), np.eye(2))})
    assert data["phi"].attrs == {"comment": "integrated information", "units": "bit"}
    assert set(data["cut"].attrs) == {"comment"}


@pytest.mark.parametrize("text", [["A", "B"], []])
def test_coordinate_labels__are_those_xarray_makes_of_text(text):
    values = np.array(text, dtype=object)
    ours, theirs = coordinate_labels(values), xr.Variable("unit", values).to_index()
    assert ours.dtype == theirs.dtype
    assert ours.tolist() == theirs.tolist()
