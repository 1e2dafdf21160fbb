"""Dask on SLURM: one job per worker, or all processes in one allocation.

Under ``python -m`` this file is the scheduler of an allocation.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iitdask.cluster.job_scripts import script_header, whole_script, worker_script
from iitdask.cluster.jobs import JobSpec, parse_memory, tls_exports
from iitdask.cluster.local import dashboard_settings
from iitdask.cluster.queue_cluster import queue_cluster as slurm
from iitdask.errors import ClusterError, InputError, quote

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "allocation", "allocation_script", "require_allocation", "run_scheduler", "slurm",
    "worker_script",
]  # fmt: skip

RECONNECT_SECONDS = 30.0  # Seconds in which a driver that lost its connection may come back
START_SECONDS = 120.0  # Seconds the driver waits for the scheduler, and for its first worker
POLL_SECONDS = 0.1
DRIVER_MEGABYTES = 768
"""Memory that an allocation asks for scheduler and driver, beside that of its workers."""
SCHEDULER_FILE_VARIABLE = "IITDASK_SCHEDULER_FILE"
WORKER_MODULE = "distributed.cli.dask_worker"


def allocation_script(jobs: JobSpec, workers: int, run: Sequence[str]) -> str:
    """Return the script of one job: workers on all of its tasks, and beside the first of them
    the scheduler and the driver, which gets the arguments `run`.
    """
    header = [
        f"#SBATCH --output={jobs.logs}/%j.out",
        *(_line_for_tasks(line, jobs, workers) for line in script_header(jobs)),
    ]
    folder = f"{jobs.shared}/.iitdask-$SLURM_JOB_ID"
    file = "${SLURM_SUBMIT_DIR:-.}/.iitdask-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}.json"
    options = {"interface": jobs.interface, "port": jobs.port or 0, **dict(jobs.scheduler)}
    make_keys = f'{jobs.python} -m iitdask.cluster.jobs "{folder}"'
    tls = [make_keys, *tls_exports(folder)] if jobs.tls else []
    start_worker = shlex.join(["bash", "-c", _worker_command(jobs)])
    body = [
        "export DASK_LOGGING__DISTRIBUTED=warning",
        "# A requeued job keeps its number, but the address of its last scheduler is not valid.",
        f'export {SCHEDULER_FILE_VARIABLE}="{file}"',
        f'trap \'rm -rf "${SCHEDULER_FILE_VARIABLE}" "{folder}"\' EXIT',
        *tls,
        f"{jobs.python} -m iitdask.cluster.slurm {shlex.quote(json.dumps(options))} &",
        "scheduler=$!",
        # One worker that ends badly, such as one that was killed, does not end the others.
        f"srun --kill-on-bad-exit=0 --cpus-per-task={_cpus(jobs)} {start_worker} &",
        "workers=$!",
        "# A job that was requeued works beside what may be left of it on a node that was lost.",
        f"{jobs.python} -m iitdask {shlex.join(run)} ${{SLURM_RESTART_COUNT:+--join}} &",
        "driver=$!",
        "wait $driver; code=$?",
        "kill $scheduler 2>/dev/null",
        "# Workers leave without a scheduler; those that do not are ended.",
        "timeout 10 tail --pid=$workers -f /dev/null",
        "kill $workers 2>/dev/null",
        "wait",
        *jobs.after,
        "exit $code",
    ]
    return whole_script(jobs, header, body)


def _line_for_tasks(line: str, jobs: JobSpec, tasks: int) -> str:
    """Return a line about one task as one about several."""
    if line == "#SBATCH -n 1":
        return f"#SBATCH --ntasks={tasks}"
    key, _, amount = line.partition("=")
    if key != "#SBATCH --mem" or amount.startswith("0"):  # which is all of a node
        return line
    driver = 0 if "job-mem" in dict(jobs.own) else DRIVER_MEGABYTES
    megabytes = _megabytes(amount) + -(-driver // tasks)
    if tasks == 1:
        return f"{key}={megabytes}M"
    # With more tasks --mem would be for a node, however many of them it gets.
    return f"#SBATCH --mem-per-cpu={-(-megabytes // _cpus(jobs))}M"


def _cpus(jobs: JobSpec) -> int:
    return int(dict(jobs.own).get("job-cpu") or jobs.cores)


def _megabytes(amount: str) -> int:
    """Return an amount of memory as SLURM writes it in its megabytes."""
    unit = amount.strip().upper().removesuffix("B").removesuffix("I")
    number = unit.rstrip("KMGT")
    try:
        nbytes = float(number) * 1024 ** "KMGT".index(unit[len(number) :] or "M") * 1024
    except ValueError as error:
        raise InputError(
            f"--site: job-mem: expected an amount such as 60G, got {quote(amount)}"
        ) from error
    return -(-int(nbytes) // 2**20)


def _worker_command(jobs: JobSpec) -> str:
    """Return the command of a worker of an allocation, for a shell on its node."""
    words = [
        f"exec {jobs.python} -m {WORKER_MODULE}",
        f'--scheduler-file "${SCHEDULER_FILE_VARIABLE}" --name "$SLURM_PROCID"',
        f"--nthreads {jobs.cores} --nanny --death-timeout {jobs.death_timeout}",
        f"--memory-limit {parse_memory(jobs.memory)}",
    ]
    # As they are, as dask-jobqueue writes them: they may name variables of the node.
    words += [f"--local-directory {jobs.scratch}"] if jobs.scratch else []
    words += [f"--interface {jobs.interface}"] if jobs.interface else []
    return " ".join([*words, *jobs.worker_arguments])


def require_allocation() -> None:
    """Raise an InputError unless this process was started by the script of an allocation."""
    if SCHEDULER_FILE_VARIABLE not in os.environ:
        raise InputError(
            "--cluster allocation: expected to be started by the job of "
            "`iitdask run --cluster slurm-allocation`; with --print-job it shows how"
        )


@contextmanager
def allocation() -> Iterator[Client]:
    """Open a client of the scheduler in this job, and end it in the end."""
    from distributed import Client

    file = Path(os.environ[SCHEDULER_FILE_VARIABLE])
    deadline = time.monotonic() + START_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{file}: the scheduler of this job did not start in {START_SECONDS:g} s; see the "
                "job's output"
            )
        time.sleep(POLL_SECONDS)
    with Client(scheduler_file=str(file), timeout=START_SECONDS) as client:
        try:
            client.wait_for_workers(1, timeout=START_SECONDS)
            yield client
        finally:
            client.shutdown()


def run_scheduler(options: dict[str, Any]) -> None:
    """Run the scheduler of an allocation until its driver has ended."""
    import dask

    dask.config.set(dashboard_settings())
    asyncio.run(_serve(options))


async def _serve(options: dict[str, Any]) -> None:
    from distributed import Scheduler

    defaults = {"dashboard_address": "127.0.0.1:0", "idle_timeout": "10 minutes"}
    file = os.environ[SCHEDULER_FILE_VARIABLE]
    plugins = [_driver_watch_plugin()]
    async with Scheduler(
        **{**defaults, **options}, scheduler_file=file, plugins=plugins
    ) as scheduler:
        await scheduler.finished()


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


if __name__ == "__main__":
    logging.getLogger("distributed").setLevel(logging.WARNING)
    run_scheduler(json.loads(sys.argv[1]))
