"""A scheduler in this process and one SLURM job per worker."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from iitdask.cluster.jobs import Jobs
from iitdask.cluster.scripts import require_slurm

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["slurm", "worker_script"]

LOOK = 5.0
"""Seconds between two looks at the queue."""
ASKED = 20.0
"""Seconds that SLURM's commands may take to answer."""
NAME = "iitdask"


@contextmanager
def slurm(
    jobs: Jobs, workers: int, wanted: Callable[[], int] | None = None, look: float = LOOK
) -> Iterator[Client]:
    """Open a client of a cluster whose workers are SLURM jobs.

    Jobs that are preempted come back by themselves; those that are cancelled, or end
    at their walltime, are replaced.

    Parameters
    ----------
    jobs : Jobs
        What each job is submitted with.
    workers : int
        Number of jobs.
    wanted : callable, optional
        Asked now and then how many jobs there is work for; idle ones beyond it leave.
    look : float
        Seconds between two looks at the queue.
    """
    import dask
    from dask_jobqueue.slurm import SLURMCluster
    from distributed import Client

    require_slurm()
    Path(jobs.logs).mkdir(parents=True, exist_ok=True)
    Path(jobs.shared).mkdir(parents=True, exist_ok=True)
    with dask.config.set(_settings()):
        cluster = SLURMCluster(
            n_workers=0,
            security=True if jobs.tls else None,
            shared_temp_directory=jobs.shared,
            scheduler_options={
                "dashboard_address": "127.0.0.1:0",  # a site may say otherwise
                "port": jobs.port,
                **dict(jobs.scheduler),
            },
            silence_logs=50,  # what goes wrong reaches the driver as an event or an error
            **_job(jobs),
        )
        ended = Event()
        with cluster, Client(cluster) as client:
            watch = Watch(cluster, client, workers, wanted, look)
            cluster.scale(jobs=watch.target())
            guard = Thread(target=watch.keep, args=(ended,), daemon=True, name="jobs")
            guard.start()
            try:
                yield client
            finally:
                ended.set()
                guard.join(timeout=ASKED)


def worker_script(jobs: Jobs) -> str:
    """Job script of one worker, to be looked at."""
    from dask_jobqueue.slurm import SLURMJob

    address = f"{'tls' if jobs.tls else 'tcp'}://SCHEDULER:{jobs.port or 'PORT'}"
    script: str = SLURMJob(address, name=f"{NAME}-0", **_job(jobs)).job_script()
    return script


class Watch:
    """Keeps as many jobs in the queue as are wanted."""

    def __init__(
        self,
        cluster: Any,
        client: Any,
        workers: int,
        wanted: Callable[[], int] | None,
        look: float,
    ) -> None:
        self.cluster = cluster
        self.client = client
        self.workers = workers
        self.wanted = wanted
        self.look = look

    def target(self) -> int:
        """How many jobs there should be."""
        return self.workers if self.wanted is None else max(1, min(self.workers, self.wanted()))

    def keep(self, ended: Event) -> None:
        """Look after the jobs until the end."""
        while not ended.wait(self.look):
            # A controller that does not answer now will later.
            with suppress(OSError, RuntimeError, TimeoutError):
                self.tend()

    def tend(self) -> None:
        """Replace jobs that are gone, send away idle ones nobody needs."""
        gone = self._gone()
        if gone:
            self._drop(gone)
        target = self.target()
        excess = len(self.cluster.worker_spec) - target
        if excess > 0:
            self._drop(self._idle()[:excess])
        elif excess < 0:
            self.cluster.scale(jobs=target)

    def _gone(self) -> list[str]:
        queued = _queued()
        if queued is None:
            return []
        here = {str(worker["name"]) for worker in self._workers().values()}
        known = {
            str(name): str(job.job_id)
            for name, job in dict(self.cluster.workers).items()
            if getattr(job, "job_id", None)
        }
        return [name for name, job in known.items() if job not in queued and name not in here]

    def _idle(self) -> list[str]:
        busy = {address for address, keys in self.client.processing().items() if keys}
        workers = self._workers()
        here = {str(worker["name"]) for worker in workers.values()}
        idle = [str(worker["name"]) for address, worker in workers.items() if address not in busy]
        # Jobs that still wait in the queue are the first to go.
        return [name for name in map(str, self.cluster.worker_spec) if name not in here] + idle

    def _workers(self) -> dict[str, dict[str, Any]]:
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])

    def _drop(self, names: list[str]) -> None:
        if names:
            self.cluster.sync(self.cluster.scale_down, names)


def _queued() -> set[str] | None:
    """Numbers of this user's jobs in SLURM's queue; None when it does not answer."""
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--me", "--format=%A"],
            capture_output=True,
            text=True,
            timeout=ASKED,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return set(done.stdout.split()) if done.returncode == 0 else None


def _settings() -> dict[str, Any]:
    return {
        # Preempted jobs are requeued and come back under their name; dask-jobqueue would
        # cancel them after 15 s. Those that do not come back are found by the watch.
        "distributed.deploy.lost-worker-timeout": "1h",
        # Preemption counts as a failure of the bundle that was running.
        "distributed.scheduler.allowed-failures": 20,
        "distributed.scheduler.unknown-task-duration": "1m",
    }


def _job(jobs: Jobs) -> dict[str, Any]:
    lifetime, stagger = jobs.lifetime
    leave = ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s"]
    return {
        "cores": jobs.cores,
        "memory": jobs.memory,
        "processes": 1,  # with more, lost workers are never replaced: their names match no job
        "walltime": jobs.walltime,
        "queue": jobs.partition,
        "account": jobs.account,
        "interface": jobs.interface,
        "local_directory": jobs.scratch,
        "log_directory": jobs.logs,
        "death_timeout": 120,
        "job_name": NAME,
        "job_extra_directives": ["--requeue", "--open-mode=append", *jobs.directives],
        "job_directives_skip": list(jobs.skip),
        "job_script_prologue": list(jobs.before),
        "worker_extra_args": leave,
        "python": jobs.python,
    }
