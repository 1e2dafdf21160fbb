"""What is in hand at this moment, from the worker to whoever looks on."""

import os
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest
import toy_recipe as toys
from processes import wait_until

from iitdask.run.coordination import BlockClaims, open_session
from iitdask.run.engines import DaskEngine, SerialEngine, SharedStoreEngine
from iitdask.run.events import (
    ActivityBoard,
    BlockActivity,
    EventLog,
    describe_block,
    publishing,
    read_activity,
)
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.plan import Tiling, tile
from iitdask.run.status import RunMonitor
from iitdask.run.storage import open_store
from iitdask.run.task import StageLayout
from iitdask.run.zarr_ledger import ZarrLedger

HERE = f"{socket.gethostname()}:{os.getpid()}"


def ago(seconds):
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def test_activity__names_the_cells_along_axes_that_are_cut():
    stage = toys.first_stage()
    layout = StageLayout.from_stage(stage, Tiling(stage.grid, (1, 16)), "")
    assert describe_block(layout, (1, 2)).cells == "side 1 of 2, code 32–47 of 64"
    layout = StageLayout.from_stage(stage, Tiling(stage.grid, (2, 64)), "")
    assert describe_block(layout, (0, 0)).cells == "all of it"
    assert describe_block(layout, (0, 0)).worker == HERE
    assert 0 <= describe_block(layout, (0, 0)).seconds < 60
    assert describe_block(layout, (0, 0)).memory > 1e6


class Watched(ActivityBoard):
    """Doings that remember what they were told, and what was in hand with it."""

    def __init__(self):
        super().__init__()
        self.told = []

    def start(self, bundle, doing):
        super().start(bundle, doing)
        self.told.append(doing)


def test_sharing__notes_what_its_threads_begin(tmp_path):
    url, doings = str(tmp_path / "run.zarr"), Watched()
    ledger = ZarrLedger(open_store(url))
    with open_session(open_store(url), join=True) as owner:
        engine = SharedStoreEngine(BlockClaims(owner), threads=2, activity=doings)
        execute(toys.toy(toys.slow_squares), ledger, engine, block_seconds=0.02)
    assert {each.stage for each in doings.told} == {"squares", "pairs"}
    assert doings.current == {}


@pytest.mark.parametrize("where", ["inline", "futures"])
def test_engines__note_what_is_begun_and_forget_it_in_the_end(where, request):
    doings = Watched()
    if where == "inline":
        engine = SerialEngine(doings)
    else:
        engine = DaskEngine(request.getfixturevalue("client"), activity=doings)
    execute(toys.toy(toys.slow_squares), MemoryLedger(), engine, block_seconds=0.02)
    assert {each.stage for each in doings.told} == {"squares", "pairs"}
    assert {each.worker for each in doings.told} == {HERE}
    assert all("of" in each.cells for each in doings.told)
    assert doings.current == {}


def test_file__follows_and_is_removed(tmp_path):
    url = str(tmp_path / "run.zarr")
    ZarrLedger(open_store(url))
    doing = BlockActivity("far:7", "mice", "mechanism 3 of 9", ago(5))
    with open_session(open_store(url)) as driver, publishing(driver) as doings:
        assert read_activity(open_store(url), driver.record) is None
        doings.start("a", doing)
        assert wait_until(lambda: read_activity(open_store(url), driver.record) == (doing,))
        doings.finish("a")
        assert wait_until(lambda: read_activity(open_store(url), driver.record) == ())
        doings.start("b", doing)
        assert wait_until(lambda: read_activity(open_store(url), driver.record) == (doing,))
    assert [name for name in open_store(url).list_dir("log") if "doing" in name] == []


def test_run_monitor__says_what_a_worker_elsewhere_does_and_since_when(tmp_path):
    url = str(tmp_path / "run.zarr")
    ledger = ZarrLedger(open_store(url))
    ledger.open(toys.first_stage(), 1.0)
    with open_session(open_store(url)) as driver:
        with publishing(driver) as doings:
            for k in range(6):
                doings.start(
                    str(k), BlockActivity("far:7", "squares", f"code {k} of 64", ago(100 - k), 5e6)
                )
            assert wait_until(lambda: read_activity(open_store(url), driver.record))
            (worker,) = RunMonitor(open_store(url))().workers
        assert worker.name == "far:7"
        assert worker.activity.startswith("squares: code 0 of 64; squares: code 1 of 64; ")
        assert worker.activity.endswith("; and 2 more")
        assert 100 <= worker.seconds_on_block < 1000
        assert (worker.blocks, worker.memory) == (0, 5e6)


def test_run_monitor__admits_that_it_does_not_know(tmp_path):
    url = str(tmp_path / "run.zarr")
    execute(toys.toy(), ZarrLedger(open_store(url)), SerialEngine(), observers=[])
    with open_session(open_store(url)) as driver:
        journal = EventLog(driver)
        journal.start({})
        filled = {"stage": "squares", "blocks": 1, "cost": 1.0, "seconds": 2.0, "worker": "far:7"}
        journal.append("BlocksFilled", filled)
        (worker,) = RunMonitor(open_store(url))().workers
        assert (worker.activity, worker.blocks) == ("unknown", 1)
        with publishing(driver) as doings:
            doings.start("a", BlockActivity("far:8", "squares", "code 3 of 64", ago(1)))
            assert wait_until(lambda: read_activity(open_store(url), driver.record))
            found = {each.name: each.activity for each in RunMonitor(open_store(url))().workers}
        assert found == {"far:7": "idle", "far:8": "squares: code 3 of 64"}
    (worker,) = RunMonitor(open_store(url))().workers
    assert worker.activity == "-"


def test_run_monitor__adds_up_runs_side_by_side(tmp_path):
    url = str(tmp_path / "run.zarr")
    stage = toys.first_stage()
    blocks = len(tile(stage, 0.05))
    ZarrLedger(open_store(url)).open(stage, 0.05)
    with open_session(open_store(url)) as one, open_session(open_store(url), join=True) as two:
        for number, driver in enumerate((one, two)):
            journal = EventLog(driver)
            journal.start({})
            opened = {"stage": "squares", "blocks": blocks, "todo": blocks, "cost": 10.0 - number}
            journal.append("StageOpened", opened)
            filled = {"stage": "squares", "blocks": 1, "cost": 2.0, "seconds": 4.0}
            journal.append("BlocksFilled", {**filled, "worker": f"far:{number}"})
        pulse = RunMonitor(open_store(url))()
        assert [each.name for each in pulse.workers] == ["far:0", "far:1"]
        assert pulse.history[-1][1] == 8.0
        (squares,) = pulse.stages
        assert (squares.forecast, squares.actual) == (4.0, 8.0)
        opened = 10.0 if one.record.key < two.record.key else 9.0
        assert squares.seconds_left in ((opened - 4.0) * 2.0, (19.0 - opened - 4.0) * 2.0)


def test_activity__of_threads_are_told_apart():
    doings = ActivityBoard()
    layout = StageLayout.from_stage(toys.first_stage(), tile(toys.first_stage(), 0.05), "")
    threads = [
        threading.Thread(target=lambda k=k: doings.on_block_start(str(k))(layout, (0, 0)))
        for k in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(doings.current) == ["0", "1", "2", "3"]
    assert doings.pop_json() is not None
    assert doings.pop_json() is None
