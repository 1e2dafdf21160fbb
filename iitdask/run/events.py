"""What a run tells those who watch it.

Events are frozen and carry no live objects, so they can be kept, compared or
written down. Whatever an observer raises stops the run; the ledger stays
consistent and the same call resumes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "BlockFailed",
    "BlocksFilled",
    "Event",
    "Observer",
    "Remarked",
    "RunFinished",
    "StageFilled",
    "StageOpened",
    "once",
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


def once(observer: Observer) -> Observer:
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
