"""Runs as real processes, for tests that harm them."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from iitdask.run.stage_group import StageGroup, list_stages
from iitdask.run.storage import open_store

ROOT = Path(__file__).parents[2]
PATIENCE = 600.0
"""Seconds after which a test gives up, far more than a busy machine needs."""
IITDASK = "tests.run.patient"
"""Module that is started for the command line."""
PLAIN = re.compile(r"c(\.\d+)+")


def write_study(folder, n, seed, block_seconds, name="study"):
    """A random, dense, noisy substrate as a study file."""
    rng = np.random.default_rng(seed)
    np.save(folder / f"{name}.npy", rng.uniform(0.05, 0.95, (2**n, n)))
    study = {
        "substrate": {"tpm": f"{name}.npy"},
        "state": "1" * n,
        "compute": "ces",
        "run": {"block_seconds": block_seconds},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def environment():
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def start(*words, log=None):
    """Start a Python module, or the command line, in a session of its own."""
    module, *rest = words
    words = [IITDASK if module == "iitdask" else module, *rest]
    with Path(os.devnull if log is None else log).open("a") as out:
        return subprocess.Popen(
            [sys.executable, "-m", *map(str, words)],
            env=environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=out,
        )


def call(*words):
    """Run a command of iitdask to its end."""
    return subprocess.run(
        [sys.executable, "-m", IITDASK, *map(str, words)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def filled(study):
    """A store beside a study, of a run that nothing disturbed."""
    store = study.with_name(f"{study.stem}-undisturbed.zarr")
    done = call("run", study, "--store", store, "--quiet")
    assert done.returncode == 0, done.stderr
    return store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def study(request, folder):
    """Nine units in blocks of the `BLOCK_SECONDS` of the module that tests."""
    return write_study(folder, 9, 7, request.module.BLOCK_SECONDS)


@pytest.fixture(scope="module")
def undisturbed(study):
    return filled(study)


def end(process):
    """Kill what is left of a session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def workers_of(process):
    """Worker processes below a driver or a nanny."""
    found = []
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if any("spawn_main" in word for word in child.cmdline()):
                    found.append(child)
    return found


def ticks(store):
    found = []
    for folder, below, names in os.walk(store / "work"):
        if Path(folder).name == "tick":
            below.clear()
            found += [Path(folder) / name for name in names if PLAIN.fullmatch(name)]
    return found


def wait_until(claim, step=0.02):
    """Whether a claim becomes true before patience ends."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if claim():
            return True
        time.sleep(step)
    return False


def listens(port):
    """Whether a process of this machine accepts connections at a port."""
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def content(store):
    """Bytes of every variable of every stage."""
    found = {}
    for name in list_stages(open_store(str(store))):
        folder = StageGroup.load(open_store(store), name)
        assert len(folder.done()) == len(folder.layout.tiling)
        arrays = folder.read_all(folder.layout.variables)
        found |= {(name, key): array.tobytes() for key, array in arrays.items()}
    return found


def shown(store):
    done = call("show", store, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Watch:
    """Sees every tick written, and whether one is ever written again."""

    def __init__(self, store):
        self.store = store
        self.seen, self.again = {}, []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        self.look()

    def _look(self):
        while not self._ended.wait(0.05):
            self.look()

    def look(self):
        for path in ticks(self.store):
            with suppress(FileNotFoundError):
                about = path.stat()
                mark = (about.st_ino, about.st_mtime_ns)
                if self.seen.setdefault(path, mark) != mark:
                    self.again.append(path)
                    self.seen[path] = mark


class Chaos:
    """Kills processes at random moments, always the same ones for a seed."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.kills = 0

    def kill(self, process):
        with suppress(psutil.Error, ProcessLookupError):
            process.kill()
            self.kills += 1
