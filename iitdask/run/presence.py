"""Who drives a store: one small file a driver, refreshed while it lives.

The files only keep two drivers from doing the same work: blocks are whole,
checked and the same whoever fills them, so results never depend on this.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psutil

from iitdask.errors import BusyStoreError, UnreachableStoreError
from iitdask.run.edition import edition
from iitdask.run.meanwhile import meanwhile
from iitdask.run.place import delete, get, names, open_store, put
from iitdask.run.tree import mend_groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarr.abc.store import Store

__all__ = ["LOG", "Driver", "drivers", "driving", "exists", "open_log"]

LOG = "log"
"""Group that holds logs and the files of drivers."""
BEAT = 5.0
"""Seconds between two signs of life."""
STALE = 30.0
"""Seconds without a sign of life after which a driver counts as dead."""
SKEW = 1.0
"""Seconds by which the system's two clocks may differ."""
SUFFIX = ".driver.json"
CLAIMING, RUNNING = "claiming", "running"


@dataclass(frozen=True, slots=True)
class Driver:
    """A process that fills a store."""

    host: str
    """Name of its machine."""
    pid: int
    """Number of its process."""
    since: str
    """When it began, UTC."""
    beat: str
    """Its last sign of life, UTC."""
    token: str
    """What tells it from others."""
    edition: str = ""
    """Its iitdask: version and digest of the source."""
    state: str = CLAIMING
    """``claiming`` until it has seen that it is alone, then ``running``."""

    @property
    def key(self) -> str:
        """Where in the store its file is."""
        return f"{LOG}/{self.host}-{self.pid}-{self.token}{SUFFIX}"

    @property
    def doing(self) -> str:
        """Where in the store it says what is in hand."""
        return self.key.removesuffix(SUFFIX) + ".doing.json"

    @property
    def silence(self) -> float:
        """Seconds since its last sign of life."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.beat)).total_seconds()

    @property
    def is_alive(self) -> bool:
        """Whether it gave a sign of life lately and, on this machine, its process exists."""
        if self.silence > STALE:
            return False
        return self.host != socket.gethostname() or exists(self.pid, self.since)

    def described(self) -> str:
        """Name the driver in words."""
        return f"process {self.pid} on {self.host} since {self.since}"


def drivers(url: str) -> list[Driver]:
    """Drivers that are at work on a store, the first one first."""
    store = open_store(url)
    found = [driver for _, driver in _written(store) if driver is not None and driver.is_alive]
    return sorted(found, key=_order)


@contextmanager
def driving(url: str, join: bool = False) -> Iterator[Driver]:
    """Hold a store while it is filled.

    Parameters
    ----------
    url : str
        Address of the store, which exists.
    join : bool
        Work beside a driver that is there already, instead of being refused.

    Raises
    ------
    BusyStoreError
        Another driver is alive.
    """
    store = open_store(url)
    open_log(store)
    token = uuid4().hex[:8]
    own = Driver(socket.gethostname(), os.getpid(), _now(), _now(), token, edition())
    _say(store, own)
    try:
        if not join:
            _require_alone(url, store, own)
        running = replace(own, state=RUNNING)
        _say(store, running)
        with meanwhile(lambda: _say(store, running), BEAT, "heartbeat"):
            yield running
    finally:
        with suppress(OSError, UnreachableStoreError):
            delete(store, own.key)


def open_log(store: Store) -> None:
    """Make the folder of logs a group, so that readers of the store know what it is."""
    with suppress(OSError):
        mend_groups(store, LOG)


def _require_alone(url: str, store: Store, own: Driver) -> None:
    for key, other in _written(store):
        if other is None or other.token == own.token:
            continue
        if not other.is_alive:
            with suppress(OSError):
                delete(store, key)
                delete(store, other.doing)
        # Of two that begin at the same moment each sees the other: one has to go on.
        elif other.state == RUNNING or _order(other) < _order(own):
            raise BusyStoreError(
                f"{url} is being filled by {other.described()}; "
                "wait for it, stop it, or work beside it with --join"
            )


def _order(driver: Driver) -> tuple[str, str]:
    return driver.since, driver.token


def _written(store: Store) -> list[tuple[str, Driver | None]]:
    found: list[tuple[str, Driver | None]] = []
    for name in names(store, LOG):
        if name.endswith(SUFFIX):
            key = f"{LOG}/{name}"
            found.append((key, _read(store, key)))
    return found


def _read(store: Store, key: str) -> Driver | None:
    try:
        given: dict[str, Any] = json.loads(get(store, key) or b"")
        driver = Driver(**given)
        datetime.fromisoformat(driver.beat)
    except (ValueError, TypeError, OSError):
        return None
    return driver


def _say(store: Store, driver: Driver) -> None:
    # A full disk or a network that failed is the run's to report, and it will.
    with suppress(OSError, UnreachableStoreError):
        put(store, driver.key, json.dumps(asdict(replace(driver, beat=_now()))).encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def exists(pid: int, since: str | None = None) -> bool:
    """Whether this machine has a process of that number, which began before `since` when given.

    Numbers are given anew, in containers soon: a driver that is started again there has the
    number of the one before.
    """
    try:
        begun: float = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return since is None or begun <= datetime.fromisoformat(since).timestamp() + SKEW
