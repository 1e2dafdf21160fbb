"""This machine as a Dask cluster: threads of this process, or worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from iitdask.cluster.environment import worker_environment

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["connected", "local"]


def cores() -> int:
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
        cluster = LocalCluster(
            n_workers=workers or 1,
            threads_per_worker=1 if workers else cores(),
            processes=bool(workers),
            memory_limit=memory or "auto" if workers else 0,
            host="127.0.0.1" if workers else None,
            dashboard_address=None,
            silence_logs=40,
        )
        with cluster, Client(cluster) as client:
            yield client


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Open a client of a running scheduler, ``tcp://HOST:PORT``."""
    from distributed import Client

    with Client(address, timeout=30) as client:
        yield client
