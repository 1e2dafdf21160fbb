"""What a live page shows of a store: read from ticks, logs and filled blocks by any process."""

from __future__ import annotations

import math
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import zarr

from iitdask.errors import StoreError
from iitdask.run.doings import in_hand
from iitdask.run.folder import UNREADABLE, WORK
from iitdask.run.journal import journals
from iitdask.run.place import get, open_store
from iitdask.run.story import MOST, Story
from iitdask.run.survey import present, survey

if TYPE_CHECKING:
    from iitdask.run.doings import Doing
    from iitdask.run.story import Told, ToldWorker
    from iitdask.run.survey import StageState, Survey

__all__ = ["Finding", "Pulse", "PulseReader", "StagePulse", "WorkerPulse"]

THREADS = 4
"""Blocks in hand that are named of one worker."""
MOST_CELLS = 4_000_000
"""Cells of a variable that is read while a run fills it."""


@dataclass(frozen=True, slots=True)
class StagePulse:
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
class WorkerPulse:
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
class Finding:
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
class Pulse:
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
    stages: tuple[StagePulse, ...] = ()
    """Stages in the order they were opened."""
    workers: tuple[WorkerPulse, ...] = ()
    """Workers of the last run."""
    failures: tuple[str, ...] = ()
    """Blocks given up, which the run leaves out until it is repeated."""
    findings: tuple[Finding, ...] = ()
    """What filled blocks say already."""
    history: tuple[tuple[float, float, float], ...] = ()
    """Of the last run: wall seconds, core-seconds done, wall seconds expected to be left."""


@dataclass(slots=True, eq=False)
class PulseReader:
    """Reads a store again and again, the logs from where it stopped."""

    url: str
    """Address of the store, which need not exist yet."""
    stories: dict[str, Story] = field(default_factory=dict)
    """What each log has told so far."""
    read: dict[str, int] = field(default_factory=dict)
    """Bytes of each log that were read."""
    looks: list[tuple[float, float, float]] = field(default_factory=list)
    """History of runs side by side, of which no log tells the whole."""

    def __call__(self) -> Pulse:
        """Take the pulse."""
        try:
            found = survey(self.url)
        except StoreError as error:
            return Pulse(self.url, {}, "waiting", str(error), 0.0, 0.0, math.nan)
        self._follow()
        shown = [self.stories[key] for key in present(sorted(self.stories), found.driven)]
        first, last = (shown[0], shown[-1]) if shown else (Story(), Story())
        elapsed = first.wall(datetime.now(UTC) if found.driven else None)
        if found.driven and len(shown) > 1:
            done = sum(told.seconds for story in shown for told in story.stages.values())
            self.looks = [*self.looks, (elapsed, done, found.seconds_left)][-MOST:]
        return Pulse(
            url=self.url,
            study=dict(found.about.get("study", {})),
            state=_state(found),
            note=_note(found),
            elapsed=elapsed,
            rate=found.rate,
            seconds_left=found.seconds_left if found.driven else math.nan,
            stages=tuple(self._stage(each) for each in self._ordered(found)),
            workers=_workers(self.url, found, shown),
            failures=found.failures,
            findings=_findings(self.url, found),
            history=tuple(self.looks) if self.looks else last.history(),
        )

    def _follow(self) -> None:
        store = open_store(self.url)
        for key in journals(self.url):
            story = self.stories.setdefault(key, Story())
            text = get(store, key) or b""
            end = text.rfind(b"\n") + 1
            begin = self.read.get(key, 0)
            story.hear(text[begin:end])
            self.read[key] = max(begin, end)

    def _ordered(self, found: Survey) -> list[StageState]:
        order: dict[str, int] = {}
        for key in sorted(self.stories):
            for name in self.stories[key].stages:
                order.setdefault(name, len(order))
        return sorted(found.stages, key=lambda each: order.get(each.name, len(order)))

    def _stage(self, each: StageState) -> StagePulse:
        told = [s.stages[each.name] for s in self.stories.values() if each.name in s.stages]
        last = told[-1] if told else None
        return StagePulse(
            each.name,
            each.blocks,
            each.done,
            _fraction(each, last),
            sum(t.cost for t in told),
            sum(t.seconds for t in told),
            0.0 if each.partial or each.done >= each.blocks else each.seconds_left,
        )


def _state(found: Survey) -> str:
    if found.driven:
        return "running"
    return "finished" if "finished" in found.about else "stopped"


def _note(found: Survey) -> str:
    if found.driven:
        return "; ".join(each.described() for each in found.driven)
    return str(found.about.get("finished", "")) or found.ended or "no run is at work"


def _fraction(each: StageState, last: Told | None) -> float:
    """Part done by predicted cost: what was there before counts by blocks."""
    if not each.blocks:
        return 0.0
    if each.done >= each.blocks:
        return 1.0
    if last is None or last.opened <= 0:
        return each.done / each.blocks
    before = 1.0 - last.todo / each.blocks
    return min(1.0, before + (1.0 - before) * last.cost / last.opened)


def _workers(url: str, found: Survey, shown: list[Story]) -> tuple[WorkerPulse, ...]:
    """Everyone who filled a block or has one in hand."""
    told = {name: each for story in shown for name, each in story.workers.items()}
    said = [in_hand(url, driver) for driver in found.driven]
    now: dict[str, list[Doing]] = {name: [] for name in told}
    for doing in (each for some in said for each in some or ()):
        now.setdefault(doing.worker, []).append(doing)
    idle = "idle" if found.driven and None not in said else "unknown"
    if not found.driven:
        idle = "-"
    return tuple(_worker(name, told.get(name), now[name], idle) for name in sorted(now))


def _worker(name: str, told: ToldWorker | None, now: list[Doing], idle: str) -> WorkerPulse:
    some = sorted(now, key=lambda each: each.since)
    doing = "; ".join(f"{each.stage}: {each.cells}" for each in some[:THREADS])
    if len(some) > THREADS:
        doing += f"; and {len(some) - THREADS} more"
    since = some[0].seconds if some else math.nan
    silence = math.nan if told is None else (datetime.now(UTC) - told.last).total_seconds()
    blocks, seconds = (0, 0.0) if told is None else (told.blocks, told.seconds)
    memory = _memory(name)
    if math.isnan(memory) and some:
        memory = some[-1].memory or math.nan
    return WorkerPulse(name, doing or idle, since, blocks, seconds, silence, memory)


def _memory(worker: str) -> float:
    host, _, pid = worker.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return math.nan
    try:
        return float(psutil.Process(int(pid)).memory_info().rss)
    except psutil.Error:
        return math.nan


def _findings(url: str, found: Survey) -> tuple[Finding, ...]:
    out = []
    for each in found.stages:
        with suppress(*UNREADABLE, StoreError):
            finding = _finding(url, each.name)
            if finding is not None:
                out.append(finding)
    return tuple(out)


def _finding(url: str, stage: str) -> Finding | None:
    phi = _values(url, stage, "phi")
    if phi is None:
        return None
    best, searched, pairs = math.nan, 0, 0
    dims, values = phi
    if dims[:2] == ("direction", "mechanism"):
        both = values.min(axis=0)  # nan until both directions are filled
        best = float(np.nanmax(both)) if np.isfinite(both).any() else math.nan
        seen = _values(url, stage, "searched")
        if seen is not None:
            filled = int(np.isfinite(values[:, 1:]).sum())
            searched, pairs = int(seen[1].sum()), filled * (values.shape[1] - 1)
    elif np.isfinite(values).any():
        best = float(np.nanmax(values))
    return Finding(stage, best, searched, pairs)


def _values(url: str, stage: str, variable: str) -> tuple[tuple[str, ...], Any] | None:
    try:
        array = zarr.open_array(open_store(url), path=f"{WORK}/{stage}/{variable}", mode="r")
    except UNREADABLE:
        return None
    if array.size > MOST_CELLS:
        return None
    names = getattr(array.metadata, "dimension_names", None) or ()
    return tuple(str(name) for name in names), np.asarray(array[...])
