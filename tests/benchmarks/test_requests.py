"""What processes that share a store ask of it, counted."""

import subprocess
import sys

CODE = """
from tests.benchmarks.requests import requests
for workers in (1, 3):
    total, _ = requests(workers, blocks=80, seconds=0.02)
    print(total.total() / 80)
"""


def test_requests_of_a_block__are_few_however_many_processes_there_are():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=True
    )
    assert [float(line) < 12.0 for line in done.stdout.split()] == [True, True], done.stdout
