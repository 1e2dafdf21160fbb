"""Events of a run, the log that keeps them in the store, and the blocks being computed now.

Events are frozen and carry no live objects, so they can be kept, compared or written down.
Whatever an observer raises stops the run; the ledger stays consistent and the same call
resumes it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import psutil

from iitdask.errors import UnreachableStoreError
from iitdask.run.coordination import LOG_GROUP, Session, SessionRecord
from iitdask.run.plan import Block
from iitdask.run.storage import Store, write_errors_as_store_errors
from iitdask.run.task import StageLayout


@dataclass(frozen=True, slots=True)
class StageOpened:
    """A stage was opened in the ledger; emitted again if damaged blocks must be recomputed."""

    stage: str
    blocks: int
    todo: int
    cost: float  # Predicted seconds of the blocks still to be filled, on the reference machine
    nbytes: int = 0  # Bytes that its arrays and one of its blocks take


@dataclass(frozen=True, slots=True)
class BlocksFilled:
    """A bundle of blocks was computed."""

    stage: str
    blocks: int
    seconds: float  # Seconds the blocks took together on their worker
    cost: float  # Predicted seconds of these blocks, on the reference machine
    worker: str  # Host and process that filled them


@dataclass(frozen=True, slots=True)
class BlockFailed:
    """A block failed as often as it may; the other blocks go on."""

    stage: str
    block: tuple[int, ...]
    error: str
    attempts: int


@dataclass(frozen=True, slots=True)
class StageCompleted:
    """Every block of a stage is in the ledger and has been checked."""

    stage: str
    seconds: float  # Wall seconds since the stage was opened


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The recipe returned its result."""

    fingerprint: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning: the run goes on, but something should be fixed, such as threads without cores."""

    text: str


Event = StageOpened | BlocksFilled | BlockFailed | StageCompleted | RunFinished | Warned

Observer = Callable[[Event], None]


def deduplicated(observer: Observer) -> Observer:
    """Return an observer that passes on each warning once and every other event always."""
    seen: set[str] = set()

    def listener(event: Event) -> None:
        if isinstance(event, Warned):
            if event.text in seen:
                return
            seen.add(event.text)
        observer(event)

    return listener


MAX_HISTORY_SAMPLES = 400

Sample = tuple[float, float, float]
"""Wall seconds since the start, core-seconds done, wall seconds expected to be left."""


@dataclass(slots=True)
class StageHistory:
    """What the log of a run says about one stage."""

    opened: float = 0.0  # Predicted core-seconds of the blocks that were to be filled
    todo: int = 0  # Blocks that were to be filled
    cost: float = 0.0  # Predicted core-seconds of the blocks that were filled
    seconds: float = 0.0  # Measured core-seconds of the blocks
    completed: bool = False

    @property
    def seconds_per_predicted_second(self) -> float:
        """Measured seconds per predicted second; 1 while nothing is measured."""
        return self.seconds / self.cost if self.cost > 0 and self.seconds > 0 else 1.0

    @property
    def seconds_left(self) -> float:
        """Core-seconds left, at the speed so far."""
        left = 0.0 if self.completed else max(self.opened - self.cost, 0.0)
        return left * self.seconds_per_predicted_second


@dataclass(slots=True)
class WorkerHistory:
    """What the log of a run says about one worker."""

    last: datetime
    stage: str = ""
    blocks: int = 0
    seconds: float = 0.0  # Measured core-seconds of the blocks


@dataclass(slots=True, eq=False)
class RunHistory:
    """One run, as far as its log goes: the one reader of event logs."""

    stages: dict[str, StageHistory] = field(default_factory=dict)  # By name, in order of opening
    workers: dict[str, WorkerHistory] = field(default_factory=dict)  # By host and process
    failures: list[str] = field(default_factory=list)
    study: str = ""  # Fingerprint of the study of the run; empty while it is not known
    began: datetime | None = None
    last: datetime | None = None
    end_reason: str = ""  # Why the run ended, ``finished`` if it did; empty while it is not known
    samples: list[Sample] = field(default_factory=list)  # Progress over time, latest state included
    sample_stride: int = 1  # Results between two samples: doubled when there are too many samples
    n_results: int = 0

    def feed(self, text: bytes) -> None:
        """Read whole lines of a log; torn ones are left out."""
        for line in text.splitlines():
            with suppress(ValueError, TypeError, KeyError):
                self.add(json.loads(line))

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take in one entry of a log: its time ``at``, its ``event`` and the fields of that."""
        time_of_entry = datetime.fromisoformat(entry["at"])
        kind, name = entry["event"], str(entry.get("stage"))
        self.began, self.last = self.began or time_of_entry, time_of_entry
        if kind == "RunStarted":
            self.study = str(entry.get("study", ""))
        elif kind == "StageOpened":
            stage = self.stages.setdefault(name, StageHistory())
            # Opened again if damaged blocks must be recomputed: what is left starts anew.
            stage.opened, stage.todo = stage.cost + float(entry["cost"]), int(entry["todo"])
            stage.completed = False
        elif kind == "BlocksFilled":
            self._add_blocks(entry, name, time_of_entry)
        elif kind in ("StageCompleted", "StageFilled"):  # its former name
            self.stages.setdefault(name, StageHistory()).completed = True
        elif kind == "BlockFailed":
            self.failures.append(f"{name} block {entry.get('block')}: {entry.get('error')}")
        elif kind == "RunEnded":
            self.end_reason = str(entry.get("reason", ""))
        elif kind == "RunFinished":
            self.end_reason = "finished"

    def wall_seconds(self, until: datetime | None = None) -> float:
        """Return the seconds from the first event to a moment, or to the last event."""
        end = until or self.last
        return 0.0 if self.began is None or end is None else (end - self.began).total_seconds()

    def _add_blocks(self, entry: Mapping[str, Any], name: str, time_of_entry: datetime) -> None:
        stage = self.stages.setdefault(name, StageHistory())
        seconds = float(entry["seconds"])
        stage.cost += float(entry["cost"])
        stage.seconds += seconds
        worker = self.workers.setdefault(str(entry["worker"]), WorkerHistory(time_of_entry))
        worker.last, worker.stage = time_of_entry, name
        worker.blocks += int(entry["blocks"])
        worker.seconds += seconds
        self._add_sample()

    def _add_sample(self) -> None:
        self.n_results += 1
        wall = self.wall_seconds()
        done = sum(stage.seconds for stage in self.stages.values())
        left = sum(stage.seconds_left for stage in self.stages.values())
        sample = (wall, done, left * wall / done if done > 0 else 0.0)
        if self.n_results % self.sample_stride and self.samples:
            self.samples[-1] = sample
            return
        self.samples.append(sample)
        if len(self.samples) > MAX_HISTORY_SAMPLES:
            self.samples = self.samples[::2]
            self.sample_stride *= 2


def merge_histories(histories: Iterable[RunHistory]) -> RunHistory:
    """Combine runs that fill a store side by side, the oldest first; without samples.

    The first run that opened a stage saw all that was to be done in it.
    """
    merged = RunHistory()
    for run in histories:
        for name, stage in run.stages.items():
            total = merged.stages.setdefault(name, StageHistory(stage.opened, stage.todo))
            total.cost += stage.cost
            total.seconds += stage.seconds
            total.completed |= stage.completed
        merged.workers |= run.workers
        merged.failures += run.failures
        merged.began = merged.began or run.began
        merged.last = max((t for t in (merged.last, run.last) if t is not None), default=None)
        merged.end_reason = run.end_reason
    return merged


LOG_SUFFIX = ".jsonl"
LOG_NAME = re.compile(r"\d{8}T\d{6}-.*\.jsonl")  # When a session began, and which
REMOTE_FLUSH_SECONDS = 20.0  # Seconds between two writes of a log where no file can be appended to


class EventLog:
    """Observer that writes events into the store: one JSON object a line, one file a session."""

    def __init__(self, session: Session) -> None:
        self.store = session.store
        self.history = RunHistory()
        record = session.record
        began = record.since[:19].replace(":", "").replace("-", "")
        name = f"{began}-{record.host}-{record.pid}-{record.token}"
        self.key = f"{LOG_GROUP}/{name}{LOG_SUFFIX}"
        # An object store cannot append: the whole log is written each time.
        self._lines: list[str] = []
        self._written = float("-inf")

    def __call__(self, event: Event) -> None:
        """Write an event."""
        urgent = not isinstance(event, BlocksFilled)
        self.append(type(event).__name__, asdict(event), urgent=urgent)

    def append(self, kind: str, content: Mapping[str, Any], urgent: bool = True) -> None:
        """Write one line."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry = {"at": now, "event": kind, **content}
        line = json.dumps(entry, default=str) + "\n"
        self.history.add(entry)
        with write_errors_as_store_errors(f"{self.store.url}: {self.key}"):
            if self.store.directory is not None:
                with (self.store.directory / self.key).open("a", encoding="utf-8") as out:
                    out.write(line)
                return
        self._lines.append(line)
        if urgent or time.monotonic() - self._written > REMOTE_FLUSH_SECONDS:
            self._written = time.monotonic()
            self.store.write(self.key, "".join(self._lines).encode())

    def start(self, content: Mapping[str, Any]) -> None:
        """Write the first line: what is run, where and with what."""
        self.append("RunStarted", content)

    def stop(self, reason: str) -> None:
        """Write the last line of a run that did not finish, unless the store refuses it."""
        with suppress(OSError, UnreachableStoreError):
            self.append("RunEnded", {"reason": reason})

    def costs(self) -> dict[str, dict[str, float]]:
        """Return predicted and measured core-seconds of every stage, over all runs on the store.

        The logs of other runs are read; what this run did is in memory.
        """
        runs = merge_histories(
            self.history if key == self.key else read_history(self.store, key)
            for key in list_logs(self.store)
        )
        return {
            name: {"forecast": round(stage.cost, 6), "actual": round(stage.seconds, 6)}
            for name, stage in runs.stages.items()
            if stage.seconds
        }


def list_logs(store: Store) -> list[str]:
    """Return the keys of the logs in a store, the oldest first."""
    names = store.list_dir(LOG_GROUP)
    return sorted(f"{LOG_GROUP}/{name}" for name in names if LOG_NAME.fullmatch(name))


def logged_studies(store: Store) -> set[str]:
    """Return the fingerprints of the studies that runs on a store were about."""
    return {read_history(store, key).study for key in list_logs(store)} - {""}


def read_history(store: Store, key: str) -> RunHistory:
    """Read the log of one run."""
    history = RunHistory()
    history.feed(store.read(key) or b"")
    return history


OnBlockStart = Callable[[StageLayout, Block], None]

ACTIVITY_INTERVAL_SECONDS = 1.0  # Seconds in which a bundle of short blocks reports no further one


@dataclass(frozen=True, slots=True)
class BlockActivity:
    """A block that a worker computes now."""

    worker: str
    stage: str
    cells: str  # Which of its cells, by axis
    since: str  # When the block was begun, UTC
    memory: float = 0.0  # Bytes of memory the worker held then; 0 if unknown

    @property
    def seconds(self) -> float:
        """Seconds since the block was begun, by the clocks of both machines."""
        with suppress(ValueError):
            return (datetime.now(UTC) - datetime.fromisoformat(self.since)).total_seconds()
        return float("nan")


class ActivityBoard:
    """The blocks that the workers of one session compute now."""

    def __init__(self) -> None:
        self.current: dict[str, BlockActivity] = {}  # By bundle
        self._lock = Lock()
        self._changed = False

    def start(self, bundle: str, activity: BlockActivity) -> None:
        """Note the block that a bundle begins, in place of its last one."""
        with self._lock:
            self.current[bundle] = activity
            self._changed = True

    def finish(self, bundle: str) -> None:
        """Note that a bundle is done."""
        with self._lock:
            self._changed |= self.current.pop(bundle, None) is not None

    def on_block_start(self, bundle: str) -> OnBlockStart:
        """Return the function to call with the blocks of a bundle that this process fills."""
        return throttled(lambda activity: self.start(bundle, activity))

    def pop_json(self) -> bytes | None:
        """Return the blocks as JSON; None if nothing has changed since the last call."""
        with self._lock:
            if not self._changed:
                return None
            self._changed = False
            return json.dumps([asdict(activity) for activity in self.current.values()]).encode()


@contextmanager
def publishing(session: Session) -> Iterator[ActivityBoard]:
    """Keep the list of blocks being computed in the store while the context is open."""
    board, key = ActivityBoard(), session.record.activity_key

    def publish() -> None:
        content = board.pop_json()
        if content is not None:
            session.store.write(key, content)

    try:
        with session.timer.every(session.poll_seconds, publish):
            yield board
    finally:
        with suppress(OSError, UnreachableStoreError):
            session.store.delete(key)


def read_activity(store: Store, session: SessionRecord) -> tuple[BlockActivity, ...] | None:
    """Return the blocks that a session's workers compute now; None if it has not reported."""
    try:
        entries = json.loads(store.read(session.activity_key) or b"null")
        return None if entries is None else tuple(BlockActivity(**entry) for entry in entries)
    except (ValueError, TypeError, OSError, UnreachableStoreError):
        return None


def throttled(report: Callable[[BlockActivity], None]) -> OnBlockStart:
    """Return a function that reports the first block of a bundle, then at most one a second."""
    last = float("-inf")

    def on_block_start(layout: StageLayout, block: Block) -> None:
        nonlocal last
        if time.monotonic() - last >= ACTIVITY_INTERVAL_SECONDS:
            last = time.monotonic()
            report(describe_block(layout, block))

    return on_block_start


def describe_block(layout: StageLayout, block: Block) -> BlockActivity:
    """Describe a block that this process begins now."""
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
