"""Job scripts of runs without a driver on the login node: one allocation, or a job array."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from iitdask.cluster.certificates import exported
from iitdask.cluster.jobs import LEAVING, Jobs
from iitdask.errors import InputError, InterruptedRunError

__all__ = ["allocation_script", "array_script", "require_slurm", "submitted"]

AGAIN = 75
"""Exit code of ``iitdask work`` whose time was over before the store was full."""
NUMBER = re.compile(r"\d+")


def allocation_script(jobs: Jobs, workers: int, run: Sequence[str]) -> str:
    """One job that holds scheduler, driver and workers.

    Parameters
    ----------
    jobs : Jobs
        What each task of it gets.
    workers : int
        Number of workers; two more tasks are the scheduler and the driver.
    run : sequence of str
        Arguments of ``iitdask`` for the driver.
    """
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
        f'{shlex.quote(jobs.python)} -m iitdask.cluster.certificates "{folder}"',
        *exported(folder),
    ]
    return _script(jobs, header, [quiet, *keys, start])


def array_script(jobs: Jobs, workers: int, store: str, spec: str | None = None) -> str:
    """Many jobs that know of each other by the store alone.

    Parameters
    ----------
    jobs : Jobs
        What each element gets.
    workers : int
        Number of elements.
    store : str
        Address of a store that was prepared.
    spec : str, optional
        Study file, where the store does not tell what is computed.
    """
    header = [
        f"--array=0-{workers - 1}",
        *jobs.header(),
        f"--signal=B:USR1@{LEAVING}",
        f"--output={jobs.logs}/%A-%a.out",
    ]
    lifetime, stagger = jobs.lifetime
    work = [jobs.python, "-m", "iitdask", "work", store, "--quiet", "--threads", str(jobs.cores)]
    work += [] if spec is None else ["--spec", spec]
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
        f"if [ $code -eq {AGAIN} ] || {{ [ $late -eq 1 ] && [ $code -ne 0 ]; }}; then",
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


def submitted(jobs: Jobs, script: str) -> str:
    """Submit a job script; return the number of the job."""
    require_slurm()
    Path(jobs.logs).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["sbatch", "--parsable"], input=script, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise InputError(f"sbatch refused the job: {said} (see the script with --print-job)")
    found = NUMBER.search(done.stdout)
    if found is None:
        raise InterruptedRunError(f"sbatch gave no job number but {done.stdout!r}")
    return found.group()


def require_slurm() -> None:
    """Raise an InputError where SLURM's commands are missing."""
    missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
    if missing:
        raise InputError(
            f"--cluster slurm: expected SLURM's commands on this machine, found no "
            f"{', '.join(missing)}; run this on a login node"
        )


def _script(
    jobs: Jobs, header: Sequence[str], body: Sequence[str], first: Sequence[str] = ()
) -> str:
    top = ["#!/usr/bin/env bash", *(f"#SBATCH {line}" for line in header)]
    return "\n".join([*top, "", *first, *jobs.before, "", *body, ""])
