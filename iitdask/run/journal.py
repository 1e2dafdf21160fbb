"""The log of a run: one JSON object a line, one file a driver, in the store."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zarr.storage import LocalStore

from iitdask.errors import UnreachableStoreError
from iitdask.run.events import BlocksFilled, Event
from iitdask.run.place import explained, get, names, open_store, put
from iitdask.run.presence import LOG, open_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zarr.abc.store import Store

    from iitdask.run.presence import Driver

__all__ = ["Journal", "entries", "journals"]

SUFFIX = ".jsonl"
EVERY = 20.0
"""Seconds between two writings where a file cannot be appended to."""


@dataclass(slots=True, eq=False)
class Journal:
    """Observer that writes events down."""

    url: str
    """Address of the store."""
    driver: Driver
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
        line = json.dumps({"at": _now(), "event": kind, **content}, default=str)
        store = open_store(self.url)
        with explained(f"{self.url}: {self.key}"):
            if isinstance(store, LocalStore):
                with (Path(store.root) / self.key).open("a", encoding="utf-8") as out:
                    out.write(line + "\n")
                return
        self.lines.append(line)
        if urgent or time.monotonic() - self.written > EVERY:
            self.written = time.monotonic()
            put(store, self.key, "".join(f"{each}\n" for each in self.lines).encode())

    def begin(self, content: Mapping[str, Any]) -> None:
        """Write the first line: what is run, where and with what."""
        open_log(open_store(self.url))
        self.note("RunStarted", content)

    def end(self, content: Mapping[str, Any]) -> None:
        """Write the last line of a run that did not finish; not at any price."""
        with suppress(OSError, UnreachableStoreError):
            self.note("RunEnded", content)

    @property
    def key(self) -> str:
        """Where in the store the log is."""
        began = self.driver.since[:19].replace(":", "").replace("-", "")
        return f"{LOG}/{began}-{self.driver.host}-{self.driver.pid}-{self.driver.token}{SUFFIX}"


def journals(url: str) -> list[str]:
    """Keys of the logs in a store, the oldest first."""
    return sorted(f"{LOG}/{name}" for name in names(open_store(url), LOG) if name.endswith(SUFFIX))


def entries(url: str, key: str) -> Iterator[dict[str, Any]]:
    """Lines of a log; torn ones are left out."""
    store: Store = open_store(url)
    for line in (get(store, key) or b"").splitlines():
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict) and "event" in found:
                yield found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
