"""``iitdask run`` and ``iitdask work``: compute a study here, on a cluster, or beside others."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from iitdask.cli.estimate_command import require_within_budget
from iitdask.cli.output import bytes_text, parse_duration, parse_memory, print_result
from iitdask.cluster.jobs import (
    JobOptions,
    JobSpec,
    allocation_script,
    array_script,
    resolve_job_spec,
    submit,
)
from iitdask.cluster.kubernetes import Manifest, kubernetes
from iitdask.cluster.local import connect, local
from iitdask.cluster.slurm import allocation, exec_allocation_role, is_driver, slurm, worker_script
from iitdask.errors import BusyStoreError, InputError, MemoryRefusedError, RetiredError
from iitdask.run.coordination import live_sessions
from iitdask.run.estimate import WorkerDemand
from iitdask.run.result_group import store_attrs
from iitdask.run.storage import local_path, open_store
from iitdask.study.job import StudyJob
from iitdask.study.precompile import is_family_compiled, precompile
from iitdask.study.problem import read_problem
from iitdask.study.run import estimate_job, job_from_study, prepare_store, run_job, run_shared
from iitdask.study.spec import Study, read_study
from iitdask.theory.catalog import KERNEL_FAMILIES
from iitdask.view.progress import show_progress

__all__ = [
    "CLUSTERS",
    "ClusterChoice",
    "compile_kernels",
    "run",
    "work",
]

CLUSTERS = ("local", "slurm", "slurm-allocation", "slurm-array", "allocation", "kubernetes")
CLUSTERS_WITH_TLS = ("slurm", "slurm-allocation", "allocation")
"""Those whose connections can be encrypted."""
DEFAULT_JOBS = 4
"""Jobs that are asked for when nobody says how many."""


@dataclass(frozen=True, slots=True)
class ClusterChoice:
    """Where to compute, and with how much."""

    cluster: str
    """One of CLUSTERS, or the address of a scheduler."""
    workers: int | None
    """Worker processes or jobs."""
    memory: str | int | None
    """Memory of one."""
    wishes: JobOptions
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
        if self.wishes.tls and self.cluster not in CLUSTERS_WITH_TLS:
            raise InputError(
                f"--tls: expected --cluster {' or '.join(CLUSTERS_WITH_TLS)}, "
                f"got {self.cluster!r}, whose "
                "connections this command does not make; give no --tls"
            )

    @property
    def jobs(self) -> JobSpec:
        """What SLURM is asked for."""
        memory = None if self.memory is None else str(self.memory)
        return resolve_job_spec(self.wishes, memory)

    @property
    def count(self) -> int:
        """How many jobs are asked for."""
        return self.workers or DEFAULT_JOBS

    @property
    def is_submit_only(self) -> bool:
        """Whether this process only submits."""
        return self.cluster in ("slurm-allocation", "slurm-array")

    def exec_allocation_role(self) -> None:
        """Become scheduler or worker where this is a task of an allocation, but not its driver."""
        if self.cluster == "allocation" and not is_driver():
            exec_allocation_role(self.wishes.interface, self.wishes.port, self.wishes.scratch)

    def opened(self, demand: WorkerDemand) -> AbstractContextManager[Any]:
        """Open a client; `demand` knows how much work is left."""
        if self.cluster == "local":
            return local(self.workers, self.memory)
        if self.cluster == "allocation":
            return allocation()
        if self.cluster == "slurm":
            return slurm(self.jobs, self.count, demand.workers if self.adapt else None)
        if self.cluster == "kubernetes":
            return kubernetes(Manifest.read(self.wishes.manifest), self.workers)
        return connect(self.cluster)

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

    def show(self, asked: StudyJob, spec: str, url: str) -> int:
        """Print the job script."""
        print(self.script(spec, url, is_sweep=asked.is_sweep), end="")
        return 0

    def submit(self, asked: StudyJob, spec: str, url: str, block_seconds: float) -> int:
        """Hand the run over to SLURM."""
        script = self.script(spec, url, is_sweep=asked.is_sweep)
        if self.cluster == "slurm-array":
            prepare_store(url, asked, block_seconds)
        number = submit(self.jobs, script)
        print(number)
        print(
            f"job {number} was submitted and fills {url}; look with: "
            f"iitdask status {shlex.quote(url)}",
            file=sys.stderr,
        )
        return 0


DEFAULT_STUDY = "iit4-2023-fig4"
STORE_DIRECTORY_VARIABLE = "IITDASK_STORE"


def run(
    spec: str | None = None,
    /,
    *,
    store: str | None = None,
    cluster: str = "local",
    workers: Annotated[int | None, Parameter(name=["--workers", "-n"])] = None,
    memory: str | None = None,
    budget: float | None = None,
    cache: str | None = None,
    adapt: Annotated[bool, Parameter(negative=())] = False,
    jobs: Annotated[JobOptions | None, Parameter(name="*")] = None,
    print_job: Annotated[bool, Parameter(negative=())] = False,
    join: Annotated[bool, Parameter(negative=())] = False,
    fresh: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
    dashboard: Annotated[bool, Parameter(negative=())] = False,
    dashboard_port: int = 0,
) -> int:
    """Compute a study, or what is missing of it, and show the result.

    Running it again on the same store goes on where it stopped.

    Parameters
    ----------
    spec
        Study file (YAML or JSON), or the name of an example. Without it a small published
        system is computed.
    store
        Directory of the Zarr store; NAME.zarr in the current directory when not given.
    cluster
        local; tcp://HOST:PORT of a running Dask scheduler; slurm (scheduler here, a job a
        worker), slurm-allocation (all in one job) or slurm-array (no scheduler); kubernetes.
    workers
        Worker processes on this machine, or jobs; threads of one process when not given.
    memory
        Memory of one worker or job, such as 4GB; blocks that need more are refused.
    budget
        Core-seconds; a run that would take more is refused beforehand.
    cache
        Directory that keeps marginal tables for other studies of the same units.
    adapt
        With slurm: only as many jobs, up to --workers, as the remaining work is worth.
    print_job
        Show the job script and submit nothing.
    join
        Work beside a run that fills the same store already.
    fresh
        Delete what the store holds and begin again.
    quiet
        Show the result only.
    dashboard
        Serve a status page on this machine while it runs.
    dashboard_port
        Port of the live page; any free one when not given.
    """
    where = spec or DEFAULT_STUDY
    study, folder = read_study(where)
    limit = memory or study.run.memory
    place = ClusterChoice(cluster, workers or study.run.workers, limit, jobs or JobOptions(), adapt)
    place.exec_allocation_role()
    given = parse_memory(limit, "memory")
    asked = job_from_study(study, folder, where)
    url = store or _default_store(where)
    if print_job:
        return place.show(asked, where, url)
    if fresh:
        _delete_store(url)
    if place.is_submit_only:
        return place.submit(asked, where, url, study.run.block_seconds)
    if not quiet:
        _print_title(study, where)
    for family in asked.kernel_families():
        compile_kernels(quiet, family)
    if budget is not None or (memory is not None and not asked.is_sweep):
        _require_affordable(asked, study, budget, given)
    started = time.perf_counter()
    demand = WorkerDemand(place.wishes.cores or 1)
    with (
        place.opened(demand) as client,
        show_progress(not quiet) as observers,
        _live_page(url, dashboard, dashboard_port),
    ):
        tree = run_job(
            asked,
            client=client,
            store=url,
            observers=[*observers, demand],
            block_seconds=study.run.block_seconds,
            memory=given,
            join=join,
            cache=cache,
        )
    print_result(tree)
    if not quiet:
        _print_footer(time.perf_counter() - started, url, spec is None)
    return 0


def _print_footer(seconds: float, url: str, first: bool) -> None:
    print(f"\n{seconds:.2f} s; kept in {url}")
    if first:
        _print_next_steps(url)


def _require_affordable(
    asked: StudyJob, study: Study, budget: float | None, memory: int | None
) -> None:
    """Refuse what can be foreseen to be too much, before a store is made."""
    seconds = 0.0 if budget is None else 3.0
    found = estimate_job(asked, block_seconds=study.run.block_seconds, seconds=seconds)
    require_within_budget(found, budget)
    for each in found.stages:
        if memory is not None and each.block_bytes > memory:
            raise MemoryRefusedError(
                f"a block of stage {each.name!r} needs {bytes_text(each.block_bytes)}, a worker "
                f"has {bytes_text(memory)}; give --memory more"
            )


def _live_page(url: str, wanted: bool, port: int) -> AbstractContextManager[None]:
    if not wanted:
        return nullcontext()
    from iitdask.cli.store_commands import status_page

    return status_page(url, "127.0.0.1", port)


def _default_store(where: str) -> str:
    base = Path(os.environ.get(STORE_DIRECTORY_VARIABLE, "."))
    return str(base / f"{Path(where).stem}.zarr")


def _delete_store(url: str) -> None:
    path = local_path(url)
    there = bool(open_store(url).list_dir("")) if path is None else path.exists()
    if there:
        store_attrs(url)  # never delete what is not a store
        busy = live_sessions(url)
        if busy:
            raise BusyStoreError(f"--fresh: {url} is being filled by {busy[0].describe()}")
        if path is None:
            open_store(url).delete_prefix("")
        else:
            shutil.rmtree(path)


def _print_title(study: Study, where: str) -> None:
    title = ", ".join(part for part in (study.title, study.figure) if part)
    print(f"{where}{': ' + title if title else ''}", file=sys.stderr)
    if study.citation:
        print(study.citation, file=sys.stderr)


def compile_kernels(quiet: bool, family: str) -> None:
    """Compile before any worker starts, and say so the first time."""
    if is_family_compiled(family):
        return
    if not quiet:
        about = f"about {KERNEL_FAMILIES[family].seconds} s"
        text = f"compiling kernels of {family}, once on this machine ({about}) ..."
        print(text, file=sys.stderr, flush=True)
    started = time.perf_counter()
    precompile(family)
    if not quiet:
        print(f"compiled in {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)


def _print_next_steps(url: str) -> None:
    print(
        "\nTry next:\n"
        f"  iitdask show {url}            the same again, without computing\n"
        "  iitdask examples                       published systems\n"
        "  iitdask run iit4-2023-fig6d            six units, 1.5 million relations\n"
        "  iitdask examples basic > my.yaml       a study file to start from; iitdask run my.yaml"
    )


UNFINISHED_EXIT_CODE = 75
"""Exit code that says: not finished, call again (EX_TEMPFAIL)."""


def work(
    store: str,
    /,
    *,
    spec: str | None = None,
    threads: Annotated[int, Parameter(name=["--threads", "-n"])] = 1,
    lifetime: str | None = None,
    memory: str | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Fill a store beside any number of others, without a scheduler.

    Each process takes blocks that nobody has in hand; the store says which. Start as many as
    there are cores, anywhere the store can be reached, and end them as you like.

    Parameters
    ----------
    store
        Directory or s3://, gs://, az:// address of a store that a run has begun.
    spec
        Study file that makes the store when there is none; a sweep needs it always.
    threads
        Blocks computed at a time in this process.
    lifetime
        Time after which no block is begun, such as 55m; then the exit code is 75.
    memory
        Memory of this process, such as 4GB; blocks that need more are refused.
    quiet
        Say nothing.
    """
    if threads < 1:
        raise InputError(f"--threads: expected 1 or more, got {threads}")
    seconds = parse_duration(lifetime, "--lifetime")
    given = parse_memory(memory, "memory")
    asked: StudyJob | None = None
    if spec is not None:
        study, folder = read_study(spec)
        asked = job_from_study(study, folder, spec)
        prepare_store(store, asked, study.run.block_seconds)
    began = time.monotonic()
    asked = read_problem(store) if asked is None else asked
    for family in asked.kernel_families():
        compile_kernels(quiet, family)
    left = None if seconds is None else max(0.0, seconds - (time.monotonic() - began))
    with show_progress(not quiet) as observers:
        try:
            run_shared(
                store, asked, threads=threads, seconds=left, observers=observers, memory=given
            )
        except RetiredError as error:
            print(f"iitdask: {error}", file=sys.stderr)
            return UNFINISHED_EXIT_CODE
    if not quiet:
        print(f"finished; see it with: iitdask show {store}", file=sys.stderr)
    return 0
