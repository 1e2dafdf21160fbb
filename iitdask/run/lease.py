"""Things one process at a time may do to a store, such as laying out a stage."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from iitdask.errors import UnreachableStoreError
from iitdask.run.meanwhile import meanwhile
from iitdask.run.place import create, delete, explained, get, put
from iitdask.run.presence import exists

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = ["alone"]

FOLDER = "log/leases"
TERM = 30.0
"""Seconds after which a lease that was neither renewed nor given back is void."""
PAUSE = 0.05


@contextmanager
def alone(store: Store, what: str) -> Iterator[None]:
    """Wait for one's turn, and hold it.

    A lease is renewed while its holder lives; that of one that died is void at once on
    its own machine, and elsewhere runs out. Should its holder only have slept, two are
    at work at once: they do the same, and what they harm is found by its checksums.

    Parameters
    ----------
    store : Store
        Where.
    what : str
        Name of what is done.
    """
    key = f"{FOLDER}/{what.replace('/', '+')}"
    while not _taken(store, key):
        if _is_void(get(store, key)):
            delete(store, key)
        else:
            time.sleep(PAUSE)
    try:
        with meanwhile(lambda: put(store, key, _signed()), TERM / 3, "lease"):
            yield
    finally:
        with suppress(OSError, UnreachableStoreError):
            delete(store, key)


def _taken(store: Store, key: str) -> bool:
    with explained(f"{key} of the store"):
        return create(store, key, _signed())


def _signed() -> bytes:
    return f"{time.time() + TERM!r} {os.getpid()} {socket.gethostname()}".encode()


def _is_void(content: bytes | None) -> bool:
    until, _, holder = (content or b"").decode(errors="replace").partition(" ")
    pid, _, host = holder.partition(" ")
    if host == socket.gethostname() and pid.isdecimal() and not exists(int(pid)):
        return True
    try:
        # A clock that is far ahead, here or there, must not hold anyone up for long.
        return min(float(until), time.time() + TERM) < time.time()
    except ValueError:
        return True
