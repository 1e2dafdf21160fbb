"""Coordination of processes that work on one store: sessions, locks and claims of blocks.

A session is a small record that a process renews while it works on a store (its heartbeat).
Locks and claims are keys that only one process can create and that name their owner's session.
One rule says whether a session is alive (`SessionMonitor`); what a dead session owns is void.

Results never depend on this: if the owner of a lock was merely suspended, two processes may run at
once, but both write the same bytes, and a torn write fails its checksum.
"""

from __future__ import annotations

import json
import math
import os
import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from threading import Event, Lock, RLock, Thread
from typing import Any
from uuid import uuid4

from iitdask.errors import BusyStoreError, UnreachableStoreError
from iitdask.run.checksum import build_id
from iitdask.run.plan import Block
from iitdask.run.storage import Store, process_exists, write_errors_as_store_errors
from iitdask.run.zarr_io import repair_groups

LOG_GROUP = "log"  # Group that holds event logs, session records, locks and claims
LOCKS_GROUP = f"{LOG_GROUP}/locks"
CLAIMS_GROUP = f"{LOG_GROUP}/claims"
SESSION_SUFFIX, ACTIVITY_SUFFIX = ".driver.json", ".doing.json"
STORE_LOCK = f"{LOCKS_GROUP}/store"  # Key of the lock of a session that works on a store alone

HEARTBEAT_SECONDS = 5.0
HEARTBEAT_TIMEOUT_SECONDS = 30.0
DOUBT_SECONDS = 15.0  # Seconds for which a heartbeat ahead of this clock may stand still
MAX_PID = 2**31
LIVENESS_CACHE_SECONDS = 5.0  # Seconds in which a session that was seen alive is not looked up
LOCAL_POLL_SECONDS, REMOTE_POLL_SECONDS = 1.0, 5.0
"""Seconds between two looks at a store, in a directory and behind a network."""
LOCK_POLL_SECONDS = 0.05
TIMER_TICK_SECONDS = 0.05  # Seconds between two looks at which periodic calls are due
TIMER_STOP_SECONDS = 5.0  # Seconds to wait for a periodic call that a store which hangs may hold up
CLAIM_POLL_SECONDS = 0.5  # Shortest time between two looks at what other processes have claimed
MAX_POLLS_SKIPPED = 6  # Longest such time, in looks at the store
CLAIM_TRUST_SECONDS = 5.0  # Seconds from which on it is looked up whether a claim's owner lives
MAX_OWNER_DEATHS = 10  # Owners that may die over a block before no process tries it again

STARTING, RUNNING = "claiming", "running"
_JSON_NAMES = ("host", "pid", "since", "beat", "token", "edition", "state")
"""Names in the store of the fields of a session record, in order."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as its record in the store describes it."""

    host: str
    pid: int
    since: str  # Start time, UTC
    heartbeat: str  # Time of its last heartbeat, UTC
    token: str  # Random id; locks and claims name their owner by it
    build_id: str = ""  # Version and source digest of its iitdask
    state: str = STARTING  # ``claiming`` until the session may work on the store, then ``running``

    @property
    def key(self) -> str:
        """Key of the record."""
        return f"{LOG_GROUP}/{self.host}-{self.pid}-{self.token}{SESSION_SUFFIX}"

    @property
    def activity_key(self) -> str:
        """Key of the list of blocks that its workers compute now."""
        return self.key.removesuffix(SESSION_SUFFIX) + ACTIVITY_SUFFIX

    @property
    def seconds_since_heartbeat(self) -> float:
        """Seconds since the last heartbeat, by the clocks of both machines."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.heartbeat)).total_seconds()

    def describe(self) -> str:
        """Name the session in an error or a status line."""
        return f"process {self.pid} on {self.host} since {self.since}"

    def to_json(self) -> dict[str, Any]:
        """Return the record as the store and ``iitdask status --json`` have it."""
        return dict(zip(_JSON_NAMES, astuple(self), strict=True))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SessionRecord:
        """Read what `to_json` returned; ValueError or KeyError if it is not that."""
        record = cls(*(values[name] for name in _JSON_NAMES))
        times = [datetime.fromisoformat(text) for text in (record.since, record.heartbeat)]
        if not 0 < record.pid < MAX_PID or any(each.tzinfo is None for each in times):
            raise ValueError(f"not a session: {values}")
        return record


class SessionMonitor:
    """Tells which sessions of a store are alive: the one rule for sessions, locks and claims.

    A session is dead if its record is gone, if its last heartbeat is more than 30 s old, if its
    heartbeat stood still for 30 s while this monitor watched, or if its machine is this one and
    its process is gone. Of a heartbeat that lies ahead of this machine's clock nobody knows how
    old it is: it is in doubt until it moves, and 15 s of standing still are enough.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._first_seen: dict[str, tuple[str, float]] = {}
        self._moved: set[str] = set()  # Tokens of sessions whose heartbeat was seen to move
        self._found: dict[str, tuple[float, SessionRecord | None]] = {}  # When, by token

    def live(self) -> list[SessionRecord]:
        """Read the records of all sessions that are alive, the oldest first."""
        return sorted(filter(self.is_alive, self.records()), key=_seniority)

    def find(self, token: str) -> SessionRecord | None:
        """Return the session with a token if it is alive, from memory if seen lately.

        One listing and one record are read, however many sessions there are.
        """
        checked, record = self._found.get(token, (float("-inf"), None))
        if record is None or time.monotonic() - checked > LIVENESS_CACHE_SECONDS:
            ending = f"-{token}{SESSION_SUFFIX}"
            names = [name for name in self._store.list_dir(LOG_GROUP) if name.endswith(ending)]
            record = next(filter(self.is_alive, self._read_records(names)), None)
            self._found[token] = time.monotonic(), record
        return record

    def records(self) -> Iterator[SessionRecord]:
        """Read the records of all sessions, also of dead ones; those unreadable are left out."""
        names = self._store.list_dir(LOG_GROUP)
        return self._read_records([name for name in names if name.endswith(SESSION_SUFFIX)])

    def sample(self, most: int) -> Iterator[SessionRecord]:
        """Read the records of some sessions, chosen at random."""
        names = self._store.list_dir(LOG_GROUP)
        names = [name for name in names if name.endswith(SESSION_SUFFIX)]
        return self._read_records(random.sample(names, min(most, len(names))))

    def _read_records(self, names: Iterable[str]) -> Iterator[SessionRecord]:
        for name in names:
            try:
                content = self._store.read(f"{LOG_GROUP}/{name}")
                record = SessionRecord.from_json(json.loads(content or b""))
            except (ValueError, TypeError, KeyError, OSError):
                continue
            yield record

    def is_alive(self, record: SessionRecord) -> bool:
        """Return True if the session of a record is alive."""
        heartbeat, seen = self._first_seen.get(record.token, ("", 0.0))
        if heartbeat != record.heartbeat:
            if heartbeat:
                self._moved.add(record.token)
            seen = time.monotonic()
            self._first_seen[record.token] = (record.heartbeat, seen)
        unchanged, silent = time.monotonic() - seen, record.seconds_since_heartbeat
        if silent > HEARTBEAT_TIMEOUT_SECONDS or unchanged > (
            DOUBT_SECONDS if self._is_doubtful(record) else HEARTBEAT_TIMEOUT_SECONDS
        ):
            return False
        since = datetime.fromisoformat(record.since).timestamp()
        return record.host != socket.gethostname() or process_exists(record.pid, since)

    def is_at_work(self, record: SessionRecord) -> bool:
        """Return True if the session of a record is alive; wait while that is in doubt."""
        while self.is_alive(record):
            if not self._is_doubtful(record):
                return True
            time.sleep(LOCK_POLL_SECONDS)
            record = next((each for each in self.records() if each.token == record.token), record)
        return False

    def _is_doubtful(self, record: SessionRecord) -> bool:
        is_ahead = record.seconds_since_heartbeat < -HEARTBEAT_SECONDS
        return is_ahead and record.token not in self._moved


def _seniority(record: SessionRecord) -> tuple[str, str]:
    return record.since, record.token


def live_sessions(store: Store) -> list[SessionRecord]:
    """Read which sessions work on a store, the oldest first."""
    return SessionMonitor(store).live()


class Backoff:
    """Pauses between looks at what others do: longer each time, and never in step with theirs."""

    def __init__(self, shortest: float, longest: float) -> None:
        self.shortest, self.longest = shortest, longest
        self.reset()

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._next = self.shortest

    def sleep(self, until: float | None = None) -> None:
        """Pause, not beyond a time by ``time.monotonic``."""
        seconds = random.uniform(self._next / 2, self._next)
        self._next = min(2 * self._next, self.longest)
        time.sleep(seconds if until is None else min(seconds, max(0.0, until - time.monotonic())))


class PeriodicTimer:
    """One thread that calls functions at fixed intervals beside the work.

    A full disk or a network that failed ends one call alone: the run will meet it and report it.
    """

    def __init__(self) -> None:
        self._busy, self._ended = Lock(), Event()
        self._due: dict[Callable[[], None], tuple[float, float]] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep the thread alive while the context is open."""
        thread = Thread(target=self._run, daemon=True, name="heartbeat")
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(timeout=TIMER_STOP_SECONDS)

    @contextmanager
    def every(self, seconds: float, function: Callable[[], None]) -> Iterator[None]:
        """Call a function every so many seconds while the context is open."""
        self._due[function] = (time.monotonic() + seconds, seconds)
        try:
            yield
        finally:
            # After this context nothing may be called any more, except by a store that hangs.
            is_idle = self._busy.acquire(timeout=TIMER_STOP_SECONDS)
            del self._due[function]
            if is_idle:
                self._busy.release()

    def _run(self) -> None:
        while not self._ended.wait(TIMER_TICK_SECONDS):
            with self._busy:
                for function in tuple(self._due):
                    due, seconds = self._due.get(function, (math.inf, 0.0))
                    if time.monotonic() >= due:
                        self._due[function] = (time.monotonic() + seconds, seconds)
                        with suppress(OSError, UnreachableStoreError):
                            function()


class Session:
    """A process at work on a store, from the side of that process.

    A session that works alone holds the lock of the whole store, so that laying out a stage or
    writing a result takes no further lock. When another session joins it, the store lock is
    released, and from then on both take one lock for each such step.
    """

    def __init__(self, store: Store, join: bool) -> None:
        now = _utc_now()
        state = RUNNING if join else STARTING
        self.store = store
        self.record = SessionRecord(
            socket.gethostname(), os.getpid(), now, now, uuid4().hex[:8], build_id(), state
        )
        self.monitor = SessionMonitor(self.store)
        self.timer = PeriodicTimer()
        self._section = RLock()
        self._is_alone = False

    @property
    def token(self) -> str:
        """Random id by which locks and claims name this session."""
        return self.record.token

    @property
    def poll_seconds(self) -> float:
        """Seconds between two looks at the store."""
        return REMOTE_POLL_SECONDS if self.store.directory is None else LOCAL_POLL_SECONDS

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Take a step that one process at a time may take, such as laying out the stage `name`."""
        with self._section:
            if self._is_alone:
                yield
                return
        with lock(self, name):
            yield

    def write_heartbeat(self) -> None:
        """Renew the record of this session."""
        record = replace(self.record, heartbeat=_utc_now())
        # A full disk or a network that failed is the run's to report, and it will.
        with suppress(OSError, UnreachableStoreError):
            self.store.write(record.key, json.dumps(record.to_json()).encode())

    def take_store(self) -> None:
        """Become the only session of the store; BusyStoreError if another is alive."""
        with write_errors_as_store_errors(f"{self.store.url}: {STORE_LOCK}"):
            while not _try_own(self, STORE_LOCK):
                owner = self._store_owner()
                if owner is not None and owner.state == RUNNING and self.monitor.is_at_work(owner):
                    raise self._busy(owner)
                time.sleep(LOCK_POLL_SECONDS)
        self._is_alone = True
        for other in self.monitor.records():
            if other.token == self.token:
                continue
            if not self.monitor.is_at_work(other):
                with suppress(OSError):
                    self.store.delete(other.key)
                    self.store.delete(other.activity_key)
            # Of two that begin at the same moment each sees the other: one has to go on.
            elif other.state == RUNNING or _seniority(other) < _seniority(self.record):
                raise self._busy(other)
        self.record = replace(self.record, state=RUNNING)
        self.write_heartbeat()

    def wait_for_admission(self) -> None:
        """Wait until a session that works alone has noticed this one."""
        while self._store_owner() is not None:
            time.sleep(LOCK_POLL_SECONDS)

    def admit_others(self) -> None:
        """Release the store lock if another session has joined, unless a step is under way."""
        if not self._is_alone:
            return
        running = [record for record in self.monitor.live() if record.state == RUNNING]
        if all(record.token == self.token for record in running):
            return
        # Without waiting: the heartbeat goes on while this process writes a large result.
        if self._section.acquire(blocking=False):
            try:
                self.release_store()
            finally:
                self._section.release()

    def release_store(self) -> None:
        """Release the lock of the whole store, if this session has it."""
        if self._is_alone:
            _disown(self, STORE_LOCK)
            self._is_alone = False

    def delete_abandoned_temp(self) -> None:
        """Delete what writers that were killed left half-written."""
        others = (record for record in self.monitor.records() if record.token != self.token)
        with suppress(OSError):
            is_alone = self.store.directory is None or not any(map(self.monitor.is_alive, others))
            self.store.delete_abandoned_temp(is_alone=is_alone)

    def _store_owner(self) -> SessionRecord | None:
        return self.monitor.find(_read_owner(self.store, STORE_LOCK)[1])

    def _busy(self, other: SessionRecord) -> BusyStoreError:
        return BusyStoreError(
            f"{self.store.url} is being filled by {other.describe()}; "
            "wait for it, stop it, or work beside it with --join"
        )


@contextmanager
def open_session(store: Store, join: bool = False) -> Iterator[Session]:
    """Work on a store; without `join`, BusyStoreError if another session does."""
    session = Session(store, join)
    with suppress(OSError):
        repair_groups(session.store, LOG_GROUP)
    session.write_heartbeat()
    try:
        with (
            session.timer.running(),
            session.timer.every(HEARTBEAT_SECONDS, session.write_heartbeat),
            session.timer.every(session.poll_seconds, session.admit_others),
        ):
            if join:
                session.wait_for_admission()
            else:
                session.take_store()
            _OPEN_SESSIONS.append(session)
            try:
                yield session
            finally:
                _OPEN_SESSIONS.remove(session)
    finally:
        with suppress(OSError, UnreachableStoreError):
            session.release_store()
            session.store.delete(session.record.key)


# Sessions that this process has open: locks are taken in the name of the latest one of a store.
_OPEN_SESSIONS: list[Session] = []


@contextmanager
def critical_section(store: Store, name: str) -> Iterator[None]:
    """Take a step that one process at a time may take, in an open session or a new one."""
    for session in reversed(_OPEN_SESSIONS):
        if session.store.address == store.address:
            with session.exclusive(name):
                yield
            return
    with open_session(store, join=True) as session, session.exclusive(name):
        yield


@contextmanager
def lock(session: Session, name: str) -> Iterator[None]:
    """Hold a lock that one session of a store has at a time; wait for it if necessary."""
    key, backoff = f"{LOCKS_GROUP}/{name.replace('/', '+')}", Backoff(LOCK_POLL_SECONDS, 1.0)
    with write_errors_as_store_errors(f"{session.store.url}: {key}"):
        while not _try_own(session, key):
            backoff.sleep()
    try:
        yield
    finally:
        with suppress(OSError, UnreachableStoreError):
            _disown(session, key)


class BlockClaims:
    """The bundles that one process computes, where no central process hands them out.

    A claim goes by the first block of its bundle. Claims only spare double work: a block that two
    processes fill holds the same bits.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._keys: set[str] = set()
        self._first_seen: dict[str, float] = {}  # Claims of others, by key
        self._lock = Lock()

    def backoff(self) -> Backoff:
        """Return the pauses between looks at what other processes have claimed."""
        return Backoff(CLAIM_POLL_SECONDS, MAX_POLLS_SKIPPED * self._session.poll_seconds)

    def others(self, stage: str) -> dict[Block, float]:
        """Return what others have claimed, and for how long at least: one listing."""
        now, found, prefix = time.monotonic(), {}, _claim_key(stage, None)
        for name in self._session.store.list_dir(prefix):
            key = f"{prefix}/{name}"
            if key not in self._keys and all(part.isdecimal() for part in name.split(".")):
                since = self._first_seen.setdefault(key, now)
                found[tuple(map(int, name.split(".")))] = now - since
        return found

    def acquire(self, stage: str, block: Block | None = None, *, only_free: bool = False) -> bool:
        """Claim a bundle; return False if a live session has it, or too many died over it.

        With `only_free` one that any session has, alive or not, is left to it.
        """
        key = _claim_key(stage, block)
        with self._lock:
            if key in self._keys:
                return True
            if only_free:
                content = _owner_record(0, self._session.token)
                is_owned = self._session.store.create(key, content)
            else:
                is_owned = _try_own(self._session, key, MAX_OWNER_DEATHS)
            if is_owned:
                self._keys.add(key)
            return is_owned

    def trust(self, stage: str, block: Block) -> None:
        """Note that the owner of a claim was seen alive: it need not be looked up for a while."""
        later = time.monotonic() + HEARTBEAT_TIMEOUT_SECONDS - CLAIM_TRUST_SECONDS
        self._first_seen[_claim_key(stage, block)] = later

    def release(self, stage: str, block: Block | None = None) -> None:
        """Release a block."""
        self._release(_claim_key(stage, block))

    def retain(self, stage: str, block: Block) -> None:
        """Leave a claim in the store until all are cleared: what it is on is done."""
        with self._lock:
            self._keys.discard(_claim_key(stage, block))

    def release_all(self) -> None:
        """Release everything this process has claimed and not kept."""
        for key in tuple(self._keys):
            with suppress(OSError, UnreachableStoreError):
                self._release(key)

    def poison_count(self, stage: str, block: Block) -> int:
        """Return how many owners died over a block if they are too many, else 0."""
        deaths, owner = _read_owner(self._session.store, _claim_key(stage, block))
        if deaths + 1 < MAX_OWNER_DEATHS or self._session.monitor.find(owner) is not None:
            return 0
        return deaths + 1

    def clear(self) -> None:
        """Delete what is left of all claims on the store."""
        self._session.store.delete_prefix(CLAIMS_GROUP)

    def _release(self, key: str) -> None:
        with self._lock:
            if key in self._keys:
                self._keys.discard(key)
                self._session.store.delete(key)


def _claim_key(stage: str, block: Block | None) -> str:
    key = f"{CLAIMS_GROUP}/{stage.replace('/', '+')}"
    return key if block is None else f"{key}/{'.'.join(map(str, block))}"


def _try_own(session: Session, key: str, max_deaths: int | None = None) -> bool:
    """Create a key in a session's name; return False if a live session has it."""
    store = session.store
    if store.create(key, _owner_record(0, session.token)):
        return True
    deaths, owner = _read_owner(store, key)
    if session.monitor.find(owner) is not None:
        return False
    if max_deaths is not None and deaths + 1 >= max_deaths:
        return False
    store.delete(key)
    return store.create(key, _owner_record(deaths + 1, session.token))


def _disown(session: Session, key: str) -> None:
    """Delete a key, unless another session took it over meanwhile."""
    if _read_owner(session.store, key)[1] == session.token:
        session.store.delete(key)


def _owner_record(deaths: int, token: str) -> bytes:
    return f"{deaths} {token}".encode()


def _read_owner(store: Store, key: str) -> tuple[int, str]:
    """Return how many owners of a key died, and the token of the present one."""
    text = (store.read(key) or b"").decode(errors="replace")
    deaths, _, owner = text.partition(" ")
    return (int(deaths) if deaths.isdecimal() else 0), owner


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
