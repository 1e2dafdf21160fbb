"""Status of a store: progress of stages, workers, failures and partial results.

Read from commit records, event logs and filled blocks by any process; nothing is changed.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
    Sample,
    StageHistory,
    WorkerHistory,
    list_logs,
    merge_histories,
    read_activity,
)
from iitdask.run.result_group import store_attrs
from iitdask.run.stage_group import DAMAGE_ERRORS, StageGroup, list_stages
from iitdask.run.storage import Store

MAX_NAMED_BLOCKS = 4  # Blocks named for one worker; the others are counted
MAX_LIVE_CELLS = 4_000_000  # Cells of the largest variable that is read while a run fills it


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Progress of one stage."""

    name: str
    blocks: int = 0
    done: int = 0
    partial: bool = False  # Whether the result may be complete although blocks are not filled
    seconds_left: float = math.nan  # Core-seconds left at the speed of the last run; nan if unknown
    fraction: float = 0.0  # Part that is done, by predicted cost
    forecast: float = 0.0  # Predicted core-seconds of the blocks that all runs filled
    actual: float = 0.0  # Measured core-seconds of these blocks


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker of the last run."""

    name: str  # Host and process
    activity: str  # Blocks being computed (stage, cells), ``idle``, ``unknown`` if nobody reports
    seconds_on_block: float  # Seconds since the oldest of them was begun; nan if idle or unknown
    blocks: int
    seconds: float  # Measured core-seconds of the blocks
    seconds_since_result: float  # Seconds since its last result; nan before the first one
    memory: float  # Bytes it holds now, on another machine when it began its block; nan if unknown


@dataclass(frozen=True, slots=True)
class PartialResult:
    """What the filled blocks of a stage show before the run ends."""

    stage: str
    max_phi: float  # Largest phi of the filled cells, bits; nan if there is none
    searched: int
    pairs: int  # Purviews of the filled mechanisms; 0 if the stage has none


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """A store at one moment."""

    url: str
    attrs: dict[str, Any]
    sessions: tuple[SessionRecord, ...] = ()
    stages: tuple[StageStatus, ...] = ()  # Stages known so far, as runs opened them
    failures: tuple[str, ...] = ()  # Blocks that the last run gave up
    end_reason: str = ""  # Why the last run ended; empty if unknown
    elapsed: float = 0.0  # Wall seconds of the last run
    rate: float = 0.0  # Core-seconds of work per wall second in the last run
    workers: tuple[WorkerStatus, ...] = ()  # Workers of the last run, if asked for
    partial_results: tuple[PartialResult, ...] = ()  # Partial results of stages, if asked for
    history: tuple[Sample, ...] = ()  # Progress of the last run over time, if asked for

    @property
    def state(self) -> str:
        """``waiting`` for a store that is not there, ``running``, ``finished`` or ``stopped``."""
        if not self.attrs:
            return "waiting"
        if self.sessions:
            return "running"
        return "finished" if "finished" in self.attrs else "stopped"

    @property
    def state_reason(self) -> str:
        """Sessions at work, or when or why the last run ended."""
        if self.sessions:
            return "; ".join(session.describe() for session in self.sessions)
        return str(self.attrs.get("finished", "")) or self.end_reason or "no run is at work"

    @property
    def seconds_left(self) -> float:
        """Wall seconds until the stages known so far are filled; nan if no session is at work."""
        if not self.sessions or self.rate <= 0:
            return math.nan
        left = (stage.seconds_left for stage in self.stages if stage.done < stage.blocks)
        return sum(left) / self.rate


@dataclass(slots=True, eq=False)
class RunMonitor:
    """Reads the status of a store repeatedly, each log from where it stopped."""

    store: Store
    _histories: dict[str, RunHistory] = field(default_factory=dict)
    _bytes_read: dict[str, int] = field(default_factory=dict)
    _samples: list[Sample] = field(default_factory=list)

    def __call__(self) -> StoreStatus:
        """Read everything, also workers, partial results and history."""
        try:
            status = self.read()
        except StoreError as error:
            return StoreStatus(self.store.url, {}, end_reason=str(error))
        runs = self._last_runs(status.sessions)
        return replace(
            status,
            workers=tuple(_worker_statuses(self.store, status, runs)),
            partial_results=tuple(_partial_results(self.store, status.stages)),
            history=self._add_sample(status, runs),
        )

    def read(self) -> StoreStatus:
        """Read the progress of all stages, in the order in which runs opened them."""
        attrs = store_attrs(self.store)
        sessions = tuple(live_sessions(self.store))
        self._follow_logs()
        last = merge_histories(self._last_runs(sessions))
        wall = last.wall_seconds(datetime.now(UTC) if sessions else None)
        busy = sum(stage.seconds for stage in last.stages.values())
        return StoreStatus(
            url=self.store.url,
            attrs=attrs,
            sessions=sessions,
            stages=tuple(self._stage(name, last) for name in self._stages_in_order()),
            failures=tuple(last.failures),
            end_reason=last.end_reason,
            elapsed=wall,
            rate=busy / wall if wall > 0 else 0.0,
        )

    def _follow_logs(self) -> None:
        for key in list_logs(self.store):
            text = self.store.read(key) or b""
            begin, end = self._bytes_read.get(key, 0), text.rfind(b"\n") + 1
            self._histories.setdefault(key, RunHistory()).feed(text[begin:end])
            self._bytes_read[key] = max(begin, end)

    def _last_runs(self, sessions: Sequence[SessionRecord]) -> list[RunHistory]:
        """Runs of live sessions and all started since; if no session is live, the newest run."""
        keys = sorted(self._histories)
        tokens = [session.token for session in sessions]
        live = [n for n, key in enumerate(keys) if any(token in key for token in tokens)]
        return [self._histories[key] for key in keys[min(live, default=-1) :]]

    def _stage(self, name: str, last: RunHistory) -> StageStatus:
        try:
            group = StageGroup.load(self.store, name)
        except DamagedStoreError:
            return StageStatus(name)
        blocks, done, partial = len(group.layout.tiling), len(group.done()), group.layout.partial
        runs = [self._histories[key] for key in sorted(self._histories)]
        histories = [run.stages[name] for run in runs if name in run.stages]
        left = last.stages.get(name, StageHistory())
        seconds_left = max(left.opened - left.cost, 0.0) * left.seconds_per_predicted_second
        if done < blocks and not left.opened:
            seconds_left = math.nan
        return StageStatus(
            name,
            blocks,
            done,
            partial,
            0.0 if partial or done >= blocks else seconds_left,
            _fraction_done(blocks, done, histories[-1] if histories else None),
            sum(history.cost for history in histories),
            sum(history.seconds for history in histories),
        )

    def _stages_in_order(self) -> list[str]:
        order: dict[str, int] = {}
        for key in sorted(self._histories):
            for name in self._histories[key].stages:
                order.setdefault(name, len(order))
        return sorted(list_stages(self.store), key=lambda name: order.get(name, len(order)))

    def _add_sample(self, status: StoreStatus, runs: list[RunHistory]) -> tuple[Sample, ...]:
        """Return the history of the last run; of runs side by side no log has all of it."""
        if status.sessions and len(runs) > 1:
            done = sum(stage.seconds for run in runs for stage in run.stages.values())
            sample = (status.elapsed, done, status.seconds_left)
            self._samples = [*self._samples, sample][-MAX_HISTORY_SAMPLES:]
        if self._samples or not runs:
            return tuple(self._samples)
        return tuple(runs[-1].samples)


def read_status(store: Store) -> StoreStatus:
    """Read the progress of a store."""
    return RunMonitor(store).read()


def _fraction_done(blocks: int, done: int, last: StageHistory | None) -> float:
    """Return the part done by predicted cost; blocks of earlier runs count by number."""
    if not blocks:
        return 0.0
    if done >= blocks:
        return 1.0
    if last is None or last.opened <= 0:
        return done / blocks
    before = 1.0 - last.todo / blocks
    return min(1.0, before + (1.0 - before) * last.cost / last.opened)


def _worker_statuses(
    store: Store, status: StoreStatus, runs: list[RunHistory]
) -> Iterator[WorkerStatus]:
    """Yield every worker that filled a block or computes one."""
    histories = merge_histories(runs).workers
    reports = [read_activity(store, session) for session in status.sessions]
    current: dict[str, list[BlockActivity]] = {name: [] for name in histories}
    for report in reports:
        for activity in report or ():
            current.setdefault(activity.worker, []).append(activity)
    without_blocks = "-"
    if status.sessions:
        without_blocks = "unknown" if None in reports else "idle"
    for name in sorted(current):
        yield _worker_status(name, histories.get(name), current[name], without_blocks)


def _worker_status(
    name: str, history: WorkerHistory | None, current: list[BlockActivity], without_blocks: str
) -> WorkerStatus:
    oldest_first = sorted(current, key=lambda activity: activity.since)
    named = [f"{each.stage}: {each.cells}" for each in oldest_first[:MAX_NAMED_BLOCKS]]
    if len(current) > MAX_NAMED_BLOCKS:
        named.append(f"and {len(current) - MAX_NAMED_BLOCKS} more")
    memory = _worker_memory_bytes(name)
    if math.isnan(memory) and current:
        memory = oldest_first[-1].memory or math.nan
    now = datetime.now(UTC)
    return WorkerStatus(
        name=name,
        activity="; ".join(named) or without_blocks,
        seconds_on_block=oldest_first[0].seconds if current else math.nan,
        blocks=0 if history is None else history.blocks,
        seconds=0.0 if history is None else history.seconds,
        seconds_since_result=math.nan if history is None else (now - history.last).total_seconds(),
        memory=memory,
    )


def _worker_memory_bytes(worker: str) -> float:
    """Return the resident bytes of a worker on this machine; nan for others."""
    host, _, pid = worker.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return math.nan
    try:
        return float(psutil.Process(int(pid)).memory_info().rss)
    except psutil.Error:
        return math.nan


def _partial_results(store: Store, stages: Iterable[StageStatus]) -> Iterator[PartialResult]:
    for stage in stages:
        with suppress(*DAMAGE_ERRORS, StoreError):
            result = _partial_result(store, stage.name)
            if result is not None:
                yield result


def _partial_result(store: Store, stage: str) -> PartialResult | None:
    phi = _read_variable(store, stage, "phi")
    if phi is None:
        return None
    max_phi, n_searched, n_pairs = math.nan, 0, 0
    dims, values = phi
    if dims[:2] == ("direction", "mechanism"):
        both = values.min(axis=0)  # nan until both directions are filled
        max_phi = float(np.nanmax(both)) if np.isfinite(both).any() else math.nan
        searched = _read_variable(store, stage, "searched")
        if searched is not None:
            filled = int(np.isfinite(values[:, 1:]).sum())
            n_searched, n_pairs = int(searched[1].sum()), filled * (values.shape[1] - 1)
    elif np.isfinite(values).any():
        max_phi = float(np.nanmax(values))
    return PartialResult(stage, max_phi, n_searched, n_pairs)


def _read_variable(store: Store, stage: str, variable: str) -> tuple[tuple[str, ...], Any] | None:
    """Return the axis names and the values of a variable; None if there is none of that size."""
    try:
        group = StageGroup.load(store, stage)
        stored = group.layout.variable(variable)
    except (*DAMAGE_ERRORS, StoreError, InputError):
        return None
    if math.prod(group.layout.shape(stored)) > MAX_LIVE_CELLS:
        return None
    return group.layout.dims(stored), group.read_partial(stored)
