"""What the public functions promise: names, dims, coordinates, attributes, messages."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import iitdask as iit

SCALARS = [
    "phi",
    "normalized_phi",
    "phi_cause",
    "phi_effect",
    "intrinsic_information_cause",
    "intrinsic_information_effect",
]
SYSTEM_DIMS = {
    **dict.fromkeys(SCALARS, ()),
    "n_tied_partitions": (),
    "cause_state": ("unit",),
    "effect_state": ("unit",),
    "cut": ("source", "target"),
    "part": ("unit",),
}
SIDE_DIMS = {
    "purview": ("mechanism", "unit"),
    "state": ("mechanism", "unit"),
    "phi": ("mechanism",),
    "intrinsic_information": ("mechanism",),
    "partition": ("mechanism",),
    "n_tied_purviews": ("mechanism",),
    "n_tied_states": ("mechanism",),
}


@pytest.fixture(scope="module")
def basic():
    return iit.examples.load("basic")


@pytest.fixture(scope="module")
def found(basic):
    return iit.sia(basic, "100")


@pytest.fixture(scope="module")
def tree():
    name = "iit4-2023-fig4"
    return iit.ces(iit.examples.load(name), iit.examples.state(name), "AB")


def test_sia__has_the_promised_variables(found):
    assert isinstance(found, xr.Dataset)
    assert {name: found[name].dims for name in SYSTEM_DIMS} == SYSTEM_DIMS
    assert found["cut"].dtype == bool
    assert all(found[name].dtype == float for name in SCALARS)
    assert all(np.issubdtype(found[n].dtype, np.integer) for n in ("part", "cause_state"))


def test_sia__names_the_units(found):
    for dim in ("unit", "source", "target"):
        assert found[dim].values.tolist() == ["A", "B", "C"]
    assert bool(found["cut"].sel(source="B", target="A"))


def test_sia__says_what_it_is_about(basic, found):
    assert found.attrs["theory"] == "iit4"
    assert found.attrs["state"] == "100"
    assert found.attrs["units"] == "ABC"
    assert found.attrs["reason"] == ""
    assert found.attrs["substrate_fingerprint"] == basic.fingerprint
    assert found.attrs["iitdask_version"] == iit.__version__


def test_sia__every_variable_says_what_it_means(found):
    assert all(found[name].attrs["comment"] for name in found.data_vars)
    assert found["phi"].attrs["units"] == "bit"


def test_sia__says_why_phi_is_zero():
    found = iit.sia(iit.examples.load("iit4-2023-fig4"), "011", "A", theory="iit4-2026")
    assert found.attrs["theory"] == "iit4-2026"
    zero = iit.sia(iit.Substrate.from_tpm([[0.5], [0.5]]), "0")
    assert float(zero["phi"]) == 0.0
    assert "no cause" in zero.attrs["reason"]


def test_ces__has_the_promised_nodes(tree):
    assert isinstance(tree, xr.DataTree)
    assert set(tree.children) == {"system", "distinctions", "relations", "repertoires"}
    assert {"big_phi", "sum_phi_distinctions", "sum_phi_relations"} <= set(tree.attrs)
    total = tree.attrs["sum_phi_distinctions"] + tree.attrs["sum_phi_relations"]
    assert tree.attrs["big_phi"] == pytest.approx(total, rel=1e-12)


def test_ces__system_is_the_sia(tree):
    name = "iit4-2023-fig4"
    alone = iit.sia(iit.examples.load(name), iit.examples.state(name), "AB")
    xr.testing.assert_identical(tree["system"].to_dataset(), alone)


def test_ces__has_the_promised_distinctions(tree):
    data = tree["distinctions"].to_dataset()
    assert data["mechanism_units"].dims == ("mechanism", "unit")
    assert data["mechanism_units"].dtype == bool
    assert data["mechanism"].values.tolist() == ["A", "B", "AB"]
    assert data["phi"].dims == ("mechanism",)
    for side in ("cause", "effect"):
        assert {n: data[f"{n}_{side}"].dims for n in SIDE_DIMS} == SIDE_DIMS
        outside = ~data[f"purview_{side}"].values
        assert (data[f"state_{side}"].values[outside] == -1).all()
        assert (data[f"state_{side}"].values[~outside] >= 0).all()


def test_ces__has_the_promised_relations(tree):
    node = tree["relations"]
    assert node["count"].dtype == np.int64
    assert int(node["count"]) == 7
    assert node.attrs["count"] == "7"
    assert float(node["log2_count"]) == pytest.approx(np.log2(7), rel=1e-12)
    assert int(node["count_by_degree"].sum()) == 7
    assert node["degree"].values.tolist() == list(range(1, node.sizes["degree"] + 1))


def test_ces__published_numbers(tree):
    assert float(tree["system"]["phi"]) == pytest.approx(0.17186, abs=5e-6)
    assert tree.attrs["big_phi"] == pytest.approx(1.56269, abs=5e-6)
    assert sorted(tree["distinctions"]["phi"].values.round(2), reverse=True) == [0.33, 0.32, 0.07]


def test_ces__iterates_relations(tree):
    every = list(iit.relations.iterate(tree))
    assert len(every) == 7
    assert every[0].mechanisms
    assert set(every[0].overlap) <= {(u, s) for u in "AB" for s in (0, 1)}
    assert len(list(iit.relations.iterate(tree, top=3))) == 3
    assert all(r.degree == 2 for r in iit.relations.iterate(tree, degree=2))


@pytest.mark.parametrize(
    "state",
    [
        "100",
        (1, 0, 0),
        [1, 0, 0],
        np.array([1, 0, 0]),
        {"A": 1, "B": 0, "C": 0},
        {"C": 0, "A": 1, "B": 0},
    ],
    ids=["text", "tuple", "list", "array", "labels", "labels in any order"],
)
def test_state__may_be_written_in_many_ways(basic, found, state):
    xr.testing.assert_identical(iit.sia(basic, state), found)


@pytest.mark.parametrize(
    "units", ["AC", "A,C", ("A", "C"), ["C", "A"], (0, 2), [2, 0], np.array([0, 2])]
)
def test_units__may_be_labels_or_numbers(basic, units):
    alone = iit.sia(basic, "100", units)
    assert alone["unit"].values.tolist() == ["A", "C"]
    assert alone.attrs["units"] == "AC"
    xr.testing.assert_identical(alone, iit.sia(basic, "100", ["A", "C"]))


@pytest.mark.parametrize(
    "theory",
    ["iit4-2026", iit.IIT42026(), {"name": "iit4-2026"}],
    ids=["name", "options", "mapping"],
)
def test_theory__may_be_a_name_or_options(basic, theory):
    xr.testing.assert_identical(
        iit.sia(basic, "100", theory=theory), iit.sia(basic, "100", theory="iit4-2026")
    )


def test_theory__options_are_recorded(basic):
    options = iit.IIT42026(differentiation="specified", ties="canonical")
    about = iit.sia(basic, "100", theory=options).attrs
    assert (about["theory"], about["differentiation"]) == ("iit4-2026", "specified")
    assert about["ties"] == "canonical"


def test_ties__is_an_option_of_the_theory(basic):
    xr.testing.assert_identical(
        iit.ces(basic, "100", ties="canonical"),
        iit.ces(basic, "100", theory=iit.IIT4(ties="canonical")),
    )


def test_client__computes_the_same(basic):
    expected = iit.ces(basic, "100")
    local = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    with LocalCluster(**local, dashboard_address=":0") as cluster, Client(cluster) as client:
        xr.testing.assert_identical(iit.ces(basic, "100", client=client), expected)


def test_store__is_kept_and_read_again(basic, tmp_path):
    first = iit.ces(basic, "100", store=tmp_path / "run.zarr")
    second = iit.ces(basic, "100", store=str(tmp_path / "run.zarr"))
    xr.testing.assert_identical(first, second)
    xr.testing.assert_identical(first, iit.ces(basic, "100"))


READ = """
import sys
import xarray as xr
how = {"group": "result", "engine": "zarr", "consolidated": False}
with xr.open_datatree(sys.argv[1], **how) as by_group:
    by_group.load()
with xr.open_datatree(sys.argv[1] + "/result", engine="zarr") as tree:
    assert by_group.identical(tree.load())
    print(float(tree["system"]["phi"]), tree.attrs["big_phi"])
    print("".join(tree["system"]["unit"].values), *tree["distinctions"]["mechanism"].values)
    print(int(tree["relations"]["count"]), tree["system"].attrs["theory"])
assert "iitdask" not in sys.modules
"""


def test_store__opens_with_xarray_alone(basic, tmp_path):
    tree = iit.ces(basic, "100", store=tmp_path / "run.zarr")
    command = [sys.executable, "-W", "error", "-c", READ, str(tmp_path / "run.zarr")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert float(words[0]) == float(tree["system"]["phi"])
    assert float(words[1]) == tree.attrs["big_phi"]
    assert words[2:] == ["ABC", *tree["distinctions"]["mechanism"].values, "0", "iit4"]


def test_progress__is_shown_when_wanted(basic, capsys):
    iit.sia(basic, "100")
    assert capsys.readouterr() == ("", "")
    iit.sia(basic, "100", progress=True)
    out, shown = capsys.readouterr()
    assert out == ""
    assert "system" in shown


WRONG = {
    "state too long": ({"state": "1000"}, "StateError", "expected 3 values, one per unit, got 4"),
    "state out of range": ({"state": (1, 0, 2)}, "StateError", "unit 'C' has values 0 to 1, got 2"),
    "state without a unit": (
        {"state": {"A": 1, "B": 0}},
        "StateError",
        "unit 'C' is given no value",
    ),
    "state of words": ({"state": "abc"}, "StateError", "expected one digit per unit, got 'abc'"),
    "state of reals": ({"state": (1.0, 0, 0)}, "StateError", "expected whole numbers, got 1.0"),
    "unreachable": ({"state": "011"}, "UnreachableStateError", "011 is unreachable"),
    "unknown unit": ({"units": "AQ"}, "StateError", "no unit is called 'AQ'"),
    "unit twice": ({"units": ["A", "A"]}, "StateError", "'A' is named twice"),
    "no unit": ({"units": []}, "StateError", "expected at least one unit, got none"),
    "unit number": ({"units": [3]}, "StateError", "expected a unit number from 0 to 2, got 3"),
    "theory": ({"theory": "iit5"}, "InputError", "expected one of iit4, iit4-2026.*got 'iit5'"),
    "ties": ({"ties": "random"}, "InputError", "ties|random"),
    "option": ({"theory": {"name": "iit4", "cap": 1}}, "InputError", "unknown field `cap`"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("compute", [iit.sia, iit.ces], ids=["sia", "ces"])
def test_wrong_input__is_explained_in_one_line(name, compute, basic):
    given, kind, message = WRONG[name]
    with pytest.raises(getattr(iit.errors, kind), match=message) as caught:
        compute(basic, **{"state": "100", **given})
    assert isinstance(caught.value, (iit.errors.InputError, ValueError))
    assert "\n" not in str(caught.value)


def test_errors__are_also_builtins():
    assert issubclass(iit.errors.InputError, ValueError)
    assert issubclass(iit.errors.StoreError, OSError)
    assert issubclass(iit.errors.MemoryRefusedError, MemoryError)
    assert all(issubclass(getattr(iit.errors, n), iit.errors.IITError) for n in iit.errors.__all__)


def test_store__of_another_study_is_refused(basic, tmp_path):
    iit.sia(basic, "100", store=tmp_path / "run.zarr")
    with pytest.raises(iit.errors.LedgerMismatchError, match=r"state=\[1, 0, 0\]") as caught:
        iit.sia(basic, "000", store=tmp_path / "run.zarr")
    assert "\n" not in str(caught.value)


def test_unknown_name__is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'iitdask' has no attribute 'phi'"):
        _ = iit.phi


def test_names_of_pyphi__lead_to_ours():
    with pytest.raises(AttributeError, match=r"'Network'; it is iitdask.Substrate.from_tpm"):
        _ = iit.Network


def test_dir__lists_the_public_names():
    assert dir(iit) == sorted(iit.__all__)


def test_long_labels__are_separated_by_commas():
    units = [{"gate": "COPY", "inputs": ["N2"]}, {"gate": "COPY", "inputs": ["N1"]}]
    tree = iit.ces(iit.Substrate.from_units(units, labels=["N1", "N2"]), "10")
    assert tree["system"].attrs["units"] == "N1,N2"
    assert set(tree["distinctions"]["mechanism"].values.tolist()) <= {"N1", "N2", "N1,N2"}
