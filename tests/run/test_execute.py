import os
import socket
from dataclasses import replace

import numpy as np
import pytest
import toy_recipe as toys
import xarray as xr
from distributed import Client, LocalCluster

from iitdask.errors import (
    BlockFailedError,
    InputError,
    InterruptedRunError,
    MemoryRefusedError,
    StoreError,
)
from iitdask.run.engines import DaskEngine, SerialEngine
from iitdask.run.events import (
    BlockFailed,
    BlocksFilled,
    RunFinished,
    StageCompleted,
    StageOpened,
    Warned,
)
from iitdask.run.execute import StageRun, execute, recompute_block
from iitdask.run.ledger import MemoryLedger
from iitdask.run.storage import open_store
from iitdask.run.task import BlockError, BundleResult, BundleTask, WorkerMemory
from iitdask.run.worker import run_bundle
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.theory.stage import StageRef, gather, scoped


def count(events):
    return sum(event.blocks for event in events if isinstance(event, BlocksFilled))


def reference():
    return execute(toys.toy(), MemoryLedger(), SerialEngine())


def test_execute__gives_identical_trees_whatever_ledger_and_engine(ledger, engine):
    events = []
    tree = execute(toys.toy(), ledger, engine, observers=[events.append])
    xr.testing.assert_identical(tree, reference())
    opened = [event for event in events if isinstance(event, StageOpened)]
    assert [event.stage for event in opened] == ["squares", "pairs"]
    assert sum(event.todo for event in opened) == count(events) > 16
    assert [e.stage for e in events if isinstance(e, StageCompleted)] == ["squares", "pairs"]
    assert isinstance(events[-1], RunFinished)


def test_execute__computes_what_numpy_computes():
    tree = reference()
    value = np.log1p(np.arange(64.0)) ** 2
    assert np.array_equal(tree["one/value"].values, np.stack([value, value - 1]))
    assert tree["one/moments"].dims == ("side", "code", "moment")
    assert tree["one/value"].attrs == {"units": "bit", "comment": "Squared logarithm."}


def test_warning_of_an_earlier_stage__is_passed_on():
    """Why a worker died may be known only when other workers have filled its stage."""
    said = []

    def engine(tasks):
        for result in SerialEngine()(tasks):
            yield result
            if result.stage != "squares":
                yield BundleResult("squares", "", (), (), warning="worker 0 died")

    tree = execute(toys.toy(), MemoryLedger(), engine, observers=[said.append])
    xr.testing.assert_identical(tree, reference())
    assert Warned("worker 0 died") in said


def test_execute__replays_a_full_ledger_without_a_block(ledger, engine):
    first, events = execute(toys.toy(), ledger, engine), []
    again = execute(toys.toy(), ledger, engine, observers=[events.append])
    assert count(events) == 0
    xr.testing.assert_identical(first, again)


def test_execute__resumes_after_an_observer_stopped_it(ledger, engine):
    seen = []

    def stop(event):
        seen.append(event)
        if count(seen) >= 5:
            raise InterruptedRunError("enough")

    with pytest.raises(InterruptedRunError, match="enough"):
        execute(toys.toy(), ledger, engine, block_seconds=0.05, observers=[stop])
    events = []
    tree = execute(toys.toy(), ledger, engine, observers=[events.append])
    blocks = len(ledger.open(toys.first_stage(), 1.0))
    assert count(events[:-1]) <= blocks - 5 + len(ledger.done("pairs"))
    for group in ("one", "two"):
        xr.testing.assert_identical(tree[group].to_dataset(), reference()[group].to_dataset())


def test_execute__runs_gathered_recipes_in_step(ledger, engine):
    points = {key: scoped(f"points/{key}", toys.toy(scale=key)) for key in (1, 2, 3)}

    def together():
        found = yield from gather(points)
        return xr.DataTree.from_dict({str(key): tree for key, tree in found.items()})

    tree = execute(together(), ledger, engine)
    expected = reference()["one/value"]
    xr.testing.assert_identical(tree["1/one/value"], expected)
    assert not tree["2/one/value"].identical(expected)


def test_execute__stops_a_search_at_the_first_block_in_grid_order(ledger, engine):
    tree = execute(toys.search(), ledger, engine, block_seconds=0.02)
    again, events = None, []
    again = execute(toys.search(), ledger, engine, observers=[events.append])
    found = tree["x"].values
    last = int(np.flatnonzero(np.isfinite(found))[-1])
    assert np.array_equal(found[: last + 1], np.arange(last + 1))
    assert 40 <= last < 48
    assert count(events) == 0
    xr.testing.assert_identical(tree, again)
    assert np.array_equal(ledger.read_variable(StageRef("search", "x")), found, equal_nan=True)


def test_execute__runs_on_worker_processes(tmp_path):
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        store = ZarrLedger(open_store(tmp_path / "run.zarr"))
        xr.testing.assert_identical(execute(toys.toy(), store, DaskEngine(client)), reference())
        tree = execute(toys.toy(), MemoryLedger(), DaskEngine(client))
        xr.testing.assert_identical(tree, reference())


def test_execute__sets_a_block_aside_that_kills_its_worker(tmp_path):
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.run_on_scheduler(
            lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0)
        )
        store = ZarrLedger(open_store(tmp_path / "run.zarr"))
        with pytest.raises(BlockFailedError, match=r"block \(1, 0\), tried 3 times: KilledWorker"):
            execute(toys.toy(toys.deadly), store, DaskEngine(client))
        assert set(store.open(toys.first_stage(toys.deadly), 5.0)) - store.done("squares") == {
            (1, 0)
        }


def test_execute__counts_what_a_worker_wrote_before_it_died(tmp_path):
    def dying_engine(tasks):
        for task in tasks:
            written = tuple(block for block in task.blocks if block != (1, 0))
            run_bundle(BundleTask(task.context, written))
            failed = tuple(BlockError(block, "KilledWorker", "") for block in task.blocks)
            yield BundleResult(task.context.layout.name, "", (), failed)

    store, events = ZarrLedger(open_store(tmp_path / "run.zarr")), []
    with pytest.raises(BlockFailedError, match=r"^1 block"):
        execute(toys.toy(), store, dying_engine, observers=[events.append])
    done, every = store.done("squares"), set(store.open(toys.first_stage(), 5.0))
    assert every - done == {(1, 0)}
    assert count(events) == len(done)
    assert [event.block for event in events if isinstance(event, BlockFailed)] == [(1, 0)]
    seconds = [event.seconds for event in events if isinstance(event, BlocksFilled)]
    assert min(seconds) > 0.0


def test_execute__lists_blocks_that_fail_and_fills_all_others(ledger, engine):
    events = []
    with pytest.raises(BlockFailedError, match="1 block") as caught:
        execute(toys.toy(toys.failing), ledger, engine, observers=[events.append])
    message = str(caught.value)
    assert "stage 'squares', block (1, 0), tried 3 times: ZeroDivisionError" in message
    assert "recompute_block(recipe, ledger, 'squares', (1, 0))" in message
    failures = [event for event in events if isinstance(event, BlockFailed)]
    assert [(f.stage, f.block, f.attempts) for f in failures] == [("squares", (1, 0), 3)]
    assert set(ledger.open(toys.first_stage(), 5.0)) - ledger.done("squares") == {(1, 0)}


def test_recompute_block__lets_the_exception_through(ledger):
    with pytest.raises(BlockFailedError, match="squares"):
        execute(toys.toy(toys.failing), ledger, SerialEngine())
    with pytest.raises(ZeroDivisionError, match="no such square"):
        recompute_block(toys.toy(toys.failing), ledger, "squares", (1, 0))
    assert recompute_block(toys.toy(), ledger, "squares", (1, 0))["value"].ndim == 2
    with pytest.raises(InputError, match="2 x 16 blocks, none is"):
        recompute_block(toys.toy(), ledger, "squares", (7, 0))
    with pytest.raises(StoreError, match="comes before and lacks 1 block"):
        recompute_block(toys.toy(), ledger, "pairs", (0, 0))
    execute(toys.toy(), ledger, SerialEngine())
    assert recompute_block(toys.toy(), ledger, "pairs", (0, 0))["rank"].dtype == "int64"
    with pytest.raises(InputError, match="asks for no stage 'triples'"):
        recompute_block(toys.toy(), ledger, "triples", (0, 0))


def test_execute__tries_a_block_again(ledger, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_MARK", str(tmp_path / "mark"))
    xr.testing.assert_identical(execute(toys.toy(toys.failing_once), ledger, engine), reference())


def test_execute__refuses_blocks_that_do_not_fit(ledger, engine):
    said = r"stage 'squares': a worker of 2 thread\(s\) needs .* may hold 1e-07 GB"
    with pytest.raises(MemoryRefusedError, match=said):
        execute(toys.toy(), ledger, engine, memory=WorkerMemory(100, 2))
    assert execute(toys.toy(), ledger, engine, memory=WorkerMemory(10**9)) is not None


def test_execute__names_the_variable_that_does_not_fit(ledger, engine):
    with pytest.raises(BlockFailedError, match=r"variable 'odd': expected bool .* gave bool"):
        execute(toys.toy(toys.misshapen), ledger, engine)


def test_execute__refuses_stages_of_one_step_that_need_each_other(ledger):
    def tangled():
        yield (toys.first_stage(), toys.second_stage(4))

    def twice():
        yield (toys.first_stage(), toys.first_stage())

    with pytest.raises(InputError, match="'pairs' reads 'squares' of the same step"):
        execute(tangled(), ledger, SerialEngine())
    with pytest.raises(InputError, match="different names"):
        execute(twice(), ledger, SerialEngine())


def test_execute__says_so_when_the_cluster_is_gone(tmp_path):
    cluster = LocalCluster(n_workers=1, processes=False, dashboard_address=":0")
    client = Client(cluster)
    store = ZarrLedger(open_store(tmp_path / "run.zarr"))

    def pull_the_plug(event):
        if isinstance(event, BlocksFilled):
            client.close()

    with pytest.raises(InterruptedRunError, match="scheduler is out of reach"):
        execute(toys.toy(), store, DaskEngine(client), observers=[pull_the_plug])
    cluster.close()
    xr.testing.assert_identical(execute(toys.toy(), store, SerialEngine()), reference())


def test_execute__plans_a_stage_and_those_it_feeds_afresh_when_its_version_is_raised(ledger):
    execute(toys.toy(), ledger, SerialEngine())
    events = []
    execute(toys.toy(version=2), ledger, SerialEngine(), observers=[events.append])
    opened = {e.stage: e.todo == e.blocks for e in events if isinstance(e, StageOpened)}
    assert opened == {"squares": True, "pairs": True}


def test_execute__keeps_the_tiling_a_stage_was_created_with(ledger):
    stage = toys.first_stage()
    tiling = ledger.open(stage, 0.1)
    assert ledger.open(stage, 100.0) == tiling
    assert len(tiling) > 1


def cheap(*names):
    """A step of stages that are predicted to take next to nothing."""
    stages = tuple(
        replace(toys.renamed(toys.first_stage(), name), cost=lambda region: 1e-6) for name in names
    )
    yield stages
    return xr.DataTree()


def test_execute__fills_a_short_stage_here_and_others_on_workers(tmp_path):
    here = f"{socket.gethostname()}:{os.getpid()}"
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        for ledger in (ZarrLedger(open_store(tmp_path / "run.zarr")), MemoryLedger()):
            events = []
            for recipe in (toys.toy(), cheap("short"), cheap("several", "at once")):
                execute(recipe, ledger, DaskEngine(client), observers=[events.append])
            filled = {e.stage: e.worker for e in events if isinstance(e, BlocksFilled)}
            assert filled["short"] == here
            assert len(filled) == 5
            assert all(worker != here for name, worker in filled.items() if name != "short")
            for name in ("short", "several"):
                assert ledger.read_stage(name)["value"].equals(
                    ledger.read_stage("squares")["value"]
                )


def ten_cells(region):
    return 10 * toys.by_cells(region)


def one(stage):
    yield (stage,)
    return xr.DataTree()


def test_execute__bundles_again_when_workers_have_joined():
    threads = 1
    stage = replace(toys.first_stage(), cost=ten_cells)
    stage_run = StageRun(stage, MemoryLedger(), 1.0, count_threads=lambda: threads)
    tasks = stage_run.tasks()
    alone = next(tasks).blocks
    threads = 64
    left = [task.blocks for task in tasks]
    assert len(alone) > 1
    assert {len(blocks) for blocks in left} == {1}
    assert sorted(sum(left, alone)) == list(stage_run.tiling)


def test_dask__is_sent_several_bundles_by_one_call(client, ledger, monkeypatch):
    sizes, send = [], client.map

    def noted(function, items, **more):
        sizes.append(len(items))
        return send(function, items, **more)

    monkeypatch.setattr(client, "map", noted)
    stage = replace(toys.first_stage(toys.slow_squares), cost=ten_cells)
    execute(one(stage), ledger, DaskEngine(client), block_seconds=0.1)
    first, *others, _ = sizes
    assert first == 6  # three for each of two threads
    assert len(others) > 4
    assert min(others) >= 2


def test_execute__asks_the_cost_of_a_region_once(ledger):
    asked = []

    def cost(region):
        asked.append(str(region))
        return toys.by_code(region)

    def costly():
        yield (replace(toys.first_stage(), cost=cost),)
        return xr.DataTree()

    execute(costly(), ledger, SerialEngine(), block_seconds=0.05)
    assert len(ledger.done("squares")) > 8
    assert len(asked) == len(set(asked)) > 8
