"""Small things done again and again beside the work, such as a sign of life."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from iitdask.errors import UnreachableStoreError

__all__ = ["meanwhile"]

PATIENCE = 5.0
"""Seconds to wait for the last turn, which a store that hangs may hold up."""


@contextmanager
def meanwhile(do: Callable[[], None], pause: float, name: str) -> Iterator[None]:
    """Repeat something in a thread of its own for as long as the context is open.

    A full disk or a network that failed ends one turn alone: it is the run's to report.

    Parameters
    ----------
    do : callable
        What is done at every turn.
    pause : float
        Seconds before each turn.
    name : str
        Name of the thread.
    """
    ended = Event()

    def turns() -> None:
        while not ended.wait(pause):
            with suppress(OSError, UnreachableStoreError):
                do()

    thread = Thread(target=turns, daemon=True, name=name)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=PATIENCE)
