"""Scheduler, driver and workers as the tasks of one SLURM job.

The driver is the second task; the others run this file and do nothing else.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iitdask.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["allocation", "is_driver", "serve"]

DRIVER = 1
"""Number of the task that drives the run."""
GRACE = 30.0
"""Seconds a driver that lost its connection has to come back."""
PATIENCE = 120
"""Seconds the driver waits for its first worker."""


def is_driver() -> bool:
    """Whether this task of a job is the driver.

    Raises
    ------
    InputError
        This is no task of a SLURM job.
    """
    task = os.environ.get("SLURM_PROCID", "")
    if not task.isdecimal() or "SLURM_JOB_ID" not in os.environ:
        raise InputError(
            "--cluster allocation: expected to be started by srun with three tasks or more; "
            "`iitdask run --cluster slurm-allocation --print-job` shows how"
        )
    return int(task) == DRIVER


def serve(interface: str | None, port: int | None, scratch: str | None) -> None:
    """Become the scheduler or a worker of this job; does not return."""
    given = json.dumps([interface, port, scratch])
    # A process of its own: dask-jobqueue ends it by a signal that the driver's must not hear.
    os.execv(sys.executable, [sys.executable, "-m", __name__, given])


@contextmanager
def allocation() -> Iterator[Client]:
    """Open a client of the scheduler in this job."""
    from distributed import Client

    handler = signal.getsignal(signal.SIGINT)
    with _runner(None, None, None) as runner:
        signal.signal(signal.SIGINT, handler)  # dask-jobqueue takes it when it is imported
        with Client(runner, timeout=PATIENCE) as client:
            client.wait_for_workers(1, timeout=PATIENCE)
            yield client
    _file().unlink(missing_ok=True)


def _farewell() -> Any:
    """A scheduler's plugin that ends it when its driver died: the job would wait for nobody."""
    from distributed import SchedulerPlugin

    class Farewell(SchedulerPlugin):
        def remove_client(self, scheduler: Any, client: str) -> None:  # noqa: ARG002 its interface
            scheduler.loop.call_later(GRACE, scheduler.loop.add_callback, self.end, scheduler)

        async def end(self, scheduler: Any) -> None:
            if all(name == "fire-and-forget" for name in scheduler.clients):
                await scheduler.close(reason="the driver is gone")

    return Farewell()


def _file() -> Path:
    folder = Path(os.environ.get("SLURM_SUBMIT_DIR", "."))
    # A job that was requeued keeps its number: the address of its last scheduler leads nowhere.
    restart = os.environ.get("SLURM_RESTART_COUNT", "0")
    return folder / f".iitdask-{os.environ['SLURM_JOB_ID']}-{restart}.json"


def _runner(interface: str | None, port: int | None, scratch: str | None) -> Any:
    from dask_jobqueue.slurm import SLURMRunner

    threads = int(os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    # Else a worker takes its share of the node, and waits for memory that it was given.
    megabytes = os.environ.get("SLURM_MEM_PER_CPU", "")
    memory = threads * int(megabytes) * 2**20 if megabytes.isdecimal() else "auto"
    return SLURMRunner(
        scheduler_file=str(_file()),
        scheduler_options={
            "dashboard_address": ":0",
            "idle_timeout": "10 minutes",
            "interface": interface,
            "port": port or 0,
            "plugins": [_farewell()],
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
    _runner(*json.loads(sys.argv[1]))
