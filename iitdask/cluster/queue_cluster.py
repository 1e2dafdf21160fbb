"""A Dask cluster whose workers are jobs of a queue: one job a worker."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from iitdask.cluster.job_scripts import job_arguments, job_class, job_configuration
from iitdask.cluster.jobs import JobSpec
from iitdask.cluster.local import dashboard_settings
from iitdask.cluster.queues import COMMAND_TIMEOUT_SECONDS, QueuedJob, QueueSystem
from iitdask.errors import InterruptedRunError

if TYPE_CHECKING:
    from distributed import Client

WATCH_SECONDS = 5.0  # Seconds between two looks at the workers
LISTING_SECONDS = 30.0  # Least seconds between two questions to the queue
NOTICE_SECONDS = 60.0  # Least seconds between two lines about jobs that wait
MAX_REFUSALS = 5  # Rounds of submissions, all refused, after which a run without workers ends
SUBMISSION_POLL_SECONDS = 0.1
DASK_SETTINGS = {
    # Preempted jobs are requeued and come back under their name; dask-jobqueue would cancel
    # them after 15 s. QueueWatch finds those that do not come back.
    "distributed.deploy.lost-worker-timeout": "1h",
    # Preemption counts as a failure of the bundle that was running.
    "distributed.scheduler.allowed-failures": 20,
    "distributed.scheduler.unknown-task-duration": "1m",
}


@dataclass(slots=True, eq=False)
class Submissions:
    """What the queue answered when jobs were submitted."""

    accepted: int = 0  # Jobs
    refused: int = 0  # Jobs
    message: str = ""  # Of the queue, when it refused last
    unreported: bool = False  # True if nobody was told of that message

    def refuse(self, error: Exception) -> None:
        """Count a job that was refused."""
        # dask-jobqueue's error holds the command, its output and then what it said.
        self.message = str(error).rpartition("stderr:")[2].strip()
        self.refused += 1
        self.unreported = True


@contextmanager
def queue_cluster(
    jobs: JobSpec,
    workers: int,
    demand: Callable[[], int] | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Iterator[Client]:
    """Open a client of a cluster whose workers are jobs of a queue.

    Jobs that are preempted come back by themselves; those that are cancelled, or end at their
    walltime, are replaced. `demand` returns how many jobs there is work for; idle jobs beyond
    that number are cancelled. `notify` gets a line a minute while jobs wait, and what the queue
    says if it refuses one.

    Raises
    ------
    ClusterError
        The queue refuses all jobs.
    """
    jobs.queue.require_commands()
    import dask
    from dask_jobqueue.core import JobQueueCluster
    from distributed import Client

    Path(jobs.logs).mkdir(parents=True, exist_ok=True)
    Path(jobs.shared).mkdir(parents=True, exist_ok=True)
    submissions = Submissions()
    with job_configuration(jobs), dask.config.set(DASK_SETTINGS | dashboard_settings()):
        cluster = JobQueueCluster(
            n_workers=0,
            name=jobs.name,
            job_cls=_submitted_class(job_class(jobs), submissions),
            security=True if jobs.tls else None,
            shared_temp_directory=jobs.shared,
            scheduler_options={
                "dashboard_address": "127.0.0.1:0",  # a site may say otherwise
                "port": jobs.port or 0,
                **dict(jobs.scheduler),
            },
            silence_logs=50,  # what goes wrong reaches the driver as an event or an error
            **job_arguments(jobs),
        )
        ended = Event()
        with cluster, Client(cluster) as client:
            watch = QueueWatch(cluster, client, workers, demand, jobs.queue, submissions, notify)
            cluster.scale(jobs=watch.target())
            watch.require_submission()
            guard = Thread(target=watch.run, args=(ended,), daemon=True, name="jobs")
            guard.start()
            try:
                yield client
            except InterruptedRunError as error:
                if watch.has_given_up:
                    raise jobs.queue.refusal(submissions.message) from error
                raise
            finally:
                ended.set()
                guard.join(timeout=COMMAND_TIMEOUT_SECONDS)


def _submitted_class(base: Any, submissions: Submissions) -> Any:
    """Return a class of jobs that count how their submissions ended, and fail in silence.

    Dask would only log what the queue said.
    """
    from distributed import Status

    class SubmittedJob(base):  # type: ignore[misc]
        async def _submit_job(self, script_filename: str) -> str:
            if getattr(self, "use_stdin", False):  # dask-jobqueue throws away what LSF says
                words = f"{self.submit_command} < {shlex.quote(script_filename)}"
                said: str = await self._call([words], shell=True)
            else:
                said = await super()._submit_job(script_filename)
            return said

        async def start(self) -> None:
            try:
                await super().start()
            except (OSError, RuntimeError, ValueError) as error:
                submissions.refuse(error)
                self.status = Status.running  # as of one that was accepted: it can be closed
            else:
                submissions.accepted += 1

    return SubmittedJob


@dataclass(slots=True, eq=False)
class QueueWatch:
    """Keeps as many jobs in the queue as there is work for, and says what they wait for."""

    cluster: Any
    client: Any
    workers: int
    demand: Callable[[], int] | None
    queue: QueueSystem
    submissions: Submissions
    notify: Callable[[str], None]
    has_given_up: bool = False
    _settled: set[str] = field(default_factory=set)  # Jobs of the last look: the queue has them
    _listed: float = float("-inf")  # Time of the last question to the queue
    _notified: float = float("-inf")  # Time of the last line
    _refused_rounds: int = 0

    def target(self) -> int:
        """Return how many jobs there should be."""
        return self.workers if self.demand is None else max(1, min(self.workers, self.demand()))

    def require_submission(self) -> None:
        """Wait for the first job that the queue accepts; raise a ClusterError if it takes none."""
        expected = self.target()
        while not self.submissions.accepted:
            if self.submissions.refused >= expected:
                raise self.queue.refusal(self.submissions.message)
            time.sleep(SUBMISSION_POLL_SECONDS)

    def run(self, ended: Event) -> None:
        """Look after the jobs periodically until the end."""
        while not ended.wait(WATCH_SECONDS):
            # A controller that does not answer now will later.
            with suppress(OSError, RuntimeError, TimeoutError):
                self.tend()

    def tend(self) -> None:
        """Replace jobs that are gone and cancel idle ones that there is no work for."""
        here = {str(worker["name"]) for worker in self._workers().values()}
        jobs = {str(name): job.job_id for name, job in dict(self.cluster.workers).items()}
        if jobs.keys() - here and time.monotonic() - self._listed >= LISTING_SECONDS:
            self._listed = time.monotonic()
            queued = self.queue.queued_jobs()
            if queued is not None:
                self._report(jobs, here, queued)
                self._drop(self._gone(jobs, here, queued))
        self._settled = set(jobs)
        target = self.target()
        excess = len(self.cluster.worker_spec) - target
        if excess > 0:
            self._drop(self._idle(here)[:excess])
        elif excess < 0:
            self.cluster.scale(jobs=target)

    def _gone(
        self, jobs: Mapping[str, str | None], here: set[str], queued: Mapping[str, QueuedJob]
    ) -> list[str]:
        """Return the jobs that the queue does not have any more, or never took."""
        refused = [name for name, number in jobs.items() if number is None]
        if refused and not here and not queued.keys() & jobs.values():
            self._refused_rounds += 1
            if self._refused_rounds >= MAX_REFUSALS:
                self.has_given_up = True
                self.client.close()
        else:
            self._refused_rounds = 0
        lost = [
            name
            for name, number in jobs.items()
            if number is not None and number not in queued and name in self._settled - here
        ]
        return lost + refused

    def _report(
        self, jobs: Mapping[str, str | None], here: set[str], queued: Mapping[str, QueuedJob]
    ) -> None:
        """Say what jobs wait for, and what the queue refused, at most once a minute."""
        if time.monotonic() - self._notified < NOTICE_SECONDS:
            return
        listed = [queued[number] for number in jobs.values() if number and number in queued]
        waiting = Counter(job.reason for job in listed if job.is_pending)
        lines = [_waiting_line(self.queue.name, len(jobs), len(here & jobs.keys()), waiting)]
        if self.submissions.unreported:
            lines.append(str(self.queue.refusal(self.submissions.message)))
            self.submissions.unreported = False
        for line in filter(None, lines):
            self._notified = time.monotonic()
            self.notify(line)

    def _idle(self, here: set[str]) -> list[str]:
        busy = {address for address, keys in self.client.processing().items() if keys}
        workers = self._workers()
        idle = [str(worker["name"]) for address, worker in workers.items() if address not in busy]
        # Jobs that still wait in the queue are the first to go.
        return [name for name in map(str, self.cluster.worker_spec) if name not in here] + idle

    def _workers(self) -> dict[str, dict[str, Any]]:
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])

    def _drop(self, names: list[str]) -> None:
        if names:
            self.cluster.sync(self.cluster.scale_down, names)


def _waiting_line(queue: str, jobs: int, at_work: int, waiting: Counter[str]) -> str:
    """Return a line about jobs that wait; none if there are none.

    Examples
    --------
    >>> _waiting_line("slurm", 3, 1, Counter({"Priority": 1, "Resources": 1}))
    'slurm: 1 of 3 jobs at work, 2 pending (1 Priority, 1 Resources)'
    """
    pending = sum(waiting.values())
    if not pending:
        return ""
    several = len(waiting) > 1
    reasons = [f"{n} {reason}" if several else reason for reason, n in waiting.items() if reason]
    why = f" ({', '.join(reasons)})" if reasons else ""
    return f"{queue}: {at_work} of {jobs} jobs at work, {pending} pending{why}"
