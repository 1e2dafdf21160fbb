"""``iitdask run`` and ``iitdask work``: compute a study here, on a cluster, or beside others."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import psutil
from cyclopts import Group, Parameter

from iitdask.cli.estimate_command import require_valid_budget, require_within_budget
from iitdask.cli.output import (
    Workers,
    parse_duration,
    print_result,
    require_port,
)
from iitdask.cluster.job_scripts import (
    array_script,
    submit,
    worker_script,
)
from iitdask.cluster.jobs import JobOptions, JobSpec, parse_memory, resolve_job_spec
from iitdask.cluster.kubernetes import Manifest, kubernetes
from iitdask.cluster.local import (
    connect,
    local,
    require_scheduler,
    silence_lost_connections,
)
from iitdask.cluster.queue_cluster import queue_cluster
from iitdask.cluster.queues import QUEUES, UNFINISHED_EXIT_CODE
from iitdask.cluster.slurm import allocation, allocation_script, require_allocation
from iitdask.errors import InputError, MemoryRefusedError, RetiredError, quote
from iitdask.result.formatting import bytes_text
from iitdask.run.estimate import WorkerDemand, resident_bytes
from iitdask.run.events import Observer, Warned
from iitdask.run.result_group import empty_store
from iitdask.run.storage import open_store
from iitdask.run.worker_inventory import PAUSED_MEMORY_SHARE
from iitdask.run.zarr_ledger import open_cache_directory
from iitdask.study.problem import read_problem
from iitdask.study.run import (
    StudyJob,
    adopt_kernels,
    estimate_job,
    job_from_study,
    kernel_options,
    precompile,
    prepare_store,
    run_job,
    run_shared,
    save_kernels,
    uncompiled_families,
)
from iitdask.study.spec import Study, read_study, require_worker_count
from iitdask.view.progress import compile_text, show_progress

QUEUED = tuple(QUEUES)  # A job a worker
ARRAYS = tuple(f"{queue.name}-array" for queue in QUEUES.values() if queue.array is not None)
SUBMITTED = (*QUEUED, "slurm-allocation", *ARRAYS)
CLUSTERS = ("local", *SUBMITTED, "allocation", "kubernetes")
CLUSTERS_WITH_TLS = (*QUEUED, "slurm-allocation")  # Connections can be encrypted
ADDRESS = "tcp://HOST:PORT"
"""Stands for the address of a scheduler."""
DRIVEN_HERE = ("local", ADDRESS, *QUEUED, "allocation", "kubernetes")
CLUSTERS_WITH_OPTION = {
    "workers": ("local", *SUBMITTED, "kubernetes"),
    **dict.fromkeys(("cores", "walltime", "account", "site", "directive", "scratch"), SUBMITTED),
    "partition": tuple(name for name in SUBMITTED if name != "htcondor"),
    "throttle": ARRAYS,
    **dict.fromkeys(("interface", "port"), CLUSTERS_WITH_TLS),
    "manifest": ("kubernetes",),
    "adapt": QUEUED,
    **dict.fromkeys(("cache", "join"), (*DRIVEN_HERE, "slurm-allocation")),
    **dict.fromkeys(("dashboard", "dashboard_port"), DRIVEN_HERE),
}
"""Clusters that have a use for an option; all others have it on all of them."""
STUDY_OPTIONS = Group("Study", sort_key=1)
STORE_OPTIONS = Group("Store", sort_key=2)
WORKER_OPTIONS = Group("Workers, on this machine or a cluster", sort_key=3)
JOB_OPTIONS = Group("Jobs of a queue: SLURM, PBS, LSF, SGE, HTCondor, OAR", sort_key=4)
KUBERNETES_OPTIONS = Group("Kubernetes", sort_key=5)
OUTPUT_OPTIONS = Group("Output", sort_key=6)
DEFAULT_JOBS = 4
DEFAULT_STUDY = "iit4-2023-fig4"
STORE_DIRECTORY_VARIABLE = "IITDASK_STORE"
BUDGET_ESTIMATE_SECONDS = 3.0  # Time for each expensive stage to estimate a run with a budget


def run(
    spec: Annotated[str | None, Parameter(group=STUDY_OPTIONS)] = None,
    /,
    *,
    budget: Annotated[float | None, Parameter(group=STUDY_OPTIONS)] = None,
    store: Annotated[str | None, Parameter(group=STORE_OPTIONS)] = None,
    fresh: Annotated[bool, Parameter(group=STORE_OPTIONS)] = False,
    join: Annotated[bool, Parameter(group=STORE_OPTIONS)] = False,
    cache: Annotated[str | None, Parameter(group=STORE_OPTIONS)] = None,
    cluster: Annotated[str, Parameter(group=WORKER_OPTIONS)] = "local",
    workers: Annotated[Workers, Parameter(group=WORKER_OPTIONS)] = None,
    memory: Annotated[str | None, Parameter(group=WORKER_OPTIONS)] = None,
    jobs: Annotated[JobOptions | None, Parameter(name="*", group=JOB_OPTIONS)] = None,
    adapt: Annotated[bool, Parameter(group=JOB_OPTIONS)] = False,
    print_job: Annotated[bool, Parameter(group=JOB_OPTIONS)] = False,
    manifest: Annotated[str | None, Parameter(group=KUBERNETES_OPTIONS)] = None,
    quiet: Annotated[bool, Parameter(group=OUTPUT_OPTIONS)] = False,
    dashboard: Annotated[bool, Parameter(group=OUTPUT_OPTIONS)] = False,
    dashboard_port: Annotated[int | None, Parameter(group=OUTPUT_OPTIONS)] = None,
) -> int:
    """Compute a study, or what is missing of it, and show the result.

    Running it again on the same store goes on where it stopped.

    Parameters
    ----------
    spec
        Study file (YAML or JSON), or the name of an example. Without it a small published
        system is computed.
    budget
        Core-seconds; a run that would take more is refused beforehand.
    store
        Directory of the Zarr store; NAME.zarr in the current directory when not given.
    fresh
        Delete what iitdask wrote into the store, and nothing else, and begin again.
    join
        Work beside a run that fills the same store already.
    cache
        Directory that keeps marginal tables for other studies of the same units.
    cluster
        local; tcp://HOST:PORT of a running Dask scheduler; slurm, pbs, lsf, sge, htcondor or oar
        (scheduler here, a job a worker); slurm-allocation (all in one job); slurm-array,
        pbs-array or lsf-array (no scheduler); kubernetes.
    workers
        Worker processes on this machine, or jobs; threads of one process when not given.
    memory
        Memory of one worker or job, such as 4GB; blocks that need more are refused.
    adapt
        With a job a worker: only as many jobs, up to --workers, as the remaining work is worth.
    print_job
        Show the job script and submit nothing.
    manifest
        File with the DaskCluster, such as ``helm template`` of deploy/kubernetes makes.
    quiet
        Show the result only.
    dashboard
        Serve a status page on this machine while it runs.
    dashboard_port
        Port of the live page; any free one when not given.
    """
    where = DEFAULT_STUDY if spec is None else spec
    given = {"workers": workers, "cache": cache, "join": join, "dashboard": dashboard}
    _require_valid_options(cluster, {**given, "dashboard_port": dashboard_port}, budget)
    study, folder = read_study(where)
    limit = study.run.memory if memory is None else memory
    workers = study.run.workers if workers is None else workers
    choice = ClusterChoice(cluster, workers, limit, jobs or JobOptions(), adapt, manifest)
    url = _store_url(where, store)
    memory_bytes = None if limit is None else parse_memory(limit, "memory")
    job = job_from_study(study, folder, where)
    driver_words = _driver_words(cache, join=join, quiet=quiet)
    script = choice.script(where, url, driver_words, is_sweep=job.is_sweep)
    if print_job:
        print(_require_script(script, cluster), end="")
        return 0
    choice.require_available(script)
    _prepare_directories(url, cache, fresh)
    if not (is_submitted := cluster in ("slurm-allocation", *ARRAYS)):  # else a job drives the run
        _require_memory(memory_bytes, choice.usable_memory, {})
        _announce(study, where, job, quiet)
    if budget is not None or not (memory is None or job.is_sweep or is_submitted):
        _require_affordable(choice, job, study, budget, memory_bytes)
    if is_submitted:
        seconds = study.run.block_seconds
        return _submit_run(choice, job, where, url, script, block_seconds=seconds, quiet=quiet)
    started = time.perf_counter()
    demand = WorkerDemand(choice.job_options.cores or 1)
    with (
        show_progress(not quiet) as observers,
        choice.open_client(demand, observers) as client,
        _status_page(url, dashboard, dashboard_port or 0),
    ):
        tree = run_job(
            job, client=client, store=url, observers=[*observers, demand],
            block_seconds=study.run.block_seconds, memory=memory_bytes, join=join, cache=cache,
        )  # fmt: skip
    print_result(tree)
    if not quiet:
        _print_footer(time.perf_counter() - started, url, is_first=spec is None)
    return 0


def work(
    store: str,
    /,
    *,
    spec: str | None = None,
    threads: Annotated[int, Parameter(name=["--threads", "-n"])] = 1,
    lifetime: str | None = None,
    memory: str | None = None,
    kernels: str | None = None,
    kernels_sha256: str | None = None,
    quiet: bool = False,
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
    kernels
        Folder, yours alone, with the kernels that ``iitdask warm`` compiled.
    kernels_sha256
        What ``iitdask warm`` said: kernels of another one are compiled anew.
    quiet
        Say nothing.
    """
    if (kernels is None) != (kernels_sha256 is None):
        raise InputError("--kernels: expected --kernels-sha256 beside it, and the reverse")
    require_worker_count("--threads", threads)
    seconds = parse_duration(lifetime, "--lifetime")
    memory_bytes = None if memory is None else parse_memory(memory, "memory")
    _require_memory(memory_bytes, 1.0, {})
    job: StudyJob | None = None
    if spec is not None:
        study, folder = read_study(spec)
        job = job_from_study(study, folder, spec)
        prepare_store(store, job, study.run.block_seconds)
    started = time.monotonic()
    job = read_problem(open_store(store)) if job is None else job
    if kernels is not None and not adopt_kernels(kernels, kernels_sha256 or "") and not quiet:
        print(f"--kernels: {quote(kernels)} has none for this machine", file=sys.stderr)
    _compile_kernels(job, quiet)
    if seconds is not None:
        seconds = max(0.0, seconds - (time.monotonic() - started))
    try:
        with show_progress(not quiet) as observers:
            run_shared(
                store, job, threads=threads, seconds=seconds, observers=observers,
                memory=memory_bytes,
            )  # fmt: skip
    except RetiredError as error:
        print(f"iitdask: {error}", file=sys.stderr)
        return UNFINISHED_EXIT_CODE
    if not quiet:
        print(f"finished; see it with: iitdask show {store}", file=sys.stderr)
    return 0


def warm(spec: str = DEFAULT_STUDY, /, *, kernels: str, quiet: bool = False) -> int:
    """Compile the kernels of a study and keep them in a folder, for processes on other machines.

    Prints the options by which ``iitdask work`` finds and checks them. They are of use where
    versions and processor are the same; elsewhere kernels are compiled anew.

    Parameters
    ----------
    spec
        Study file (YAML or JSON), or the name of an example.
    kernels
        Folder of yours alone, made if need be, that the other machines see.
    quiet
        Print the options only.
    """
    study, folder = read_study(spec)
    job = job_from_study(study, folder, spec)
    _compile_kernels(job, quiet)
    print(shlex.join(["--kernels", kernels, "--kernels-sha256", save_kernels(kernels)]))
    return 0


@dataclass(frozen=True, slots=True)
class ClusterChoice:
    """Where ``iitdask run`` computes: this machine, a scheduler, a queue, Kubernetes."""

    cluster: str  # One of CLUSTERS, or the address of a scheduler
    workers: int | None  # Worker processes or jobs
    memory: str | int | None  # Memory of one worker or job
    job_options: JobOptions  # Options of the command about jobs
    adapt: bool  # True if only as many jobs run as the remaining work is worth
    manifest: str | None = None  # File with a DaskCluster

    def __post_init__(self) -> None:
        options = {each.name: getattr(self.job_options, each.name) for each in fields(JobOptions)}
        options |= {"adapt": self.adapt, "manifest": self.manifest}
        _require_used_options(self.cluster, options)
        require_port("port", self.job_options.port)
        require_worker_count("--throttle", self.job_options.throttle)
        queue, _, shape = self.cluster.partition("-")
        if queue in QUEUES and self.cluster not in SUBMITTED:
            raise InputError(
                f"--cluster: expected {', '.join(SUBMITTED)} of the queues, got "
                f"{quote(self.cluster)}: {QUEUES[queue].title} has no {shape or 'shape'} here"
            )
        if self.cluster not in CLUSTERS and "://" not in self.cluster:
            raise InputError(
                f"--cluster: expected {', '.join(CLUSTERS)} or tcp://HOST:PORT, "
                f"got {quote(self.cluster)}"
            )
        require_worker_count("--workers", self.workers)
        if self.cluster == "local" and self.workers is not None:
            _require_room(self.workers)
        if self.job_options.tls and self.cluster not in CLUSTERS_WITH_TLS:
            raise InputError(
                f"--tls: expected --cluster {' or '.join(CLUSTERS_WITH_TLS)}, "
                f"got {quote(self.cluster)}, whose connections this command does not make; "
                "give no --tls"
            )

    @property
    def job_spec(self) -> JobSpec:
        """Request to a queue for one job."""
        memory = None if self.memory is None else str(self.memory)
        queue = QUEUES[self.cluster.partition("-")[0]]
        return resolve_job_spec(self.job_options, memory, queue)

    @property
    def n_jobs(self) -> int:
        """Number of jobs to request."""
        return self.workers or DEFAULT_JOBS

    @property
    def usable_memory(self) -> float:
        """Share of its memory that a worker may fill with libraries and blocks."""
        is_process = self.workers is not None or self.cluster != "local"
        return PAUSED_MEMORY_SHARE if is_process else 1.0

    def require_available(self, script: str | None) -> None:
        """Check that the cluster can be used from here, before anything is computed.

        A queue is asked whether it would accept the job script.
        """
        if script is not None:
            queue = self.job_spec.queue
            queue.require_commands()
            queue.require_accepted(script)
        elif self.cluster == "allocation":
            require_allocation()
        elif self.cluster == "kubernetes":
            Manifest.read(self.manifest)
        elif self.cluster not in CLUSTERS:
            require_scheduler(self.cluster)

    def open_client(
        self, demand: WorkerDemand, observers: Sequence[Observer] = ()
    ) -> AbstractContextManager[Any]:
        """Open a client of the cluster; `demand` knows how many workers the work is worth.

        What a queue says of jobs that wait is a warning for the observers.
        """
        silence_lost_connections()
        if self.cluster == "local":
            return local(self.workers, self.memory)
        if self.cluster == "allocation":
            return allocation()
        if self.cluster in QUEUES:
            adapt = demand.workers if self.adapt else None
            return queue_cluster(self.job_spec, self.n_jobs, adapt, partial(_warn, observers))
        if self.cluster == "kubernetes":
            return kubernetes(Manifest.read(self.manifest), self.workers)
        return connect(self.cluster)

    def script(
        self,
        spec: str,
        url: str,
        driver_words: Sequence[str] = (),
        *,
        is_sweep: bool = False,
        kernels: Sequence[str] = (),
    ) -> str | None:
        """Return the job script of this choice, if it has one.

        A driver in a job gets further words, elements of an array those about kernels.
        """
        if self.cluster in QUEUES:
            return worker_script(self.job_spec)
        if self.cluster == "slurm-allocation":
            command = ["run", spec, "--store", url, "--cluster", "allocation", *driver_words]
            return allocation_script(self.job_spec, self.n_jobs, command)
        if self.cluster in ARRAYS:
            study = spec if is_sweep else None
            return array_script(self.job_spec, self.n_jobs, url, study, kernels)
        return None

    def submit(self, job: StudyJob, script: str | None, url: str, block_seconds: float) -> int:
        """Submit a job that drives the run; print its number."""
        if self.cluster in ARRAYS:
            prepare_store(url, job, block_seconds)
        number = submit(self.job_spec, _require_script(script, self.cluster))
        print(number)
        command = f"iitdask status {shlex.quote(url)}"
        print(f"job {number} was submitted and fills {url}; look with: {command}", file=sys.stderr)
        return 0


def _submit_run(
    choice: ClusterChoice,
    job: StudyJob,
    where: str,
    url: str,
    script: str | None,
    *,
    block_seconds: float,
    quiet: bool,
) -> int:
    """Submit a job that drives the run; an array is told of kernels that are compiled here."""
    if choice.cluster in ARRAYS:
        _compile_kernels(job, quiet)
        script = choice.script(where, url, is_sweep=job.is_sweep, kernels=kernel_options())
    return choice.submit(job, script, url, block_seconds)


def _require_script(script: str | None, cluster: str) -> str:
    if script is None:
        raise InputError(
            f"--print-job: expected --cluster {' or '.join(SUBMITTED)}, got {quote(cluster)}"
        )
    return script


def _warn(observers: Sequence[Observer], text: str) -> None:
    for observer in observers:
        observer(Warned(text))


def _require_used_options(cluster: str, options: dict[str, Any]) -> None:
    """Refuse options that a cluster has no use for; those not given are None, False or ()."""
    shape = ADDRESS if "://" in cluster else cluster
    if shape not in (*CLUSTERS, ADDRESS):
        return
    for name, value in options.items():
        clusters = CLUSTERS_WITH_OPTION.get(name, (shape,))
        if value is None or value is False or value == () or shape in clusters:
            continue
        raise InputError(
            f"--{name.replace('_', '-')}: expected --cluster {' or '.join(clusters)}, got "
            f"{quote(cluster)}, which has no use for it"
        )


def _require_valid_options(cluster: str, options: dict[str, Any], budget: float | None) -> None:
    _require_used_options(cluster, options)
    require_port("dashboard-port", options["dashboard_port"])
    if options["dashboard_port"] is not None and not options["dashboard"]:
        raise InputError("--dashboard-port: expected --dashboard beside it, got none")
    require_valid_budget(budget)


def _store_url(where: str, store: str | None) -> str:
    """Return the store that is given, or one named after the study, if it can be written."""
    name, directory = f"{Path(where).stem}.zarr", os.environ.get(STORE_DIRECTORY_VARIABLE, ".")
    is_remote = "://" in directory
    default = f"{directory.rstrip('/')}/{name}" if is_remote else str(Path(directory, name))
    url = default if store is None else store
    open_store(url)  # before anything is computed: some addresses cannot be written
    return url


def _driver_words(cache: str | None, *, join: bool, quiet: bool) -> list[str]:
    """Return options of this command that a driver in a job gets, too."""
    words = [] if cache is None else ["--cache", cache]
    return [*words, *["--join"] * join, *["--quiet"] * quiet]


def _require_affordable(
    choice: ClusterChoice, job: StudyJob, study: Study, budget: float | None, memory: int | None
) -> None:
    """Refuse a run that exceeds the budget or the memory, before its store is created."""
    seconds = 0.0 if budget is None else BUDGET_ESTIMATE_SECONDS
    costs = estimate_job(job, block_seconds=study.run.block_seconds, seconds=seconds)
    require_within_budget(costs, budget)
    _require_memory(memory, choice.usable_memory, {s.name: s.worker_bytes for s in costs.stages})


def _require_memory(memory: int | None, usable: float, stage_bytes: Mapping[str, int]) -> None:
    """Refuse workers too small for a process with its libraries, or with a block of any stage."""
    if memory is None:
        return
    held = resident_bytes()
    for stage, nbytes in {"": held, **stage_bytes}.items():
        needed = nbytes / usable
        if needed > memory:
            beside = f", {bytes_text(nbytes)} with a block of stage {stage!r}" if stage else ""
            least, limit = bytes_text(1.1 * needed), bytes_text(memory)
            raise MemoryRefusedError(
                f"--memory: expected {least} or more, got {limit}: a process holds about "
                f"{bytes_text(held)}{beside}"
            )


def _require_room(workers: int) -> None:
    """Refuse more worker processes than the memory of this machine holds, even without a block."""
    held, total = resident_bytes(), psutil.virtual_memory().total
    if workers * held > total:
        raise InputError(
            f"--workers: expected at most {total // held} on this machine, got {workers}: a "
            f"process holds about {bytes_text(held)}, the machine {bytes_text(total)}"
        )


@contextmanager
def _status_page(url: str, is_wanted: bool, port: int) -> Iterator[None]:
    """Serve the status page of a store, if wanted, while a run fills it."""
    if not is_wanted:
        yield
        return
    from iitdask.view.pages import serve_page
    from iitdask.view.status_page import fill_status_page

    with serve_page(lambda doc: fill_status_page(doc, url), port=port) as address:
        print(f"live page: {address}", file=sys.stderr, flush=True)
        yield


def _prepare_directories(url: str, cache: str | None, fresh: bool) -> None:
    """Create the directory of the cache, and empty the store if it is to begin anew."""
    if cache is not None:
        open_cache_directory(cache)
    if fresh:
        empty_store(open_store(url))


def _announce(study: Study, where: str, job: StudyJob, quiet: bool) -> None:
    """Say what is computed, and compile the kernels for it."""
    if not quiet:
        _print_title(study, where)
    _compile_kernels(job, quiet)


def _compile_kernels(job: StudyJob, quiet: bool) -> None:
    """Compile the kernels of a job before any worker starts, once on a machine."""
    for family in uncompiled_families(job):
        if not quiet:
            print(compile_text(family), file=sys.stderr, flush=True)
        started = time.perf_counter()
        precompile(family)
        if not quiet:
            seconds = time.perf_counter() - started
            print(f"compiled in {seconds:.1f} s", file=sys.stderr, flush=True)


def _print_title(study: Study, where: str) -> None:
    title = ", ".join(part for part in (study.title, study.figure) if part)
    print(f"{where}{': ' + title if title else ''}", file=sys.stderr)
    if study.citation:
        print(study.citation, file=sys.stderr)


def _print_footer(seconds: float, url: str, *, is_first: bool) -> None:
    print(f"\n{seconds:.2f} s; kept in {url}")
    if not is_first:
        return
    next_steps = {
        f"iitdask show {shlex.quote(url)}": "the same again, without computing",
        "iitdask examples": "published systems",
        "iitdask run iit4-2023-fig6d": "six units, 1.5 million relations",
        "iitdask examples basic > my.yaml": "a study file to start from; iitdask run my.yaml",
    }
    width = max(map(len, next_steps))
    print("\nTry next:")
    for step, why in next_steps.items():
        print(f"  {step:<{width}}  {why}")
