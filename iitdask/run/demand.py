"""How many workers the predicted remaining work is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from iitdask.run.events import BlocksFilled, Event, StageFilled, StageOpened

__all__ = ["Demand"]

HORIZON = 120.0
"""Wished seconds of work for each worker: what takes less is not worth a job's start."""


@dataclass(slots=True)
class _Open:
    """What is left of one stage."""

    cost: float
    """Predicted seconds."""
    blocks: int
    """Blocks."""


@dataclass(slots=True, eq=False)
class Demand:
    """Observer that knows how much work is left in the stages that are open.

    Parameters
    ----------
    threads : int
        Blocks one worker computes at a time.
    """

    threads: int = 1
    horizon: float = HORIZON
    _open: dict[str, _Open] = field(default_factory=dict)
    _seconds: float = 0.0
    _cost: float = 0.0

    def __call__(self, event: Event) -> None:
        """Book an event."""
        if isinstance(event, StageOpened):
            self._open[event.stage] = _Open(event.cost, event.todo)
        elif isinstance(event, StageFilled):
            self._open.pop(event.stage, None)
        elif isinstance(event, BlocksFilled):
            left = self._open.setdefault(event.stage, _Open(0.0, 0))
            left.cost = max(0.0, left.cost - event.cost)
            left.blocks = max(0, left.blocks - event.blocks)
            self._seconds += event.seconds
            self._cost += event.cost

    @property
    def seconds(self) -> float:
        """Core-seconds left, as fast as it went so far."""
        slowness = self._seconds / self._cost if self._cost > 0 else 1.0
        # Copied: events arrive in another thread.
        return slowness * sum(each.cost for each in tuple(self._open.values()))

    def workers(self) -> int:
        """How many workers to have: never more than there are blocks for, at least one."""
        blocks = sum(each.blocks for each in tuple(self._open.values()))
        by_time = math.ceil(self.seconds / (self.horizon * self.threads))
        return max(1, min(by_time, math.ceil(blocks / self.threads)))
