"""What the workers of a cluster are: looked at before anything is sent to them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from iitdask.errors import InterruptedRunError, WorkerMismatchError
from iitdask.run.edition import edition

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Facts", "census", "facts", "remarks", "require_one_edition"]

PATIENCE = 30.0
"""Seconds that workers may take to answer."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One worker."""

    edition: str
    """Its iitdask."""
    cores: int
    """Cores its process may use."""
    threads: int = 0
    """Blocks it computes at a time."""
    name: str = ""
    """What Dask calls it."""


def facts() -> dict[str, Any]:
    """What a process says of itself."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return {"edition": edition(), "cores": cores}


def census(client: Client) -> list[Facts]:
    """Ask every worker of a cluster.

    Raises
    ------
    WorkerMismatchError
        A worker has no iitdask, or one that does not know the question.
    """
    try:
        workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            return []
        # First what any Python knows: a worker that cannot open a question of ours breaks off.
        said: dict[str, Any] = client.run(find_spec, "iitdask", on_error="return")
        if not any(_is_bare(answer) for answer in said.values()):
            said = client.run(facts, on_error="return")
    except (OSError, TimeoutError) as error:
        raise InterruptedRunError(f"the workers cannot be asked what they are: {error}") from error
    found = []
    for address, answer in said.items():
        about = workers.get(address, {})
        name = str(about.get("name", address))
        if not isinstance(answer, dict):
            if not _is_bare(answer):
                continue
            raise WorkerMismatchError(
                f"worker {name}: expected iitdask {edition()}, got none that answers "
                f"({answer or 'not installed'}); install the same on every machine"
            )
        found.append(Facts(**answer, threads=int(about.get("nthreads", 0)), name=name))
    return found


def _is_bare(answer: Any) -> bool:
    """Whether a worker has no iitdask; one that left meanwhile says nothing of the kind."""
    return answer is None or (isinstance(answer, Exception) and not isinstance(answer, OSError))


def require_one_edition(workers: Iterable[Facts]) -> None:
    """Raise a WorkerMismatchError unless all are of this process's iitdask."""
    own = edition()
    other = [worker for worker in workers if worker.edition != own]
    if other:
        first = other[0]
        raise WorkerMismatchError(
            f"worker {first.name}: expected iitdask {own} as in this process, got "
            f"{first.edition} ({len(other)} worker(s) in all); install the same on every machine"
        )


def remarks(workers: Iterable[Facts]) -> list[str]:
    """What is not wrong but slow: workers whose threads are not as many as their cores."""
    return [
        f"worker {each.name} has {each.threads} threads on {each.cores} core(s): "
        "they take turns; give it as many cores as threads"
        for each in workers
        if each.threads > each.cores
    ]
