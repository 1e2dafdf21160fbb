"""Who has which blocks in hand, where no central process hands them out.

A claim is one small key that only one of several processes can create. It names
its owner, whose own file in the store (see presence) gives signs of life: claims
of the dead are void. Claims spare double work and nothing else: a block that two
processes fill holds the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from iitdask.errors import UnreachableStoreError
from iitdask.run.place import create, delete, erase, get, open_store
from iitdask.run.presence import LOG, Driver, drivers

if TYPE_CHECKING:
    from zarr.abc.store import Store

    from iitdask.run.plan import Block

__all__ = ["Claims"]

FOLDER = f"{LOG}/claims"
FRESH = 5.0
"""Seconds for which it is believed who is alive."""
DEATHS = 10
"""How many owners may die over a block before nobody tries it any more."""


@dataclass(slots=True, eq=False)
class Claims:
    """The claims of one process on a store.

    Parameters
    ----------
    url : str
        Address of the store.
    owner : Driver
        The process.
    """

    url: str
    owner: Driver
    _alive: frozenset[str] = frozenset()
    _asked: float = float("-inf")
    _held: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def take(self, stage: str, block: Block) -> bool:
        """Claim a block; False when a living process has it, or too many died over it."""
        return self._take(_key(stage, block))

    def doomed(self, stage: str, block: Block) -> int:
        """How many processes died over a block, when they are too many; else 0."""
        deaths, owner = _parsed(get(self._store, _key(stage, block)))
        return deaths + 1 if deaths + 1 >= DEATHS and not self._lives(owner) else 0

    def drop(self, stage: str, block: Block) -> None:
        """Give a block back."""
        self._drop(_key(stage, block))

    def drop_all(self) -> None:
        """Give everything back."""
        for key in tuple(self._held):
            with suppress(OSError, UnreachableStoreError):
                self._drop(key)

    @contextmanager
    def held(self, what: str) -> Iterator[bool]:
        """Hold something that is no block; False when a living process holds it."""
        key = f"{FOLDER}/{what}"
        got = self._take(key)
        try:
            yield got
        finally:
            if got:
                self._drop(key)

    def clear(self) -> None:
        """Remove what is left of all claims on the store."""
        erase(self._store, FOLDER)

    @property
    def _store(self) -> Store:
        return open_store(self.url)

    def _take(self, key: str) -> bool:
        store = self._store
        with self._lock:
            if key in self._held:
                return True
            deaths = 0
            if not create(store, key, self._signed(0)):
                deaths, owner = _parsed(get(store, key))
                deaths += 1
                if self._lives(owner) or deaths >= DEATHS:
                    return False
                delete(store, key)
                if not create(store, key, self._signed(deaths)):
                    return False
            self._held.add(key)
            return True

    def _drop(self, key: str) -> None:
        with self._lock:
            if key in self._held:
                self._held.discard(key)
                delete(self._store, key)

    def _lives(self, owner: str) -> bool:
        if time.monotonic() - self._asked > FRESH or (owner not in self._alive):
            self._alive = frozenset(each.token for each in drivers(self.url))
            self._asked = time.monotonic()
        return owner in self._alive

    def _signed(self, deaths: int) -> bytes:
        return f"{deaths} {self.owner.token}".encode()


def _key(stage: str, block: Block) -> str:
    return f"{FOLDER}/{stage.replace('/', '+')}/{'.'.join(map(str, block))}"


def _parsed(content: bytes | None) -> tuple[int, str]:
    deaths, _, owner = (content or b"").decode(errors="replace").partition(" ")
    return (int(deaths) if deaths.isdecimal() else 0), owner
