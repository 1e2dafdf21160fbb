"""Events of a run, the log that keeps them in the store, and the blocks being computed now.

Events are frozen and carry no live objects, so they can be kept, compared or written down.
Whatever an observer raises stops the run; the ledger stays consistent and the same call
resumes it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import psutil

from iitdask.errors import UnreachableStoreError
from iitdask.run.coordination import LOG_GROUP, Session, SessionRecord, create_log_group
from iitdask.run.plan import Block
from iitdask.run.storage import (
    Store,
    disk_full_as_error,
    open_store,
)
from iitdask.run.task import StageLayout

__all__ = [
    "ActivityBoard",
    "BlockActivity",
    "BlockFailed",
    "BlocksFilled",
    "Event",
    "EventLog",
    "Observer",
    "OnBlockStart",
    "Remarked",
    "RunFinished",
    "RunHistory",
    "StageFilled",
    "StageHistory",
    "StageOpened",
    "WorkerHistory",
    "deduplicated",
    "describe_block",
    "list_logs",
    "publishing",
    "read_activity",
    "read_events",
    "throttled",
]


@dataclass(frozen=True, slots=True)
class StageOpened:
    """A stage was opened in the ledger; emitted again when damaged blocks are to be redone."""

    stage: str
    """Name of the stage."""
    blocks: int
    """Number of blocks the stage has."""
    todo: int
    """Number of blocks still to be filled."""
    cost: float
    """Predicted seconds of the blocks still to be filled, on the reference machine."""


@dataclass(frozen=True, slots=True)
class BlocksFilled:
    """A bundle came back."""

    stage: str
    """Name of the stage."""
    blocks: int
    """Number of blocks filled."""
    seconds: float
    """Seconds the blocks took together on their worker."""
    cost: float
    """Predicted seconds of these blocks, on the reference machine."""
    worker: str
    """Host and process that filled them."""


@dataclass(frozen=True, slots=True)
class BlockFailed:
    """A block failed as often as it may; the other blocks go on."""

    stage: str
    """Name of the stage."""
    block: tuple[int, ...]
    """Block coordinates."""
    error: str
    """The last exception, as text."""
    attempts: int
    """How often the block was tried."""


@dataclass(frozen=True, slots=True)
class StageFilled:
    """Every block of a stage is in the ledger and has been checked."""

    stage: str
    """Name of the stage."""
    seconds: float
    """Wall seconds since the stage was opened."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The recipe returned its result."""

    fingerprint: str
    """Fingerprint of the ledger."""
    seconds: float
    """Wall seconds of the whole run."""


@dataclass(frozen=True, slots=True)
class Remarked:
    """Something is not wrong, but not as one would want it."""

    text: str
    """What, and what to do about it."""


Event = StageOpened | BlocksFilled | BlockFailed | StageFilled | RunFinished | Remarked
"""Anything a run reports."""

Observer = Callable[[Event], None]
"""Anything that listens."""


def deduplicated(observer: Observer) -> Observer:
    """Make an observer that is told of each remark a single time, of all else always.

    Parameters
    ----------
    observer : callable
        What listens.
    """
    said: set[str] = set()

    def listener(event: Event) -> None:
        if isinstance(event, Remarked):
            if event.text in said:
                return
            said.add(event.text)
        observer(event)

    return listener


LOG_SUFFIX = ".jsonl"
REMOTE_FLUSH_SECONDS = 20.0
"""Seconds between two writings where a file cannot be appended to."""


@dataclass(slots=True, eq=False)
class EventLog:
    """Observer that writes events down."""

    url: str
    """Address of the store."""
    driver: Session
    """Who writes."""
    lines: list[str] = field(default_factory=list)
    """What an object store must be given as a whole."""
    written: float = 0.0
    """When that last happened."""

    def __call__(self, event: Event) -> None:
        """Write an event."""
        self.note(type(event).__name__, asdict(event), urgent=not isinstance(event, BlocksFilled))

    def note(self, kind: str, content: Mapping[str, Any], urgent: bool = True) -> None:
        """Write one line."""
        line = json.dumps({"at": _utc_now(), "event": kind, **content}, default=str)
        store = open_store(self.url)
        with disk_full_as_error(f"{self.url}: {self.key}"):
            if store.directory is not None:
                with (store.directory / self.key).open("a", encoding="utf-8") as out:
                    out.write(line + "\n")
                return
        self.lines.append(line)
        if urgent or time.monotonic() - self.written > REMOTE_FLUSH_SECONDS:
            self.written = time.monotonic()
            store.write(self.key, "".join(f"{each}\n" for each in self.lines).encode())

    def begin(self, content: Mapping[str, Any]) -> None:
        """Write the first line: what is run, where and with what."""
        create_log_group(open_store(self.url))
        self.note("RunStarted", content)

    def end(self, content: Mapping[str, Any]) -> None:
        """Write the last line of a run that did not finish; not at any price."""
        with suppress(OSError, UnreachableStoreError):
            self.note("RunEnded", content)

    @property
    def key(self) -> str:
        """Where in the store the log is."""
        record = self.driver.record
        began = record.since[:19].replace(":", "").replace("-", "")
        return f"{LOG_GROUP}/{began}-{record.host}-{record.pid}-{record.token}{LOG_SUFFIX}"


def list_logs(url: str) -> list[str]:
    """Keys of the logs in a store, the oldest first."""
    return sorted(
        f"{LOG_GROUP}/{name}"
        for name in open_store(url).list_dir(LOG_GROUP)
        if name.endswith(LOG_SUFFIX)
    )


def read_events(url: str, key: str) -> Iterator[dict[str, Any]]:
    """Lines of a log; torn ones are left out."""
    store: Store = open_store(url)
    for line in (store.read(key) or b"").splitlines():
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict) and "event" in found:
                yield found


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


MAX_HISTORY_SAMPLES = 400
"""Moments of a run's history that are kept."""


@dataclass(slots=True)
class StageHistory:
    """What a log says of one stage."""

    opened: float = 0.0
    """Predicted core-seconds of what was to be filled."""
    todo: int = 0
    """Blocks that were to be filled."""
    cost: float = 0.0
    """Predicted core-seconds of what was filled."""
    seconds: float = 0.0
    """Core-seconds that took."""
    ended: bool = False
    """Whether the stage was filled."""

    @property
    def left(self) -> float:
        """Core-seconds left, as the speed so far has it."""
        slowness = self.seconds / self.cost if self.cost > 0 and self.seconds > 0 else 1.0
        return 0.0 if self.ended else max(self.opened - self.cost, 0.0) * slowness


@dataclass(slots=True)
class WorkerHistory:
    """What a log says of one worker."""

    last: datetime
    """When its last receipt came."""
    stage: str = ""
    """Of which stage that was."""
    blocks: int = 0
    """Blocks it filled."""
    seconds: float = 0.0
    """Core-seconds that took."""


@dataclass(slots=True, eq=False)
class RunHistory:
    """One run, as far as its log goes."""

    stages: dict[str, StageHistory] = field(default_factory=dict)
    """By name, in the order they were opened."""
    workers: dict[str, WorkerHistory] = field(default_factory=dict)
    """By host and process."""
    began: datetime | None = None
    """Time of the first line."""
    last: datetime | None = None
    """Time of the last line."""
    samples: list[tuple[float, float, float]] = field(default_factory=list)
    """Wall seconds, core-seconds done, wall seconds expected to be left."""
    sample_stride: int = 1
    """Receipts between two moments: doubled when there are too many."""
    n_events: int = 0
    """Receipts so far."""

    def feed(self, text: bytes) -> None:
        """Take in whole lines; torn ones are left out."""
        for line in text.splitlines():
            with suppress(ValueError, TypeError, KeyError):
                given = json.loads(line)
                self._take(given, datetime.fromisoformat(given["at"]))

    def wall(self, until: datetime | None = None) -> float:
        """Seconds from the first line to a moment, or to the last line."""
        end = until or self.last
        return 0.0 if self.began is None or end is None else (end - self.began).total_seconds()

    def history(self) -> tuple[tuple[float, float, float], ...]:
        """Moments of the run, the latest one included."""
        return tuple(self.samples)

    def _take(self, given: dict[str, Any], at: datetime) -> None:
        kind, name = given["event"], str(given.get("stage"))
        self.began, self.last = self.began or at, at
        if kind == "StageOpened":
            told = self.stages.setdefault(name, StageHistory())
            # Opened again when damaged blocks are to be redone: what is left starts anew.
            told.opened, told.todo = told.cost + float(given["cost"]), int(given["todo"])
            told.ended = False
        elif kind == "BlocksFilled":
            self._filled(self.stages.setdefault(name, StageHistory()), given, name, at)
        elif kind == "StageFilled":
            self.stages.setdefault(name, StageHistory()).ended = True

    def _filled(self, told: StageHistory, given: dict[str, Any], name: str, at: datetime) -> None:
        seconds = float(given["seconds"])
        told.cost += float(given["cost"])
        told.seconds += seconds
        worker = self.workers.setdefault(str(given["worker"]), WorkerHistory(at))
        worker.last, worker.stage = at, name
        worker.blocks += int(given["blocks"])
        worker.seconds += seconds
        self._remember()

    def _remember(self) -> None:
        self.n_events += 1
        wall = self.wall()
        busy = sum(each.seconds for each in self.stages.values())
        left = sum(each.left for each in self.stages.values())
        moment = (wall, busy, left * wall / busy if busy > 0 else 0.0)
        if self.n_events % self.sample_stride and self.samples:
            self.samples[-1] = moment
            return
        self.samples.append(moment)
        if len(self.samples) > MAX_HISTORY_SAMPLES:
            self.samples = self.samples[::2]
            self.sample_stride *= 2


OnBlockStart = Callable[["StageLayout", "Block"], None]
"""Told of every block before it is computed."""

ACTIVITY_INTERVAL_SECONDS = 1.0
"""Seconds for which a bundle of short blocks tells of no further block."""


@dataclass(frozen=True, slots=True)
class BlockActivity:
    """A block that a worker has in hand."""

    worker: str
    """Host and process."""
    stage: str
    """Name of the stage."""
    cells: str
    """Which of its cells, by axis."""
    since: str
    """When it was begun, UTC."""
    memory: float = 0.0
    """Bytes the worker held then; 0 when it did not say."""

    @property
    def seconds(self) -> float:
        """Seconds since it was begun, as the clocks of both machines have it."""
        with suppress(ValueError):
            return (datetime.now(UTC) - datetime.fromisoformat(self.since)).total_seconds()
        return float("nan")


@dataclass(slots=True, eq=False)
class ActivityBoard:
    """What the workers of one driver have in hand."""

    now: dict[str, BlockActivity] = field(default_factory=dict)
    """By bundle."""
    lock: Lock = field(default_factory=Lock)
    changed: bool = False
    """Whether there is something to write."""

    def begun(self, bundle: str, doing: BlockActivity) -> None:
        """Note what is begun; it takes the place of what the bundle was at before."""
        with self.lock:
            self.now[bundle] = doing
            self.changed = True

    def ended(self, bundle: str) -> None:
        """Note that a bundle is over."""
        with self.lock:
            self.changed |= self.now.pop(bundle, None) is not None

    def of(self, bundle: str) -> OnBlockStart:
        """Return what notes the blocks of a bundle that this process fills."""
        return throttled(lambda doing: self.begun(bundle, doing))

    def taken(self) -> bytes | None:
        """Return what is to be written, once."""
        with self.lock:
            if not self.changed:
                return None
            self.changed = False
            return json.dumps([asdict(each) for each in self.now.values()]).encode()


@contextmanager
def publishing(url: str, driver: Session) -> Iterator[ActivityBoard]:
    """Keep a driver's file up to date; remove it in the end."""
    doings = ActivityBoard()
    try:
        with driver.timer.every(driver.poll_seconds, lambda: _write_activity(driver, doings)):
            yield doings
    finally:
        with suppress(OSError, UnreachableStoreError):
            open_store(url).delete(driver.record.activity_key)


def read_activity(url: str, driver: SessionRecord) -> tuple[BlockActivity, ...] | None:
    """Return what a driver's workers have in hand; None when it has not said so."""
    try:
        given = json.loads(open_store(url).read(driver.activity_key) or b"null")
        return None if given is None else tuple(BlockActivity(**each) for each in given)
    except (ValueError, TypeError, OSError, UnreachableStoreError):
        return None


def throttled(tell: Callable[[BlockActivity], None]) -> OnBlockStart:
    """Return what tells of the first block of a bundle, and now and then of others."""
    last = float("-inf")

    def begun(layout: StageLayout, block: Block) -> None:
        nonlocal last
        if time.monotonic() - last >= ACTIVITY_INTERVAL_SECONDS:
            last = time.monotonic()
            tell(describe_block(layout, block))

    return begun


def describe_block(layout: StageLayout, block: Block) -> BlockActivity:
    """Say that this process begins a block."""
    grid = layout.tiling.grid
    parts = zip(grid.dims, layout.tiling.region(block), grid.shape, strict=True)
    cells = ", ".join(
        _index_range_text(dim, part, n) for dim, part, n in parts if part != slice(0, n)
    )
    worker = f"{socket.gethostname()}:{os.getpid()}"
    since = datetime.now(UTC).isoformat(timespec="milliseconds")
    memory = float(psutil.Process().memory_info().rss)
    return BlockActivity(worker, layout.name, cells or "all of it", since, memory)


def _index_range_text(dim: str, part: slice, n: int) -> str:
    first, last = part.start, part.stop - 1
    return f"{dim} {first if first == last else f'{first}–{last}'} of {n}"


def _write_activity(driver: Session, doings: ActivityBoard) -> None:
    text = doings.taken()
    if text is not None:
        driver.store.write(driver.record.activity_key, text)
