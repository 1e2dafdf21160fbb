"""What a live page reads from a store."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import iitdask as iit
from iitdask.run.coordination import open_session
from iitdask.run.events import MAX_HISTORY_SAMPLES, EventLog, RunHistory
from iitdask.run.status import RunMonitor
from iitdask.run.storage import DirectoryStore, open_store
from iitdask.run.zarr_ledger import ZarrLedger

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def line(second, event, **content):
    at = (BEGAN + timedelta(seconds=second)).isoformat()
    return json.dumps({"at": at, "event": event, **content}).encode() + b"\n"


def filled(second, cost, seconds, worker="here:1"):
    content = {"stage": "mice", "blocks": 1, "cost": cost, "seconds": seconds, "worker": worker}
    return line(second, "BlocksFilled", **content)


def opened(cost, todo):
    return line(0, "StageOpened", stage="mice", blocks=todo, todo=todo, cost=cost)


def test_run_monitor__waits_for_a_store_that_is_not_there(tmp_path):
    pulse = RunMonitor(open_store(tmp_path / "none.zarr"))()
    assert pulse.state == "waiting"
    assert "none.zarr" in pulse.state_reason
    assert pulse.stages == ()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    store = str(tmp_path_factory.mktemp("pulse") / "six.zarr")
    name = "iit4-2023-fig6d"
    tree = iit.ces(iit.examples.load(name), iit.examples.state(name), store=store)
    return store, tree


def test_run_monitor__of_a_finished_store_tells_all_that_was_done(finished):
    store, tree = finished
    pulse = RunMonitor(open_store(store))()
    assert pulse.state == "finished"
    assert {each.fraction for each in pulse.stages} == {1.0}
    assert {each.seconds_left for each in pulse.stages} == {0.0}
    assert [each.name for each in pulse.stages][:2] == ["system", "marginals"]
    assert len(pulse.workers) == 1
    assert sum(each.blocks for each in pulse.workers) == sum(each.done for each in pulse.stages)
    assert len(pulse.history) == len(pulse.stages)
    mice = next(each for each in pulse.partial_results if each.stage == "mice")
    assert mice.max_phi == pytest.approx(float(tree["distinctions"]["phi"].max()))
    assert mice.searched == tree.attrs["search"]["pairs_searched"]
    assert mice.pairs == tree.attrs["search"]["pairs"]


def test_run_monitor__reads_on_where_it_stopped(finished):
    store, _ = finished
    reader = RunMonitor(open_store(store))
    first, again = reader(), reader()
    assert again.history == first.history
    assert again.stages == first.stages


def test_run_history__leaves_out_torn_lines():
    story = RunHistory()
    story.feed(opened(10.0, 5) + b'{"at": "2026-01-01T00:0\n' + filled(4, 2.0, 4.0))
    told = story.stages["mice"]
    assert (told.cost, told.seconds, told.seconds_left) == (2.0, 4.0, 16.0)
    assert tuple(story.samples) == ((4.0, 4.0, 16.0),)


def test_run_history__damage_found_later_begins_what_is_left_anew():
    story = RunHistory()
    story.feed(opened(4.0, 2) + filled(1, 2.0, 2.0) + filled(2, 2.0, 2.0))
    assert story.stages["mice"].seconds_left == 0.0
    story.feed(line(3, "StageOpened", stage="mice", blocks=2, todo=1, cost=2.0))
    assert story.stages["mice"].seconds_left == 2.0


@settings(max_examples=20)
@given(st.integers(1, 4 * MAX_HISTORY_SAMPLES), st.integers(1, 50))
def test_run_history__keeps_a_bounded_history_that_ends_with_the_present(count, step):
    story = RunHistory()
    lines = [opened(float(count), count), *(filled(k + 1, 1.0, 1.0) for k in range(count))]
    for begin in range(0, len(lines), step):
        story.feed(b"".join(lines[begin : begin + step]))
    history = np.array(tuple(story.samples))
    assert len(history) <= MAX_HISTORY_SAMPLES
    assert history[-1].tolist() == [count, count, 0.0]
    assert (np.diff(history[:, 0]) > 0).all()
    assert not any(math.isnan(x) for x in history.ravel())


def test_costs__of_a_run_come_from_memory_and_those_of_earlier_runs_from_their_logs(
    tmp_path, monkeypatch
):
    store = open_store(str(tmp_path / "run.zarr"))
    ZarrLedger(store)
    opened = {"stage": "mice", "blocks": 2, "todo": 2, "cost": 5.0}
    filled = {"stage": "mice", "blocks": 1, "cost": 2.0, "seconds": 3.0, "worker": "here:1"}
    logs, read, keys = [], DirectoryStore.read, []
    for _ in range(2):
        with open_session(store) as session:
            log = EventLog(session)
            log.start({})
            log.append("StageOpened", opened)
            log.append("BlocksFilled", filled)
            logs.append(log)
    monkeypatch.setattr(
        DirectoryStore, "read", lambda self, key: keys.append(key) or read(self, key)
    )
    assert logs[1].costs() == {"mice": {"forecast": 4.0, "actual": 6.0}}
    assert keys == [logs[0].key]
