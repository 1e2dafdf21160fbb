"""Peak memory of a process that fills a store: ``python -m tests.benchmarks.memory UNITS ...``.

For each number of units a process of its own computes the cause-effect structure of a random
network up to its second block of mechanisms, and compares its peak with the forecast.
"""

import resource
import subprocess
import sys
import tempfile
from contextlib import suppress
from itertools import count

import numpy as np

import iitdask as iit
from iitdask.model.system import System
from iitdask.run.events import BlocksFilled
from iitdask.study.problem import Problem
from iitdask.study.run import estimate_job, load_kernels, run_job
from iitdask.theory.options import IIT4


class EnoughError(Exception):
    """The process has filled what it was to fill."""


def structure(units):
    """Problem of a network of random probabilities."""
    tpm = np.random.default_rng(3).random((2**units, units))
    return Problem(System.build(iit.Substrate.from_tpm(tpm), "0" * units), IIT4(), "ces")


def peak_bytes(units):
    """Largest resident memory of this process while it fills the first blocks of mechanisms."""
    job, blocks = structure(units), count(1)
    load_kernels(job.kernel_families())

    def enough(event):
        if isinstance(event, BlocksFilled) and event.stage == "mice" and next(blocks) == 2:
            raise EnoughError

    with tempfile.TemporaryDirectory() as folder, suppress(EnoughError):
        run_job(job, store=f"{folder}/a.zarr", observers=[enough])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(numbers):
    """Print forecast, peak and their ratio."""
    print("| units | forecast, MB | measured, MB | measured / forecast |\n|---|---|---|---|")
    for units in numbers:
        words = [sys.executable, "-m", "tests.benchmarks.memory", "--peak", units]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        measured = int(done.stdout)
        forecast = estimate_job(structure(int(units)), seconds=0).bytes_per_worker
        ratio = measured / forecast
        print(
            f"| {units} | {forecast / 1e6:.0f} | {measured / 1e6:.0f} | {ratio:.2f} |", flush=True
        )


if __name__ == "__main__":
    if sys.argv[1] == "--peak":
        print(peak_bytes(int(sys.argv[2])))
    else:
        main(sys.argv[1:])
