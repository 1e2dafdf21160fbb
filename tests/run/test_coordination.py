import json
import os
import socket
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest

from iitdask.errors import BusyStoreError
from iitdask.run.coordination import SessionRecord, live_sessions, open_session
from iitdask.run.zarr_ledger import ZarrLedger


@pytest.fixture
def url(tmp_path):
    ZarrLedger(str(tmp_path / "run.zarr"))
    return str(tmp_path / "run.zarr")


def other(url, **changes):
    """Another driver, as its file says."""
    now = datetime.now(UTC).isoformat()
    driver = SessionRecord(socket.gethostname(), os.getpid(), now, now, "0ther", "running")
    driver = replace(driver, **changes)
    with open_session(url):
        pass  # makes the folder
    with open(f"{url}/{driver.key}", "w") as out:  # noqa: PTH123
        json.dump(asdict(driver), out)
    return driver


def test_driving__is_seen_while_it_lasts(url):
    with open_session(url) as own:
        assert [each.token for each in live_sessions(url)] == [own.token]
        assert live_sessions(url)[0].pid == os.getpid()
    assert live_sessions(url) == []


def test_driving__refuses_a_second_and_says_who_the_first_is(url):
    with open_session(url), pytest.raises(BusyStoreError, match=f"process {os.getpid()} on"):
        open_session(url).__enter__()
    with open_session(url), open_session(url, join=True):
        assert len(live_sessions(url)) == 2


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
def test_driving__passes_over_the_dead(url, changes):
    other(url, **changes)
    with open_session(url):
        assert len(live_sessions(url)) == 1


def test_driving__believes_another_machine_by_its_signs_of_life(url):
    other(url, host="elsewhere", pid=2**22 + 1)
    with pytest.raises(BusyStoreError, match="on elsewhere since"):
        open_session(url).__enter__()


def test_driving__lets_the_first_of_two_that_begin_together_go_on(url):
    later = datetime.now(UTC) + timedelta(seconds=20)
    other(url, state="claiming", since=later.isoformat())
    with open_session(url):
        pass
    earlier = datetime.now(UTC) - timedelta(milliseconds=100)
    other(url, state="claiming", since=earlier.isoformat())
    with pytest.raises(BusyStoreError, match="is being filled by"):
        open_session(url).__enter__()
