"""The table of queue systems: their commands, and how their job scripts are written.

Whatever differs between the systems is here. What a job asks for is written by dask-jobqueue's
class for the system, in every shape.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from iitdask.errors import ClusterError, InputError

COMMAND_TIMEOUT_SECONDS = 20.0  # Seconds that a command of a queue may take to answer


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """What a queue says about one job."""

    is_pending: bool
    reason: str = ""  # Why it waits, in the words of the queue


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSystem:
    """A system that queues jobs and starts them on nodes."""

    name: str  # As ``--cluster`` and dask-jobqueue's configuration call it
    title: str
    job_class: str  # Name of its job class in dask-jobqueue's module of its name
    submit: tuple[str, ...]  # Command that submits the script it reads
    cancel: str  # Command that cancels a job
    listing: tuple[str, ...]  # Command that lists the jobs of this user
    read_listing: Callable[[str], dict[str, QueuedJob]]
    test: tuple[str, ...] = ()  # Command that says whether the script it reads would be accepted
    directives: tuple[str, ...] = ()  # Of every job: it is started again if its node is lost
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
        try:
            done = run_command(self.listing)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return self.read_listing(done.stdout) if done.returncode == 0 else None


WAITING_WORDS = (
    *("nodes are busy", "Required node not available", "Required partition not available"),
    "configuration not available now",
)
"""Words by which a test says that a job would have to wait for nodes that are down or taken."""
ARRAY_REFUSAL = "Invalid job array specification"


def run_command(words: tuple[str, ...], text: str = "") -> subprocess.CompletedProcess[str]:
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


def _slurm_listing(text: str) -> dict[str, QueuedJob]:
    jobs = {}
    for line in text.splitlines():
        number, _, rest = line.strip().partition("|")
        state, _, reason = rest.partition("|")
        jobs[number] = QueuedJob(state == "PD", "" if reason == "None" else reason)
    return jobs


SLURM = QueueSystem(
    name="slurm",
    title="SLURM",
    job_class="SLURMJob",
    submit=("sbatch", "--parsable"),
    cancel="scancel",
    listing=("squeue", "--noheader", "--me", "--format=%A|%t|%r"),
    read_listing=_slurm_listing,
    test=("sbatch", "--test-only"),
    directives=("--requeue", "--open-mode=append"),
    own_keys=MappingProxyType({"job-cpu": None, "job-mem": None}),
)
