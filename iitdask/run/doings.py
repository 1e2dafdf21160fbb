"""What is in hand at this moment: one small file a driver, renewed while that changes.

Shown to those who look on, and nothing else: results never depend on it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

import psutil

from iitdask.errors import UnreachableStoreError
from iitdask.run.meanwhile import meanwhile
from iitdask.run.place import delete, get, local_path, open_store, put

if TYPE_CHECKING:
    from iitdask.run.layout import Layout
    from iitdask.run.plan import Block
    from iitdask.run.presence import Driver

__all__ = ["Begun", "Doing", "Doings", "begun_by", "doing_of", "in_hand", "posted"]

Begun = Callable[["Layout", "Block"], None]
"""Told of every block before it is computed."""

LOOK, FAR = 1.0, 5.0
"""Seconds between two writings, on this machine and on an object store."""
SELDOM = 1.0
"""Seconds for which a bundle of short blocks tells of no further block."""


@dataclass(frozen=True, slots=True)
class Doing:
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
class Doings:
    """What the workers of one driver have in hand."""

    now: dict[str, Doing] = field(default_factory=dict)
    """By bundle."""
    lock: Lock = field(default_factory=Lock)
    changed: bool = False
    """Whether there is something to write."""

    def begun(self, bundle: str, doing: Doing) -> None:
        """Note what is begun; it takes the place of what the bundle was at before."""
        with self.lock:
            self.now[bundle] = doing
            self.changed = True

    def ended(self, bundle: str) -> None:
        """Note that a bundle is over."""
        with self.lock:
            self.changed |= self.now.pop(bundle, None) is not None

    def of(self, bundle: str) -> Begun:
        """Return what notes the blocks of a bundle that this process fills."""
        return begun_by(lambda doing: self.begun(bundle, doing))

    def taken(self) -> bytes | None:
        """Return what is to be written, once."""
        with self.lock:
            if not self.changed:
                return None
            self.changed = False
            return json.dumps([asdict(each) for each in self.now.values()]).encode()


@contextmanager
def posted(url: str, driver: Driver) -> Iterator[Doings]:
    """Keep a driver's file up to date; remove it in the end."""
    doings = Doings()
    pause = FAR if local_path(url) is None else LOOK
    try:
        with meanwhile(lambda: _post(url, driver, doings), pause, "doings"):
            yield doings
    finally:
        with suppress(OSError, UnreachableStoreError):
            delete(open_store(url), driver.doing)


def in_hand(url: str, driver: Driver) -> tuple[Doing, ...] | None:
    """Return what a driver's workers have in hand; None when it has not said so."""
    try:
        given = json.loads(get(open_store(url), driver.doing) or b"null")
        return None if given is None else tuple(Doing(**each) for each in given)
    except (ValueError, TypeError, OSError, UnreachableStoreError):
        return None


def begun_by(tell: Callable[[Doing], None]) -> Begun:
    """Return what tells of the first block of a bundle, and now and then of others."""
    last = float("-inf")

    def begun(layout: Layout, block: Block) -> None:
        nonlocal last
        if time.monotonic() - last >= SELDOM:
            last = time.monotonic()
            tell(doing_of(layout, block))

    return begun


def doing_of(layout: Layout, block: Block) -> Doing:
    """Say that this process begins a block."""
    grid = layout.tiling.grid
    parts = zip(grid.dims, layout.tiling.region(block), grid.shape, strict=True)
    cells = ", ".join(_span(dim, part, n) for dim, part, n in parts if part != slice(0, n))
    worker = f"{socket.gethostname()}:{os.getpid()}"
    since = datetime.now(UTC).isoformat(timespec="milliseconds")
    memory = float(psutil.Process().memory_info().rss)
    return Doing(worker, layout.name, cells or "all of it", since, memory)


def _span(dim: str, part: slice, n: int) -> str:
    first, last = part.start, part.stop - 1
    return f"{dim} {first if first == last else f'{first}–{last}'} of {n}"


def _post(url: str, driver: Driver, doings: Doings) -> None:
    text = doings.taken()
    if text is not None:
        put(open_store(url), driver.doing, text)
