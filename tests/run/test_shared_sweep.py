"""Workers that fill the store of a sweep, as real processes without a scheduler."""

import numpy as np
import processes as proc
import pytest
import xarray as xr
import yaml

from iitdask.errors import InputError
from iitdask.run.result_group import read_point_ids
from iitdask.run.storage import open_store
from iitdask.study.run import job_from_study, run_job, run_shared
from iitdask.study.spec import read_study

pytestmark = pytest.mark.slow

SPEC = {
    "compute": "sia",
    "sweep": {
        "substrate": {"family": "erdos-renyi", "n": 4, "count": 400, "gates": ["AND", "XOR"]},
        "state": "all",
        "theory": ["iit4", "iit4-2026"],
    },
    "run": {"block_seconds": 0.005},
}


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(SPEC, sort_keys=False))
    return path


def test_work__on_a_sweep_survives_a_kill_and_has_the_same_cube(study, tmp_path):
    store, log = tmp_path / "shared.zarr", tmp_path / "log"
    crew = []
    try:
        with proc.Watch(store) as watch:
            # At once, and each makes the store if the others have not.
            crew += [
                proc.start("iitdask", "work", store, "--spec", study, "--quiet", log=log)
                for _ in range(3)
            ]
            assert proc.wait_until(lambda: len(proc.ticks(store)) > 20), log.read_text()
            proc.end(crew[0])
            assert [each.wait(proc.PATIENCE) for each in crew[1:]] == [0, 0], log.read_text()
    finally:
        for each in crew:
            proc.end(each)
    assert len(watch.again) <= 1
    assert len(read_point_ids(open_store(store))) == 1
    kept = xr.open_zarr(store / "result").load()
    alone = run_job(job_from_study(*read_study(SPEC), "study")).to_dataset()
    assert set(kept.data_vars) == set(alone.data_vars)
    for name in set(alone.data_vars) - {"seconds"}:
        np.testing.assert_array_equal(kept[name].values, alone[name].values)


def test_work__on_a_sweep_without_its_study_is_refused_in_one_line(study, tmp_path):
    store = tmp_path / "made.zarr"
    made = job_from_study(
        *read_study({**SPEC, "sweep": {"state": "all"}, "substrate": {"example": "basic"}}), "s"
    )
    run_job(made, store=store)
    done = proc.call("work", store)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "holds a sweep, which its study file tells; give it with --spec" in done.stderr
    with pytest.raises(InputError, match="holds a sweep"):
        run_shared(str(store))
