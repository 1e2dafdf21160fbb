import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import toy_recipe as toys
import xarray as xr
from processes import PATIENCE

from iitdask.run.engines import SerialEngine
from iitdask.run.events import BlocksFilled
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.theory.stage import StageRef

RUN = """
import sys
sys.path.insert(0, sys.argv[2])
import toy_recipe as toys
from iitdask.run.engines import DaskEngine, SerialEngine
from iitdask.run.execute import execute
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger
from tests.runs import Kill

def main():
    ledger = ZarrLedger(open_store(sys.argv[1]))
    how = {"observers": [Kill("squares", 6)], "block_seconds": 0.05}
    if sys.argv[3] == "inline":
        execute(toys.toy(toys.slow_squares), ledger, SerialEngine(), **how)
    else:
        from distributed import Client, LocalCluster
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
            with Client(cluster) as client:
                execute(toys.toy(toys.slow_squares), ledger, DaskEngine(client), **how)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("engine", ["inline", "futures"])
def test_run__killed_midway_resumes_with_the_rest_and_is_bitwise_equal(engine, tmp_path):
    script, url = tmp_path / "run.py", tmp_path / "run.zarr"
    script.write_text(RUN)
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parents[1]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(script), str(url), str(here), engine],
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.wait(PATIENCE) == -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):  # its workers
            os.killpg(process.pid, signal.SIGKILL)
    ledger = ZarrLedger(open_store(url))
    total = len(ledger.open(toys.first_stage(), 5.0))
    done = len(ledger.done("squares"))
    assert 6 <= done < total
    events = []
    tree = execute(toys.toy(), ledger, SerialEngine(), observers=[events.append])
    blocks = sum(event.blocks for event in events if isinstance(event, BlocksFilled))
    expected = execute(toys.toy(), MemoryLedger(), SerialEngine())
    assert blocks == total - done + len(ledger.done("pairs"))
    xr.testing.assert_identical(tree, expected)
    for stage, variable in (("squares", "value"), ("squares", "moments"), ("pairs", "product")):
        fresh = expected["one" if stage == "squares" else "two"][variable].values
        assert ledger.read_variable(StageRef(stage, variable)).tobytes() == fresh.tobytes()
