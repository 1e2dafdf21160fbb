"""Ctrl-C and SIGTERM: the first ends a run cleanly, the second at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Timer
from types import FrameType

__all__ = ["INTERRUPTED", "again", "stoppable"]

INTERRUPTED = 130
PATIENCE = 10.0
"""Seconds that a clean end may take."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable(message: str) -> Iterator[None]:
    """Turn the first signal into KeyboardInterrupt; leave at once on the second.

    Parameters
    ----------
    message : str
        Said on stderr should the clean end take too long.
    """
    state: list[int] = []

    def leave() -> None:
        if len(state) < 2:
            with suppress(OSError):
                os.write(2, f"{message}\n".encode())
        os._exit(INTERRUPTED)

    def stop(number: int, _frame: FrameType | None) -> None:
        if state:
            os._exit(INTERRUPTED)
        state.append(number)
        timer = Timer(PATIENCE, leave)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    before = {each: signal.signal(each, stop) for each in SIGNALS}
    try:
        yield
    finally:
        state.append(0)  # what was to be said is said by the caller
        if len(state) == 1:
            for each, handler in before.items():
                signal.signal(each, handler)


def again(words: Sequence[str]) -> str:
    """Return the command that goes on where this one stopped."""
    called = "python -m iitdask" if sys.argv[0].endswith("__main__.py") else "iitdask"
    return f"{called} {shlex.join(word for word in words if word != '--fresh')}"
