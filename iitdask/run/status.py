"""Status of a store: progress of stages, workers, failures and partial results.

Read from commit records, event logs and filled blocks by any process; nothing is changed.
"""

from __future__ import annotations

import math
import socket
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psutil

from iitdask.errors import DamagedStoreError, InputError, StoreError
from iitdask.run.coordination import SessionRecord, live_sessions
from iitdask.run.events import (
    MAX_HISTORY_SAMPLES,
    BlockActivity,
    RunHistory,
    StageHistory,
    WorkerHistory,
    list_logs,
    read_activity,
    read_events,
)
from iitdask.run.result_group import store_attrs
from iitdask.run.stage_group import DAMAGE_ERRORS, StageGroup, list_stages
from iitdask.run.storage import open_store, read_key

__all__ = [
    "PartialResult",
    "RunMonitor",
    "RunSnapshot",
    "StageProgress",
    "StageStatus",
    "StoreStatus",
    "WorkerStatus",
    "active_logs",
    "read_costs",
    "read_status",
]


@dataclass(frozen=True, slots=True)
class StageStatus:
    """How far one stage is."""

    name: str
    """Name of the stage."""
    blocks: int
    """Number of blocks."""
    done: int
    """Number of ticked blocks."""
    cost_left: float
    """Predicted seconds of what is not done, as the last run saw it; nan when unknown."""
    seconds_per_predicted_second: float
    """Measured seconds per predicted second; 1 while nothing is measured."""
    partial: bool
    """Whether blocks may rightly stay unfilled."""

    @property
    def seconds_left(self) -> float:
        """Core-seconds left."""
        return self.cost_left * self.seconds_per_predicted_second


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How far a store is."""

    url: str
    """Its address."""
    about: dict[str, Any]
    """Root attributes."""
    stages: tuple[StageStatus, ...]
    """Stages known so far, by name."""
    sessions: tuple[SessionRecord, ...]
    """Who is at work."""
    failures: tuple[str, ...]
    """Blocks the last run gave up."""
    rate: float
    """Core-seconds of work done a wall second, in the last run."""
    ended: str
    """Why the last run ended, when it said so."""

    @property
    def seconds_left(self) -> float:
        """Wall seconds until the stages known so far are filled, at the last run's rate."""
        left = sum(each.seconds_left for each in self.stages if each.done < each.blocks)
        return left / self.rate if self.rate > 0 else float("nan")


@dataclass(slots=True)
class _StageTotals:
    """What one log says of one stage."""

    opened: float = 0.0
    cost: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True)
class _LogSummary:
    """What one log says."""

    stages: dict[str, _StageTotals] = field(default_factory=lambda: defaultdict(_StageTotals))
    failures: list[str] = field(default_factory=list)
    began: str = ""
    last: str = ""
    ended: str = ""


def read_status(url: str) -> StoreStatus:
    """Read how far a store is; nothing in it is changed.

    Raises
    ------
    StoreError
        There is no store at this address.
    """
    about = store_attrs(url)
    alive = tuple(live_sessions(url))
    logs = list_logs(url)
    last = _merge_logs([_read_log(url, key) for key in active_logs(logs, alive)])
    states = tuple(_stage_status(url, name, last) for name in list_stages(open_store(url)))
    busy = sum(told.seconds for told in last.stages.values())
    until = datetime.now(UTC).isoformat() if alive else last.last
    wall = _seconds_between(last.began, until)
    return StoreStatus(
        url,
        about,
        states,
        alive,
        tuple(last.failures),
        busy / wall if wall > 0 else 0.0,
        last.ended,
    )


def read_costs(url: str) -> dict[str, dict[str, float]]:
    """Forecast and actual core-seconds of every stage, over all runs on a store."""
    sums: dict[str, _StageTotals] = defaultdict(_StageTotals)
    for key in list_logs(url):
        for name, told in _read_log(url, key).stages.items():
            sums[name].cost += told.cost
            sums[name].seconds += told.seconds
    return {
        name: {"forecast": round(told.cost, 6), "actual": round(told.seconds, 6)}
        for name, told in sums.items()
        if told.seconds
    }


def active_logs(logs: list[str], alive: tuple[SessionRecord, ...]) -> list[str]:
    """Logs of who is at work and of all that began meanwhile, or else the last one."""
    working = [k for k, key in enumerate(logs) if any(each.token in key for each in alive)]
    return logs[min(working, default=-1) :]


def _merge_logs(runs: list[_LogSummary]) -> _LogSummary:
    """Take runs that fill a store side by side as one; the first to open a stage saw all of it."""
    whole = _LogSummary()
    for run in runs:
        for name, told in run.stages.items():
            first = name not in whole.stages
            own = whole.stages[name]
            own.opened = told.opened if first else own.opened
            own.cost += told.cost
            own.seconds += told.seconds
        whole.failures += run.failures
        whole.began = whole.began or run.began
        whole.last, whole.ended = max(whole.last, run.last), run.ended
    return whole


def _stage_status(url: str, name: str, last: _LogSummary) -> StageStatus:
    try:
        folder = StageGroup.load(url, name)
    except DamagedStoreError:
        return StageStatus(name, 0, 0, float("nan"), 1.0, False)
    blocks, done = len(folder.layout.tiling), len(folder.done())
    told = last.stages.get(name, _StageTotals())
    left = max(told.opened - told.cost, 0.0) if done < blocks else 0.0
    if done < blocks and not told.opened:
        left = float("nan")
    slowness = told.seconds / told.cost if told.cost > 0 and told.seconds > 0 else 1.0
    return StageStatus(name, blocks, done, left, slowness, folder.layout.partial)


def _read_log(url: str, key: str) -> _LogSummary:
    run = _LogSummary()
    for line in read_events(url, key):
        kind, name = line["event"], str(line.get("stage"))
        run.last = str(line.get("at", run.last))
        run.began = run.began or run.last
        if kind == "StageOpened":
            # Opened again when damaged blocks are to be redone: what is left starts anew.
            told = run.stages[name]
            told.opened = told.cost + _as_float(line, "cost")
        elif kind == "BlocksFilled":
            run.stages[name].cost += _as_float(line, "cost")
            run.stages[name].seconds += _as_float(line, "seconds")
        elif kind == "BlockFailed":
            run.failures.append(f"{name} block {line.get('block')}: {line.get('error')}")
        elif kind == "RunEnded":
            run.ended = str(line.get("reason", ""))
        elif kind == "RunFinished":
            run.ended = "finished"
    return run


def _as_float(line: dict[str, Any], name: str) -> float:
    found = line.get(name)
    return float(found) if isinstance(found, int | float) else 0.0


def _seconds_between(began: str, ended: str) -> float:
    try:
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    except ValueError:
        return 0.0


MAX_NAMED_BLOCKS = 4
"""Blocks in hand that are named of one worker."""
MAX_LIVE_CELLS = 4_000_000
"""Cells of a variable that is read while a run fills it."""


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far one stage is, and how well it was forecast."""

    name: str
    """Name of the stage."""
    blocks: int
    """Number of blocks."""
    done: int
    """Number of filled blocks."""
    fraction: float
    """Part that is done, by predicted cost."""
    forecast: float
    """Predicted core-seconds of what the runs filled."""
    actual: float
    """Core-seconds that took."""
    left: float
    """Core-seconds left, as the speed so far has it; nan when unknown."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker of the last run."""

    name: str
    """Host and process."""
    doing: str
    """What it has in hand: stage and cells; ``idle``, or ``unknown`` where nobody says."""
    since: float
    """Seconds since it began that; nan when unknown or idle."""
    blocks: int
    """Blocks it filled."""
    seconds: float
    """Core-seconds that took."""
    silence: float
    """Seconds since its last receipt; nan before the first one."""
    memory: float
    """Bytes it holds now; on another machine, held when it began what it does; nan when unknown."""


@dataclass(frozen=True, slots=True)
class PartialResult:
    """What the filled blocks of a stage say already."""

    stage: str
    """Name of the stage."""
    best: float
    """Largest phi among the filled cells, bits; nan where there is none."""
    searched: int
    """Purviews that were searched."""
    pairs: int
    """Purviews there are for the filled mechanisms; 0 where the stage has no purviews."""


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A store at one moment."""

    url: str
    """Its address."""
    study: dict[str, Any]
    """What is computed."""
    state: str
    """``running``, ``finished``, ``stopped`` or ``waiting``."""
    note: str
    """Why it stopped, or who is at work."""
    elapsed: float
    """Wall seconds of the last run."""
    rate: float
    """Core-seconds done a wall second, in the last run."""
    seconds_left: float
    """Wall seconds until the stages known so far are filled."""
    stages: tuple[StageProgress, ...] = ()
    """Stages in the order they were opened."""
    workers: tuple[WorkerStatus, ...] = ()
    """Workers of the last run."""
    failures: tuple[str, ...] = ()
    """Blocks given up, which the run leaves out until it is repeated."""
    partial_results: tuple[PartialResult, ...] = ()
    """What filled blocks say already."""
    history: tuple[tuple[float, float, float], ...] = ()
    """Of the last run: wall seconds, core-seconds done, wall seconds expected to be left."""


@dataclass(slots=True, eq=False)
class RunMonitor:
    """Reads a store again and again, the logs from where it stopped."""

    url: str
    """Address of the store, which need not exist yet."""
    histories: dict[str, RunHistory] = field(default_factory=dict)
    """What each log has told so far."""
    read: dict[str, int] = field(default_factory=dict)
    """Bytes of each log that were read."""
    combined_samples: list[tuple[float, float, float]] = field(default_factory=list)
    """History of runs side by side, of which no log tells the whole."""

    def __call__(self) -> RunSnapshot:
        """Take the pulse."""
        try:
            found = read_status(self.url)
        except StoreError as error:
            return RunSnapshot(self.url, {}, "waiting", str(error), 0.0, 0.0, math.nan)
        self._follow()
        shown = [self.histories[key] for key in active_logs(sorted(self.histories), found.sessions)]
        first, last = (shown[0], shown[-1]) if shown else (RunHistory(), RunHistory())
        elapsed = first.wall(datetime.now(UTC) if found.sessions else None)
        if found.sessions and len(shown) > 1:
            done = sum(told.seconds for story in shown for told in story.stages.values())
            self.combined_samples = [*self.combined_samples, (elapsed, done, found.seconds_left)][
                -MAX_HISTORY_SAMPLES:
            ]
        return RunSnapshot(
            url=self.url,
            study=dict(found.about.get("study", {})),
            state=_run_state(found),
            note=_state_note(found),
            elapsed=elapsed,
            rate=found.rate,
            seconds_left=found.seconds_left if found.sessions else math.nan,
            stages=tuple(self._stage(each) for each in self._ordered(found)),
            workers=_worker_statuses(self.url, found, shown),
            failures=found.failures,
            partial_results=_partial_results(self.url, found),
            history=tuple(self.combined_samples) if self.combined_samples else last.history(),
        )

    def _follow(self) -> None:
        store = open_store(self.url)
        for key in list_logs(self.url):
            story = self.histories.setdefault(key, RunHistory())
            text = read_key(store, key) or b""
            end = text.rfind(b"\n") + 1
            begin = self.read.get(key, 0)
            story.feed(text[begin:end])
            self.read[key] = max(begin, end)

    def _ordered(self, found: StoreStatus) -> list[StageStatus]:
        order: dict[str, int] = {}
        for key in sorted(self.histories):
            for name in self.histories[key].stages:
                order.setdefault(name, len(order))
        return sorted(found.stages, key=lambda each: order.get(each.name, len(order)))

    def _stage(self, each: StageStatus) -> StageProgress:
        told = [s.stages[each.name] for s in self.histories.values() if each.name in s.stages]
        last = told[-1] if told else None
        return StageProgress(
            each.name,
            each.blocks,
            each.done,
            _fraction_done(each, last),
            sum(t.cost for t in told),
            sum(t.seconds for t in told),
            0.0 if each.partial or each.done >= each.blocks else each.seconds_left,
        )


def _run_state(found: StoreStatus) -> str:
    if found.sessions:
        return "running"
    return "finished" if "finished" in found.about else "stopped"


def _state_note(found: StoreStatus) -> str:
    if found.sessions:
        return "; ".join(each.describe() for each in found.sessions)
    return str(found.about.get("finished", "")) or found.ended or "no run is at work"


def _fraction_done(each: StageStatus, last: StageHistory | None) -> float:
    """Part done by predicted cost: what was there before counts by blocks."""
    if not each.blocks:
        return 0.0
    if each.done >= each.blocks:
        return 1.0
    if last is None or last.opened <= 0:
        return each.done / each.blocks
    before = 1.0 - last.todo / each.blocks
    return min(1.0, before + (1.0 - before) * last.cost / last.opened)


def _worker_statuses(
    url: str, found: StoreStatus, shown: list[RunHistory]
) -> tuple[WorkerStatus, ...]:
    """Everyone who filled a block or has one in hand."""
    told = {name: each for story in shown for name, each in story.workers.items()}
    said = [read_activity(url, driver) for driver in found.sessions]
    now: dict[str, list[BlockActivity]] = {name: [] for name in told}
    for doing in (each for some in said for each in some or ()):
        now.setdefault(doing.worker, []).append(doing)
    idle = "idle" if found.sessions and None not in said else "unknown"
    if not found.sessions:
        idle = "-"
    return tuple(_worker_status(name, told.get(name), now[name], idle) for name in sorted(now))


def _worker_status(
    name: str, told: WorkerHistory | None, now: list[BlockActivity], idle: str
) -> WorkerStatus:
    some = sorted(now, key=lambda each: each.since)
    doing = "; ".join(f"{each.stage}: {each.cells}" for each in some[:MAX_NAMED_BLOCKS])
    if len(some) > MAX_NAMED_BLOCKS:
        doing += f"; and {len(some) - MAX_NAMED_BLOCKS} more"
    since = some[0].seconds if some else math.nan
    silence = math.nan if told is None else (datetime.now(UTC) - told.last).total_seconds()
    blocks, seconds = (0, 0.0) if told is None else (told.blocks, told.seconds)
    memory = _worker_memory_bytes(name)
    if math.isnan(memory) and some:
        memory = some[-1].memory or math.nan
    return WorkerStatus(name, doing or idle, since, blocks, seconds, silence, memory)


def _worker_memory_bytes(worker: str) -> float:
    host, _, pid = worker.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return math.nan
    try:
        return float(psutil.Process(int(pid)).memory_info().rss)
    except psutil.Error:
        return math.nan


def _partial_results(url: str, found: StoreStatus) -> tuple[PartialResult, ...]:
    out = []
    for each in found.stages:
        with suppress(*DAMAGE_ERRORS, StoreError):
            finding = _partial_result(url, each.name)
            if finding is not None:
                out.append(finding)
    return tuple(out)


def _partial_result(url: str, stage: str) -> PartialResult | None:
    phi = _read_variable(url, stage, "phi")
    if phi is None:
        return None
    best, searched, pairs = math.nan, 0, 0
    dims, values = phi
    if dims[:2] == ("direction", "mechanism"):
        both = values.min(axis=0)  # nan until both directions are filled
        best = float(np.nanmax(both)) if np.isfinite(both).any() else math.nan
        seen = _read_variable(url, stage, "searched")
        if seen is not None:
            filled = int(np.isfinite(values[:, 1:]).sum())
            searched, pairs = int(seen[1].sum()), filled * (values.shape[1] - 1)
    elif np.isfinite(values).any():
        best = float(np.nanmax(values))
    return PartialResult(stage, best, searched, pairs)


def _read_variable(url: str, stage: str, variable: str) -> tuple[tuple[str, ...], Any] | None:
    try:
        group = StageGroup.load(url, stage)
        stored = group.layout.variable(variable)
    except (*DAMAGE_ERRORS, StoreError, InputError):
        return None
    if math.prod(group.layout.shape(stored)) > MAX_LIVE_CELLS:
        return None
    return group.layout.dims(stored), group.read_partial(stored)
