"""How far a store is, read from its ticks and logs by any process."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from iitdask.errors import DamagedStoreError
from iitdask.run.folder import Folder, stage_names
from iitdask.run.journal import entries, journals
from iitdask.run.outcome import study_of
from iitdask.run.place import open_store
from iitdask.run.presence import drivers

if TYPE_CHECKING:
    from iitdask.run.presence import Driver

__all__ = ["StageState", "Survey", "costs_of", "present", "survey"]


@dataclass(frozen=True, slots=True)
class StageState:
    """How far one stage is."""

    name: str
    """Name of the stage."""
    blocks: int
    """Number of blocks."""
    done: int
    """Number of ticked blocks."""
    cost_left: float
    """Predicted seconds of what is not done, as the last run saw it; nan when unknown."""
    slowness: float
    """Measured seconds per predicted second; 1 while nothing is measured."""
    partial: bool
    """Whether blocks may rightly stay unfilled."""

    @property
    def seconds_left(self) -> float:
        """Core-seconds left."""
        return self.cost_left * self.slowness


@dataclass(frozen=True, slots=True)
class Survey:
    """How far a store is."""

    url: str
    """Its address."""
    about: dict[str, Any]
    """Root attributes."""
    stages: tuple[StageState, ...]
    """Stages known so far, by name."""
    driven: tuple[Driver, ...]
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
class _Told:
    """What one log says of one stage."""

    opened: float = 0.0
    cost: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True)
class _Run:
    """What one log says."""

    stages: dict[str, _Told] = field(default_factory=lambda: defaultdict(_Told))
    failures: list[str] = field(default_factory=list)
    began: str = ""
    last: str = ""
    ended: str = ""


def survey(url: str) -> Survey:
    """Read how far a store is; nothing in it is changed.

    Raises
    ------
    StoreError
        There is no store at this address.
    """
    about = study_of(url)
    alive = tuple(drivers(url))
    logs = journals(url)
    last = _joined([_read(url, key) for key in present(logs, alive)])
    states = tuple(_state(url, name, last) for name in stage_names(open_store(url)))
    busy = sum(told.seconds for told in last.stages.values())
    until = datetime.now(UTC).isoformat() if alive else last.last
    wall = _between(last.began, until)
    return Survey(
        url,
        about,
        states,
        alive,
        tuple(last.failures),
        busy / wall if wall > 0 else 0.0,
        last.ended,
    )


def costs_of(url: str) -> dict[str, dict[str, float]]:
    """Forecast and actual core-seconds of every stage, over all runs on a store."""
    sums: dict[str, _Told] = defaultdict(_Told)
    for key in journals(url):
        for name, told in _read(url, key).stages.items():
            sums[name].cost += told.cost
            sums[name].seconds += told.seconds
    return {
        name: {"forecast": round(told.cost, 6), "actual": round(told.seconds, 6)}
        for name, told in sums.items()
        if told.seconds
    }


def present(logs: list[str], alive: tuple[Driver, ...]) -> list[str]:
    """Logs of who is at work and of all that began meanwhile, or else the last one."""
    working = [k for k, key in enumerate(logs) if any(each.token in key for each in alive)]
    return logs[min(working, default=-1) :]


def _joined(runs: list[_Run]) -> _Run:
    """Take runs that fill a store side by side as one; the first to open a stage saw all of it."""
    whole = _Run()
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


def _state(url: str, name: str, last: _Run) -> StageState:
    try:
        folder = Folder.load(url, name)
    except DamagedStoreError:
        return StageState(name, 0, 0, float("nan"), 1.0, False)
    blocks, done = len(folder.layout.tiling), len(folder.done())
    told = last.stages.get(name, _Told())
    left = max(told.opened - told.cost, 0.0) if done < blocks else 0.0
    if done < blocks and not told.opened:
        left = float("nan")
    slowness = told.seconds / told.cost if told.cost > 0 and told.seconds > 0 else 1.0
    return StageState(name, blocks, done, left, slowness, folder.layout.partial)


def _read(url: str, key: str) -> _Run:
    run = _Run()
    for line in entries(url, key):
        kind, name = line["event"], str(line.get("stage"))
        run.last = str(line.get("at", run.last))
        run.began = run.began or run.last
        if kind == "StageOpened":
            # Opened again when damaged blocks are to be redone: what is left starts anew.
            told = run.stages[name]
            told.opened = told.cost + _number(line, "cost")
        elif kind == "BlocksFilled":
            run.stages[name].cost += _number(line, "cost")
            run.stages[name].seconds += _number(line, "seconds")
        elif kind == "BlockFailed":
            run.failures.append(f"{name} block {line.get('block')}: {line.get('error')}")
        elif kind == "RunEnded":
            run.ended = str(line.get("reason", ""))
        elif kind == "RunFinished":
            run.ended = "finished"
    return run


def _number(line: dict[str, Any], name: str) -> float:
    found = line.get(name)
    return float(found) if isinstance(found, int | float) else 0.0


def _between(began: str, ended: str) -> float:
    try:
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    except ValueError:
        return 0.0
