"""A Dask cluster on this machine: threads of this process, or worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "connect",
    "job_prologue",
    "local",
    "worker_environment",
]


def worker_environment() -> dict[str, str]:
    """One thread per kernel call: all parallelism is Dask's, nested pools only get in the way."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return dict.fromkeys(names, "1")


def job_prologue() -> list[str]:
    """Lines of a job script that set the same, and keep compiled kernels on the node's own disk.

    Many nodes that compile into one network directory harm each other. A directory that
    somebody else made is not used: compiled code is executed when it is loaded.
    """
    return [
        *(f"export {name}={value}" for name, value in worker_environment().items()),
        'if [ -z "${IITDASK_NUMBA_CACHE:-}" ]; then',
        '  IITDASK_NUMBA_CACHE="${TMPDIR:-/tmp}/iitdask-$(id -u)"',
        '  mkdir -p -m 700 "$IITDASK_NUMBA_CACHE" 2>/dev/null || true',
        '  [ -O "$IITDASK_NUMBA_CACHE" ] || IITDASK_NUMBA_CACHE=$(mktemp -d)',
        "  export IITDASK_NUMBA_CACHE",
        "fi",
    ]


def available_cores() -> int:
    """Cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def local(workers: int | None = None, memory: str | int | None = None) -> Iterator[Client]:
    """Open a client of a cluster on this machine.

    Parameters
    ----------
    workers : int, optional
        Worker processes of one thread each. Without it the kernels, which release the
        interpreter lock, run in threads of this process, one per core.
    memory : str or int, optional
        Memory of one worker process, such as ``"4GB"``.
    """
    import dask
    from distributed import Client, LocalCluster

    settings = {
        # A worker between two restarts would otherwise be dropped for good after 15 s.
        "distributed.deploy.lost-worker-timeout": "1h",
        "distributed.nanny.environ": worker_environment(),
        "distributed.scheduler.allowed-failures": 10,
    }
    with dask.config.set(settings):
        with _silenced_resource_tracker():
            cluster = LocalCluster(
                n_workers=workers or 1,
                threads_per_worker=1 if workers else available_cores(),
                processes=bool(workers),
                memory_limit=memory or "auto" if workers else 0,
                host="127.0.0.1" if workers else None,
                dashboard_address="127.0.0.1:0",  # without a host it would be on all interfaces
                silence_logs=50,  # what goes wrong reaches the driver as an event or an error
                **({"preload": "iitdask.cluster.quiet"} if workers else {}),
            )
        client = Client(cluster)
        patience = 30.0
        try:
            yield client
        except KeyboardInterrupt:
            patience = 2.0
            raise
        finally:
            # In a thread: a worker that does not answer must not hold up the end.
            ending = Thread(target=_close, args=(client, cluster, patience), daemon=True)
            ending.start()
            ending.join(patience + 1.0)


def _close(client: Any, cluster: Any, patience: float) -> None:
    with suppress(TimeoutError, OSError, RuntimeError):
        client.close(timeout=patience)
        cluster.close(timeout=patience)


@contextmanager
def _silenced_resource_tracker() -> Iterator[None]:
    """Keep the helper that counts semaphores from complaining when a run is cut short."""
    name = "PYTHONWARNINGS"
    before = os.environ.get(name)
    rule = "ignore::UserWarning:multiprocessing.resource_tracker"
    os.environ[name] = ",".join(filter(None, (before, rule)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """Open a client of a running scheduler, ``tcp://HOST:PORT``."""
    from distributed import Client

    with Client(address, timeout=30) as client:
        yield client
