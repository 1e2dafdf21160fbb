"""Dask clusters on SLURM: one job per worker, or all processes in one allocation.

Under ``python -m`` this file runs one task of an allocation, the scheduler or a worker.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from iitdask.cluster.jobs import JobSpec, require_jobqueue, require_slurm
from iitdask.cluster.local import dashboard_settings
from iitdask.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

QUEUE_POLL_SECONDS = 5.0  # Seconds between two checks of the queue
COMMAND_TIMEOUT_SECONDS = 20.0  # Seconds that SLURM's commands may take to answer
JOB_NAME = "iitdask"
DASK_SETTINGS = {
    # Preempted jobs are requeued and come back under their name; dask-jobqueue would cancel
    # them after 15 s. QueueWatch finds those that do not come back.
    "distributed.deploy.lost-worker-timeout": "1h",
    # Preemption counts as a failure of the bundle that was running.
    "distributed.scheduler.allowed-failures": 20,
    "distributed.scheduler.unknown-task-duration": "1m",
}


@contextmanager
def slurm(jobs: JobSpec, workers: int, demand: Callable[[], int] | None = None) -> Iterator[Client]:
    """Open a client of a cluster whose workers are SLURM jobs.

    Jobs that are preempted come back by themselves; those that are cancelled, or end at their
    walltime, are replaced. `demand` returns how many jobs there is work for; idle jobs beyond
    that number are cancelled.
    """
    require_jobqueue()
    require_slurm()
    import dask
    from dask_jobqueue.slurm import SLURMCluster
    from distributed import Client

    Path(jobs.logs).mkdir(parents=True, exist_ok=True)
    Path(jobs.shared).mkdir(parents=True, exist_ok=True)
    with dask.config.set(DASK_SETTINGS | dashboard_settings()):
        cluster = SLURMCluster(
            n_workers=0,
            security=True if jobs.tls else None,
            shared_temp_directory=jobs.shared,
            scheduler_options={
                "dashboard_address": "127.0.0.1:0",  # a site may say otherwise
                "port": jobs.port or 0,
                **dict(jobs.scheduler),
            },
            silence_logs=50,  # what goes wrong reaches the driver as an event or an error
            **_job_arguments(jobs),
        )
        ended = Event()
        with cluster, Client(cluster) as client:
            watch = QueueWatch(cluster, client, workers, demand)
            cluster.scale(jobs=watch.target())
            guard = Thread(target=watch.run, args=(ended,), daemon=True, name="jobs")
            guard.start()
            try:
                yield client
            finally:
                ended.set()
                guard.join(timeout=COMMAND_TIMEOUT_SECONDS)


def worker_script(jobs: JobSpec) -> str:
    """Return the job script of one worker, for ``--print-job``."""
    require_jobqueue()
    from dask_jobqueue.slurm import SLURMJob

    address = f"{'tls' if jobs.tls else 'tcp'}://SCHEDULER:{jobs.port or 'PORT'}"
    script: str = SLURMJob(address, name=f"{JOB_NAME}-0", **_job_arguments(jobs)).job_script()
    return script


@dataclass(frozen=True, eq=False)
class QueueWatch:
    """Keeps as many jobs in the queue as there is work for."""

    cluster: Any
    client: Any
    workers: int
    demand: Callable[[], int] | None

    def target(self) -> int:
        """Return how many jobs there should be."""
        return self.workers if self.demand is None else max(1, min(self.workers, self.demand()))

    def run(self, ended: Event) -> None:
        """Check the queue periodically until the end."""
        while not ended.wait(QUEUE_POLL_SECONDS):
            # A controller that does not answer now will later.
            with suppress(OSError, RuntimeError, TimeoutError):
                self.tend()

    def tend(self) -> None:
        """Replace jobs that are gone and cancel idle ones that there is no work for."""
        self._drop(self._gone())
        target = self.target()
        excess = len(self.cluster.worker_spec) - target
        if excess > 0:
            self._drop(self._idle()[:excess])
        elif excess < 0:
            self.cluster.scale(jobs=target)

    def _gone(self) -> list[str]:
        queued = _queued_jobs()
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


def _queued_jobs() -> set[str] | None:
    """Return the numbers of this user's jobs in SLURM's queue; None if it does not answer."""
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--me", "--format=%A"],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return set(done.stdout.split()) if done.returncode == 0 else None


def _job_arguments(jobs: JobSpec) -> dict[str, Any]:
    lifetime, stagger = jobs.lifetime
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
        "job_name": JOB_NAME,
        "job_extra_directives": ["--requeue", "--open-mode=append", *jobs.directive],
        "job_directives_skip": list(jobs.skip),
        "job_script_prologue": list(jobs.before),
        "worker_extra_args": ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s"],
        "python": jobs.python,
    }


DRIVER_TASK = 1  # Number of the task that runs the driver
RECONNECT_SECONDS = 30.0  # Seconds in which a driver that lost its connection may come back
FIRST_WORKER_SECONDS = 120  # Seconds the driver waits for its first worker


def is_driver() -> bool:
    """Return True if this task of a job is the driver."""
    task = os.environ.get("SLURM_PROCID", "")
    if not task.isdecimal() or "SLURM_JOB_ID" not in os.environ:
        raise InputError(
            "--cluster allocation: expected to be started by srun with three tasks or more; "
            "`iitdask run --cluster slurm-allocation --print-job` shows how"
        )
    return int(task) == DRIVER_TASK


def exec_allocation_role(interface: str | None, port: int | None, scratch: str | None) -> None:
    """Replace this process by the scheduler or a worker of this job; does not return."""
    arguments = json.dumps([interface, port, scratch])
    # A process of its own: dask-jobqueue ends it by a signal that must not reach the driver.
    os.execv(sys.executable, [sys.executable, "-m", __name__, arguments])


@contextmanager
def allocation() -> Iterator[Client]:
    """Open a client of the scheduler in this job."""
    from distributed import Client

    handler = signal.getsignal(signal.SIGINT)
    with _slurm_runner(None, None, None) as runner:
        signal.signal(signal.SIGINT, handler)  # dask-jobqueue takes it when it is imported
        with Client(runner, timeout=FIRST_WORKER_SECONDS) as client:
            client.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
            yield client
    _scheduler_file().unlink(missing_ok=True)


def _driver_watch_plugin() -> Any:
    """Return a plugin that stops the scheduler when the driver dies, so that no job idles."""
    from distributed import SchedulerPlugin

    class DriverWatch(SchedulerPlugin):
        def remove_client(self, scheduler: Any, client: str) -> None:  # noqa: ARG002 its interface
            scheduler.loop.call_later(
                RECONNECT_SECONDS, scheduler.loop.add_callback, self.end, scheduler
            )

        async def end(self, scheduler: Any) -> None:
            if all(name == "fire-and-forget" for name in scheduler.clients):
                await scheduler.close(reason="the driver is gone")

    return DriverWatch()


def _scheduler_file() -> Path:
    folder = Path(os.environ.get("SLURM_SUBMIT_DIR", "."))
    # A requeued job keeps its number, but the address of its last scheduler is not valid.
    restart = os.environ.get("SLURM_RESTART_COUNT", "0")
    return folder / f".iitdask-{os.environ['SLURM_JOB_ID']}-{restart}.json"


def _slurm_runner(interface: str | None, port: int | None, scratch: str | None) -> Any:
    require_jobqueue()
    from dask_jobqueue.slurm import SLURMRunner

    threads = int(os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    # By default a worker would assume its share of the node's memory, not that of the job.
    megabytes = os.environ.get("SLURM_MEM_PER_CPU", "")
    memory = threads * int(megabytes) * 2**20 if megabytes.isdecimal() else "auto"
    return SLURMRunner(
        scheduler_file=str(_scheduler_file()),
        scheduler_options={
            "dashboard_address": "127.0.0.1:0",
            "idle_timeout": "10 minutes",
            "interface": interface,
            "port": port or 0,
            "plugins": [_driver_watch_plugin()],
        },
        worker_class="distributed.nanny.Nanny",
        worker_options={
            "nthreads": threads,
            "memory_limit": memory,
            "interface": interface,
            "local_directory": scratch and os.path.expandvars(scratch),
        },
    )


if __name__ == "__main__":
    logging.getLogger("distributed").setLevel(logging.WARNING)
    import dask

    dask.config.set(dashboard_settings())
    _slurm_runner(*json.loads(sys.argv[1]))
