"""Job scripts: of a Dask worker and of a job array; and their submission.

The lines that say what a job asks for are written by dask-jobqueue's class for the queue in
every shape, so that a site's preset means the same everywhere.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from iitdask.cluster.jobs import CONNECTION_KEYS, JobSpec
from iitdask.cluster.queues import JOB_NUMBER, UNFINISHED_EXIT_CODE, QueueSystem
from iitdask.errors import InputError, InterruptedRunError, quote

CONFIG_NAME = "iitdask-jobs"
"""Section of Dask's configuration that jobs read: what they take from a site is in their spec."""
PRESENT_DIRECTORY = "/./."
"""Stands for the directory of logs, which dask-jobqueue makes where a script is only shown."""


def require_jobqueue(queue: QueueSystem) -> None:
    """Raise an InputError if dask-jobqueue, which writes job scripts, is not installed."""
    if find_spec("dask_jobqueue") is None:
        raise InputError(
            f"--cluster {queue.name}: needs dask-jobqueue; install it with: "
            "pip install 'iitdask[slurm]'"
        )


def job_class(jobs: JobSpec) -> Any:
    """Return dask-jobqueue's class of jobs of a queue, with the epilogue of a site."""
    require_jobqueue(jobs.queue)
    module = import_module(f"dask_jobqueue.{jobs.queue.name}")
    base: Any = getattr(module, jobs.queue.job_class)

    class ScriptJob(base):  # type: ignore[misc]
        def job_script(self) -> str:
            return "\n".join([super().job_script().rstrip("\n"), *jobs.after, ""])

    class CommandJob(base):  # type: ignore[misc]
        """A job of a queue that takes no script but one command, in which $( is its own."""

        _command_template: str

        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            command = "; ".join([self._command_template, *jobs.after])
            self._command_template = command.replace("$(", "$(DOLLAR)(")

    return CommandJob if jobs.queue.maps_directives else ScriptJob


def job_arguments(jobs: JobSpec) -> dict[str, Any]:
    """Return what dask-jobqueue is told about jobs."""
    lifetime, stagger = jobs.lifetime
    ends = ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s"]
    queue = jobs.queue
    walltime = jobs.walltime if queue.walltime is None else queue.walltime(jobs.seconds)
    limits = {"walltime": walltime, "queue": jobs.partition, queue.account_key: jobs.account}
    own_lines = [line.format(logs=jobs.logs) for line in queue.directives]
    directives: Any = [*own_lines, *jobs.directive]
    if queue.maps_directives:
        directives = dict(_key_and_value(line) for line in directives)
        if jobs.account is not None:
            directives = {"accounting_group": jobs.account} | directives
    arguments = {
        "cores": jobs.cores,
        "memory": jobs.memory,
        "processes": 1,  # with more, lost workers are never replaced: their names match no job
        **(limits if queue.has_limits else {}),
        "interface": jobs.interface,
        "local_directory": jobs.scratch,
        "log_directory": jobs.logs,
        "death_timeout": jobs.death_timeout,
        "job_name": jobs.name,
        "job_extra_directives": directives,
        "job_directives_skip": list(jobs.skip),
        "job_script_prologue": list(jobs.before),
        "worker_extra_args": [*ends, *jobs.worker_arguments],
        "python": jobs.python,
        "shebang": jobs.shebang,
        "config_name": CONFIG_NAME,
    }
    return {key: value for key, value in arguments.items() if value is not None}


def _key_and_value(line: str) -> tuple[str, str]:
    key, sign, value = (part.strip() for part in line.partition("="))
    if not (key and sign):
        raise InputError(f"--directive: expected KEY = VALUE, got {quote(line)}")
    return key, value


@contextmanager
def job_configuration(jobs: JobSpec) -> Iterator[None]:
    """Let jobs find nothing in Dask's configuration but what their spec holds.

    dask-jobqueue would take what is not given from the section of its queue, in one shape.
    """
    import dask
    import yaml

    require_jobqueue(jobs.queue)
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
        try:
            return job_class(jobs)(address, name=f"{jobs.name}-0", **arguments)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"--cluster {jobs.queue.name}: dask-jobqueue cannot write the job: "
                f"{type(error).__name__}: {error}"
            ) from error


def script_header(jobs: JobSpec) -> list[str]:
    """Return the lines of a job for the queue, without those about its output."""
    lines = _job(jobs).job_header.splitlines()
    return [line for line in lines if PRESENT_DIRECTORY not in line]


def array_script(
    jobs: JobSpec,
    workers: int,
    store: str,
    spec: str | None = None,
    kernels: Sequence[str] = (),
) -> str:
    """Return the script of a job array whose elements coordinate by the store alone.

    Parameters
    ----------
    jobs, workers, store : what to ask for, of how many elements, and what they fill
    spec : study file of a sweep
    kernels : options by which elements find compiled kernels
    """
    array, directive = jobs.queue.array, jobs.queue.directive
    if array is None:
        raise InputError(f"--cluster: {jobs.queue.title} has no job arrays here")
    if jobs.worker_arguments:
        raise InputError(
            f"--site: the preset jobqueue.{jobs.site} sets worker-extra-args, for which a job "
            f"array has no use: its elements are no Dask workers; expected --cluster "
            f"{jobs.queue.name}"
        )
    at_a_time = "" if jobs.throttle is None else f"%{jobs.throttle}"
    options = array.options(jobs.name, jobs.logs, workers, at_a_time)
    header = [f"{directive} {line}" for line in options]
    single = f"{directive} {array.replaced}"
    header += [line for line in script_header(jobs) if not (array.replaced and single in line)]
    lifetime, stagger = jobs.lifetime
    work = ["work", store, "--quiet", "--threads", str(jobs.cores), "--memory", jobs.memory]
    work += [*([] if spec is None else ["--spec", spec]), *kernels]
    was_cut_short = "{ [ $late -eq 1 ] && [ $code -ne 0 ]; }"
    lines = [
        *_notes_of_array(jobs),
        f"life=$(( {lifetime} - {array.index} * {stagger} / {workers} ))",
        # In the background, so that the shell hears the queue's signals and passes them on.
        f'{jobs.python} -m iitdask {shlex.join(work)} --lifetime "${{life}}s" &',
        "child=$!",
        "[ $late -eq 1 ] && kill -TERM $child",
        "wait $child",
        "while kill -0 $child 2>/dev/null; do wait $child; done",
        "# A signal ends a wait with its own code; that of a child that is gone bash remembers.",
        "wait $child; code=$?",
        *jobs.after,
        f"if [ $code -eq {UNFINISHED_EXIT_CODE} ] || {was_cut_short}; then",
        *(f"  {line}" for line in array.again),
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
