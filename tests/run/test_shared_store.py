"""Workers that share a store and nothing else, as real processes."""

import json
import signal

import processes as proc
import pytest

from iitdask.errors import RetiredError
from iitdask.run.coordination import MAX_OWNER_DEATHS, SessionRecord, _utc_now
from iitdask.run.storage import open_store
from iitdask.study.problem import problem_from_study
from iitdask.study.run import prepare_store, run_shared
from iitdask.study.spec import read_study

BLOCK_SECONDS = 0.002
"""Of the study: about a hundred and fifty blocks."""


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
            proc.end(crew[0])
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
    assert done.returncode == 2
    assert "expected a store of iitdask, found none" in done.stderr


@pytest.mark.slow
def test_work__beside_another_build_is_refused(study, tmp_path):
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
    open_store(store).write(who.key, json.dumps(who.to_json()).encode())
