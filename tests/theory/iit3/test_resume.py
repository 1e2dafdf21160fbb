"""IIT 3.0 over stores: killed and resumed, on a cluster, already full; always the same bits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import iitdask as iit
from iitdask.model.system import System
from iitdask.run.events import BlocksFilled
from iitdask.study.problem import Problem
from iitdask.study.run import run_job

HERE, ROOT = str(Path(__file__).parent), Path(__file__).parents[3]
SECONDS = 1e-6  # every block by itself
CHILD = f"""
import os, signal, sys
from iitdask.run.events import BlocksFilled
from iitdask.study.run import run_job
sys.path.insert(0, sys.argv[3])
from test_resume import asked

left = int(sys.argv[2])

def dies(event):
    global left
    if isinstance(event, BlocksFilled):
        left -= event.blocks
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

run_job(asked(), store=sys.argv[1], observers=[dies], block_seconds={SECONDS})
"""


def asked():
    """The structure of four noisy units."""
    tpm = np.random.default_rng(31).random((16, 4))
    return Problem(System.build(iit.Substrate.from_tpm(tpm), "0110"), iit.IIT3(), "ces")


@pytest.fixture(scope="module")
def point():
    return asked()


@pytest.fixture(scope="module")
def expected(point):
    return run_job(point)


def counted(point, **more):
    """The result, and how many blocks of each stage were filled."""
    filled = {}

    def watch(event):
        if isinstance(event, BlocksFilled):
            filled[event.stage] = filled.get(event.stage, 0) + event.blocks

    return run_job(point, observers=[watch], **more), filled


def test_killed_run__resumes_in_every_stage_with_the_same_bits(point, expected, tmp_path):
    _, alone = counted(point, block_seconds=SECONDS)
    assert set(alone) == {"marginals", "concepts", "cuts", "cuts/more", "cut-concepts", "details"}
    store, ends = tmp_path / "killed.zarr", np.cumsum(list(alone.values())).tolist()
    within = [ends[1] - 3, ends[2] - 2, ends[3] - 2]  # among the concepts, the cuts, the others
    filled = 0
    for at in within:
        words = [sys.executable, "-c", CHILD, str(store), str(at - filled), HERE]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        run = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert run.returncode == -signal.SIGKILL, run.stderr
        filled = at
    tree, rest = counted(point, store=store, block_seconds=SECONDS)
    assert sum(rest.values()) == ends[-1] - filled
    xr.testing.assert_identical(tree, expected)
    tree, none = counted(point, store=store, block_seconds=SECONDS)
    assert none == {}
    xr.testing.assert_identical(tree, expected)


def test_cluster_and_store__give_the_bits_of_memory(point, expected, tmp_path):
    local = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with LocalCluster(**local, dashboard_address=":0") as cluster, Client(cluster) as client:
        for store in (None, tmp_path / "cluster.zarr"):
            tree = run_job(point, client=client, store=store, block_seconds=SECONDS)
            xr.testing.assert_identical(tree, expected)
