"""Walltimes that run out, on a real SLURM; over a minute each, the least SLURM knows."""

import os

import processes as proc
import pytest
import yaml
from site_slurm import say

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        os.environ.get("IITDASK_SLURM") != "all", reason="minutes: IITDASK_SLURM=all .ci/run slurm"
    ),
]


@pytest.fixture
def late(site, tmp_path, monkeypatch):
    """A site whose first job has no time left when it begins to work."""
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "again"
    first = f"[ -e {mark} ] || {{ touch {mark}; sleep SECONDS; }}"
    presets = {
        "array": {"job-script-prologue": [first.replace("SECONDS", "50")]},
        "driver": {"job-script-prologue": [first.replace("SECONDS", "100")]},
    }
    common = {"walltime": "00:01:00", "memory": "600MB", "interface": "lo"}
    sites = {name: common | preset for name, preset in presets.items()}
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask/sites.yaml").write_text(yaml.safe_dump({"jobqueue": sites}))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "dask"))
    yield tmp_path
    jobs = say("squeue", "--noheader", "--format=%A").split()
    if jobs:
        say("scancel", *set(jobs))


@pytest.fixture
def study(late):
    """Nine units in some hundred blocks."""
    return proc.write_study(late, 9, 7, 0.002)


@pytest.fixture
def undisturbed(study):
    return proc.filled(study)


def test_walltime__of_an_array_is_followed_by_another_slice(late, study, undisturbed, site):
    store = late / "run.zarr"
    words = ("--cluster", "slurm-array", "-n", "1", "--site", "array", "--store", store)
    done = proc.call("run", study, *words)
    assert done.returncode == 0, done.stderr
    assert proc.wait_until(lambda: not site.jobs())
    logs = "".join(path.read_text() for path in late.glob("iitdask-jobs/*"))
    assert "REQUEUE" in logs
    assert '"finished"' in (store / "zarr.json").read_text(), logs
    assert proc.content(store) == proc.content(undisturbed)


def test_walltime__of_a_worker_is_followed_by_another(late, study, undisturbed, site):
    store = late / "run.zarr"
    words = ("--cluster", "slurm", "-n", "1", "--site", "driver", "--store", store)
    process = proc.start("iitdask", "run", study, *words, log=late / "log")
    try:
        assert process.wait(timeout=proc.PATIENCE) == 0, (late / "log").read_text()
    finally:
        proc.end(process)
    assert len(list(late.glob("iitdask-jobs/*.err"))) > 1
    assert proc.content(store) == proc.content(undisturbed)
