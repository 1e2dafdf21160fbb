"""Commands where what only Unix or Linux has is missing, as on Windows and macOS."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MISSING = """
import grp, pwd, resource  # what other libraries need is imported before it goes
import asyncio, bokeh, cyclopts, dask, distributed, numba, psutil, rich, tornado, xarray, zarr
import distributed.security, multiprocessing.popen_spawn_posix, multiprocessing.resource_tracker
import os, signal, sys

for name in ("O_NONBLOCK", "sched_getaffinity"):
    delattr(os, name)
for name in ("pthread_kill", "pthread_sigmask"):
    delattr(signal, name)
for name in ("fcntl", "grp", "pwd", "resource"):
    sys.modules[name] = None
kept = {name: getattr(os, name) for name in ("getuid", "sysconf")}
for name in kept:  # Dask asks for them wherever sys.platform is not that of Windows
    delattr(os, name)
import iitdask.kernels.jit
from iitdask.model.documents import require_memory
require_memory(1)
vars(os).update(kept)

from iitdask.cli.app import main
for words in (["run", "basic", "--store", "a.zarr"], ["status", "a.zarr"], ["verify", "a.zarr"]):
    try:
        main(words)
    except SystemExit as stop:
        assert stop.code == 0, words
"""


def test_commands__need_nothing_that_another_system_lacks(tmp_path):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", MISSING],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0.415037 bits" in done.stdout
    assert "computed again with the same bits" in done.stdout
