"""Where ``iitdask run`` computes: this machine, a scheduler, SLURM, Kubernetes."""

from __future__ import annotations

import shlex
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from iitdask.cluster.allocation import allocation, is_driver, serve
from iitdask.cluster.jobs import Jobs, Wishes, jobs_for
from iitdask.cluster.kubernetes import Manifest, kubernetes
from iitdask.cluster.local import connected, local
from iitdask.cluster.scripts import allocation_script, array_script, submitted
from iitdask.cluster.slurm import slurm, worker_script
from iitdask.errors import InputError
from iitdask.run.demand import Demand
from iitdask.study.asked import Asked
from iitdask.study.sharing import prepare_store
from iitdask.study.sweep import Sweep

__all__ = ["CLUSTERS", "Place"]

CLUSTERS = ("local", "slurm", "slurm-allocation", "slurm-array", "allocation", "kubernetes")
ENCRYPTED = ("slurm", "slurm-allocation", "allocation")
"""Those whose connections can be encrypted."""
WORKERS = 4
"""Jobs that are asked for when nobody says how many."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to compute, and with how much."""

    cluster: str
    """One of CLUSTERS, or the address of a scheduler."""
    workers: int | None
    """Worker processes or jobs."""
    memory: str | int | None
    """Memory of one."""
    wishes: Wishes
    """What is said about jobs."""
    adapt: bool
    """Whether there are only as many jobs as the remaining work is worth."""

    def __post_init__(self) -> None:
        if self.cluster not in CLUSTERS and "://" not in self.cluster:
            raise InputError(
                f"--cluster: expected {', '.join(CLUSTERS)} or tcp://HOST:PORT, "
                f"got {self.cluster!r}"
            )
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers: expected 1 or more, got {self.workers}")
        if self.wishes.tls and self.cluster not in ENCRYPTED:
            raise InputError(
                f"--tls: expected --cluster {' or '.join(ENCRYPTED)}, got {self.cluster!r}, whose "
                "connections this command does not make; give no --tls"
            )

    @property
    def jobs(self) -> Jobs:
        """What SLURM is asked for."""
        memory = None if self.memory is None else str(self.memory)
        return jobs_for(self.wishes, memory)

    @property
    def count(self) -> int:
        """How many jobs are asked for."""
        return self.workers or WORKERS

    @property
    def is_left_to_slurm(self) -> bool:
        """Whether this process only submits."""
        return self.cluster in ("slurm-allocation", "slurm-array")

    def become_part(self) -> None:
        """Become scheduler or worker where this is a task of an allocation, but not its driver."""
        if self.cluster == "allocation" and not is_driver():
            serve(self.wishes.interface, self.wishes.port, self.wishes.scratch)

    def opened(self, demand: Demand) -> AbstractContextManager[Any]:
        """Open a client; `demand` knows how much work is left."""
        if self.cluster == "local":
            return local(self.workers, self.memory)
        if self.cluster == "allocation":
            return allocation()
        if self.cluster == "slurm":
            return slurm(self.jobs, self.count, demand.workers if self.adapt else None)
        if self.cluster == "kubernetes":
            return kubernetes(Manifest.read(self.wishes.manifest), self.workers)
        return connected(self.cluster)

    def script(self, spec: str, url: str, *, is_sweep: bool = False) -> str:
        """Job script of this place."""
        if self.cluster == "slurm":
            return worker_script(self.jobs)
        if self.cluster == "slurm-allocation":
            jobs = self.jobs
            run = ["run", spec, "--store", url, "--cluster", "allocation"]
            given = {"interface": jobs.interface, "port": jobs.port, "scratch": jobs.scratch}
            for name, value in given.items():
                run += [f"--{name}", str(value)] if value else []
            return allocation_script(jobs, self.count, run)
        if self.cluster == "slurm-array":
            return array_script(self.jobs, self.count, url, spec if is_sweep else None)
        raise InputError(f"--print-job: expected --cluster slurm…, got {self.cluster!r}")

    def show(self, asked: Asked, spec: str, url: str) -> int:
        """Print the job script."""
        print(self.script(spec, url, is_sweep=isinstance(asked, Sweep)), end="")
        return 0

    def submit(self, asked: Asked, spec: str, url: str, block_seconds: float) -> int:
        """Hand the run over to SLURM."""
        script = self.script(spec, url, is_sweep=isinstance(asked, Sweep))
        if self.cluster == "slurm-array":
            prepare_store(url, asked, block_seconds)
        number = submitted(self.jobs, script)
        print(number)
        print(
            f"job {number} was submitted and fills {url}; look with: "
            f"iitdask status {shlex.quote(url)}",
            file=sys.stderr,
        )
        return 0
