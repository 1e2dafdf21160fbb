"""What the log of one run tells, followed while it is written."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["Story", "Told", "ToldWorker"]

MOST = 400
"""Moments of a run's history that are kept."""


@dataclass(slots=True)
class Told:
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
class ToldWorker:
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
class Story:
    """One run, as far as its log goes."""

    stages: dict[str, Told] = field(default_factory=dict)
    """By name, in the order they were opened."""
    workers: dict[str, ToldWorker] = field(default_factory=dict)
    """By host and process."""
    began: datetime | None = None
    """Time of the first line."""
    last: datetime | None = None
    """Time of the last line."""
    moments: list[tuple[float, float, float]] = field(default_factory=list)
    """Wall seconds, core-seconds done, wall seconds expected to be left."""
    stride: int = 1
    """Receipts between two moments: doubled when there are too many."""
    heard: int = 0
    """Receipts so far."""

    def hear(self, text: bytes) -> None:
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
        return tuple(self.moments)

    def _take(self, given: dict[str, Any], at: datetime) -> None:
        kind, name = given["event"], str(given.get("stage"))
        self.began, self.last = self.began or at, at
        if kind == "StageOpened":
            told = self.stages.setdefault(name, Told())
            # Opened again when damaged blocks are to be redone: what is left starts anew.
            told.opened, told.todo = told.cost + float(given["cost"]), int(given["todo"])
            told.ended = False
        elif kind == "BlocksFilled":
            self._filled(self.stages.setdefault(name, Told()), given, name, at)
        elif kind == "StageFilled":
            self.stages.setdefault(name, Told()).ended = True

    def _filled(self, told: Told, given: dict[str, Any], name: str, at: datetime) -> None:
        seconds = float(given["seconds"])
        told.cost += float(given["cost"])
        told.seconds += seconds
        worker = self.workers.setdefault(str(given["worker"]), ToldWorker(at))
        worker.last, worker.stage = at, name
        worker.blocks += int(given["blocks"])
        worker.seconds += seconds
        self._remember()

    def _remember(self) -> None:
        self.heard += 1
        wall = self.wall()
        busy = sum(each.seconds for each in self.stages.values())
        left = sum(each.left for each in self.stages.values())
        moment = (wall, busy, left * wall / busy if busy > 0 else 0.0)
        if self.heard % self.stride and self.moments:
            self.moments[-1] = moment
            return
        self.moments.append(moment)
        if len(self.moments) > MOST:
            self.moments = self.moments[::2]
            self.stride *= 2
