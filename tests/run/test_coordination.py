"""Sessions, locks and claims of processes that work on one store."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import processes as proc
import pytest
import toy_recipe as toys

from iitdask.errors import BusyStoreError
from iitdask.run.coordination import (
    Backoff,
    BlockClaims,
    SessionMonitor,
    SessionRecord,
    _utc_now,
    critical_section,
    live_sessions,
    lock,
    open_session,
)
from iitdask.run.engines import SerialEngine
from iitdask.run.events import EventLog, publishing
from iitdask.run.execute import execute
from iitdask.run.result_group import save_result
from iitdask.run.storage import DirectoryStore, open_store
from iitdask.run.zarr_ledger import ZarrLedger


@pytest.fixture
def url(tmp_path):
    ZarrLedger(open_store(tmp_path / "run.zarr"))
    return str(tmp_path / "run.zarr")


def other(url, **changes):
    """Another driver, as its file says."""
    now = datetime.now(UTC).isoformat()
    driver = SessionRecord(socket.gethostname(), os.getpid(), now, now, "0ther", "running")
    driver = replace(driver, **changes)
    with open_session(open_store(url)):
        pass  # makes the folder
    with open(f"{url}/{driver.key}", "w") as out:  # noqa: PTH123
        json.dump(driver.to_json(), out)
    return driver


def test_session__is_seen_while_it_lasts(url):
    with open_session(open_store(url)) as own:
        assert [each.token for each in live_sessions(open_store(url))] == [own.token]
        assert live_sessions(open_store(url))[0].pid == os.getpid()
    assert live_sessions(open_store(url)) == []


def test_session__refuses_a_second_and_says_who_the_first_is(url):
    with (
        open_session(open_store(url)),
        pytest.raises(BusyStoreError, match=f"process {os.getpid()} on"),
    ):
        open_session(open_store(url)).__enter__()
    with open_session(open_store(url)), open_session(open_store(url), join=True):
        assert len(live_sessions(open_store(url))) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"heartbeat": (datetime.now(UTC) - timedelta(seconds=40)).isoformat()},
        {"pid": 2**22 + 1},
        {"since": "2000-01-01T00:00:00+00:00"},
        {"heartbeat": "yesterday"},
    ],
    ids=["silent", "gone", "number given anew", "unreadable"],
)
def test_session__passes_over_the_dead(url, changes):
    other(url, **changes)
    with open_session(open_store(url)):
        assert len(live_sessions(open_store(url))) == 1


def test_session__believes_another_machine_by_its_signs_of_life(url):
    other(url, host="elsewhere", pid=2**22 + 1)
    with pytest.raises(BusyStoreError, match="on elsewhere since"):
        open_session(open_store(url)).__enter__()


def test_session__lets_the_first_of_two_that_begin_together_go_on(url):
    later = datetime.now(UTC) + timedelta(seconds=20)
    other(url, state="claiming", since=later.isoformat())
    with open_session(open_store(url)):
        pass
    earlier = datetime.now(UTC) - timedelta(milliseconds=100)
    other(url, state="claiming", since=earlier.isoformat())
    with pytest.raises(BusyStoreError, match="is being filled by"):
        open_session(open_store(url)).__enter__()


def driver(host, edition=""):
    return SessionRecord(host, 1, _utc_now(), _utc_now(), "token", edition, "running")


def say(store, who):
    open_store(store).write(who.key, json.dumps(who.to_json()).encode())


def test_claims__are_respected_while_their_owner_lives(url):
    with open_session(open_store(url), join=True) as one:
        with open_session(open_store(url), join=True) as two:
            mine, other = BlockClaims(one), BlockClaims(two)
            assert mine.acquire("squares", (0, 1))
            assert mine.acquire("squares", (0, 1))
            assert not other.acquire("squares", (0, 1))
            assert other.acquire("squares", (1, 1))
            mine.release("squares", (0, 1))
            assert other.acquire("squares", (0, 1))
        # The other left without giving anything back.
        assert mine.acquire("a/b", (0,))
        assert mine.acquire("squares", (0, 1))
        assert open_store(url).read("log/claims/squares/0.1") == f"1 {one.token}".encode()
        mine.release_all()
    assert open_store(url).list_dir("log/claims/squares") == ["1.1"]


def test_claims__of_others_are_known_from_one_listing(url):
    with open_session(open_store(url), join=True) as one:
        with open_session(open_store(url), join=True) as two:
            mine, other = BlockClaims(one), BlockClaims(two)
            assert mine.acquire("squares", (0, 1), only_free=True)
            assert other.acquire("squares", (1, 1), only_free=True)
            assert mine.others("squares").keys() == {(1, 1)}
            assert other.others("squares").keys() == {(0, 1)}
            assert not mine.acquire("squares", (1, 1), only_free=True)
            other.retain("squares", (1, 1))
            other.release_all()
            assert mine.others("squares").keys() == {(1, 1)}
            assert mine.others("squares")[1, 1] >= 0.0
            mine.trust("squares", (1, 1))
            assert mine.others("squares")[1, 1] < 0.0
        # What a dead session left is nobody's, but is left alone by who takes only what is free.
        assert not mine.acquire("squares", (1, 1), only_free=True)
        assert mine.acquire("squares", (1, 1))


def test_liveness__of_one_session_reads_one_record(url, monkeypatch):
    store = open_store(url)
    with open_session(store, join=True) as one, open_session(store, join=True) as two:
        for number in range(20):
            say(url, replace(driver(f"host{number}"), token=f"t{number}"))
        reads = []
        read = type(store).read
        monkeypatch.setattr(type(store), "read", lambda *given: (reads.append(1), read(*given))[1])
        for _ in range(3):
            assert one.monitor.find(two.token).token == two.token
        assert len(reads) == 1
        assert one.monitor.find("nobody") is None
        assert one.monitor.find("") is None
        assert len(reads) == 1
        assert len(list(one.monitor.sample(4))) == 4


def test_backoff__grows_to_a_limit_and_begins_again(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    backoff = Backoff(0.5, 4.0)
    for _ in range(6):
        backoff.sleep()
    for most, seconds in zip((0.5, 1, 2, 4, 4, 4), slept, strict=True):
        assert most / 2 <= seconds <= most
    backoff.reset()
    backoff.sleep()
    assert slept[-1] <= 0.5
    backoff.sleep(until=time.monotonic())
    assert slept[-1] == 0.0


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", b"0 "])
def test_claims__that_cannot_be_read_are_nobodys(url, content):
    with open_session(open_store(url)) as one:
        open_store(url).write("log/claims/squares/0", content)
        assert BlockClaims(one).acquire("squares", (0,))


def test_claims__of_a_silent_machine_are_void(url):
    gone = replace(driver(socket.gethostname() + "-other"), heartbeat="2020-01-01T00:00:00+00:00")
    say(url, gone)
    open_store(url).write("log/claims/squares/0", f"0 {gone.token}".encode())
    with open_session(open_store(url), join=True) as one:
        assert BlockClaims(one).acquire("squares", (0,))


@pytest.mark.parametrize("left", [b"0", b"rubbish", b"", b"0 nobody"])
def test_lock__of_a_session_that_is_gone_is_void_at_once(url, left, monkeypatch):
    key, store = "log/locks/stage", open_store(url)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))
    store.write(key, left)
    with open_session(open_store(url), join=True) as session, lock(session, "stage"):
        assert store.read(key).decode().split()[1] == session.token
    assert store.read(key) is None


def test_lock__of_a_process_that_is_gone_is_void_at_once(url, monkeypatch):
    store = open_store(url)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    say(url, replace(driver(socket.gethostname()), pid=gone.pid))
    store.write("log/locks/stage", b"0 token")
    with open_session(open_store(url), join=True) as session, lock(session, "stage"):
        assert f" {session.token}".encode() in store.read("log/locks/stage")


def test_lock__is_waited_for_while_its_owner_lives(url, monkeypatch):
    store, waits = open_store(url), []
    with (
        open_session(open_store(url), join=True) as one,
        open_session(open_store(url), join=True) as two,
    ):
        store.write("log/locks/stage", f"0 {one.token}".encode())

        def sleep(seconds):
            waits.append(seconds)
            store.delete("log/locks/stage")

        monkeypatch.setattr("time.sleep", sleep)
        with lock(two, "stage"):
            assert len(waits) == 1


def test_lock__of_a_clock_that_runs_ahead_is_void_when_its_heart_stands_still(url, monkeypatch):
    ahead = replace(driver("elsewhere"), heartbeat="2099-01-01T00:00:00+00:00")
    say(url, ahead)
    monitor = SessionMonitor(open_store(url))
    assert [each.token for each in monitor.live()] == ["token"]
    monkeypatch.setattr("iitdask.run.coordination.DOUBT_SECONDS", -1.0)
    assert monitor.live() == []


def test_session__is_not_kept_out_by_a_dead_one_whose_clock_ran_ahead(url, monkeypatch):
    monkeypatch.setattr("iitdask.run.coordination.DOUBT_SECONDS", 0.2)
    ahead = datetime.now(UTC) + timedelta(hours=1)
    record = replace(driver("elsewhere"), heartbeat=ahead.isoformat())
    say(url, record)
    open_store(url).write("log/locks/store", b"0 token")
    with open_session(open_store(url)):
        assert open_store(url).read(record.key) is None


def test_session__is_kept_out_by_a_living_one_whose_clock_runs_ahead(url, monkeypatch):
    monkeypatch.setattr("iitdask.run.coordination.DOUBT_SECONDS", 5.0)
    ahead = datetime.now(UTC) + timedelta(hours=1)
    say(url, replace(driver("elsewhere"), heartbeat=ahead.isoformat()))
    sleep = time.sleep

    def sleep_and_beat(seconds):
        later = ahead + timedelta(seconds=5)
        say(url, replace(driver("elsewhere"), heartbeat=later.isoformat()))
        sleep(seconds)

    monkeypatch.setattr("time.sleep", sleep_and_beat)
    with pytest.raises(BusyStoreError, match="on elsewhere since"):
        open_session(open_store(url)).__enter__()


@pytest.mark.parametrize(
    "changes",
    [{"pid": -3}, {"pid": 1e300}, {"pid": "7"}, {"since": "soon"}, {"beat": "2026-11-30T00:00:00"}],
)
def test_session__reads_over_damaged_records(url, changes):
    record = driver("elsewhere")
    content = json.dumps({**record.to_json(), **changes})
    open_store(url).write(record.key, content.encode())
    with open_session(open_store(url)) as session:
        assert [each.token for each in live_sessions(session.store)] == [session.token]


def test_session__renews_its_record(url, monkeypatch):
    monkeypatch.setattr("iitdask.run.coordination.HEARTBEAT_SECONDS", 0.03)
    with open_session(open_store(url)) as session:
        first = session.store.read(session.record.key)
        assert proc.wait_until(lambda: session.store.read(session.record.key) != first)
    assert session.store.read(session.record.key) is None


def test_session__takes_no_lock_while_it_works_alone_and_one_each_when_joined(url, monkeypatch):
    monkeypatch.setattr("iitdask.run.coordination.LOCAL_POLL_SECONDS", 0.01)
    store = open_store(url)
    with open_session(open_store(url)) as one:
        with critical_section(store, "stage"):
            assert store.list_dir("log/locks") == ["store"]
        with open_session(open_store(url), join=True):
            assert store.list_dir("log/locks") == []
            with one.exclusive("stage"):
                assert store.list_dir("log/locks") == ["stage"]
    assert store.list_dir("log/locks") == []


def test_session__is_not_joined_in_the_middle_of_a_step(url, monkeypatch):
    monkeypatch.setattr("iitdask.run.coordination.LOCAL_POLL_SECONDS", 0.01)
    store, joined = open_store(url), Event()

    def join():
        with open_session(open_store(url), join=True):
            joined.set()

    thread = Thread(target=join)
    with open_session(open_store(url)) as one:
        with one.exclusive("stage"):
            thread.start()
            assert proc.wait_until(lambda: len(live_sessions(open_store(url))) == 2)
            timer = Thread(target=one.admit_others)
            timer.start()
            timer.join()
            assert store.list_dir("log/locks") == ["store"]
        assert joined.wait(proc.PATIENCE)
        thread.join()


def test_critical_section__outside_a_session_opens_one(url):
    store = open_store(url)
    with critical_section(store, "stage"):
        (session,) = live_sessions(open_store(url))
        assert store.read("log/locks/stage") == f"0 {session.token}".encode()
    assert live_sessions(open_store(url)) == []


def test_run__of_one_process_takes_one_lock_and_starts_one_thread(url, monkeypatch):
    created, started = [], []
    create, start = DirectoryStore.create, Thread.start

    def create_and_note(store, key, content):
        created.append(key)
        return create(store, key, content)

    def start_and_note(thread):
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(DirectoryStore, "create", create_and_note)
    monkeypatch.setattr(Thread, "start", start_and_note)
    ledger = ZarrLedger(open_store(url))
    with open_session(open_store(url)) as session, publishing(session) as activity:
        log = EventLog(session)
        log.start({})
        tree = execute(toys.toy(), ledger, SerialEngine(activity), observers=[log])
        save_result(session.store, tree, {}, log.costs())
    assert created == ["log/locks/store"]
    assert started == ["heartbeat"]


def test_session__of_a_process_that_nobody_reaped_is_dead(url):
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    other(url, pid=process.pid)
    assert live_sessions(open_store(url)) == []
    process.wait()
