"""Sweeps on the command line: run, show, export, verify, grow."""

import json

import pytest
import xarray as xr
import yaml

from iitdask.cli.app import main

SPEC = {
    "compute": "sia",
    "substrate": {"example": "basic"},
    "sweep": {"state": "all", "noise": [0.0, 0.1]},
}


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(SPEC, sort_keys=False))
    return path


def call(capsys, *words):
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code, capsys.readouterr()


@pytest.fixture
def store(study, tmp_path, capsys):
    code, said = call(capsys, "run", study, "--store", tmp_path / "s.zarr", "--quiet")
    assert code == 0, said.err
    assert "state (8) x noise (2)" in said.out
    return tmp_path / "s.zarr"


def test_show__summarises_every_axis(store, capsys):
    code, said = call(capsys, "show", store)
    assert code == 0
    assert "14 done, 2 unreachable" in said.out
    assert "mean phi_s" in said.out
    assert "no past state of the substrate leads to the state" in said.out


def test_show__json_has_every_point(store, capsys):
    code, said = call(capsys, "show", store, "--json")
    assert code == 0
    assert len(json.loads(said.out)["variables"]["phi"]["values"]) == 8


@pytest.mark.parametrize("ending", ["csv", "json", "nc"])
def test_export__writes_what_others_read(store, tmp_path, capsys, ending):
    target = tmp_path / f"out.{ending}"
    code, said = call(capsys, "export", store, target)
    assert code == 0, said.err
    cube = xr.open_zarr(store, group="result", consolidated=False).load()
    if ending == "csv":
        lines = target.read_text().splitlines()
        assert len(lines) == 17
        assert lines[0].startswith("state,noise,")
    elif ending == "nc":
        with xr.open_dataset(target, engine="h5netcdf") as read:
            assert (read.phi.fillna(-1) == cube.phi.fillna(-1)).all()
    else:
        assert json.loads(target.read_text())["attrs"]["compute"] == "sia"


def test_export__other_endings_are_refused_in_one_line(store, tmp_path, capsys):
    code, said = call(capsys, "export", store, tmp_path / "out.xlsx")
    assert code == 2
    assert said.err.count("\n") == 1
    assert "expected a file ending in .csv, .json, .nc" in said.err


def test_verify__computes_points_again(store, capsys):
    code, said = call(capsys, "verify", store)
    assert code == 0, said.out
    assert "computed again with the same bits" in said.out


def test_verify__finds_damaged_blocks(store, capsys):
    chunks = list((store / "work/sweep/0/sia/number").glob("c.*"))
    assert chunks
    for chunk in chunks:
        chunk.write_bytes(b"\0" * 30)
    code, _ = call(capsys, "verify", store)
    assert code == 1


def test_run__after_an_axis_has_grown__goes_on_in_the_same_store(store, study, capsys):
    grown = {**SPEC, "sweep": {"state": "all", "noise": [0.0, 0.1, 0.2]}}
    study.write_text(yaml.safe_dump(grown, sort_keys=False))
    code, said = call(capsys, "run", study, "--store", store, "--quiet")
    assert code == 0, said.err
    assert "noise (3)" in said.out


def test_run__wrong_axis_is_refused_in_one_line(study, tmp_path, capsys):
    study.write_text(yaml.safe_dump({**SPEC, "sweep": {"state": "most"}}))
    code, said = call(capsys, "run", study, "--store", tmp_path / "x.zarr")
    assert code == 2
    assert said.err.count("\n") == 1
    assert "state: expected all, reachable, attractors or a list of states" in said.err


@pytest.mark.parametrize("command", ["estimate", "plan"])
def test_what_a_sweep_costs__is_known_before(study, capsys, command):
    code, said = call(capsys, command, study)
    assert code == 0, said.err
    assert "sweep/0" in said.out
