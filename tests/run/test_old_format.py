"""Stores of format 1, which the first releases wrote: they are read, and not changed."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import iitdask as iit
from iitdask.cli.app import main
from iitdask.errors import StoreError
from iitdask.run.result_group import load_partial_result, load_result, save_result
from iitdask.run.status import read_status
from iitdask.run.storage import open_store
from iitdask.study.run import verify_stored_run

ARCHIVE = Path(__file__).parents[1] / "golden/stores/format1.tar.xz"
"""``point.zarr``, a cause-effect structure of `basic` in state 100; ``sweep.zarr``, its phi_s in
all states; both written by commit 7920fd9."""


@pytest.fixture
def stores(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def files(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def call(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_result__of_an_old_store_has_the_same_bits(stores):
    tree = load_result(open_store(stores / "point.zarr"))
    fresh = iit.ces(iit.examples.load("basic"), "100")
    assert tree.groups == fresh.groups
    for node in fresh.subtree:
        old = tree[node.path].to_dataset(inherit=False)
        added = {"fold", "log2_fold"} if node.path == "/distinctions" else set()
        assert list(old.variables) == [name for name in node.variables if name not in added]
        for name, variable in node.to_dataset(inherit=False).drop_vars(added).variables.items():
            if variable.dtype.kind in "biuf":
                assert old[name].values.tobytes() == variable.values.tobytes()
            else:
                np.testing.assert_array_equal(old[name].values, variable.values)
    cube = load_partial_result(open_store(stores / "sweep.zarr")).to_dataset()
    fresh = iit.sweep({"state": "all"}, iit.examples.load("basic"), compute="sia")
    assert cube["phi"].values.tobytes() == fresh["phi"].values.tobytes()


def test_old_store__of_another_study_is_refused_by_the_difference(stores):
    substrate = iit.examples.load("basic")
    with pytest.raises(StoreError, match=r"theory\.name='iit4', this study says 'iit4-2026'"):
        iit.ces(substrate, "100", theory="iit4-2026", store=stores / "point.zarr")
    with pytest.raises(StoreError, match="store format 1"):
        iit.ces(substrate, "100", store=stores / "point.zarr")


@pytest.mark.parametrize("name", ["point.zarr", "sweep.zarr"])
@pytest.mark.parametrize("command", ["show", "status", "export", "view"])
def test_old_store__is_read_and_left_as_it_is(command, name, stores, tmp_path, capsys):
    before = files(stores)
    more = {
        "show": ["--json"],
        "status": ["--json"],
        "export": [tmp_path / "out.json"],
        "view": ["--html", tmp_path / "out.html"],
    }[command]
    code, out, err = call(capsys, command, stores / name, *more)
    assert code == 0, err
    assert out or (tmp_path / more[-1]).stat().st_size > 100
    assert {path: content for path, content in files(stores).items() if path in before} == before


def test_status__of_an_old_store_counts_its_blocks(stores):
    status = read_status(open_store(stores / "point.zarr"))
    assert {stage.name for stage in status.stages} >= {"mice", "states", "system"}
    assert all(stage.done == stage.blocks > 0 for stage in status.stages)


@pytest.mark.parametrize("name", ["point.zarr", "sweep.zarr"])
@pytest.mark.parametrize("command", ["run", "verify", "tidy"])
def test_old_store__is_refused_in_one_line(command, name, stores, tmp_path, capsys):
    spec = tmp_path / "study.yaml"
    sweep = "\ncompute: sia\nsweep: {state: all}" if name == "sweep.zarr" else '\nstate: "100"'
    spec.write_text("substrate: {example: basic}" + sweep)
    before = files(stores / name)
    run = ["run", spec, "--store", stores / name, "--quiet"]
    words = run if command == "run" else [command, stores / name]
    code, out, err = call(capsys, *words)
    assert code == 1
    assert out == ""
    assert "has store format 1, which can be shown, exported and viewed, but not" in err
    assert len(err.strip().splitlines()) == 1
    assert files(stores / name) == before


def test_verify__takes_a_result_of_an_earlier_version_with_fewer_variables(tmp_path):
    store = open_store(tmp_path / "run.zarr")
    tree = iit.ces(iit.examples.load("basic"), "100", store=store.address)
    older = tree.copy()
    older["distinctions"] = xr.DataTree(
        tree["distinctions"].to_dataset().drop_vars(["fold", "log2_fold"])
    )
    save_result(store, older, {})
    assert "fold" not in iit.open(store.address)["distinctions"]
    assert verify_stored_run(store).problems == ()
    older["distinctions"]["phi"] = older["distinctions"]["phi"] * 2
    save_result(store, older, {})
    [problem] = verify_stored_run(store).problems
    assert "the blocks do not give the result that is kept" in problem
