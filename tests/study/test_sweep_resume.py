"""A sweep that is killed and run again ends with the same cube."""

import signal

import numpy as np
import xarray as xr
import zarr

from iitdask.run.events import BlocksFilled
from iitdask.run.storage import open_store
from iitdask.study.run import run_job
from iitdask.study.spec import read_study
from iitdask.study.sweep import sweep_from_study
from tests.study.killed_sweeps import killed_sweep

SPEC = {
    "compute": "sia",
    "sweep": {
        "substrate": {
            "family": "erdos-renyi",
            "n": 4,
            "count": 150,
            "seed": 8,
            "gates": ["AND", "OR", {"gate": "XOR", "noise": 0.1}],
        },
        "state": "all",
    },
}


def child(store, after):
    """Fill the store in a process of its own, that dies after so many bundles."""
    return killed_sweep(SPEC, store, after, block_seconds=0.005)


def made():
    return sweep_from_study(*read_study(SPEC), "study")


def test_killed_sweep__ends_with_the_identical_cube(tmp_path):
    store = tmp_path / "killed.zarr"
    rng = np.random.default_rng(4)
    seen = []
    for _ in range(3):
        run = child(store, int(rng.integers(1, 4)))
        assert run.returncode == -signal.SIGKILL, run.stderr
        part = xr.open_zarr(store, group="result", consolidated=False)
        seen.append(int((part.status != "pending").sum()))
    assert seen == sorted(seen)
    assert 0 < seen[-1] < 2400
    filled = []
    cube = run_job(made(), store=store, observers=[filled.append], block_seconds=0.005)
    assert any(isinstance(event, BlocksFilled) for event in filled)
    whole = run_job(made(), block_seconds=0.005).to_dataset()
    xr.testing.assert_identical(cube.to_dataset().drop_vars("seconds"), whole.drop_vars("seconds"))
    kept = xr.open_zarr(store, group="result", consolidated=False).load()
    np.testing.assert_array_equal(kept.phi.values, whole.phi.values)
    assert (kept.status.values == whole.status.values).all()


def test_cube__of_half_a_sweep_says_what_is_there(tmp_path):
    store = tmp_path / "half.zarr"
    assert child(store, 3).returncode == -signal.SIGKILL
    part = xr.open_zarr(store, group="result", consolidated=False).load()
    whole = run_job(made()).to_dataset()
    there = part.status.values != "pending"
    assert there.any()
    np.testing.assert_array_equal(part.phi.values[there], whole.phi.values[there])
    assert np.isnan(part.phi.values[~there]).all()
    assert "finished" not in zarr.open_group(open_store(str(store)).zarr, mode="r").attrs


def test_damaged_block__is_computed_again(tmp_path):
    store = tmp_path / "damaged.zarr"
    first = run_job(made(), store=store).to_dataset()
    chunks = sorted((store / "work/sweep/0/sia/value").glob("c.*"))
    chunks[0].write_bytes(b"\0" * 40)
    filled = []
    again = run_job(made(), store=store, observers=[filled.append]).to_dataset()
    assert sum(event.blocks for event in filled if isinstance(event, BlocksFilled)) == 1
    np.testing.assert_array_equal(again.phi.values, first.phi.values)
