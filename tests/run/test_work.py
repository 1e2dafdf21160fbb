"""Workers that share a store and nothing else, as real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace

import processes as proc
import pytest

from iitdask.errors import RetiredError
from iitdask.run.coordination import (
    LEASE_SECONDS,
    MAX_OWNER_DEATHS,
    BlockClaims,
    Session,
    _utc_now,
    lock,
    open_session,
)
from iitdask.run.storage import open_store
from iitdask.run.zarr_ledger import ZarrLedger
from iitdask.study.problem import problem_from_study
from iitdask.study.run import prepare_store, run_shared
from iitdask.study.spec import read_study

pytestmark = pytest.mark.slow


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


@pytest.mark.timeout(240)
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
            assert crew[1].wait(timeout=30) == 130
            crew.append(worker(store, "--threads", "2", log=log))
            assert [each.wait(timeout=90) for each in crew[2:]] == [0, 0], log.read_text()
    finally:
        for each in crew:
            proc.end(each)
    assert proc.content(store) == proc.content(undisturbed)
    assert proc.shown(store) == proc.shown(undisturbed)
    # Whoever was killed had one block in hand; nobody else did what was done.
    assert len(watch.again) <= 1
    assert open_store(str(store)).list_dir("log/claims") == []
    assert "Traceback" not in log.read_text()


def test_work__on_a_full_store_computes_nothing(undisturbed):
    with proc.Watch(undisturbed) as watch:
        done = proc.call("work", undisturbed)
    assert done.returncode == 0
    assert done.stderr.count("already there") == 6
    assert watch.again == []


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


def test_work__beside_another_edition_is_refused(study, tmp_path):
    store = prepared(tmp_path / "two.zarr", study)
    say(store, driver("elsewhere", "0.0.1+abc"))
    done = proc.call("work", store)
    assert done.returncode == 2
    (line,) = [each for each in done.stderr.splitlines() if "expected iitdask" in each]
    assert "on elsewhere" in line
    assert "works with 0.0.1+abc; install one on all machines" in line


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
    return Session(host, 1, _utc_now(), _utc_now(), "token", edition, "running")


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
            mine, other = BlockClaims(url, one), BlockClaims(url, two)
            assert mine.take("squares", (0, 1))
            assert mine.take("squares", (0, 1))
            assert not other.take("squares", (0, 1))
            assert other.take("squares", (1, 1))
            mine.drop("squares", (0, 1))
            assert other.take("squares", (0, 1))
        # The other left without giving anything back.
        assert mine.take("a/b", (0,))
        assert mine.take("squares", (0, 1))
        assert open_store(url).read("log/claims/squares/0.1") == f"1 {one.token}".encode()
        mine.release_all()
    assert open_store(url).list_dir("log/claims/squares") == ["1.1"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", b"0 "])
def test_claims__that_cannot_be_read_are_nobodys(url, content):
    with open_session(url) as one:
        open_store(url).write("log/claims/squares/0", content)
        assert BlockClaims(url, one).take("squares", (0,))


def test_claims__of_a_silent_machine_are_void(url):
    gone = replace(driver(socket.gethostname() + "-other"), beat="2020-01-01T00:00:00+00:00")
    say(url, gone)
    open_store(url).write("log/claims/squares/0", f"0 {gone.token}".encode())
    with open_session(url, join=True) as one:
        assert BlockClaims(url, one).take("squares", (0,))


def test_lease__of_the_dead_runs_out(url, monkeypatch):
    key = "log/leases/stage"
    store = open_store(url)
    for left in (b"0", b"rubbish", b""):
        store.write(key, left)
        with lock(store, "stage"):
            assert store.read(key) != left
        assert store.read(key) is None
    clock = iter([100.0, 101.0, 102.0, 103.0 + LEASE_SECONDS])
    monkeypatch.setattr("time.sleep", lambda _: None)
    store.write(key, repr(105.0).encode())
    monkeypatch.setattr("time.time", lambda: next(clock, 200.0))
    with lock(store, "stage"):
        pass


def test_lease__of_a_process_that_is_gone_is_void_at_once(url, monkeypatch):
    key, store = "log/leases/stage", open_store(url)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    store.write(key, f"{time.time() + LEASE_SECONDS} {gone.pid} {socket.gethostname()}".encode())
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))
    with lock(store, "stage"):
        assert f" {os.getpid()} ".encode() in store.read(key)


def test_lease__is_renewed_while_it_is_held(url, monkeypatch):
    monkeypatch.setattr("iitdask.run.coordination.LEASE_SECONDS", 0.03)
    key, store = "log/leases/stage", open_store(url)
    with lock(store, "stage"):
        first = store.read(key)
        assert proc.wait_until(lambda: store.read(key) != first)
    assert store.read(key) is None
