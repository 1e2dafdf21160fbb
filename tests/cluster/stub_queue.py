"""A queue that starts jobs at once on this machine, behind the commands of any queue system.

``stub_queue.py FOLDER QUEUE ROLE ...``: the folder holds a script and a process number a job.
"""

import itertools
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

COMMANDS = {
    "slurm": ("sbatch", "squeue", "scancel"),
    "pbs": ("qsub", "qstat", "qdel"),
    "lsf": ("bsub", "bjobs", "bkill"),
    "sge": ("qsub", "qstat", "qdel"),
    "htcondor": ("condor_submit", "condor_q", "condor_rm"),
    "oar": ("oarsub", "oarstat", "oardel"),
}
ANSWERS = {
    "slurm": "{}",
    "pbs": "{}.server",
    "lsf": "Job <{}> is submitted to queue <batch>.",
    "sge": 'Your job {} ("iitdask") has been submitted',
    "htcondor": "1 job(s) submitted to cluster {}.",
    "oar": "OAR_JOB_ID={}",
}
LINES = {
    "slurm": "{}|R|None",
    "pbs": "{}.server me batch iitdask 1 1 1 1gb 01:00 R 00:01",
    "lsf": "{}|RUN|",
    "sge": "{} 0.5 iitdask me r 11/30/2026 08:00:00 batch@n1 1",
    "htcondor": "{} 0 2 undefined",
    "oar": '"{}": {{"state": "Running"}}',
}
INDICES = {"pbs": ("PBS_ARRAY_INDEX", r"#PBS -J 0-(\d+)"), "lsf": ("LSB_JOBINDEX", r"\[1-(\d+)\]")}


def install(folder, queue):
    """Write the commands of a queue into a folder."""
    for command, role in zip(COMMANDS[queue], ("submit", "list", "cancel"), strict=True):
        path = folder / command
        words = f'{sys.executable} {__file__} {folder} {queue} {role} "$@"'
        path.write_text(f"#!/bin/sh\nexec {words}\n")
        path.chmod(0o755)


def is_alive(job):
    about = Path(f"/proc/{job.read_text()}/stat")
    return about.exists() and about.read_text().rpartition(")")[2].split()[0] != "Z"


def read_script(queue, words):
    if queue == "oar":
        return words[-1]
    text = Path(words[-1]).read_text() if words and Path(words[-1]).is_file() else sys.stdin.read()
    if queue != "htcondor":
        return text
    (arguments,) = re.findall(r"^Arguments = \"-c '(.*)'\"$", text, re.MULTILINE)
    return arguments.replace('""', '"').replace("''", "'").replace("$(DOLLAR)", "$")


def free_number(folder):
    """A number that no other submission has, were it made at the same time."""
    for number in itertools.count(1):
        with suppress(FileExistsError):
            (folder / f"{number}.number").touch(exist_ok=False)
            return number
    return None


def submit(folder, queue, words):
    script = read_script(queue, words)
    variable, pattern = INDICES.get(queue, ("UNUSED", "nothing"))
    indices = range(1)
    if found := re.search(pattern, script):
        indices = range(int(found[1]) + 1)
    first = free_number(folder)
    for index in indices:
        number = first if index == 0 else free_number(folder)
        with (folder / f"{number}.out").open("a") as out:
            process = subprocess.Popen(
                ["bash", "-c", script],
                env={**os.environ, variable: str(index)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        (folder / f"{number}.job").write_text(str(process.pid))
    sys.stdout.write(ANSWERS[queue].format(first) + "\n")


def main(folder, queue, role, *words):
    folder = Path(folder)
    jobs = {path.stem: path for path in folder.glob("*.job")}
    if role == "submit":
        submit(folder, queue, words)
    elif role == "list":
        lines = [LINES[queue].format(name) for name, job in jobs.items() if is_alive(job)]
        text = "{" + ", ".join(lines) + "}" if queue == "oar" else "\n".join(lines)
        sys.stdout.write(f"{text}\n")
    else:
        job = jobs[words[-1].removesuffix(".0")]
        if is_alive(job):
            os.killpg(int(job.read_text()), signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
