"""Sweeps: a cube has the numbers of its points, grows, and says what is wrong where."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import iitdask as iit
from iitdask.errors import DamagedStoreError, LedgerMismatchError, SpecError
from iitdask.run.events import BlocksFilled, StageOpened
from iitdask.run.result_group import drop_blocks, load_result
from iitdask.run.storage import open_store
from iitdask.run.zarr_io import create_group, open_group, read_attrs
from iitdask.study.run import run_job, verify_stored_run
from iitdask.study.spec import read_study
from iitdask.study.sweep import sweep_from_study

RANDOM = {"family": "erdos-renyi", "n": 4, "count": 12, "seed": 1, "gates": ["AND", "OR", "XOR"]}


def made(spec):
    study, folder = read_study(spec)
    return sweep_from_study(study, folder, "study")


def without_seconds(data):
    return data.drop_vars("seconds")


def test_cube__has_the_numbers_of_sia_point_by_point():
    basic = iit.examples.load("basic")
    axes = {"state": "all", "units": ["ABC", "AB"], "theory": ["iit4", "iit4-2026"]}
    cube = iit.sweep(axes, basic)
    assert dict(cube.sizes) == {"state": 8, "units": 2, "theory": 2}
    done = 0
    for state in cube.state.values:
        for units in cube.units.values:
            for theory in cube.theory.values:
                one = cube.sel(state=state, units=units, theory=theory)
                if one.status != "done":
                    assert one.status == "unreachable"
                    continue
                done += 1
                wanted = iit.sia(basic, state, units, theory)
                for name in ("phi", "normalized_phi", "intrinsic_information_cause"):
                    np.testing.assert_allclose(one[name], wanted[name], rtol=1e-12, atol=1e-13)
                assert one.reason == wanted.attrs["reasons"]
    assert done == 18


def test_cube__of_structures__has_the_numbers_of_ces():
    basic = iit.examples.load("basic")
    cube = iit.sweep({"state": "reachable"}, basic, compute="ces")
    assert (cube.status == "done").all()
    for state in cube.state.values:
        tree = iit.ces(basic, state)
        one = cube.sel(state=state)
        assert one.big_phi == tree.attrs["big_phi"]
        assert one.n_distinctions == tree.attrs["n_distinctions"]
        assert one.n_relations == tree["relations"]["count"]


def test_parameters__of_all_units_or_one__change_the_substrate():
    spec = {"units": [{"gate": "COPY", "inputs": ["B"]}, {"gate": "NOT", "inputs": ["A"]}]}
    cube = iit.sweep({"noise": [0.0, 0.1], "B.noise": [0.2, 0.3]}, spec, "10")
    units = [
        {"gate": "COPY", "inputs": ["B"], "noise": 0.1},
        {"gate": "NOT", "inputs": ["A"], "noise": 0.3},
    ]
    wanted = iit.sia(iit.Substrate.from_units(units), "10")
    assert cube.phi.sel(noise=0.1, **{"B.noise": 0.3}) == wanted.phi


def test_zip__goes_through_axes_together():
    cube = iit.sweep(
        {"zip": {"substrate": ["basic", "xor"], "state": ["100", "000"]}}, compute="ces"
    )
    assert dict(cube.sizes) == {"substrate": 2}
    assert cube.state.values.tolist() == ["100", "000"]
    assert cube.big_phi.sel(substrate="xor") == 9.5


def test_failing_points__are_labelled_and_the_others_done():
    spec = {
        "units": [
            {"gate": "ISING", "inputs": ["B"], "weights": [1.0]},
            {"gate": "ISING", "inputs": ["A"], "weights": [-1.0]},
        ]
    }
    cube = iit.sweep({"temperature": [0.5, 0.0, 1.0], "state": ["10", "1", "11"]}, spec)
    status = cube.status.values
    assert (status[1] == "failed").all()
    assert "temperature to be a number above 0" in str(cube.message.values[1, 0])
    assert status[0].tolist() == ["done", "failed", "done"]
    assert "expected" in str(cube.message.values[0, 1])
    assert (cube.n_units.values[1] == -1).all()
    assert np.isfinite(cube.phi.values[status == "done"]).all()


def test_equal_systems__are_computed_once():
    basic = iit.examples.load("basic")
    cube = iit.sweep({"substrate": [basic, "basic"], "state": "all"})
    assert len(np.unique(cube.point)) == 8
    np.testing.assert_array_equal(cube.phi[0], cube.phi[1])


def test_trajectory__gives_states_with_frequencies():
    cube = iit.sweep(
        {"state": {"trajectory": {"start": "100", "steps": 50, "seed": 1}}},
        iit.examples.load("basic"),
    )
    assert cube.frequency.sum() == pytest.approx(1.0)
    assert (cube.frequency > 0).all()


def test_states_of_rings_of_several_sizes__share_an_axis():
    cube = iit.sweep(
        {
            "substrate": {"family": "ring", "n": [3, 4], "gates": "RULE"},
            "number": [90, 110],
            "state": "all",
        }
    )
    assert dict(cube.sizes) == {"substrate": 2, "number": 2, "state": 24}
    assert cube.substrate.values.tolist() == ["ring-3", "ring-4"]
    assert (cube.status.sel(substrate="ring-3").isel(state=slice(8, 24)) == "failed").all()
    assert (cube.status.sel(substrate="ring-3").isel(state=slice(8)) != "failed").all()
    assert (cube.n_units.sel(substrate="ring-3").isel(state=slice(8)) == 3).all()


def test_heavy_points__run_through_their_own_recipes():
    plain = iit.sweep({"state": "all"}, iit.examples.load("basic"))
    theories = [{"name": "iit4", "ties": "canonical"}, "iit3"]
    cube = iit.sweep({"state": "all", "theory": theories}, iit.examples.load("basic"))
    own = cube.isel(theory=0)
    np.testing.assert_array_equal(own.phi, plain.phi)
    assert own.status.values.tolist() == plain.status.values.tolist()
    assert cube.phi.isel(theory=1).sel(state="100") > 0


def test_families__side_by_side_by_name():
    ring = {"family": "ring", "name": "xors", "n": [3, 4], "gates": "XOR"}
    cube = iit.sweep({"substrate": [RANDOM, ring, "basic"]}, state="100", theory="iit3")
    assert cube.substrate.values.tolist()[11:] == ["erdos-renyi-4-11", "xors-3", "xors-4", "basic"]
    assert cube.status.sel(substrate=["xors-3", "xors-4", "basic"]).values.tolist() == [
        *("unreachable", "failed", "done")
    ]


def test_complexes__as_a_sweep():
    cube = iit.sweep({"state": ["100", "001"]}, iit.examples.load("basic"), compute="complexes")
    found = iit.complexes(iit.examples.load("basic"), "100")
    assert cube.phi.sel(state="100") == found.phi.max()
    assert cube.n_complexes.sel(state="100") == found.sizes["complex"]


def test_store__grows_along_an_axis_and_computes_only_what_is_new(tmp_path):
    spec = {"compute": "sia", "sweep": {"substrate": RANDOM, "state": ["0000", "0001"]}}
    store = tmp_path / "grown.zarr"
    first = run_job(made(spec), store=store).to_dataset()
    larger = json.loads(json.dumps(spec))
    larger["sweep"]["substrate"]["count"] = 20
    larger["sweep"]["state"].append("1111")
    events = []
    grown = run_job(made(larger), store=store, observers=[events.append]).to_dataset()
    todo = {e.stage: e.todo for e in events if isinstance(e, StageOpened)}
    assert todo["sweep/0/sia"] == 0
    assert todo["sweep/1/sia"] > 0
    apart = run_job(made(larger)).to_dataset()
    for name in apart.data_vars:
        if name not in ("seconds", "point"):
            np.testing.assert_array_equal(grown[name].values, apart[name].values)
    xr.testing.assert_equal(
        grown.phi.isel(substrate=slice(12), state=slice(2)).drop_vars("substrate"),
        first.phi.drop_vars("substrate"),
    )
    with pytest.raises(LedgerMismatchError, match="which this study lacks"):
        run_job(made(spec), store=store)


def test_store__of_another_family_under_the_same_labels__is_refused(tmp_path):
    spec = {"compute": "sia", "sweep": {"substrate": RANDOM, "state": ["0000"]}}
    run_job(made(spec), store=tmp_path / "a.zarr")
    other = {**spec, "sweep": {**spec["sweep"], "substrate": {**RANDOM, "seed": 2}}}
    with pytest.raises(LedgerMismatchError, match="stand for other substrates"):
        run_job(made(other), store=tmp_path / "a.zarr")


def test_full_store__runs_no_block(tmp_path):
    spec = {"compute": "sia", "sweep": {"substrate": RANDOM, "state": "all"}}
    first = run_job(made(spec), store=tmp_path / "a.zarr").to_dataset()
    events = []
    again = run_job(made(spec), store=tmp_path / "a.zarr", observers=[events.append])
    assert not [e for e in events if isinstance(e, BlocksFilled)]
    xr.testing.assert_identical(again.to_dataset(), first)
    xr.testing.assert_identical(load_result(open_store(tmp_path / "a.zarr")).to_dataset(), first)


def test_cube__opens_without_iitdask(tmp_path):
    spec = {"compute": "sia", "sweep": {"substrate": RANDOM, "state": "all"}}
    store = tmp_path / "a.zarr"
    found = run_job(made(spec), store=store).to_dataset()
    code = (
        "import sys, warnings; warnings.simplefilter('error'); import xarray as xr\n"
        f"data = xr.open_zarr({str(store / 'result')!r})\n"
        "warnings.simplefilter('ignore')  # by group, xarray says that metadata are apart\n"
        f"assert data.equals(xr.open_zarr({str(store)!r}, group='result'))\n"
        "assert not [name for name in sys.modules if name.startswith('iitdask')]\n"
        "print(float(data.phi.sum()), int((data.status == 'done').sum()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stderr
    total, done = run.stdout.split()
    assert float(total) == pytest.approx(float(found.phi.sum()))
    assert int(done) == int((found.status == "done").sum())


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({}, "sweep: expected a mapping from axes to values"),
        (
            {"state": "some"},
            "state: expected all, reachable, attractors or a list of states, got 'some'",
        ),
        ({"temperature": [1]}, "temperature: no unit of the substrate has this parameter"),
        ({"noise": {"linspace": [0, 1]}}, "linspace: expected .first, last, how many."),
        ({"noise": ["a"]}, "noise: expected numbers"),
        ({"state": ["100", "100"]}, "state: value '100' is given twice"),
        ({"zip": {"noise": [0, 0.1], "state": ["100"]}}, "expected axes of one length"),
        ({"theory": ["iit5"], "state": "all"}, "theory: expected one of"),
        ({"state": ["1"]}, "state: .*expected"),
    ],
)
def test_wrong_axes__are_named(sweep, message):
    with pytest.raises(iit.errors.InputError, match=message):
        made(
            {"substrate": {"example": "basic"}, "state": "100", "compute": "sia", "sweep": sweep}
            if "state" not in sweep and "zip" not in sweep
            else {"substrate": {"example": "basic"}, "compute": "sia", "sweep": sweep}
        )


def test_study_without_substrate_or_axis_of_them__is_refused():
    with pytest.raises(SpecError, match="expected `substrate`"):
        read_study({"state": "100"})


def test_study__may_have_its_substrates_in_a_zip():
    zipped = {"substrate": [{"example": "basic"}, {"example": "xor"}], "state": ["100", "000"]}
    cube = run_job(made({"compute": "sia", "sweep": {"zip": zipped}})).to_dataset()
    assert cube["state"].values.tolist() == ["100", "000"]
    assert cube.sizes == {"substrate": 2}
    with pytest.raises(SpecError, match="substrate: expected one, or an axis of them"):
        made({"compute": "sia", "sweep": {"state": "all"}})


def test_structures__are_kept_on_request(tmp_path):
    store, basic = tmp_path / "kept.zarr", iit.examples.load("basic")
    cube = iit.sweep({"state": "all"}, basic, compute="ces", keep="structures", store=store)
    plain = iit.sweep({"state": "all"}, basic, compute="ces")
    np.testing.assert_array_equal(cube.big_phi, plain.big_phi)
    group = cube.structure.sel(state="100").item()
    kept = xr.open_datatree(store / group, engine="zarr", consolidated=False).load()
    alone = iit.ces(basic, "100")
    np.testing.assert_array_equal(kept["distinctions"]["phi"], alone["distinctions"]["phi"])
    assert kept.attrs["state"] == "100"
    assert cube.structure.sel(state="010").item() == ""


def _smallest_chunk(store, pattern):
    return min(store.glob(pattern), key=lambda path: (path.stat().st_size, path))


def _swap(one, other):
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


STORE_HARMS = {
    "an input is gone": lambda s: _smallest_chunk(s, "work/sweep/0/sia/_inputs/*/c.*").unlink(),
    "the inputs' document is cut": lambda s: (s / "work/sweep/0/sia/_inputs/zarr.json").write_text(
        "{"
    ),
    "an input is swapped with a block": lambda s: _swap(
        _smallest_chunk(s, "work/sweep/0/sia/_inputs/*/c.*"),
        _smallest_chunk(s, "work/sweep/0/sia/value/c.*"),
    ),
    "the points' document is empty": lambda s: (s / "roll/0/zarr.json").write_bytes(b""),
    "the points' document is gone": lambda s: (s / "roll/0/zarr.json").unlink(),
    "the points are cut": lambda s: (s / "roll/0/points/c.0.0").write_bytes(b"x"),
    "the later points are gone": lambda s: shutil.rmtree(s / "roll/1"),
    "the root is gone": lambda s: (s / "zarr.json").unlink(),
}


@pytest.mark.parametrize("harm", STORE_HARMS)
@pytest.mark.parametrize("finished", [True, False])
def test_store__is_mended_by_one_run(harm, finished, tmp_path):
    store, spec = tmp_path / "s.zarr", {"compute": "sia", "sweep": {"substrate": RANDOM}}
    for states in (["0000", "0001"], ["0000", "0001", "1111"]):
        spec["sweep"]["state"] = states
        cube = run_job(made(spec), store=store).to_dataset()
    if not finished:
        shutil.rmtree(store / "result")
        about = read_attrs(open_store(store))
        kept = {k: v for k, v in about.items() if k not in ("finished", "result_check")}
        create_group(open_store(store), "", kept)
    STORE_HARMS[harm](store)
    again = run_job(made(spec), store=store).to_dataset()
    for name in set(cube.data_vars) - {"seconds", "point"}:
        np.testing.assert_array_equal(again[name].values, cube[name].values)
    assert verify_stored_run(store).problems == ()


def test_point_ids__of_another_array_are_damage(tmp_path):
    store = tmp_path / "s.zarr"
    iit.sweep({"state": "all"}, iit.examples.load("basic"), compute="sia", store=store)
    path = store / "roll/0/points/c.0.0"
    layout = open_group(open_store(store), "roll/0").arrays["points"]
    path.write_bytes(layout.encode(np.arange(layout.shape[0] * 2, dtype=np.uint64).reshape(-1, 2)))
    with pytest.raises(DamagedStoreError, match="roll/0 is not what was written; repeat"):
        verify_stored_run(store)
    iit.sweep({"state": "all"}, iit.examples.load("basic"), compute="sia", store=store)
    assert verify_stored_run(store).problems == ()


def test_structures__that_are_damaged_are_written_again(tmp_path):
    store, axes = tmp_path / "s.zarr", {"state": ["100", "000"]}
    cube = iit.sweep(
        axes, iit.examples.load("basic"), compute="ces", keep="structures", store=store
    )
    path = str(cube.sel(state="100")["structure"].values)
    how = {"engine": "zarr", "consolidated": False}
    whole = xr.open_datatree(store / path, **how).load()
    phi, other = (store / path / f"distinctions/{name}/c.0" for name in ("phi", "phi_cause"))
    _swap(phi, other)
    iit.sweep(axes, iit.examples.load("basic"), compute="ces", keep="structures", store=store)
    again = xr.open_datatree(store / path, **how).load()
    xr.testing.assert_identical(again, whole)
    for tidied in (False, True):
        phi.unlink()
        (problem,) = verify_stored_run(store).problems
        assert f"{path} cannot be read (a chunk of" in problem
        iit.sweep(axes, iit.examples.load("basic"), compute="ces", keep="structures", store=store)
        assert verify_stored_run(store).problems == ()
        if not tidied:
            drop_blocks(open_store(store))


def test_structures__need_a_store():
    with pytest.raises(SpecError, match="expected a store to keep them in"):
        iit.sweep({"state": "all"}, "basic", keep="structures")
