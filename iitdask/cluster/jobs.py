"""What jobs of a queue ask for: options of the user, presets of sites, certificates of a run.

Under ``python -m`` this file writes certificates into the folder that is its argument.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iitdask.cluster.local import job_prologue
from iitdask.cluster.queues import SLURM, QueueSystem
from iitdask.errors import InputError, quote

DEFAULT_MEMORY = "4GB"
DEFAULT_WALLTIME = "01:00:00"
LIFETIME_FRACTION = 0.9  # Part of the walltime after which a worker begins no further block
STAGGER_FRACTION = 0.05  # Part of the walltime over which the ends of workers are spread
DEFAULT_DEATH_TIMEOUT = 120  # Seconds after which a worker without a scheduler ends
JOB_NAME = "iitdask"
PRESET_KEYS = (
    *("name", "cores", "memory", "walltime", "queue", "account", "interface", "python"),
    *("local-directory", "log-directory", "shared-temp-directory", "scheduler-options"),
    *("job-extra-directives", "job-directives-skip", "job-script-prologue"),
    *("job-script-epilogue", "worker-extra-args", "death-timeout", "shebang"),
)
"""Keys of a site's preset that jobs of every queue use."""
PRESET_ALIASES = {
    "project": "account",
    "extra": "worker-extra-args",
    "env-extra": "job-script-prologue",
    "job-extra": "job-extra-directives",
    "header-skip": "job-directives-skip",
}
"""Other names of keys, as dask-jobqueue has or had them: they count where the key is not set."""
FIXED_VALUES = {"processes": 1, "worker-command": "distributed.cli.dask_worker"}
"""The only values of keys that may be set to what jobs do anyway."""
UNCHANGED_VALUES = {"name": "dask-worker"}
"""Values that dask-jobqueue has for a key and that stand for the default of iitdask."""
CONNECTION_KEYS = ("interface", "death-timeout", "scheduler-options", "shared-temp-directory")
"""Keys of a preset that say how processes of a run find each other."""
KEYS_OF_OPTION = {"cores": ("job-cpu", "ncpus"), "memory": ("job-mem", "mem")}
"""Keys of a preset that an option of the user wins over, beside the key of its own name."""
WHOLE_REQUEST_KEY = "resource-spec"  # Key of a preset that asks for cores and memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """Options of jobs as the user gives them; None stands for the default of site or iitdask."""

    cores: int | None = None
    """Cores of a job: so many blocks are computed at a time."""
    walltime: str | None = None
    """Time limit of a job, as SLURM writes it, whatever the queue."""
    partition: str | None = None
    """Partition, or queue of the nodes."""
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
    """Further lines for the queue, such as --constraint=icelake for sbatch."""
    throttle: int | None = None
    """Most elements of a job array that run at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec(JobOptions):
    """Resources and script lines that all jobs of a run are submitted with."""

    queue: QueueSystem
    cores: int
    walltime: str
    memory: str  # Memory of a job
    logs: str  # Directory of the jobs' output
    shared: str  # Directory that all nodes see, for certificates of this run
    skip: tuple[str, ...]  # Words of lines for the queue that the site does not want
    before: tuple[str, ...]  # Lines of the job script before the worker
    after: tuple[str, ...]  # Lines of the job script after it
    python: str  # Words of a shell that start the interpreter on the nodes
    scheduler: tuple[tuple[str, Any], ...]  # Options of the Dask scheduler that a site sets
    worker_arguments: tuple[str, ...]  # Further arguments of ``dask worker``
    death_timeout: str  # Time after which a worker without a scheduler ends
    shebang: str
    name: str  # Name of the jobs
    own: tuple[tuple[str, Any], ...]  # Keys that only this queue has
    site_keys: tuple[str, ...]  # Keys that the site's preset sets

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


def resolve_job_spec(
    options: JobOptions, memory: str | None = None, queue: QueueSystem = SLURM
) -> JobSpec:
    """Resolve job options: those of the user, else of the site, else the defaults."""
    site = _site_preset(options.site, queue)
    for option, value in {"cores": options.cores, "memory": memory}.items():
        if value is not None and WHOLE_REQUEST_KEY in site:
            raise InputError(
                f"--{option}: expected none beside the {WHOLE_REQUEST_KEY} of the preset "
                f"jobqueue.{options.site}, got {quote(value)}; give another preset"
            )
        for key in KEYS_OF_OPTION[option] if value is not None else ():
            site.pop(key, None)
    logs = str(site.get("log-directory") or Path("iitdask-jobs").absolute())
    jobs = JobSpec(
        queue=queue,
        cores=_cores(options.cores, site.get("cores")),
        memory=_choose("memory", memory, site.get("memory"), DEFAULT_MEMORY),
        walltime=_choose("walltime", options.walltime, site.get("walltime"), DEFAULT_WALLTIME),
        partition=_choose("partition", options.partition, site.get("queue")),
        account=_choose("account", options.account, site.get("account")),
        interface=_choose("interface", options.interface, site.get("interface")),
        port=options.port,
        tls=options.tls,
        throttle=options.throttle,
        site=options.site,
        scratch=_choose("scratch", options.scratch, site.get("local-directory")),
        logs=logs,
        shared=os.path.expanduser(str(site.get("shared-temp-directory") or logs)),  # noqa: PTH111
        directive=(*_lines(site, "job-extra-directives"), *options.directive),
        skip=_lines(site, "job-directives-skip"),
        before=(*queue.prologue, *job_prologue(), *_lines(site, "job-script-prologue")),
        after=_lines(site, "job-script-epilogue"),
        python=_shell_words(site.get("python") or [sys.executable]),
        scheduler=tuple((site.get("scheduler-options") or {}).items()),
        worker_arguments=_lines(site, "worker-extra-args"),
        death_timeout=str(site.get("death-timeout") or DEFAULT_DEATH_TIMEOUT),
        shebang=str(site.get("shebang") or queue.shebang),
        name=str(site.get("name") or JOB_NAME),
        own=tuple((key, site[key]) for key in queue.own_keys if key in site),
        site_keys=tuple(site),
    )
    parse_memory(jobs.memory)
    if jobs.seconds < 60:
        raise InputError(f"--walltime: expected a minute or more, got {quote(jobs.walltime)}")
    booking = queue.cores_directive
    if booking and jobs.cores > 1 and not any(booking in line for line in jobs.directive):
        raise InputError(
            f"--cores: {queue.title} books cores by a parallel environment of the site: expected "
            f"--directive='{booking} NAME {jobs.cores}' beside it, got none"
        )
    return jobs


def _lines(site: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return a key of a preset that holds a list."""
    lines = site.get(key) or ()
    if isinstance(lines, Mapping):
        lines = [f"{name} = {value}" for name, value in lines.items()]
    if not isinstance(lines, list | tuple | set):
        raise InputError(f"--site: {key}: expected a list, got {quote(lines)}")
    return tuple(map(str, lines))


def _shell_words(words: Any) -> str:
    """Return words as a shell reads them; a text may hold several, such as those of a container."""
    return words if isinstance(words, str) else shlex.join(map(str, words))


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


def _site_preset(name: str | None, queue: QueueSystem) -> dict[str, Any]:
    """Return the keys that a site's preset sets, by their names of today."""
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
    written = {key.replace("_", "-"): value for key, value in (known[name] or {}).items()}
    written = {key: value for key, value in written.items() if value not in (None, "", [], {})}
    written = {key: value for key, value in written.items() if value != FIXED_VALUES.get(key)}
    aliases = {PRESET_ALIASES.get(key, key): value for key, value in written.items()}
    preset = aliases | {key: value for key, value in written.items() if key not in PRESET_ALIASES}
    used = [key for key in (*PRESET_KEYS, *queue.own_keys) if key not in queue.unused_keys]
    unused = [key for key in preset if key not in used]
    if unused:
        raise InputError(
            f"--site: the preset jobqueue.{name} sets {', '.join(unused)}, which jobs of iitdask "
            f"on {queue.title} do not use; expected {', '.join(used)}"
        )
    return {key: value for key, value in preset.items() if value != UNCHANGED_VALUES.get(key)}


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


if __name__ == "__main__":
    write_certificates(Path(sys.argv[1]))
