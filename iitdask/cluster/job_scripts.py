"""Job scripts: of a Dask worker and of a job array; and their submission.

The lines that say what a job asks for are written by dask-jobqueue's class for the queue in
every shape, so that a site's preset means the same everywhere.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from iitdask.cluster.jobs import CONNECTION_KEYS, JobSpec
from iitdask.errors import InputError, InterruptedRunError, quote

CONFIG_NAME = "iitdask-jobs"
"""Section of Dask's configuration that jobs read: what they take from a site is in their spec."""
PRESENT_DIRECTORY = "/./."
"""Stands for the directory of logs, which dask-jobqueue makes where a script is only shown."""
NOTICE_SECONDS = 30  # Seconds before the end of its walltime that SLURM signals an array element
UNFINISHED_EXIT_CODE = 75
"""Exit code of ``iitdask work`` if its time ended before the store was complete (EX_TEMPFAIL)."""
JOB_NUMBER = re.compile(r"\d+")


def require_jobqueue() -> None:
    """Raise an InputError if dask-jobqueue, which writes job scripts, is not installed."""
    if find_spec("dask_jobqueue") is None:
        raise InputError(
            "--cluster slurm: needs dask-jobqueue; install it with: pip install 'iitdask[slurm]'"
        )


def job_class(jobs: JobSpec) -> Any:
    """Return dask-jobqueue's class of jobs of a queue, with the epilogue of a site."""
    require_jobqueue()
    module = import_module(f"dask_jobqueue.{jobs.queue.name}")
    base: Any = getattr(module, jobs.queue.job_class)

    class SiteJob(base):  # type: ignore[misc]
        def job_script(self) -> str:
            return "\n".join([super().job_script().rstrip("\n"), *jobs.after, ""])

    return SiteJob


def job_arguments(jobs: JobSpec) -> dict[str, Any]:
    """Return what dask-jobqueue is told about jobs."""
    lifetime, stagger = jobs.lifetime
    ends = ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s"]
    arguments = {
        "cores": jobs.cores,
        "memory": jobs.memory,
        "processes": 1,  # with more, lost workers are never replaced: their names match no job
        "walltime": jobs.walltime,
        "queue": jobs.partition,
        "account": jobs.account,
        "interface": jobs.interface,
        "local_directory": jobs.scratch,
        "log_directory": jobs.logs,
        "death_timeout": jobs.death_timeout,
        "job_name": jobs.name,
        "job_extra_directives": [*jobs.queue.directives, *jobs.directive],
        "job_directives_skip": list(jobs.skip),
        "job_script_prologue": list(jobs.before),
        "worker_extra_args": [*ends, *jobs.worker_arguments],
        "python": jobs.python,
        "shebang": jobs.shebang,
        "config_name": CONFIG_NAME,
    }
    return {key: value for key, value in arguments.items() if value is not None}


@contextmanager
def job_configuration(jobs: JobSpec) -> Iterator[None]:
    """Let jobs find nothing in Dask's configuration but what their spec holds.

    dask-jobqueue would take what is not given from the section of its queue, in one shape.
    """
    import dask
    import yaml

    require_jobqueue()
    package = Path(str(import_module("dask_jobqueue").__file__)).parent
    content = (package / "jobqueue.yaml").read_text(encoding="utf-8")
    section = yaml.safe_load(content)["jobqueue"][jobs.queue.name]
    section |= {**jobs.queue.own_keys, **dict(jobs.own)}
    with dask.config.set({f"jobqueue.{CONFIG_NAME}": section}):
        yield


def worker_script(jobs: JobSpec) -> str:
    """Return the job script of one Dask worker, for ``--print-job``."""
    address = f"{'tls' if jobs.tls else 'tcp'}://SCHEDULER:{jobs.port or 'PORT'}"
    script: str = _job(jobs, address).job_script()
    return script.replace(PRESENT_DIRECTORY, jobs.logs)


def _job(jobs: JobSpec, address: str = "") -> Any:
    with job_configuration(jobs):
        arguments = job_arguments(jobs) | {"log_directory": PRESENT_DIRECTORY}
        return job_class(jobs)(address, name=f"{jobs.name}-0", **arguments)


def script_header(jobs: JobSpec) -> list[str]:
    """Return the lines of a job for the queue, without those about its output."""
    lines = _job(jobs).job_header.splitlines()
    return [line for line in lines if PRESENT_DIRECTORY not in line]


def array_script(jobs: JobSpec, workers: int, store: str, spec: str | None = None) -> str:
    """Return the script of a job array whose elements coordinate by the store alone."""
    if jobs.worker_arguments:
        raise InputError(
            f"--site: the preset jobqueue.{jobs.site} sets worker-extra-args, for which a job "
            f"array has no use: its elements are no Dask workers; expected --cluster slurm"
        )
    at_a_time = "" if jobs.throttle is None else f"%{jobs.throttle}"
    header = [
        f"#SBATCH --array=0-{workers - 1}{at_a_time}",
        f"#SBATCH --signal=B:USR1@{NOTICE_SECONDS}",
        f"#SBATCH --output={jobs.logs}/%A-%a.out",
        *script_header(jobs),
    ]
    lifetime, stagger = jobs.lifetime
    work = ["work", store, "--quiet", "--threads", str(jobs.cores), "--memory", jobs.memory]
    work += [] if spec is None else ["--spec", spec]
    was_cut_short = "{ [ $late -eq 1 ] && [ $code -ne 0 ]; }"
    lines = [
        *_notes_of_array(jobs),
        f"life=$(( {lifetime} - SLURM_ARRAY_TASK_ID * {stagger} / {workers} ))",
        # In the background, so that the shell hears SLURM's signals and passes them on.
        f'{jobs.python} -m iitdask {shlex.join(work)} --lifetime "${{life}}s" &',
        "child=$!",
        "[ $late -eq 1 ] && kill -TERM $child",
        "wait $child",
        "while kill -0 $child 2>/dev/null; do wait $child; done",
        "# A signal ends a wait with its own code; that of a child that is gone bash remembers.",
        "wait $child; code=$?",
        *jobs.after,
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
    return whole_script(jobs, header, lines, traps)


def _notes_of_array(jobs: JobSpec) -> list[str]:
    """Return lines about what a site's preset says and an array does not need or uses otherwise."""
    unused = [key for key in CONNECTION_KEYS if key in jobs.site_keys]
    note = f"# No element connects to another: not needed are {', '.join(unused)} of jobqueue."
    lines = [f"{note}{jobs.site}"] if unused else []
    if jobs.scratch:
        lines += [f"mkdir -p {jobs.scratch}", f"export TMPDIR={jobs.scratch}"]
    return lines


def submit(jobs: JobSpec, script: str) -> str:
    """Submit a job script and return the number of the job."""
    jobs.queue.require_commands()
    Path(jobs.logs).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        jobs.queue.submit, input=script, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise jobs.queue.refusal(done.stderr)
    number = JOB_NUMBER.search(done.stdout)
    if number is None:
        raise InterruptedRunError(
            f"{jobs.queue.submit[0]} gave no job number but {quote(done.stdout)}"
        )
    return number.group()


def whole_script(
    jobs: JobSpec, header: Sequence[str], body: Sequence[str], first: Sequence[str] = ()
) -> str:
    """Return a job script; what comes `first` stands before the lines of the site."""
    return "\n".join([jobs.shebang, *header, "", *first, *jobs.before, "", *body, ""])
