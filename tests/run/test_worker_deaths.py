"""Workers that die with bundles: reported, and a run that kills its workers stops."""

import os
import signal

import pytest
import toy_recipe as toys
from distributed import Client, LocalCluster

from iitdask.errors import BlockFailedError
from iitdask.run import worker_inventory
from iitdask.run.engines import DaskEngine
from iitdask.run.events import BlocksFilled, Warned
from iitdask.run.execute import execute
from iitdask.run.plan import StageMemory
from iitdask.run.storage import open_store
from iitdask.run.task import BundleTask
from iitdask.run.worker_inventory import DeathWatch
from iitdask.run.zarr_ledger import ZarrLedger


@pytest.fixture
def sent(tmp_path):
    """Bundles of one stage by key."""
    ledger = ZarrLedger(open_store(tmp_path / "a.zarr"))
    stage = toys.first_stage()
    ledger.open(stage, 5.0)
    context = ledger.worker_context(stage)
    needs = StageMemory(700 * 10**6, 10**8, 10**7)
    return {f"k-{i}": BundleTask(context, ((0, i),), needs=needs) for i in range(5)}


@pytest.fixture
def watch(monkeypatch):
    monkeypatch.setattr(worker_inventory, "EXPLANATION_SECONDS", 0.0)
    found = DeathWatch()
    found.update_workers({f"tcp://{k}": {"memory_limit": 10**9, "nthreads": 1} for k in "abcd"})
    found.update_workers({f"tcp://{k}": {"memory_limit": 8 * 10**9} for k in "wxyz"})
    return found


def removed(worker, *keys, expected=False):
    return 0.0, {"worker": worker, "expected": expected, "keys": list(keys)}


def test_death_for_memory__says_where_what_it_had_and_what_it_needs(watch, sent):
    watch.on_event((0.0, {"worker": "tcp://a", "pid": 1, "rss": 960 * 10**6}))
    watch.on_event(removed("tcp://a", "k-3", "k-1", "of another run"))
    ((stage, text),) = watch.reports(sent)
    assert stage == "squares"
    assert text == (
        "worker tcp://a was ended for its memory at stage 'squares', block (0, 1); it had 1GB "
        "and held 960MB, the stage needs about 1.1GB"
    )
    assert watch.reports(sent) == []
    # Another one, of which nobody says why it died, where memory is scarce.
    watch.on_event(removed("tcp://b", "k-2"))
    with pytest.raises(
        BlockFailedError, match=r"2 workers died there: give --memory 1.5GB or more"
    ):
        watch.reports(sent)


def test_deaths__of_unknown_cause_stop_a_run_at_the_same_block_alone(watch, sent):
    for worker, key in zip("wxyw", ("k-1", "k-1", "k-1", "k-2"), strict=True):
        watch.on_event(removed(f"tcp://{worker}", key))
        ((_, text),) = watch.reports(sent)
        assert "died (killed, or its machine) at stage 'squares', block (0, " in text
    watch.on_event(removed("tcp://z", "k-1"))
    with pytest.raises(BlockFailedError, match="4 workers died there: give another node"):
        watch.reports(sent)


def test_stage_that_goes_on__has_its_deaths_forgotten(watch, sent):
    for _ in range(3):
        watch.on_event((0.0, {"worker": "tcp://a", "pid": 1, "rss": 1}))
        watch.on_event(removed("tcp://a", "k-1"))
        assert len(watch.reports(sent)) == 1
        watch.stage_goes_on("squares")


def test_workers__that_leave_as_expected_or_with_nothing_are_not_reported(watch, sent):
    watch.on_event(removed("tcp://a", "k-1", expected=True))
    watch.on_event(removed("tcp://a", "of another run"))
    assert watch.reports(sent) == []


def test_death__is_reported_when_another_worker_has_filled_the_bundle(watch, sent, monkeypatch):
    monkeypatch.setattr(worker_inventory, "EXPLANATION_SECONDS", 3600.0)
    watch.on_event(removed("tcp://a", "k-1"))
    assert watch.reports(sent) == []
    monkeypatch.setattr(worker_inventory, "EXPLANATION_SECONDS", 0.0)
    ((stage, text),) = watch.reports({})
    assert stage == "squares"
    assert "worker tcp://a died (killed, or its machine) at stage 'squares', block (0, 1)" in text


@pytest.mark.slow
def test_worker__that_is_killed_is_reported_and_the_run_goes_on(tmp_path):
    said, pids = [], []

    def kill(event):
        if isinstance(event, Warned):
            said.append(event.text)
        elif isinstance(event, BlocksFilled) and pids:
            os.kill(pids.pop(), signal.SIGKILL)

    ledger = ZarrLedger(open_store(tmp_path / "a.zarr"))
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        pids += client.run(os.getpid).values()
        recipe = toys.toy(toys.slow_squares)
        execute(recipe, ledger, DaskEngine(client), block_seconds=0.01, observers=[kill])
    assert any("died (killed, or its machine) at stage 'squares'" in text for text in said)
