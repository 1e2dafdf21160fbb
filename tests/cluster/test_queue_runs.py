"""Runs through the commands of each queue system; a stand-in starts their jobs on this machine."""

import os
import sys
from pathlib import Path

import pytest

from iitdask.cluster.queues import QUEUES

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "run"))

import processes as proc
import stub_queue
from processes import folder, study, undisturbed  # noqa: F401 (fixtures)

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]

BLOCK_SECONDS = 0.02
"""Of the study: some dozens of blocks."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(proc, "IITDASK", "iitdask")
    return tmp_path


def use(queue, here, monkeypatch):
    (here / "queue").mkdir()
    stub_queue.install(here / "queue", queue)
    monkeypatch.setenv("PATH", f"{here / 'queue'}{os.pathsep}{os.environ['PATH']}")


def no_job_is_left(here):
    return not any(stub_queue.is_alive(job) for job in (here / "queue").glob("*.job"))


EVERY_QUEUE = [
    name if name in ("pbs", "lsf") else pytest.param(name, marks=pytest.mark.exhaustive)
    for name in QUEUES
    if name != "slurm"
]


@pytest.mark.parametrize("queue", EVERY_QUEUE)
def test_queue__runs_workers_as_jobs(queue, study, undisturbed, here, monkeypatch):  # noqa: F811
    use(queue, here, monkeypatch)
    words = ("--cluster", queue, "-n", "2", "--memory", "600MB", "--interface", "lo")
    done = proc.call("run", study, *words, "--store", "run.zarr")
    assert done.returncode == 0, done.stderr
    assert len(list((here / "queue").glob("*.job"))) == 2
    assert proc.content(here / "run.zarr") == proc.content(undisturbed)
    assert proc.wait_until(lambda: no_job_is_left(here))


@pytest.mark.parametrize("queue", ["pbs", "lsf"])
def test_queue__runs_job_arrays(queue, study, undisturbed, here, monkeypatch):  # noqa: F811
    use(queue, here, monkeypatch)
    words = ("--cluster", f"{queue}-array", "-n", "2", "--memory", "600MB", "--store", "run.zarr")
    done = proc.call("run", study, *words)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert proc.wait_until(lambda: no_job_is_left(here))
    assert '"finished"' in (here / "run.zarr" / "zarr.json").read_text()
    assert proc.content(here / "run.zarr") == proc.content(undisturbed)


@pytest.mark.parametrize("queue", [name for name in QUEUES if name != "slurm"])
def test_queue__that_takes_no_job_ends_the_run_in_a_line(queue, study, here, monkeypatch):  # noqa: F811
    use(queue, here, monkeypatch)
    submit = here / "queue" / stub_queue.COMMANDS[queue][0]
    submit.write_text("#!/bin/sh\necho 'no such queue: nope' >&2\nexit 1\n")
    limit = () if queue == "htcondor" else ("--partition", "nope")
    done = proc.call("run", study, "--cluster", queue, "--quiet", "--interface", "lo", *limit)
    assert done.returncode == 1
    expected = f"iitdask: {submit.name} refused the job: no such queue: nope (--print-job"
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == 1
