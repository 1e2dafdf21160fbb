"""What SLURM is asked for: our defaults, a site's preset, what the user says."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iitdask.cluster.environment import prologue
from iitdask.errors import InputError

__all__ = ["Jobs", "Wishes", "jobs_for"]

MEMORY = "4GB"
WALLTIME = "01:00:00"
LIFE = 0.9
"""Part of the walltime after which a worker begins nothing new."""
STAGGER = 0.05
"""Part of the walltime over which workers spread their ends."""
LEAVING = 30
"""Seconds of notice that SLURM gives a job array's element before its walltime is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user says about jobs; None: as the site or iitdask has it."""

    cores: int | None = None
    """Cores of a job: so many blocks are computed at a time."""
    walltime: str | None = None
    """Time limit of a job, as SLURM writes it."""
    partition: str | None = None
    """Partition (queue)."""
    account: str | None = None
    """Account that is charged."""
    interface: str | None = None
    """Network interface between workers and scheduler, such as ib0."""
    port: int | None = None
    """Port of the scheduler, where only some are open."""
    tls: bool = False
    """Encrypt and authenticate all connections, with certificates made for this run."""
    site: str | None = None
    """Name of a preset that the site ships as dask configuration (jobqueue.NAME)."""
    scratch: str | None = None
    """Node-local directory for what workers spill."""
    directive: tuple[str, ...] = ()
    """Further lines for sbatch, such as --constraint=icelake."""
    manifest: str | None = None
    """With kubernetes: file with the DaskCluster, such as deploy/kubernetes/cluster-pvc.yaml."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What every job of a run is submitted with."""

    cores: int
    """Cores of a job."""
    memory: str
    """Memory of a job."""
    walltime: str
    """Time limit, as SLURM writes it."""
    partition: str | None
    """Partition."""
    account: str | None
    """Account."""
    interface: str | None
    """Network interface."""
    port: int
    """Port of the scheduler; 0: any."""
    tls: bool
    """Whether connections are encrypted."""
    scratch: str | None
    """Node-local directory."""
    logs: str
    """Directory of the jobs' output."""
    shared: str
    """Directory that all nodes see, for certificates of this run."""
    directives: tuple[str, ...]
    """Further lines for sbatch."""
    skip: tuple[str, ...]
    """Lines for sbatch that the site does not want."""
    before: tuple[str, ...]
    """Lines of the job script before the worker."""
    python: str
    """Interpreter on the nodes."""
    scheduler: tuple[tuple[str, Any], ...]
    """What a site wishes of the scheduler."""

    @property
    def seconds(self) -> float:
        """Time limit in seconds."""
        return _seconds(self.walltime)

    @property
    def lifetime(self) -> tuple[int, int]:
        """Seconds after which a worker leaves by itself, and by how much they differ."""
        return max(20, int(LIFE * self.seconds)), max(2, int(STAGGER * self.seconds))

    def header(self, tasks: int = 1) -> list[str]:
        """Lines for sbatch that jobs of iitdask's own making share.

        Parameters
        ----------
        tasks : int
            Tasks of the job, each of which gets all that one job is to have.
        """
        megabytes = -(-_bytes(self.memory) // 2**20)
        memory = {"mem": f"{megabytes}M"}
        if tasks > 1:  # --mem would be for a node, however many tasks it gets
            memory = {"mem-per-cpu": f"{-(-megabytes // self.cores)}M"}
        given: dict[str, Any] = {
            "job-name": "iitdask",
            "partition": self.partition,
            "account": self.account,
            "ntasks": tasks,
            "cpus-per-task": self.cores,
            **memory,
            "time": self.walltime,
        }
        lines = [f"--{key}={value}" for key, value in given.items() if value is not None]
        kept = [line for line in lines if not any(word in line for word in self.skip)]
        return [*kept, "--requeue", "--open-mode=append", *self.directives]


def jobs_for(wishes: Wishes, memory: str | None = None) -> Jobs:
    """Settle what jobs are submitted with: what is said, else the site's, else ours.

    Parameters
    ----------
    wishes : Wishes
        What the user says.
    memory : str, optional
        Memory of a job, such as ``8GB``.

    Raises
    ------
    InputError
        There is no preset of that name, or a value is not what SLURM takes.
    """
    site = _preset(wishes.site)
    logs = str(site.get("log-directory") or Path("iitdask-jobs").absolute())
    scratch = wishes.scratch or site.get("local-directory")
    jobs = Jobs(
        cores=int(wishes.cores or site.get("cores") or 1),
        memory=str(memory or site.get("memory") or MEMORY),
        walltime=str(wishes.walltime or site.get("walltime") or WALLTIME),
        partition=wishes.partition or site.get("queue"),
        account=wishes.account or site.get("account"),
        interface=wishes.interface or site.get("interface"),
        port=wishes.port or 0,
        tls=wishes.tls,
        scratch=None if scratch is None else str(scratch),
        logs=logs,
        shared=os.path.expanduser(str(site.get("shared-temp-directory") or logs)),  # noqa: PTH111
        directives=(*(site.get("job-extra-directives") or ()), *wishes.directive),
        skip=tuple(site.get("job-directives-skip") or ()),
        before=(*prologue(), *(site.get("job-script-prologue") or ())),
        python=str(site.get("python") or sys.executable),
        scheduler=tuple((site.get("scheduler-options") or {}).items()),
    )
    _check(jobs)
    return jobs


def _check(jobs: Jobs) -> None:
    if jobs.cores < 1:
        raise InputError(f"--cores: expected 1 or more, got {jobs.cores}")
    _bytes(jobs.memory)
    if jobs.seconds < 60:
        raise InputError(f"--walltime: expected a minute or more, got {jobs.walltime!r}")


def _preset(name: str | None) -> dict[str, Any]:
    import dask

    if name is None:
        return {}
    with dask.config.set({}):
        known: dict[str, Any] = dask.config.get("jobqueue", {})
    if name not in known:
        sites = ", ".join(known) or "none"
        raise InputError(
            f"--site: expected a preset jobqueue.NAME of the dask configuration "
            f"(known here: {sites}), got {name!r}"
        )
    # Sites write with dashes or underscores, as dask lets them.
    return {key.replace("_", "-"): value for key, value in known[name].items()}


def _bytes(memory: str) -> int:
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(memory))
    except ValueError as error:
        raise InputError(f"--memory: expected an amount such as 4GB, got {memory!r}") from error


def _seconds(walltime: str) -> float:
    """Seconds of MINUTES, M:S, H:M:S, D-H, D-H:M or D-H:M:S."""
    days, dash, clock = walltime.rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
        whole = int(days) if dash else 0
    except ValueError:
        parts = []
        whole = 0
    if not 1 <= len(parts) <= 3:
        raise InputError(
            f"--walltime: expected a time as SLURM writes it, such as 01:30:00, got {walltime!r}"
        )
    if dash:
        parts += [0] * (3 - len(parts))
    elif len(parts) == 1:
        parts = [0, parts[0], 0]
    elif len(parts) == 2:
        parts = [0, *parts]
    return 86400.0 * whole + 3600 * parts[0] + 60 * parts[1] + parts[2]
