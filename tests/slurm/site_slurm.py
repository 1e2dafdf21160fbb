"""A real SLURM of several nodes on this machine, brought up in seconds and taken down again.

Needs Debian's slurm-wlm and munge, no rights beyond an ordinary user's. Everything it
writes is in one folder; it listens on loopback alone.
"""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
CORES, MEGABYTES = 2, 4096


def missing():
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


class Site:
    """Controller and nodes, each a process that is ended by its number."""

    def __init__(self, base, nodes=3):
        self.base = Path(base)
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.processes = {}
        self.environment = {"SLURM_CONF": str(self.base / "slurm.conf"), "PATH": PATH}

    def up(self):
        for name in ("state", *(f"spool.{node}" for node in self.nodes)):
            (self.base / name).mkdir(parents=True)
        self._write()
        os.environ |= self.environment
        key, sock = self.base / "munge.key", self.base / "munge.sock"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        self._start(
            "munged",
            *("munged", "-F", "--force", f"--key-file={key}", f"--socket={sock}"),
            *(f"--pid-file={self.base}/munged.pid", f"--log-file={self.base}/munged.log"),
            f"--seed-file={self.base}/munged.seed",
        )
        self._wait(sock.exists, "munged does not listen")
        self._start("slurmctld", "slurmctld", "-D", "-i")
        for node in self.nodes:
            self.start_node(node)
        self._wait(self.is_idle, "the nodes did not come up")

    def down(self):
        with suppress(OSError, subprocess.TimeoutExpired):
            jobs = self.jobs()
            if jobs:
                say("scancel", *jobs)
            self._wait(lambda: not self.jobs(), "jobs do not end", 20)
        for name in sorted(self.processes, key=lambda each: each == "munged"):
            process = self.processes[name]
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            process.kill()
            process.wait()

    def start_node(self, node):
        self._start(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node):
        """End a node's daemon as a crash would; what runs on it goes on unseen."""
        process = self.processes.pop(node)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def jobs(self, *states):
        """Numbers of jobs in the queue."""
        words = ["--states=" + ",".join(states)] if states else []
        return say("squeue", "--noheader", "--format=%i", *words).split()

    def node_of(self, job):
        return say("squeue", "--noheader", "--format=%N", "--jobs", job).strip()

    def is_idle(self):
        said = say("sinfo", "--noheader", "--Node", "--partition=debug", "--format=%t")
        return said.split().count("idle") == len(self.nodes)

    def _write(self):
        port = free_ports(1 + len(self.nodes))
        host = socket.gethostname().split(".")[0]
        lines = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port[1 + i]} "
            f"CPUs={CORES} CoresPerSocket={CORES} RealMemory={MEGABYTES} State=UNKNOWN"
            for i, node in enumerate(self.nodes)
        ]
        marks = {
            "@BASE@": str(self.base),
            "@PORT@": str(port[0]),
            "@USER@": getpass.getuser(),
            "@NODES@": "\n".join(lines),
        }
        text = (HERE / "slurm.conf.in").read_text()
        for mark, value in marks.items():
            text = text.replace(mark, value)
        (self.base / "slurm.conf").write_text(text)

    def _start(self, name, *words):
        with (self.base / f"{name}.out").open("a") as out:
            self.processes[name] = subprocess.Popen(
                [shutil.which(words[0], path=PATH), *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _wait(self, claim, complaint, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(subprocess.CalledProcessError):
                if claim():
                    return
            time.sleep(0.1)
        logs = "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-2000:]}"
            for path in sorted([*self.base.glob("*.log"), *self.base.glob("*.out")])
        )
        raise RuntimeError(f"{complaint}\n{logs}")


def say(*words):
    """What one of SLURM's commands prints."""
    done = subprocess.run(
        [shutil.which(words[0], path=PATH), *map(str, words[1:])],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
