"""Workers of another edition are refused, those with too few cores remarked upon."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import processes as proc
import pytest
from distributed import Client, LocalCluster
from toy_recipe import toy

from iitdask.errors import WorkerMismatchError
from iitdask.run import engines, worker
from iitdask.run import execute as filling
from iitdask.run import worker_inventory as room
from iitdask.run.checksum import build_id, software_versions
from iitdask.run.engines import DaskEngine
from iitdask.run.estimate import WorkerDemand
from iitdask.run.events import BlocksFilled, StageCompleted, StageOpened, Warned
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.worker_inventory import (
    WorkerInfo,
    oversubscription_warnings,
    query_workers,
    require_same_build,
    require_same_versions,
    version_warnings,
)
from iitdask.study.problem import problem_from_study
from iitdask.study.run import run_job
from iitdask.study.spec import read_study

OLD = "0.0.1+abc"


def basic():
    study, folder = read_study("basic")
    return problem_from_study(study, folder, "basic")


def test_build_id__changes_with_the_source():
    version, _, digest = build_id().partition("+")
    assert version.count(".") >= 2
    assert len(digest) == 12


def test_worker_query__knows_every_worker(client):
    (found,) = query_workers(client)
    assert found.build_id == build_id()
    assert found.threads == 2
    assert found.cores >= 1
    require_same_build([found])


def test_worker_query__passes_over_a_worker_that_leaves_meanwhile(client, monkeypatch):
    def gone(*_, **__):
        return {"tcp://127.0.0.1:1": OSError("closed")}

    monkeypatch.setattr(client, "run", gone)
    assert query_workers(client) == []


def test_run__is_refused_by_a_cluster_of_another_build(client, monkeypatch):
    monkeypatch.setattr(room, "this_process", lambda: {"build_id": OLD, "cores": 2})
    with pytest.raises(WorkerMismatchError, match=r"expected iitdask .* got 0\.0\.1\+abc \(1 work"):
        run_job(basic(), client=client)


@pytest.mark.parametrize("name", ["python", "numpy", "numba"])
def test_run__is_refused_where_other_software_computes(client, monkeypatch, name):
    other = {**software_versions(), name: "0.1"}
    process = {"build_id": build_id(), "cores": 2, "versions": other}
    monkeypatch.setattr(room, "this_process", lambda: process)
    expected = rf"expected {name} .* as here, got {name} 0\.1; install the same on every machine$"
    with pytest.raises(WorkerMismatchError, match=expected):
        run_job(basic(), client=client)


def test_run__says_once_that_workers_have_another_dask_or_zarr():
    theirs = {**software_versions(), "dask": "1.0", "zarr": "3.0"}
    workers = [WorkerInfo(build_id(), 2, 1, f"n{k}", theirs) for k in range(3)]
    require_same_versions(workers)
    (text,) = version_warnings(workers)
    assert "n0" in text
    assert "got dask 1.0, zarr 3.0 (3 worker(s) in all)" in text
    assert version_warnings([WorkerInfo(build_id(), 2, 1, "n", software_versions())]) == []


def test_worker_that_comes_later__is_refused_for_its_software(client, monkeypatch):
    other = {**software_versions(), "numpy": "0.1"}
    process = {"build_id": build_id(), "cores": 2, "versions": other}
    monkeypatch.setattr(engines, "this_process", lambda: process)
    with pytest.raises(WorkerMismatchError, match=r"got numpy 0\.1"):
        execute(toy(), MemoryLedger(), DaskEngine(client))


def test_run__is_refused_by_a_worker_that_comes_later(client, monkeypatch):
    monkeypatch.setattr(worker, "build_id", lambda: OLD)
    with pytest.raises(WorkerMismatchError, match=r"as the driver has, got 0\.0\.1"):
        execute(toy(), MemoryLedger(), DaskEngine(client))


def test_bundle__is_not_opened_by_another_build():
    with pytest.raises(WorkerMismatchError, match="install the same on every machine"):
        worker.run_pickled(b"what no pickle is", b"", OLD)
    with pytest.raises(pickle.UnpicklingError):
        worker.run_pickled(b"what no pickle is", b"", build_id())


@pytest.mark.cluster
def test_run__is_refused_by_workers_without_iitdask(tmp_path, monkeypatch):
    (tmp_path / "bare.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] == 'iitdask':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "def dask_setup(worker):\n"
        "    sys.meta_path.insert(0, Finder())\n"
    )
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            dashboard_address=":0",
            host="127.0.0.1",
            preload=str(tmp_path / "bare.py"),
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(1)
        with pytest.raises(WorkerMismatchError, match="got none that answers"):
            run_job(basic(), client=client)


def test_warnings__name_workers_with_more_threads_than_cores(client, monkeypatch):
    crowded = WorkerInfo(build_id(), cores=2, threads=4, name="n1")
    fair = WorkerInfo(build_id(), cores=4, threads=4, name="n2")
    (text,) = oversubscription_warnings([crowded, fair])
    assert text.startswith("worker n1 has 4 threads on 2 core(s)")
    for module in (room, engines):
        monkeypatch.setattr(module, "this_process", lambda: {"build_id": build_id(), "cores": 1})
    events = []
    run_job(basic(), client=client, observers=[events.append])
    (remark,) = [event for event in events if isinstance(event, Warned)]
    assert "2 threads on 1 core(s)" in remark.text


def test_warnings__are_made_of_workers_that_come_later(client, monkeypatch):
    monkeypatch.setattr("iitdask.study.run.query_workers", lambda _: [])
    monkeypatch.setattr(engines, "this_process", lambda: {"build_id": build_id(), "cores": 1})
    monkeypatch.setattr(
        filling, "LOCAL_SECONDS", -1.0
    )  # so small a system would not be sent anywhere
    events = []
    run_job(basic(), client=client, observers=[events.append])
    (remark,) = [event for event in events if isinstance(event, Warned)]
    assert "2 threads on 1 core(s)" in remark.text
    # Before the first blocks are booked, not when all is done.
    assert events.index(remark) < next(
        i for i, event in enumerate(events) if isinstance(event, BlocksFilled)
    )


def test_run__of_another_build_ends_in_one_line(tmp_path):
    """A worker process whose package differs by one comment."""
    copy = tmp_path / "other"
    shutil.copytree(proc.ROOT / "iitdask", copy / "iitdask", ignore=shutil.ignore_patterns("*.pyc"))
    with (copy / "iitdask/errors.py").open("a") as source:
        source.write("# another edition\n")
    log = tmp_path / "log"
    where = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard")
    file = tmp_path / "scheduler.json"
    scheduler = proc.start("distributed.cli.dask_scheduler", *where, "--scheduler-file", file)
    options = ("--nthreads", 1, "--no-dashboard", "--no-nanny", "--scheduler-file", file)
    with log.open("w") as out:
        hand = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", *map(str, options)],
            env={**os.environ, "PYTHONPATH": str(copy)},
            start_new_session=True,
            stderr=out,
            cwd=tmp_path,
        )
    try:
        assert proc.wait_until(lambda: "Registered to" in log.read_text())
        address = json.loads(file.read_text())["address"]
        done = proc.call("run", "basic", "--cluster", address, "--store", tmp_path / "x.zarr")
    finally:
        proc.end(hand)
        proc.end(scheduler)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("install the same on every machine")
    assert "Traceback" not in done.stderr


def test_worker_demand__follows_the_work_that_is_left():
    demand = WorkerDemand(threads=2, horizon=100.0)
    assert demand.workers() == 1
    demand(StageOpened("a", 100, 100, 1000.0))
    assert demand.workers() == 5
    # Twice as slow as predicted.
    demand(BlocksFilled("a", 20, 400.0, 200.0, "w"))
    assert demand.seconds == pytest.approx(1600.0)
    assert demand.workers() == 8
    # The tail: few blocks, though dear ones.
    demand(BlocksFilled("a", 77, 800.0, 400.0, "w"))
    assert demand.seconds == pytest.approx(800.0)
    assert demand.workers() == 2
    demand(StageCompleted("a", 1.0))
    assert demand.workers() == 1
