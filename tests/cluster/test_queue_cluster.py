"""Jobs of Dask workers: replaced, cancelled, refused and reported."""

from collections import Counter

import pytest

from iitdask.cluster import queue_cluster
from iitdask.cluster.queue_cluster import QueueWatch, Submissions
from iitdask.cluster.queues import SLURM, QueuedJob
from iitdask.errors import ClusterError


class Cluster:
    """Stands for dask-jobqueue's: jobs by name, some of which have a worker."""

    def __init__(self, jobs, alive, busy):
        self.workers = {name: type("Job", (), {"job_id": number}) for name, number in jobs.items()}
        self.worker_spec = dict.fromkeys(jobs)
        self.alive, self.busy = alive, busy
        self.dropped, self.asked = [], []
        self.is_closed = False

    def scheduler_info(self, n_workers):
        return {"workers": {f"tcp://{name}": {"name": name} for name in self.alive}}

    def processing(self):
        return {f"tcp://{name}": ("key",) * (name in self.busy) for name in self.alive}

    def sync(self, function, names):
        function(names)

    def scale_down(self, names):
        self.dropped += names
        self.alive = [name for name in self.alive if name not in names]
        for name in names:
            del self.worker_spec[name], self.workers[name]

    def scale(self, jobs):
        self.asked.append(jobs)

    def close(self):
        self.is_closed = True


@pytest.fixture
def queue(monkeypatch):
    """What the queue lists; how often it was asked."""
    listed = {"jobs": {}, "times": 0}

    def queued_jobs(_):
        listed["times"] += 1
        return listed["jobs"]

    monkeypatch.setattr(queue_cluster.QueueSystem, "queued_jobs", queued_jobs)
    return listed


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the watch sees."""
    now = [1000.0]
    monkeypatch.setattr(queue_cluster.time, "monotonic", lambda: now[0])
    return now


def running(*numbers):
    return {number: QueuedJob(is_pending=False) for number in numbers}


def pending(reason, *numbers):
    return {number: QueuedJob(is_pending=True, reason=reason) for number in numbers}


def watch(cluster, workers, demand=None, submissions=None, lines=None):
    said = [] if lines is None else lines
    counts = Submissions(accepted=1) if submissions is None else submissions
    return QueueWatch(cluster, cluster, workers, demand, SLURM, counts, said.append)


def test_watch__replaces_jobs_that_left_the_queue(queue, clock):
    cluster = Cluster({"a": "1", "b": "2", "c": "3"}, alive="a", busy="a")
    watching = watch(cluster, 3)
    queue["jobs"] = running("1", "2", "3")
    watching.tend()
    queue["jobs"] = running("1") | pending("", "3")
    watching.tend()
    # Asked less than 30 s ago.
    assert (cluster.dropped, queue["times"]) == ([], 1)
    clock[0] += 30.0
    watching.tend()
    # a works, c waits in the queue or was preempted: both are left alone.
    assert cluster.dropped == ["b"]
    assert cluster.asked == [3]


def test_watch__leaves_jobs_alone_that_the_queue_may_not_know_yet(queue, clock):
    cluster = Cluster({"a": "1"}, alive="", busy="")
    watch(cluster, 1).tend()
    assert cluster.dropped == []


def test_watch__asks_the_queue_only_for_jobs_that_are_not_here(queue, clock):
    cluster = Cluster({"a": "1", "b": "2"}, alive="ab", busy="a")
    watching = watch(cluster, 2)
    for _ in range(10):
        clock[0] += 60.0
        watching.tend()
    assert queue["times"] == 0
    cluster.alive, queue["jobs"] = "a", running("1", "2")
    for _ in range(12):
        clock[0] += 5.0
        watching.tend()
    assert queue["times"] == 2


def test_watch__does_nothing_while_slurm_does_not_answer(queue, clock):
    cluster = Cluster({"a": "1", "b": "2"}, alive="", busy="")
    watching = watch(cluster, 2)
    queue["jobs"] = None
    for _ in range(3):
        clock[0] += 30.0
        watching.tend()
    assert (cluster.dropped, cluster.asked) == ([], [])


def test_watch__lets_waiting_and_idle_jobs_go_when_little_is_left(queue, clock):
    cluster = Cluster({"a": "1", "b": "2", "c": "3", "d": "4"}, alive="abc", busy="b")
    queue["jobs"] = running("1", "2", "3", "4")
    watch(cluster, 4, lambda: 2).tend()
    assert cluster.dropped == ["d", "a"]
    watch(cluster, 4, lambda: 0).tend()
    # The busy one stays, whatever is predicted.
    assert cluster.dropped == ["d", "a", "c"]
    watch(cluster, 4, lambda: 9).tend()
    assert cluster.asked == [4]


def test_watch__says_once_a_minute_what_jobs_wait_for(queue, clock):
    cluster = Cluster({"a": "1", "b": "2", "c": "3"}, alive="a", busy="a")
    lines = []
    watching = watch(cluster, 3, lines=lines)
    queue["jobs"] = running("1") | pending("Priority", "2", "3")
    watching.tend()
    assert lines == ["slurm: 1 of 3 jobs at work, 2 pending (Priority)"]
    clock[0] += 30.0
    watching.tend()
    assert len(lines) == 1
    queue["jobs"] = running("1") | pending("Priority", "2") | pending("Resources", "3")
    clock[0] += 30.0
    watching.tend()
    assert lines[1] == "slurm: 1 of 3 jobs at work, 2 pending (1 Priority, 1 Resources)"
    queue["jobs"] = running("1", "2", "3")
    clock[0] += 60.0
    watching.tend()
    assert len(lines) == 2


def test_line__names_no_reason_where_the_queue_has_none():
    assert queue_cluster._waiting_line("sge", 2, 0, Counter({"": 2})) == (
        "sge: 0 of 2 jobs at work, 2 pending"
    )


def refused(times=1):
    submissions = Submissions()
    for _ in range(times):
        submissions.refuse(RuntimeError("Command:\nsbatch x\nstdout:\n\nstderr:\nno quota\n"))
    return submissions


def test_watch__raises_what_the_queue_says_if_it_takes_no_job():
    cluster = Cluster({"a": None, "b": None}, alive="", busy="")
    with pytest.raises(ClusterError, match="sbatch refused the job: no quota "):
        watch(cluster, 2, submissions=refused(2)).require_submission()


def test_watch__submits_refused_jobs_again_and_says_so(queue, clock):
    cluster = Cluster({"a": "1", "b": None}, alive="a", busy="a")
    lines = []
    watch(cluster, 2, submissions=refused(), lines=lines).tend()
    assert lines == ["sbatch refused the job: no quota (--print-job shows the script)"]
    assert cluster.dropped == ["b"]
    assert cluster.asked == [2]


def test_watch__gives_up_when_every_job_is_refused_and_none_is_left(queue, clock):
    cluster = Cluster({"a": None}, alive="", busy="")
    watching = watch(cluster, 1, submissions=refused())
    for _ in range(queue_cluster.MAX_REFUSALS):
        assert not watching.has_given_up
        cluster.workers = {"a": type("Job", (), {"job_id": None})}
        cluster.worker_spec = {"a": None}
        clock[0] += 30.0
        watching.tend()
    assert watching.has_given_up
    assert cluster.is_closed
