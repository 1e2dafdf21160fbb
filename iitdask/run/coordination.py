"""Coordination of processes that work on one store: sessions, locks and claims of blocks.

A session is a small file that a process renews while it lives (its heartbeat). Locks and
claims are keys that only one process can create. Results never depend on either: blocks
are complete, checked and the same whoever computes them.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import Any
from uuid import uuid4

import psutil

from iitdask.errors import BusyStoreError, UnreachableStoreError
from iitdask.run.checksum import build_id
from iitdask.run.plan import Block
from iitdask.run.storage import (
    Store,
    create_key,
    delete_key,
    delete_prefix,
    disk_full_as_error,
    list_dir,
    open_store,
    read_key,
    write_key,
)
from iitdask.run.zarr_io import repair_groups

__all__ = [
    "LOG_GROUP",
    "BlockClaims",
    "Session",
    "create_log_group",
    "every",
    "live_sessions",
    "lock",
    "open_session",
    "process_exists",
]

THREAD_JOIN_SECONDS = 5.0
"""Seconds to wait for the last turn, which a store that hangs may hold up."""


@contextmanager
def every(do: Callable[[], None], pause: float, name: str) -> Iterator[None]:
    """Repeat something in a thread of its own for as long as the context is open.

    A full disk or a network that failed ends one turn alone: it is the run's to report.

    Parameters
    ----------
    do : callable
        What is done at every turn.
    pause : float
        Seconds before each turn.
    name : str
        Name of the thread.
    """
    ended = Event()

    def turns() -> None:
        while not ended.wait(pause):
            with suppress(OSError, UnreachableStoreError):
                do()

    thread = Thread(target=turns, daemon=True, name=name)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=THREAD_JOIN_SECONDS)


LOG_GROUP = "log"
"""Group that holds logs and the files of drivers."""
HEARTBEAT_SECONDS = 5.0
"""Seconds between two signs of life."""
HEARTBEAT_TIMEOUT_SECONDS = 30.0
"""Seconds without a sign of life after which a driver counts as dead."""
CLOCK_SKEW_SECONDS = 1.0
"""Seconds by which the system's two clocks may differ."""
SESSION_SUFFIX = ".driver.json"
STARTING, RUNNING = "claiming", "running"


@dataclass(frozen=True, slots=True)
class Session:
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
    state: str = STARTING
    """``claiming`` until it has seen that it is alone, then ``running``."""

    @property
    def key(self) -> str:
        """Where in the store its file is."""
        return f"{LOG_GROUP}/{self.host}-{self.pid}-{self.token}{SESSION_SUFFIX}"

    @property
    def doing(self) -> str:
        """Where in the store it says what is in hand."""
        return self.key.removesuffix(SESSION_SUFFIX) + ".doing.json"

    @property
    def silence(self) -> float:
        """Seconds since its last sign of life."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.beat)).total_seconds()

    @property
    def is_alive(self) -> bool:
        """Whether it gave a sign of life lately and, on this machine, its process exists."""
        if self.silence > HEARTBEAT_TIMEOUT_SECONDS:
            return False
        return self.host != socket.gethostname() or process_exists(self.pid, self.since)

    def described(self) -> str:
        """Name the driver in words."""
        return f"process {self.pid} on {self.host} since {self.since}"


def live_sessions(url: str) -> list[Session]:
    """Drivers that are at work on a store, the first one first."""
    store = open_store(url)
    found = [
        driver for _, driver in _session_records(store) if driver is not None and driver.is_alive
    ]
    return sorted(found, key=_seniority)


@contextmanager
def open_session(url: str, join: bool = False) -> Iterator[Session]:
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
    create_log_group(store)
    token = uuid4().hex[:8]
    own = Session(socket.gethostname(), os.getpid(), _utc_now(), _utc_now(), token, build_id())
    _write_heartbeat(store, own)
    try:
        if not join:
            _require_no_other_session(url, store, own)
        running = replace(own, state=RUNNING)
        _write_heartbeat(store, running)
        with every(lambda: _write_heartbeat(store, running), HEARTBEAT_SECONDS, "heartbeat"):
            yield running
    finally:
        with suppress(OSError, UnreachableStoreError):
            delete_key(store, own.key)


def create_log_group(store: Store) -> None:
    """Make the folder of logs a group, so that readers of the store know what it is."""
    with suppress(OSError):
        repair_groups(store, LOG_GROUP)


def _require_no_other_session(url: str, store: Store, own: Session) -> None:
    for key, other in _session_records(store):
        if other is None or other.token == own.token:
            continue
        if not other.is_alive:
            with suppress(OSError):
                delete_key(store, key)
                delete_key(store, other.doing)
        # Of two that begin at the same moment each sees the other: one has to go on.
        elif other.state == RUNNING or _seniority(other) < _seniority(own):
            raise BusyStoreError(
                f"{url} is being filled by {other.described()}; "
                "wait for it, stop it, or work beside it with --join"
            )


def _seniority(driver: Session) -> tuple[str, str]:
    return driver.since, driver.token


def _session_records(store: Store) -> list[tuple[str, Session | None]]:
    found: list[tuple[str, Session | None]] = []
    for name in list_dir(store, LOG_GROUP):
        if name.endswith(SESSION_SUFFIX):
            key = f"{LOG_GROUP}/{name}"
            found.append((key, _read_session(store, key)))
    return found


def _read_session(store: Store, key: str) -> Session | None:
    try:
        given: dict[str, Any] = json.loads(read_key(store, key) or b"")
        driver = Session(**given)
        datetime.fromisoformat(driver.beat)
    except (ValueError, TypeError, OSError):
        return None
    return driver


def _write_heartbeat(store: Store, driver: Session) -> None:
    # A full disk or a network that failed is the run's to report, and it will.
    with suppress(OSError, UnreachableStoreError):
        write_key(store, driver.key, json.dumps(asdict(replace(driver, beat=_utc_now()))).encode())


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def process_exists(pid: int, since: str | None = None) -> bool:
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
    return since is None or begun <= datetime.fromisoformat(since).timestamp() + CLOCK_SKEW_SECONDS


LOCKS_GROUP = "log/leases"
LEASE_SECONDS = 30.0
"""Seconds after which a lease that was neither renewed nor given back is void."""
LOCK_POLL_SECONDS = 0.05


@contextmanager
def lock(store: Store, what: str) -> Iterator[None]:
    """Wait for one's turn, and hold it.

    A lease is renewed while its holder lives; that of one that died is void at once on
    its own machine, and elsewhere runs out. Should its holder only have slept, two are
    at work at once: they do the same, and what they harm is found by its checksums.

    Parameters
    ----------
    store : Store
        Where.
    what : str
        Name of what is done.
    """
    key = f"{LOCKS_GROUP}/{what.replace('/', '+')}"
    while not _try_lock(store, key):
        if _is_expired(read_key(store, key)):
            delete_key(store, key)
        else:
            time.sleep(LOCK_POLL_SECONDS)
    try:
        with every(lambda: write_key(store, key, _lease_record()), LEASE_SECONDS / 3, "lease"):
            yield
    finally:
        with suppress(OSError, UnreachableStoreError):
            delete_key(store, key)


def _try_lock(store: Store, key: str) -> bool:
    with disk_full_as_error(f"{key} of the store"):
        return create_key(store, key, _lease_record())


def _lease_record() -> bytes:
    return f"{time.time() + LEASE_SECONDS!r} {os.getpid()} {socket.gethostname()}".encode()


def _is_expired(content: bytes | None) -> bool:
    until, _, holder = (content or b"").decode(errors="replace").partition(" ")
    pid, _, host = holder.partition(" ")
    if host == socket.gethostname() and pid.isdecimal() and not process_exists(int(pid)):
        return True
    try:
        # A clock that is far ahead, here or there, must not hold anyone up for long.
        return min(float(until), time.time() + LEASE_SECONDS) < time.time()
    except ValueError:
        return True


CLAIMS_GROUP = f"{LOG_GROUP}/claims"
LIVENESS_CACHE_SECONDS = 5.0
"""Seconds for which it is believed who is alive."""
MAX_OWNER_DEATHS = 10
"""How many owners may die over a block before nobody tries it any more."""


@dataclass(slots=True, eq=False)
class BlockClaims:
    """The claims of one process on a store.

    Parameters
    ----------
    url : str
        Address of the store.
    owner : Driver
        The process.
    """

    url: str
    owner: Session
    _alive: frozenset[str] = frozenset()
    _asked: float = float("-inf")
    _held: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def take(self, stage: str, block: Block) -> bool:
        """Claim a block; False when a living process has it, or too many died over it."""
        return self._take(_claim_key(stage, block))

    def poison_count(self, stage: str, block: Block) -> int:
        """How many processes died over a block, when they are too many; else 0."""
        deaths, owner = _parse_claim(read_key(self._store, _claim_key(stage, block)))
        return deaths + 1 if deaths + 1 >= MAX_OWNER_DEATHS and not self._lives(owner) else 0

    def drop(self, stage: str, block: Block) -> None:
        """Give a block back."""
        self._drop(_claim_key(stage, block))

    def release_all(self) -> None:
        """Give everything back."""
        for key in tuple(self._held):
            with suppress(OSError, UnreachableStoreError):
                self._drop(key)

    @contextmanager
    def held(self, what: str) -> Iterator[bool]:
        """Hold something that is no block; False when a living process holds it."""
        key = f"{CLAIMS_GROUP}/{what}"
        got = self._take(key)
        try:
            yield got
        finally:
            if got:
                self._drop(key)

    def clear(self) -> None:
        """Remove what is left of all claims on the store."""
        delete_prefix(self._store, CLAIMS_GROUP)

    @property
    def _store(self) -> Store:
        return open_store(self.url)

    def _take(self, key: str) -> bool:
        store = self._store
        with self._lock:
            if key in self._held:
                return True
            deaths = 0
            if not create_key(store, key, self._signed(0)):
                deaths, owner = _parse_claim(read_key(store, key))
                deaths += 1
                if self._lives(owner) or deaths >= MAX_OWNER_DEATHS:
                    return False
                delete_key(store, key)
                if not create_key(store, key, self._signed(deaths)):
                    return False
            self._held.add(key)
            return True

    def _drop(self, key: str) -> None:
        with self._lock:
            if key in self._held:
                self._held.discard(key)
                delete_key(self._store, key)

    def _lives(self, owner: str) -> bool:
        if time.monotonic() - self._asked > LIVENESS_CACHE_SECONDS or (owner not in self._alive):
            self._alive = frozenset(each.token for each in live_sessions(self.url))
            self._asked = time.monotonic()
        return owner in self._alive

    def _signed(self, deaths: int) -> bytes:
        return f"{deaths} {self.owner.token}".encode()


def _claim_key(stage: str, block: Block) -> str:
    return f"{CLAIMS_GROUP}/{stage.replace('/', '+')}/{'.'.join(map(str, block))}"


def _parse_claim(content: bytes | None) -> tuple[int, str]:
    deaths, _, owner = (content or b"").decode(errors="replace").partition(" ")
    return (int(deaths) if deaths.isdecimal() else 0), owner
