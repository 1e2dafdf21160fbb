"""Sweeps in a process of their own that kills itself after some bundles."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHILD = """
import json, os, signal, sys
from iitdask.run.events import BlocksFilled
from iitdask.study import sweep
from iitdask.study.run import run_job
from iitdask.study.spec import read_study

# The cube is written at every event.
sweep.MIN_WRITE_INTERVAL_SECONDS = sweep.WRITE_INTERVAL_RATIO = 0.0
spec, store, left, block_seconds = json.loads(sys.argv[1])

def dies(event):
    global left
    if isinstance(event, BlocksFilled):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

made = sweep.sweep_from_study(*read_study(spec), "study")
run_job(made, store=store, observers=[dies], block_seconds=block_seconds)
"""


def killed_sweep(spec, store, after, block_seconds):
    """Fill a store until so many bundles are done; returns the process that died."""
    words = json.dumps([spec, str(store), after, block_seconds])
    return subprocess.run(
        [sys.executable, "-c", CHILD, words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
