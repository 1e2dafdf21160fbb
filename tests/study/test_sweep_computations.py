"""Sweeps of which the computation is an axis: each cell has what its computation gives."""

import numpy as np
import pytest
import xarray as xr

import iitdask as iit
from iitdask.errors import LedgerMismatchError, SpecError
from iitdask.run.events import BlocksFilled, StageOpened
from iitdask.study.run import run_job, verify_stored_run
from iitdask.study.spec import read_study
from iitdask.study.sweep import sweep_from_study

AXES = {"compute": ["sia", "ces", "complexes"], "state": "all"}
PAIR = {"units": [{"gate": "OR", "inputs": ["A", "B"]}, {"gate": "AND", "inputs": ["A", "B"]}]}


def made(compute, state="all"):
    spec = {
        "substrate": {"example": "basic"},
        "theory": "iit4",
        "sweep": {"compute": compute, "state": state},
    }
    return sweep_from_study(*read_study(spec), "study")


def has(data, compute):
    """What the cells of a computation must have, and what they must not."""
    own = {
        name
        for name, value in data.data_vars.items()
        if compute in value.attrs.get("computations", compute).split(", ")
    }
    return own, set(data.data_vars) - own


def test_computations__side_by_side_have_what_each_has_alone():
    basic = iit.examples.load("basic")
    cube = iit.sweep(AXES, basic)
    assert dict(cube.sizes) == {"compute": 3, "state": 8}
    assert cube.attrs["compute"] == "sia, ces, complexes"
    assert cube.attrs["theory"] == "iit4"
    for compute in AXES["compute"]:
        one, alone = cube.sel(compute=compute), iit.sweep({"state": "all"}, basic, compute=compute)
        own, others = has(cube, compute)
        assert own == set(alone.data_vars)
        for name in own - {"seconds", "point"}:
            np.testing.assert_array_equal(one[name].values, alone[name].values)
        for name in others:
            missing = -1 if one[name].dtype.kind == "i" else np.nan
            np.testing.assert_array_equal(one[name], np.full(8, missing))
    assert cube.big_phi.attrs["computations"] == "ces"
    assert cube.phi.attrs["comment"].startswith("of sia and ces: integrated information")
    assert "computations" not in cube.phi.attrs


def test_no_number__is_missing_without_a_reason():
    cube = iit.sweep(AXES, iit.examples.load("basic"))
    for compute in AXES["compute"]:
        one = cube.sel(compute=compute)
        done = (one.status == "done").values
        for name in has(cube, compute)[0] & {"phi", "big_phi", "n_relations", "n_complexes"}:
            there = one[name].values >= 0
            assert there[done].all()
            assert not there[~done].any()
        assert (one.message.values[~done] != "").all()


def test_what_a_computation_does_not_take__changes_nothing():
    axes = {"compute": ["sia", "account"], "before": "all", "after": ["10", "11"], "state": ["10"]}
    cube = iit.sweep(axes, PAIR)
    assert cube.attrs["theory"] == "sia: iit4, account: causation2019"
    assert len(np.unique(cube.point.sel(compute="sia"))) == 1
    assert len(np.unique(cube.point.sel(compute="account"))) == 8
    assert (
        cube.phi.sel(compute="sia") == iit.sia(iit.Substrate.from_units(**PAIR), "10").phi
    ).all()
    assert (cube.n_units.sel(compute="account") == -1).all()
    alone = iit.sweep({"before": "all", "after": ["10", "11"]}, PAIR, compute="account")
    np.testing.assert_array_equal(cube.alpha.sel(compute="account", state="10"), alone.alpha)


def test_theories__that_lack_a_computation_say_so_in_its_cells():
    axes = {"compute": ["sia", "account"], "theory": ["iit4", "causation2019"]}
    cube = iit.sweep(axes, PAIR, "10", before="10", after="10")
    status = cube.status.to_series().unstack()
    assert status.loc["sia"].tolist() == ["done", "failed"]
    assert status.loc["account"].tolist() == ["failed", "done"]
    said = cube.message.sel(compute="sia", theory="causation2019").item()
    assert said == "causation2019 does not define 'sia'; iit4, iit4-2026, iit3 do"


def test_zip__pairs_computations_with_theories():
    axes = {
        "zip": {"compute": ["sia", "ces", "account"], "theory": ["iit3", "iit4", "causation2019"]}
    }
    cube = iit.sweep(axes, "basic", "100", before="100", after="001")
    assert dict(cube.sizes) == {"compute": 3}
    assert (cube.status == "done").all()


def test_axis_of_computations__grows(tmp_path):
    store = tmp_path / "grown.zarr"
    first = run_job(made(["ces"]), store=store).to_dataset()
    events = []
    grown = run_job(made(["ces", "sia"]), store=store, observers=[events.append]).to_dataset()
    todo = {e.stage: e.todo for e in events if isinstance(e, StageOpened)}
    assert todo == {"sweep/0/ces": 0, "sweep/1/sia": 1}
    np.testing.assert_array_equal(grown.big_phi.sel(compute="ces"), first.big_phi[0])
    whole = run_job(made(["ces", "sia"])).to_dataset()
    changing = ["seconds", "point"]
    xr.testing.assert_identical(grown.drop_vars(changing), whole.drop_vars(changing))
    assert not verify_stored_run(str(store), 10).problems
    again = []
    run_job(made(["ces", "sia"]), store=store, observers=[again.append])
    assert not [event for event in again if isinstance(event, BlocksFilled)]
    with pytest.raises(LedgerMismatchError, match="compute='sia'"):
        run_job(made(["ces"]), store=store)


def test_store__of_both_kinds_of_small_points_is_checked_whole(tmp_path):
    store = tmp_path / "both.zarr"
    run_job(made(["ces", "complexes", "sia"], ["100", "001"]), store=store)
    found = verify_stored_run(str(store), 10)
    assert not found.problems
    assert found.recomputed >= 2


@pytest.mark.parametrize(
    ("axes", "fields", "message"),
    [
        (
            {"compute": ["nexus"]},
            {},
            "compute: expected one of sia, ces, complexes, grains",
        ),
        ({"compute": ["sia", "sia"]}, {}, "compute: value 'sia' is given twice"),
        ({"compute": ["sia", "account"]}, {}, "before: expected one, .* for compute 'account'"),
        (
            {"compute": ["sia", "ces"]},
            {"before": "100"},
            "before: has no meaning for compute 'sia'",
        ),
        ({"compute": ["sia"]}, {"max_size": 2}, "max_size: has no meaning for compute 'sia'"),
        ({"compute": ["sia", "ces"]}, {"theory": "causation2019"}, "does not define 'sia'"),
    ],
)
def test_computations__that_cannot_be__are_named(axes, fields, message):
    with pytest.raises(SpecError, match=message):
        iit.sweep(axes, "basic", "100", **fields)
