"""The table of queue systems: their commands, and how their job scripts are written.

Whatever differs between the systems is here. What a job asks for is written by dask-jobqueue's
class for the system, in every shape.
"""

from __future__ import annotations

import getpass
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from iitdask.errors import ClusterError, InputError

USER = "USER"
"""Stands for the name of the user in a command."""
UNFINISHED_EXIT_CODE = 75
"""Exit code of ``iitdask work`` if its time ended before the store was complete (EX_TEMPFAIL)."""
NOTICE_SECONDS = 30  # Seconds before the end of its walltime that SLURM signals an array element
COMMAND_TIMEOUT_SECONDS = 20.0  # Seconds that a command of a queue may take to answer


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """What a queue says about one job."""

    is_pending: bool
    reason: str = ""  # Why it waits, in the words of the queue


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySyntax:
    """How a queue system writes job arrays."""

    options: Callable[[str, str, int, str], list[str]]
    """Lines of an array, from its name, the directory of its output, the number of elements and
    how many run at a time: an empty text, or that number after a percent sign."""
    index: str  # Variable that holds the number of an element
    again: tuple[str, ...]  # Lines of a shell for an element that was not finished in its time
    replaced: str = ""  # Start of the line of a single job that the options replace


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSystem:
    """A system that queues jobs and starts them on nodes."""

    name: str  # As ``--cluster`` and dask-jobqueue's configuration call it
    title: str
    job_class: str  # Name of its job class in dask-jobqueue's module of its name
    directive: str  # What begins a line of a script that is for the queue
    submit: tuple[str, ...]  # Command that submits the script it reads
    cancel: str  # Command that cancels a job
    listing: tuple[str, ...]  # Command that lists the jobs of this user, whose name is USER
    read_listing: Callable[[str], dict[str, QueuedJob]]
    nothing_words: str = ""  # What the listing says, and fails, if there are no jobs
    walltime: Callable[[float], str] | None = None  # How seconds are written; None: as in SLURM
    account_key: str = "account"  # What dask-jobqueue calls the account
    has_limits: bool = True  # Whether a job says its queue, its account and its walltime
    maps_directives: bool = False  # Whether further lines are ``key = value``
    prologue: tuple[str, ...] = ()  # First lines of every script
    shebang: str = "#!/usr/bin/env bash"
    array: ArraySyntax | None = None
    test: tuple[str, ...] = ()  # Command that says whether the script it reads would be accepted
    directives: tuple[str, ...] = ()
    """Lines of every job, in which {logs} is the directory of its output: among others, that it is
    started again if its node is lost."""
    cores_directive: str = ""  # What a site's line that books cores has in it, if only it can
    unused_keys: tuple[str, ...] = ()  # Keys of a preset that dask-jobqueue does not use here
    own_keys: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Keys of a preset that only this system has, and what stands for them if they are not set."""

    def require_commands(self) -> None:
        """Raise an InputError if the commands of this system are missing."""
        commands = (self.submit[0], self.listing[0], self.cancel)
        missing = [name for name in commands if shutil.which(name) is None]
        if missing:
            raise InputError(
                f"--cluster {self.name}: expected {self.title}'s commands on this machine, found "
                f"no {', '.join(missing)}; run this on a login node"
            )

    def require_accepted(self, script: str) -> None:
        """Raise a ClusterError if the system says beforehand that it refuses a job script."""
        if not self.test:
            return
        try:
            done = run_command(self.test, script)
        except subprocess.TimeoutExpired:
            return  # the submission itself may be more patient
        # A test also fails where a job would only have to wait; the submission itself tells.
        if done.returncode and not any(words in done.stderr for words in WAITING_WORDS):
            raise self.refusal(done.stderr)

    def refusal(self, message: str) -> ClusterError:
        """Return the error of a job that was refused, with what the system said."""
        text = " ".join(message.split()) or "it does not say why"
        if self.name == "slurm" and ARRAY_REFUSAL in text:
            text += _array_limit()
        return ClusterError(
            f"{self.submit[0]} refused the job: {text} (--print-job shows the script)"
        )

    def queued_jobs(self) -> dict[str, QueuedJob] | None:
        """Return the jobs of this user by their numbers; None if the queue does not answer."""
        words = [getpass.getuser() if word == USER else word for word in self.listing]
        try:
            done = run_command(words)
            if done.returncode and self.nothing_words and self.nothing_words in done.stderr:
                return {}
            return self.read_listing(done.stdout) if done.returncode == 0 else None
        except (OSError, subprocess.TimeoutExpired, ValueError, LookupError):
            return None


WAITING_WORDS = (
    *("nodes are busy", "Required node not available", "Required partition not available"),
    "configuration not available now",
)
"""Words by which a test says that a job would have to wait for nodes that are down or taken."""
ARRAY_REFUSAL = "Invalid job array specification"


def run_command(words: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command of a queue; its standard input is `text`."""
    return subprocess.run(
        words,
        input=text,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_SECONDS,
        check=False,
    )


def _array_limit() -> str:
    """Return what SLURM allows of job arrays, as the end of a sentence."""
    try:
        said = run_command(("scontrol", "show", "config")).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    for line in said.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "MaxArraySize":
            return (
                f"; this site's arrays have at most {value.strip()} elements (MaxArraySize): "
                f"give --workers {value.strip()} or fewer, more --cores to each, or submit twice: "
                "arrays share a store"
            )
    return "; give fewer --workers (see MaxArraySize in `scontrol show config`)"


def clock(seconds: float) -> str:
    """Return seconds as H:M:S.

    Examples
    --------
    >>> clock(90000.0)
    '25:00:00'
    """
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"


def _hours_and_minutes(seconds: float) -> str:
    return clock(60 * -(-seconds // 60)).removesuffix(":00")


def _slurm_listing(text: str) -> dict[str, QueuedJob]:
    jobs = {}
    for line in text.splitlines():
        number, _, rest = line.strip().partition("|")
        state, _, reason = rest.partition("|")
        jobs[number] = QueuedJob(state == "PD", "" if reason == "None" else reason)
    return jobs


def _pbs_listing(text: str) -> dict[str, QueuedJob]:
    """Read the lines of ``qstat -s -u``; what the scheduler says of a job is on the next one."""
    jobs: dict[str, QueuedJob] = {}
    number = ""
    for line in text.splitlines():
        words = line.split()
        if (match := JOB_NUMBER.match(line)) and len(words) >= 11:
            number = match.group()
            jobs[number] = QueuedJob(words[9] in "QHWST")
        elif line.startswith(" ") and words and number and jobs[number].is_pending:
            jobs[number] = QueuedJob(is_pending=True, reason=" ".join(words))
    return jobs


def _lsf_listing(text: str) -> dict[str, QueuedJob]:
    jobs = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        number, state, reason = [*line.split("|"), "", ""][:3]
        jobs[number.strip()] = QueuedJob(
            state.strip() in ("PEND", "PSUSP"), reason.strip(" ;-") if reason else ""
        )
    return jobs


def _sge_listing(text: str) -> dict[str, QueuedJob]:
    jobs = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 4 and words[0].isdecimal():
            state = words[4]
            is_pending = any(letter in state for letter in "qhE")
            has_reason = is_pending and state != "qw"  # held, or in error
            jobs[words[0]] = QueuedJob(is_pending, state if has_reason else "")
    return jobs


def _condor_listing(text: str) -> dict[str, QueuedJob]:
    """Read lines of cluster, process, state and reason; what has ended is not in the queue."""
    jobs = {}
    for line in text.splitlines():
        cluster, process, state, reason = [*line.split(maxsplit=3), ""][:4]
        if state in ("1", "2", "5", "6", "7"):
            why = "" if reason == "undefined" else reason
            jobs[f"{cluster}.{process}"] = QueuedJob(state in ("1", "5"), why)
    return jobs


def _oar_listing(text: str) -> dict[str, QueuedJob]:
    jobs = {}
    for number, about in (json.loads(text) if text.strip() else {}).items():
        is_pending = str(about.get("state")) in ("Waiting", "Hold", "toLaunch", "toAckReservation")
        jobs[str(number)] = QueuedJob(is_pending, str(about.get("message") or ""))
    return jobs


JOB_NUMBER = re.compile(r"\d+")
SLURM = QueueSystem(
    name="slurm",
    title="SLURM",
    job_class="SLURMJob",
    directive="#SBATCH",
    submit=("sbatch", "--parsable"),
    cancel="scancel",
    listing=("squeue", "--noheader", "--me", "--format=%A|%t|%r"),
    read_listing=_slurm_listing,
    test=("sbatch", "--test-only"),
    directives=("--requeue", "--open-mode=append"),
    own_keys=MappingProxyType({"job-cpu": None, "job-mem": None}),
    array=ArraySyntax(
        options=lambda _, logs, elements, at_a_time: [
            f"--array=0-{elements - 1}{at_a_time}",
            f"--signal=B:USR1@{NOTICE_SECONDS}",
            f"--output={logs}/%A-%a.out",
        ],
        index="SLURM_ARRAY_TASK_ID",
        again=(
            "# Not finished and out of time: the next time slice goes on from here.",
            'scontrol requeue "$SLURM_JOB_ID"',
        ),
    ),
)
PBS = QueueSystem(
    name="pbs",
    title="PBS",
    job_class="PBSJob",
    directive="#PBS",
    submit=("qsub",),
    cancel="qdel",
    listing=("qstat", "-s", "-u", USER),
    read_listing=_pbs_listing,
    walltime=clock,
    directives=("-r y",),
    own_keys=MappingProxyType({"resource-spec": None}),
    prologue=('cd "${PBS_O_WORKDIR:-.}"',),  # PBS starts jobs in the home directory
    array=ArraySyntax(
        options=lambda _, logs, elements, at_a_time: [
            # An array has two elements or more; what has one is a job.
            *([f"-J 0-{elements - 1}{at_a_time}"] if elements > 1 else []),
            "-j oe",
            f"-o {logs}/",
        ],
        index="PBS_ARRAY_INDEX",
        again=(
            "# PBS lets users requeue nothing.",
            "echo 'out of time: submit again, which goes on from here' >&2",
        ),
    ),
)
LSF = QueueSystem(
    name="lsf",
    title="LSF",
    job_class="LSFJob",
    directive="#BSUB",
    submit=("bsub",),
    cancel="bkill",
    listing=("bjobs", "-noheader", "-o", "jobid stat pend_reason delimiter='|'"),
    read_listing=_lsf_listing,
    nothing_words="No unfinished job found",
    walltime=_hours_and_minutes,
    account_key="project",
    directives=("-r",),
    own_keys=MappingProxyType({"ncpus": None, "mem": None, "lsf-units": None, "use-stdin": True}),
    array=ArraySyntax(
        options=lambda name, logs, elements, at_a_time: [
            f'-J "{name}[1-{elements}]{at_a_time}"',
            "-wa USR1 -wt 1",  # a signal a minute before the end
            f"-o {logs}/%J-%I.out",
            f'-Q "{UNFINISHED_EXIT_CODE}"',
        ],
        index="LSB_JOBINDEX",
        again=(
            "# Not finished and out of time: LSF requeues what ends with this code.",
            f"exit {UNFINISHED_EXIT_CODE}",
        ),
        replaced="-J ",
    ),
)
SGE = QueueSystem(
    name="sge",
    title="SGE",
    job_class="SGEJob",
    directive="#$",
    submit=("qsub",),
    cancel="qdel",
    listing=("qstat", "-u", USER),
    read_listing=_sge_listing,
    walltime=clock,
    account_key="project",
    directives=("-r yes",),
    own_keys=MappingProxyType({"resource-spec": None}),
    cores_directive="-pe",
)
HTCONDOR = QueueSystem(
    name="htcondor",
    title="HTCondor",
    job_class="HTCondorJob",
    directive="",
    submit=("condor_submit",),
    cancel="condor_rm",
    listing=("condor_q", "-autoformat", "ClusterId", "ProcId", "JobStatus", "HoldReason"),
    read_listing=_condor_listing,
    has_limits=False,
    unused_keys=("queue", "name"),
    maps_directives=True,
    own_keys=MappingProxyType(
        {"disk": "2GB", "submit-command-extra": [], "cancel-command-extra": []}
    ),
    shebang="#!/usr/bin/env condor_submit",
)
OAR = QueueSystem(
    name="oar",
    title="OAR",
    job_class="OARJob",
    directive="#OAR",
    submit=("oarsub",),
    cancel="oardel",
    listing=("oarstat", "-J", "-u", USER),
    read_listing=_oar_listing,
    walltime=clock,
    account_key="project",
    directives=("-O {logs}/%jobid%.out", "-E {logs}/%jobid%.err"),
    own_keys=MappingProxyType(
        {"resource-spec": None, "memory-per-core-property-name": "not_applicable"}
    ),
)
QUEUES = {queue.name: queue for queue in (SLURM, PBS, LSF, SGE, HTCONDOR, OAR)}
"""Queue systems by name."""
