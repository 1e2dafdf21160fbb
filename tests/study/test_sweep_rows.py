"""Points that take seconds: rows of one stage, with the bits that each has alone."""

import signal
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import iitdask as iit
from iitdask.errors import UnreachableStateError
from iitdask.model.batch import Family
from iitdask.run.events import BlocksFilled, StageOpened
from iitdask.run.storage import open_store
from iitdask.study.run import run_job, verify_stored_run
from iitdask.study.spec import read_study
from iitdask.study.sweep import sweep_from_study
from iitdask.theory.catalog import get_computation
from tests.study.killed_sweeps import killed_sweep

ROOT = Path(__file__).parents[2]
FAMILY = {
    "family": "erdos-renyi",
    "n": 8,
    "count": 4,
    "seed": 8,
    "gates": ["AND", "OR", {"gate": "XOR", "noise": 0.1}],
}
NOISY = {**FAMILY, "gates": [{"gate": gate, "noise": 0.1} for gate in ("AND", "OR", "XOR")]}
SPEC = {"compute": "sia", "sweep": {"substrate": NOISY, "state": ["00000000", "11111111"]}}


def made(spec=SPEC):
    return sweep_from_study(*read_study(spec), "study")


def network(family, number):
    (found,) = Family.from_block(family)
    return iit.Substrate.from_units(found.block(number)["units"])


def alone(compute, substrate, state, theory):
    """Outcomes of a point by its own run, and why phi is 0; None if it cannot be."""
    try:
        tree = getattr(iit, compute)(substrate, state, theory=theory)
    except UnreachableStateError as error:
        return None, str(error)
    tree = xr.DataTree.from_dict({"/system": tree}) if isinstance(tree, xr.Dataset) else tree
    values = {each.name: each.value(tree) for each in get_computation(compute).outcomes}
    return values, tree["system"].attrs["reasons"]


@pytest.mark.parametrize(
    ("compute", "theory", "n", "count"),
    [("sia", "iit4", 8, 3), ("ces", "iit4-2026", 7, 2), ("sia", "iit3", 3, 4)],
)
def test_rows__are_what_they_are_alone(compute, theory, n, count):
    family = {**FAMILY, "n": n, "count": count}
    states = ["0" * n, "1" * n, "10" * (n // 2) + "1" * (n % 2)]
    spec = {"compute": compute, "theory": theory, "sweep": {"substrate": family, "state": states}}
    job, events = made(spec), []
    assert all(problem.is_row for problem in job.layout.large)
    cube = run_job(job, observers=[events.append]).to_dataset()
    opened = [event.stage for event in events if isinstance(event, StageOpened)]
    assert opened == [f"sweep/0/{compute}-rows"]
    statuses = set()
    for k in range(count):
        for state in states:
            one = cube.isel(substrate=k).sel(state=state)
            statuses.add(str(one.status.item()))
            values, text = alone(compute, network(family, k), state, theory)
            if values is None:
                assert (str(one.status.item()), str(one.message.item())) == ("unreachable", text)
                continue
            assert one.reason.item() == text
            assert one.seconds > 0
            for name, value in values.items():
                np.testing.assert_array_equal(one[name], value)
    assert "done" in statuses


def test_rows__of_other_options_are_what_they_are_alone():
    options = {"name": "iit4", "ties": "canonical"}  # which the kernels for small systems lack
    cube = iit.sweep({"state": ["100", "001"]}, "basic", theory=options)
    for state in ("100", "001"):
        found = iit.sia(iit.examples.load("basic"), state, theory=options)
        assert cube.phi.sel(state=state).item() == float(found.phi)


def test_rows__take_few_files_and_no_folder_each(tmp_path):
    store = tmp_path / "rows.zarr"
    run_job(made(), store=store, block_seconds=0.01)
    assert sorted(path.name for path in (store / "work").iterdir() if path.is_dir()) == ["sweep"]
    blocks = len(list((store / "work/sweep/0/sia-rows/tick").glob("c.*")))
    assert 1 < blocks <= 16
    assert sum(path.is_file() for path in store.rglob("*")) < 70 + 4 * blocks


def test_grown_rows__are_those_of_one_run(tmp_path):
    store = tmp_path / "grown.zarr"
    few = {**SPEC, "sweep": {**SPEC["sweep"], "state": ["00000000"]}}
    run_job(made(few), store=store)
    events = []
    grown = run_job(made(), store=store, observers=[events.append]).to_dataset()
    todo = {event.stage: event.todo for event in events if isinstance(event, StageOpened)}
    assert todo["sweep/0/sia-rows"] == 0
    assert todo["sweep/1/sia-rows"] > 0
    whole = run_job(made()).to_dataset()
    changing = ["seconds", "point"]
    xr.testing.assert_identical(grown.drop_vars(changing), whole.drop_vars(changing))
    found = verify_stored_run(str(store), 10)
    assert not found.problems
    assert found.recomputed > 1
    chunk = min((store / "work/sweep/1/sia-rows/value").glob("c.*"))
    chunk.write_bytes(b"\0" * 40)
    assert verify_stored_run(str(store), 10).problems
    filled = []
    run_job(made(), store=store, observers=[filled.append])
    assert sum(event.blocks for event in filled if isinstance(event, BlocksFilled)) == 1


def test_structures__are_kept_of_each_point_apart(tmp_path):
    spec = {
        "compute": "sia",
        "keep": "structures",
        "sweep": {"substrate": {**FAMILY, "count": 1}, "state": ["00000000"]},
    }
    job = made(spec)
    assert not any(problem.is_row for problem in job.layout.large)
    run_job(job, store=tmp_path / "kept.zarr")
    assert len(list((tmp_path / "kept.zarr/structures").iterdir())) >= 1


@pytest.mark.slow
def test_killed_rows__end_with_the_identical_cube(tmp_path):
    store = tmp_path / "killed.zarr"
    run = killed_sweep(SPEC, store, after=3, block_seconds=0.01)
    assert run.returncode == -signal.SIGKILL, run.stderr
    part = xr.open_zarr(open_store(str(store)).zarr, group="result", consolidated=False).load()
    there = (part.status != "pending").values
    assert 0 < there.sum() < there.size
    events = []
    cube = run_job(made(), store=store, observers=[events.append]).to_dataset()
    opened = [event for event in events if isinstance(event, StageOpened)]
    assert opened[0].todo < opened[0].blocks
    whole = run_job(made()).to_dataset()
    xr.testing.assert_identical(cube.drop_vars("seconds"), whole.drop_vars("seconds"))
    np.testing.assert_array_equal(part.phi.values[there], whole.phi.values[there])
