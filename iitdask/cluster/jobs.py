"""SLURM jobs: their options, their scripts and the TLS certificates of a run.

Under ``python -m`` this file writes certificates into the folder that is its argument.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from iitdask.cluster.local import job_prologue
from iitdask.errors import InputError, InterruptedRunError, quote

DEFAULT_MEMORY = "4GB"
DEFAULT_WALLTIME = "01:00:00"
LIFETIME_FRACTION = 0.9  # Part of the walltime after which a worker begins no further block
STAGGER_FRACTION = 0.05  # Part of the walltime over which the ends of workers are spread
PRESET_KEYS = (
    *("cores", "memory", "walltime", "queue", "account", "interface", "python"),
    *("local-directory", "log-directory", "shared-temp-directory", "scheduler-options"),
    *("job-extra-directives", "job-directives-skip", "job-script-prologue"),
)
"""Keys of a site's preset that jobs use."""
UNUSED_PRESET_DEFAULTS = {
    "name": "dask-worker",
    "death-timeout": 60,
    "processes": 1,
    "shebang": "#!/usr/bin/env bash",
    "worker-command": "distributed.cli.dask_worker",
}
"""Values of other keys that mean what jobs do anyway."""
NOTICE_SECONDS = 30  # Seconds before the end of its walltime that SLURM signals an array element


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """Options of jobs as the user gives them; None stands for the default of site or iitdask."""

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
class JobSpec(JobOptions):
    """Resources and script lines that all jobs of a run are submitted with."""

    cores: int
    walltime: str
    memory: str  # Memory of a job
    logs: str  # Directory of the jobs' output
    shared: str  # Directory that all nodes see, for certificates of this run
    skip: tuple[str, ...]  # Words of sbatch lines that the site does not want
    before: tuple[str, ...]  # Lines of the job script before the worker
    python: str  # Interpreter on the nodes
    scheduler: tuple[tuple[str, Any], ...]  # Options of the Dask scheduler that a site sets

    @property
    def seconds(self) -> float:
        """Time limit in seconds."""
        return _walltime_seconds(self.walltime)

    @property
    def lifetime(self) -> tuple[int, int]:
        """Seconds after which a worker closes by itself, and by how many they differ at most."""
        return max(20, int(LIFETIME_FRACTION * self.seconds)), max(
            2, int(STAGGER_FRACTION * self.seconds)
        )

    def header(self, tasks: int = 1) -> list[str]:
        """Return the sbatch lines of a job; each task gets `cores` and `memory`."""
        megabytes = -(-parse_memory(self.memory) // 2**20)
        # With more tasks --mem would be for a node, however many of them it gets.
        per_cpu = -(-megabytes // self.cores)
        memory = {"mem": f"{megabytes}M"} if tasks == 1 else {"mem-per-cpu": f"{per_cpu}M"}
        options: dict[str, Any] = {
            "job-name": "iitdask",
            "partition": self.partition,
            "account": self.account,
            "ntasks": tasks,
            "cpus-per-task": self.cores,
            **memory,
            "time": self.walltime,
        }
        lines = [f"--{key}={value}" for key, value in options.items() if value is not None]
        lines = [line for line in lines if not any(word in line for word in self.skip)]
        return [*lines, "--requeue", "--open-mode=append", *self.directive]


def resolve_job_spec(options: JobOptions, memory: str | None = None) -> JobSpec:
    """Resolve job options: those of the user, else of the site, else the defaults."""
    site = _site_preset(options.site)
    logs = str(site.get("log-directory") or Path("iitdask-jobs").absolute())
    jobs = JobSpec(
        cores=_cores(options.cores, site.get("cores")),
        memory=_choose("memory", memory, site.get("memory"), DEFAULT_MEMORY),
        walltime=_choose("walltime", options.walltime, site.get("walltime"), DEFAULT_WALLTIME),
        partition=_choose("partition", options.partition, site.get("queue")),
        account=_choose("account", options.account, site.get("account")),
        interface=_choose("interface", options.interface, site.get("interface")),
        port=options.port,
        tls=options.tls,
        scratch=_choose("scratch", options.scratch, site.get("local-directory")),
        logs=logs,
        shared=os.path.expanduser(str(site.get("shared-temp-directory") or logs)),  # noqa: PTH111
        directive=(*(site.get("job-extra-directives") or ()), *options.directive),
        skip=tuple(site.get("job-directives-skip") or ()),
        before=(*job_prologue(), *(site.get("job-script-prologue") or ())),
        python=str(site.get("python") or sys.executable),
        scheduler=tuple((site.get("scheduler-options") or {}).items()),
    )
    parse_memory(jobs.memory)
    if jobs.seconds < 60:
        raise InputError(f"--walltime: expected a minute or more, got {quote(jobs.walltime)}")
    return jobs


def _choose(name: str, option: Any, *defaults: Any) -> Any:
    """Return an option if it is given, else the first default that is set, as text."""
    if option == "":
        raise InputError(f"--{name}: expected a value, got an empty text")
    value = option if option is not None else next((each for each in defaults if each), None)
    return None if value is None else str(value)


def _cores(option: int | None, default: Any) -> int:
    value = (default or 1) if option is None else option
    if not isinstance(value, int) or value < 1:
        raise InputError(f"--cores: expected 1 or more, got {quote(value)}")
    return value


def _site_preset(name: str | None) -> dict[str, Any]:
    import dask

    if name is None:
        return {}
    with dask.config.set({}):
        known: dict[str, Any] = dask.config.get("jobqueue", {})
    if name not in known:
        sites = ", ".join(known) or "none"
        raise InputError(
            f"--site: expected a preset jobqueue.NAME of the dask configuration "
            f"(known here: {sites}), got {quote(name)}"
        )
    # Sites write with dashes or underscores, as dask lets them.
    preset = {key.replace("_", "-"): value for key, value in (known[name] or {}).items()}
    unused = [key for key, value in preset.items() if _is_unused(key, value)]
    if unused:
        raise InputError(
            f"--site: the preset jobqueue.{name} sets {', '.join(unused)}, which jobs of iitdask "
            f"do not use; expected {', '.join(PRESET_KEYS)}"
        )
    return preset


def _is_unused(key: str, value: Any) -> bool:
    """Return True for a key of a preset that is neither used nor left as dask-jobqueue has it."""
    return key not in PRESET_KEYS and bool(value) and value != UNUSED_PRESET_DEFAULTS.get(key)


def parse_memory(amount: str | int, name: str = "--memory") -> int:
    """Return an amount of memory such as ``4GB`` in bytes."""
    from dask.utils import parse_bytes

    try:
        has_number = isinstance(amount, int) or any(map(str.isdigit, amount))
        size = int(parse_bytes(amount)) if has_number else 0
    except (ValueError, TypeError, OverflowError):
        size = 0
    if size < 1:
        raise InputError(f"{name}: expected an amount such as 4GB, got {quote(amount)}")
    return size


def _walltime_seconds(walltime: str) -> float:
    """Return the seconds of a time written as M, M:S, H:M:S, D-H, D-H:M or D-H:M:S."""
    days, dash, clock = walltime.rpartition("-")
    try:
        parts = [int(part) for part in clock.split(":")]
        n_days = int(days) if dash else 0
    except ValueError:
        parts, n_days = [], 0
    if not 1 <= len(parts) <= 3:
        raise InputError(
            f"--walltime: expected a time as SLURM writes it, such as 01:30:00, "
            f"got {quote(walltime)}"
        )
    first = 3600 if dash or len(parts) == 3 else 60
    seconds: float = sum(part * first / 60**place for place, part in enumerate(parts))
    return 86400.0 * n_days + seconds


CERTIFICATE_FILE, KEY_FILE = "authority.pem", "key.pem"


def write_certificates(folder: Path) -> None:
    """Write a self-signed certificate and its key, readable by this user alone."""
    from distributed.security import Security

    security = Security.temporary()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    texts = {CERTIFICATE_FILE: security.tls_ca_file, KEY_FILE: security.tls_client_key}
    for name, text in texts.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")


def tls_exports(folder: str) -> list[str]:
    """Return lines of a shell script that make every Dask process use the certificates."""
    tls = "DASK_DISTRIBUTED__COMM__TLS"
    roles = ("SCHEDULER", "WORKER", "CLIENT")
    return [
        "export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true",
        "export DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME=tls",
        f'export {tls}__CA_FILE="{folder}/{CERTIFICATE_FILE}"',
        *(f'export {tls}__{role}__CERT="{folder}/{CERTIFICATE_FILE}"' for role in roles),
        *(f'export {tls}__{role}__KEY="{folder}/{KEY_FILE}"' for role in roles),
    ]


UNFINISHED_EXIT_CODE = 75
"""Exit code of ``iitdask work`` if its time ended before the store was complete (EX_TEMPFAIL)."""
JOB_NUMBER = re.compile(r"\d+")


def allocation_script(jobs: JobSpec, workers: int, run: Sequence[str]) -> str:
    """Return the script of one job: scheduler, workers, and the driver with arguments `run`."""
    header = [*jobs.header(tasks=workers + 2), f"--output={jobs.logs}/%j.out"]
    words = [jobs.python, "-m", "iitdask", *run]
    # One task that ends badly, such as a worker that was killed, does not end the others. A job
    # that was requeued works beside what may be left of it on a node that was lost.
    again = "${SLURM_RESTART_COUNT:+--join}"
    start = f"srun --kill-on-bad-exit=0 {shlex.join(words)} {again}"
    quiet = "export DASK_LOGGING__DISTRIBUTED=warning"
    if not jobs.tls:
        return _script(jobs, header, [quiet, f"exec {start}"])
    folder = f"{jobs.shared}/.iitdask-$SLURM_JOB_ID"
    keys = [
        f"trap 'rm -rf \"{folder}\"' EXIT",
        f'{shlex.quote(jobs.python)} -m iitdask.cluster.jobs "{folder}"',
        *tls_exports(folder),
    ]
    return _script(jobs, header, [quiet, *keys, start])


def array_script(jobs: JobSpec, workers: int, store: str, spec: str | None = None) -> str:
    """Return the script of a job array whose elements coordinate by the store alone."""
    header = [
        f"--array=0-{workers - 1}",
        *jobs.header(),
        f"--signal=B:USR1@{NOTICE_SECONDS}",
        f"--output={jobs.logs}/%A-%a.out",
    ]
    lifetime, stagger = jobs.lifetime
    work = [jobs.python, "-m", "iitdask", "work", store, "--quiet", "--threads", str(jobs.cores)]
    work += [] if spec is None else ["--spec", spec]
    was_cut_short = "{ [ $late -eq 1 ] && [ $code -ne 0 ]; }"
    lines = [
        f"life=$(( {lifetime} - SLURM_ARRAY_TASK_ID * {stagger} / {workers} ))",
        # In the background, so that the shell hears SLURM's signals and passes them on.
        f'{shlex.join(work)} --lifetime "${{life}}s" &',
        "child=$!",
        "[ $late -eq 1 ] && kill -TERM $child",
        "wait $child",
        "while kill -0 $child 2>/dev/null; do wait $child; done",
        "# A signal ends a wait with its own code; that of a child that is gone bash remembers.",
        "wait $child; code=$?",
        "# Not finished and out of time: the next time slice goes on from here.",
        f"if [ $code -eq {UNFINISHED_EXIT_CODE} ] || {was_cut_short}; then",
        '  scontrol requeue "$SLURM_JOB_ID"',
        "fi",
        "exit $code",
    ]
    # Before anything else: a signal may come while the script still prepares.
    traps = [
        "child= late=0",
        "trap '[ -z \"$child\" ] || kill -TERM $child 2>/dev/null' TERM",
        "trap 'late=1; [ -z \"$child\" ] || kill -TERM $child 2>/dev/null' USR1",
    ]
    return _script(jobs, header, lines, traps)


def submit(jobs: JobSpec, script: str) -> str:
    """Submit a job script and return the number of the job."""
    require_slurm()
    Path(jobs.logs).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["sbatch", "--parsable"], input=script, capture_output=True, text=True, check=False
    )
    if done.returncode:
        message = " ".join(done.stderr.split())
        raise InputError(f"sbatch refused the job: {message} (see the script with --print-job)")
    number = JOB_NUMBER.search(done.stdout)
    if number is None:
        raise InterruptedRunError(f"sbatch gave no job number but {quote(done.stdout)}")
    return number.group()


def require_jobqueue() -> None:
    """Raise an InputError if dask-jobqueue, which makes SLURM's jobs, is not installed."""
    if find_spec("dask_jobqueue") is None:
        raise InputError(
            "--cluster slurm: needs dask-jobqueue; install it with: pip install 'iitdask[slurm]'"
        )


def require_slurm() -> None:
    """Raise an InputError if SLURM's commands are missing."""
    missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
    if missing:
        raise InputError(
            f"--cluster slurm: expected SLURM's commands on this machine, found no "
            f"{', '.join(missing)}; run this on a login node"
        )


def _script(
    jobs: JobSpec, header: Sequence[str], body: Sequence[str], first: Sequence[str] = ()
) -> str:
    top = ["#!/usr/bin/env bash", *(f"#SBATCH {line}" for line in header)]
    return "\n".join([*top, "", *first, *jobs.before, "", *body, ""])


if __name__ == "__main__":
    write_certificates(Path(sys.argv[1]))
