"""Runs on a real SLURM: three shapes, and what clusters do to them."""

import os
import signal

import processes as proc
import pytest
from site_slurm import say

from iitdask.run.coordination import live_sessions
from iitdask.run.storage import open_store

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]

BLOCK_SECONDS = 0.005
"""Of the study: some hundred blocks."""
ARRAY_JOBS = ("--memory", "600MB", "--walltime", "10", "--store", "run.zarr")
JOBS = (*ARRAY_JOBS, "--interface", "lo")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    jobs = say("squeue", "--noheader", "--format=%A").split()
    if jobs:
        say("scancel", *set(jobs))


def is_same(store, undisturbed):
    assert proc.content(store) == proc.content(undisturbed)
    assert proc.shown(store) == proc.shown(undisturbed)
    return True


def said(here):
    return "\n".join(path.read_text() for path in here.glob("iitdask-jobs/*"))


def is_finished(store):
    return '"finished"' in (store / "zarr.json").read_text()


def driver(study, log, *words):
    return proc.start("iitdask", "run", study, "--cluster", "slurm", *JOBS, *words, log=log)


def refused(study, here, *words):
    """The line by which a run is refused; nothing is left of it."""
    done = proc.call("run", study, "--store", "run.zarr", *words)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert not (here / "run.zarr").exists()
    assert say("squeue", "--noheader") == ""
    return line


def allocated(study, site, here, *words):
    """Submit an allocation and return when it is in mid-run."""
    done = proc.call("run", study, "--cluster", "slurm-allocation", *words, *JOBS)
    assert done.returncode == 0, done.stderr
    after_ticks(here / "run.zarr", 10)


def preempt(site, jobs):
    """Have SLURM take all nodes from jobs for a moment."""
    say("sbatch", "--partition=debug", "--nodes=3", "--exclusive", "--wrap=sleep 2")
    assert jobs
    assert proc.wait_until(lambda: set(jobs) <= set(site.jobs("PENDING", "COMPLETING")))


def after_ticks(store, count):
    assert proc.wait_until(lambda: len(proc.ticks(store)) > count)


def ends_without(node, site, here, undisturbed):
    """A node is lost in mid-run: all is finished and gone, as if nothing had been."""
    site.kill_node(node)
    try:
        assert proc.wait_until(lambda: is_finished(here / "run.zarr")), said(here)
        assert proc.wait_until(lambda: not site.jobs()), said(here)
    finally:
        site.start_node(node)
    assert is_same(here / "run.zarr", undisturbed)
    assert proc.wait_until(site.is_idle)


def test_slurm__driver_with_a_job_a_worker(study, undisturbed, site, here):
    done = proc.call("run", study, "--cluster", "slurm", "--workers", "3", *JOBS)
    assert done.returncode == 0, done.stderr
    assert is_same(here / "run.zarr", undisturbed)


def test_slurm__one_allocation(study, undisturbed, site, here):
    done = proc.call("run", study, "--cluster", "slurm-allocation", "-n", "3", *JOBS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in site.jobs()
    assert proc.wait_until(lambda: not site.jobs()), said(here)
    assert is_finished(here / "run.zarr"), said(here)
    assert is_same(here / "run.zarr", undisturbed)


@pytest.mark.parametrize("shape", ["slurm", "slurm-allocation", "slurm-array"])
def test_slurm__refuses_beforehand_what_it_will_never_run(shape, study, site, here):
    line = refused(study, here, "--cluster", shape, "--partition", "nope")
    assert line.startswith("iitdask: sbatch refused the job: ")
    assert "nvalid partition" in line
    line = refused(study, here, "--cluster", shape, "--memory", "100GB")
    assert "Requested node configuration is not available" in line


def test_slurm__refuses_an_array_that_is_too_long_and_says_what_may_be(study, site, here):
    line = refused(study, here, "--cluster", "slurm-array", "--workers", "2000")
    assert "at most 1001 elements (MaxArraySize): give --workers 1001 or fewer" in line


def test_slurm__says_what_jobs_wait_for(study, undisturbed, site, here):
    first = say("sbatch", "--parsable", "--exclusive", "--nodes=3", "--wrap=sleep 3600").strip()
    assert proc.wait_until(lambda: first in site.jobs("RUNNING"))
    process = driver(study, here / "log", "--workers", "2")
    try:
        waiting = "slurm: 0 of 2 jobs at work, 2 pending ("
        assert proc.wait_until(lambda: waiting in (here / "log").read_text())
        say("scancel", first)
        assert process.wait(timeout=proc.PATIENCE) == 0, (here / "log").read_text()
    finally:
        proc.end(process)
    assert is_same(here / "run.zarr", undisturbed)


def test_slurm__an_array_runs_no_more_elements_at_a_time_than_asked(study, undisturbed, site, here):
    words = ("--cluster", "slurm-array", "--workers", "3", "--throttle", "1")
    done = proc.call("run", study, *words, *ARRAY_JOBS)
    assert done.returncode == 0, done.stderr
    most, reasons = 0, ""
    while site.jobs():
        most = max(most, len(site.jobs("RUNNING")))
        reasons += say("squeue", "--noheader", "--format=%r")
    assert most == 1
    assert "JobArrayTaskLimit" in reasons
    assert is_finished(here / "run.zarr"), said(here)
    assert is_same(here / "run.zarr", undisturbed)


def test_slurm__job_array_of_which_an_element_is_cancelled(study, undisturbed, site, here):
    done = proc.call("run", study, "--cluster", "slurm-array", "--workers", "3", *ARRAY_JOBS)
    assert done.returncode == 0, done.stderr
    after_ticks(here / "run.zarr", 20)
    say("scancel", f"{done.stdout.strip()}_1")
    assert proc.wait_until(lambda: not site.jobs()), said(here)
    assert is_finished(here / "run.zarr"), said(here)
    assert is_same(here / "run.zarr", undisturbed)


def test_slurm__connections_may_be_encrypted(study, undisturbed, site, here):
    done = proc.call("run", study, "--cluster", "slurm", "--workers", "2", "--tls", *JOBS)
    assert done.returncode == 0, done.stderr
    assert "tls://127.0.0.1" in said(here)
    assert "tcp://127.0.0.1" not in said(here)
    assert is_same(here / "run.zarr", undisturbed)
    # No key is left behind.
    assert list(here.rglob("*dask-jobqueue*")) == []


@pytest.mark.exhaustive
def test_slurm__connections_within_one_allocation_may_be_encrypted(study, undisturbed, site, here):
    words = ("--cluster", "slurm-allocation", "-n", "2", "--tls")
    done = proc.call("run", study, *words, *JOBS)
    assert done.returncode == 0, done.stderr
    assert proc.wait_until(lambda: list(here.glob(".iitdask-*.json")))
    assert '"address": "tls://' in next(here.glob(".iitdask-*.json")).read_text()
    assert proc.wait_until(lambda: not site.jobs()), said(here)
    assert is_finished(here / "run.zarr"), said(here)
    assert is_same(here / "run.zarr", undisturbed)
    assert list(here.rglob(".iitdask*")) == []


@pytest.mark.exhaustive
def test_slurm__a_cancelled_allocation_is_resumed(study, undisturbed, site, here):
    allocated(study, site, here, "-n", "3")
    say("scancel", *site.jobs())
    assert proc.wait_until(lambda: not site.jobs()), said(here)
    assert not is_finished(here / "run.zarr")
    with proc.Watch(here / "run.zarr") as watch:
        done = proc.call("run", study, "--cluster", "slurm-allocation", "-n", "3", *JOBS)
        assert done.returncode == 0, done.stderr
        assert proc.wait_until(lambda: not site.jobs()), said(here)
    assert is_finished(here / "run.zarr"), said(here)
    assert watch.again == []
    assert is_same(here / "run.zarr", undisturbed)


def test_slurm__an_allocation_whose_driver_was_killed_ends_and_is_resumed(
    study, undisturbed, site, here
):
    allocated(study, site, here, "-n", "2")
    (driver,) = live_sessions(open_store(here / "run.zarr"))
    os.kill(driver.pid, signal.SIGKILL)
    assert proc.wait_until(lambda: not site.jobs()), said(here)
    assert not is_finished(here / "run.zarr")
    done = proc.call("run", study, "--cluster", "slurm-allocation", "-n", "2", *JOBS)
    assert done.returncode == 0, done.stderr
    assert proc.wait_until(lambda: not site.jobs()), said(here)
    assert is_finished(here / "run.zarr"), said(here)
    assert is_same(here / "run.zarr", undisturbed)


def test_slurm__a_preempted_allocation_comes_back(study, undisturbed, site, here):
    allocated(study, site, here, "-n", "2", "--partition", "low")
    preempt(site, site.jobs())
    assert proc.wait_until(lambda: not site.jobs()), said(here)
    assert is_finished(here / "run.zarr"), said(here)
    assert is_same(here / "run.zarr", undisturbed)


@pytest.mark.exhaustive
def test_slurm__an_allocation_comes_back_from_a_lost_node(study, undisturbed, site, here):
    allocated(study, site, here, "-n", "1")
    # Its processes live on, and those of the job that SLURM starts elsewhere work beside them.
    (job,) = site.jobs()
    node = site.node_of(job)
    node = say("scontrol", "show", "hostnames", node).split()[0]
    ends_without(node, site, here, undisturbed)


@pytest.mark.exhaustive
def test_slurm__elements_of_an_array_that_are_preempted_come_back(study, undisturbed, site, here):
    words = ("--cluster", "slurm-array", "--workers", "2", "--partition", "low")
    done = proc.call("run", study, *words, *ARRAY_JOBS)
    assert done.returncode == 0, done.stderr
    after_ticks(here / "run.zarr", 10)
    preempt(site, site.jobs("RUNNING"))
    assert proc.wait_until(lambda: not site.jobs()), said(here)
    assert is_finished(here / "run.zarr"), said(here)
    assert is_same(here / "run.zarr", undisturbed)


def test_slurm__a_worker_whose_node_is_lost_does_no_harm(study, undisturbed, site, here):
    process = driver(study, here / "log", "--workers", "2")
    try:
        after_ticks(here / "run.zarr", 5)
        job = site.jobs("RUNNING")[0]
        node = site.node_of(job)
        site.kill_node(node)
        try:
            assert process.wait(timeout=proc.PATIENCE) == 0, (here / "log").read_text()
        finally:
            site.start_node(node)
    finally:
        proc.end(process)
    assert is_same(here / "run.zarr", undisturbed)
    assert proc.wait_until(site.is_idle)


@pytest.mark.exhaustive
def test_slurm__a_cancelled_worker_is_replaced(study, undisturbed, site, here):
    process = driver(study, here / "log", "--workers", "1")
    try:
        after_ticks(here / "run.zarr", 10)
        (job,) = site.jobs("RUNNING")
        say("scancel", job)
        # It was the only one: without another the run would never end.
        assert process.wait(timeout=proc.PATIENCE) == 0, (here / "log").read_text()
    finally:
        proc.end(process)
    assert is_same(here / "run.zarr", undisturbed)


def test_slurm__a_preempted_worker_comes_back(study, undisturbed, site, here):
    process = driver(study, here / "log", "--workers", "1", "--partition", "low")
    try:
        after_ticks(here / "run.zarr", 10)
        (job,) = site.jobs("RUNNING")
        preempt(site, [job])
        assert process.wait(timeout=proc.PATIENCE) == 0, (here / "log").read_text()
    finally:
        proc.end(process)
    assert is_same(here / "run.zarr", undisturbed)


def test_slurm__a_killed_driver_is_resumed(study, undisturbed, site, here):
    with proc.Watch(here / "run.zarr") as watch:
        process = driver(study, here / "log", "--workers", "2")
        try:
            after_ticks(here / "run.zarr", 20)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # Workers without a scheduler leave by themselves.
        assert proc.wait_until(lambda: not site.jobs())
        done = proc.call("run", study, "--cluster", "slurm", "--workers", "2", *JOBS)
        assert done.returncode == 0, done.stderr
    assert watch.again == []
    assert is_same(here / "run.zarr", undisturbed)


def test_slurm__a_lost_node_does_no_harm_though_its_process_lives_on(
    study, undisturbed, site, here
):
    done = proc.call("run", study, "--cluster", "slurm-array", "--workers", "2", *ARRAY_JOBS)
    assert done.returncode == 0, done.stderr
    after_ticks(here / "run.zarr", 5)
    node = site.node_of(f"{done.stdout.strip()}_0")
    # SLURM starts the element again elsewhere, on a store that is full by now or is not.
    ends_without(node, site, here, undisturbed)


def test_slurm__adaptive_asks_for_no_more_jobs_than_the_work_is_worth(
    study, undisturbed, site, here
):
    done = proc.call("run", study, "--cluster", "slurm", "--workers", "3", "--adapt", *JOBS)
    assert done.returncode == 0, done.stderr
    assert len(list(here.glob("iitdask-jobs/*.err"))) == 1
    assert is_same(here / "run.zarr", undisturbed)
