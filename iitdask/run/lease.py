"""Things one process at a time may do to a store, such as laying out a stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from iitdask.errors import UnreachableStoreError
from iitdask.run.place import create, delete, get

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = ["alone"]

FOLDER = "log/leases"
TERM = 30.0
"""Seconds after which a lease that was not given back is void."""
PAUSE = 0.05


@contextmanager
def alone(store: Store, what: str) -> Iterator[None]:
    """Wait for one's turn, and hold it.

    A lease whose holder died runs out. Should its holder only have slept, two are at
    work at once: they do the same, and what they harm is found by its checksums.

    Parameters
    ----------
    store : Store
        Where.
    what : str
        Name of what is done.
    """
    key = f"{FOLDER}/{what.replace('/', '+')}"
    while not create(store, key, repr(time.time() + TERM).encode()):
        if _until(store, key) < time.time():
            delete(store, key)
        else:
            time.sleep(PAUSE)
    try:
        yield
    finally:
        with suppress(OSError, UnreachableStoreError):
            delete(store, key)


def _until(store: Store, key: str) -> float:
    try:
        # A clock that is far ahead, here or there, must not hold anyone up for long.
        return min(float(get(store, key) or b"0"), time.time() + TERM)
    except ValueError:
        return 0.0
