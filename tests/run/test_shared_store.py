"""Workers that share a store and nothing else, as real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from threading import Event, Thread

import processes as proc
import pytest

from iitdask.errors import RetiredError
from iitdask.run.coordination import (
    MAX_OWNER_DEATHS,
    BlockClaims,
    SessionMonitor,
    SessionRecord,
    _utc_now,
    critical_section,
    live_sessions,
    lock,
    open_session,
)
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.study.problem import problem_from_study
from iitdask.study.run import prepare_store, run_shared
from iitdask.study.spec import read_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def study(folder):
    """Nine units in about a hundred and fifty blocks."""
    return proc.write_study(folder, 9, 7, 0.002)


@pytest.fixture(scope="module")
def undisturbed(study):
    return proc.filled(study)


def worker(store, *words, log=None):
    return proc.start("iitdask", "work", store, "--quiet", *words, log=log)


def prepared(store, study):
    found, folder = read_study(study)
    prepare_store(
        str(store), problem_from_study(found, folder, str(study)), found.run.block_seconds
    )
    return str(store)


@pytest.mark.slow
def test_work__of_three_survives_kills_and_is_bitwise_equal(study, undisturbed, tmp_path):
    store, log = tmp_path / "shared.zarr", tmp_path / "log"
    crew = []
    try:
        with proc.Watch(store) as watch:
            # At once, and each makes the store if the others have not.
            crew += [worker(store, "--spec", study, log=log) for _ in range(3)]
            assert proc.wait_until(lambda: len(proc.ticks(store)) > 20), log.read_text()
            os.killpg(crew[0].pid, signal.SIGKILL)
            assert proc.wait_until(lambda: len(proc.ticks(store)) > 50), log.read_text()
            crew[1].send_signal(signal.SIGTERM)
            assert crew[1].wait(proc.PATIENCE) == 130
            crew.append(worker(store, "--threads", "2", log=log))
            assert [each.wait(proc.PATIENCE) for each in crew[2:]] == [0, 0], log.read_text()
    finally:
        for each in crew:
            proc.end(each)
    assert proc.content(store) == proc.content(undisturbed)
    assert proc.shown(store) == proc.shown(undisturbed)
    # Whoever was killed had one block in hand; nobody else did what was done.
    assert len(watch.again) <= 1
    assert open_store(str(store)).list_dir("log/claims") == []
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_work__on_a_full_store_computes_nothing(undisturbed):
    with proc.Watch(undisturbed) as watch:
        done = proc.call("work", undisturbed)
    assert done.returncode == 0
    assert done.stderr.count("already there") == 6
    assert watch.again == []


@pytest.mark.slow
def test_work__whose_time_is_over_says_so_and_leaves_the_rest(study, tmp_path):
    store = prepared(tmp_path / "brief.zarr", study)
    with pytest.raises(RetiredError, match="time given to this worker is over"):
        run_shared(store, seconds=0.0)
    assert open_store(store).list_dir("log/claims") == []
    done = proc.call("work", store, "--lifetime", "0s")
    assert done.returncode == 75
    assert "Traceback" not in done.stderr
    assert proc.call("work", store, "--lifetime", "soon").returncode == 2


def test_work__needs_a_store_or_a_study(tmp_path):
    done = proc.call("work", tmp_path / "none.zarr")
    assert done.returncode == 1
    assert "expected a store of iitdask, found none" in done.stderr


@pytest.mark.slow
def test_work__beside_another_edition_is_refused(study, tmp_path):
    store = prepared(tmp_path / "two.zarr", study)
    say(store, driver("elsewhere", "0.0.1+abc"))
    done = proc.call("work", store)
    assert done.returncode == 2
    (line,) = [each for each in done.stderr.splitlines() if "expected iitdask" in each]
    assert "on elsewhere" in line
    assert "works with 0.0.1+abc; install one on all machines" in line


@pytest.mark.slow
def test_work__gives_up_a_block_that_killed_too_many(study, tmp_path):
    store = prepared(tmp_path / "deadly.zarr", study)
    open_store(store).write("log/claims/system/0.0", f"{MAX_OWNER_DEATHS - 1} nobody".encode())
    open_store(store).write("log/claims/system/0.0.0", f"{MAX_OWNER_DEATHS - 1} nobody".encode())
    open_store(store).write("log/claims/system/0", f"{MAX_OWNER_DEATHS - 1} nobody".encode())
    done = proc.call("work", store)
    assert done.returncode == 1
    assert f"{MAX_OWNER_DEATHS} processes died over it" in done.stderr
    assert proc.call("run", study, "--store", store, "--quiet").returncode == 0


def driver(host, edition=""):
    return SessionRecord(host, 1, _utc_now(), _utc_now(), "token", edition, "running")


def say(store, who):
    open_store(store).write(who.key, json.dumps(asdict(who)).encode())


@pytest.fixture
def url(tmp_path):
    url = str(tmp_path / "run.zarr")
    ZarrLedger(url)
    return url


def test_claims__are_respected_while_their_owner_lives(url):
    with open_session(url, join=True) as one:
        with open_session(url, join=True) as two:
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


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", b"0 "])
def test_claims__that_cannot_be_read_are_nobodys(url, content):
    with open_session(url) as one:
        open_store(url).write("log/claims/squares/0", content)
        assert BlockClaims(one).acquire("squares", (0,))


def test_claims__of_a_silent_machine_are_void(url):
    gone = replace(driver(socket.gethostname() + "-other"), heartbeat="2020-01-01T00:00:00+00:00")
    say(url, gone)
    open_store(url).write("log/claims/squares/0", f"0 {gone.token}".encode())
    with open_session(url, join=True) as one:
        assert BlockClaims(one).acquire("squares", (0,))


@pytest.mark.parametrize("left", [b"0", b"rubbish", b"", b"0 nobody"])
def test_lock__of_a_session_that_is_gone_is_void_at_once(url, left, monkeypatch):
    key, store = "log/locks/stage", open_store(url)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))
    store.write(key, left)
    with open_session(url, join=True) as session, lock(session, "stage"):
        assert store.read(key).decode().split()[1] == session.token
    assert store.read(key) is None


def test_lock__of_a_process_that_is_gone_is_void_at_once(url, monkeypatch):
    store = open_store(url)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    say(url, replace(driver(socket.gethostname()), pid=gone.pid))
    store.write("log/locks/stage", b"0 token")
    with open_session(url, join=True) as session, lock(session, "stage"):
        assert f" {session.token}".encode() in store.read("log/locks/stage")


def test_lock__is_waited_for_while_its_owner_lives(url, monkeypatch):
    store, waits = open_store(url), []
    with open_session(url, join=True) as one, open_session(url, join=True) as two:
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
    monkeypatch.setattr("iitdask.run.coordination.HEARTBEAT_TIMEOUT_SECONDS", -1.0)
    assert monitor.live() == []


def test_session__renews_its_record(url, monkeypatch):
    monkeypatch.setattr("iitdask.run.coordination.HEARTBEAT_SECONDS", 0.03)
    with open_session(url) as session:
        first = session.store.read(session.record.key)
        assert proc.wait_until(lambda: session.store.read(session.record.key) != first)
    assert session.store.read(session.record.key) is None


def test_session__takes_no_lock_while_it_works_alone_and_one_each_when_joined(url, monkeypatch):
    monkeypatch.setattr("iitdask.run.coordination.LOCAL_POLL_SECONDS", 0.01)
    store = open_store(url)
    with open_session(url) as one:
        with critical_section(store, "stage"):
            assert store.list_dir("log/locks") == ["store"]
        with open_session(url, join=True):
            assert store.list_dir("log/locks") == []
            with one.exclusive("stage"):
                assert store.list_dir("log/locks") == ["stage"]
    assert store.list_dir("log/locks") == []


def test_session__is_not_joined_in_the_middle_of_a_step(url, monkeypatch):
    monkeypatch.setattr("iitdask.run.coordination.LOCAL_POLL_SECONDS", 0.01)
    store, joined = open_store(url), Event()

    def join():
        with open_session(url, join=True):
            joined.set()

    thread = Thread(target=join)
    with open_session(url) as one:
        with one.exclusive("stage"):
            thread.start()
            assert proc.wait_until(lambda: len(live_sessions(url)) == 2)
            timer = Thread(target=one.admit_others)
            timer.start()
            timer.join()
            assert store.list_dir("log/locks") == ["store"]
        assert joined.wait(proc.PATIENCE)
        thread.join()


def test_critical_section__outside_a_session_opens_one(url):
    store = open_store(url)
    with critical_section(store, "stage"):
        (session,) = live_sessions(url)
        assert store.read("log/locks/stage") == f"0 {session.token}".encode()
    assert live_sessions(url) == []
