"""Ctrl-C and SIGTERM: the first ends a run cleanly, the second at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Timer, main_thread
from types import FrameType
from typing import Any

__all__ = ["INTERRUPTED", "again", "stoppable"]

INTERRUPTED = 130
PATIENCE = 10.0
"""Seconds that a clean end may take."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONCE_MORE = 0.02
"""Seconds until KeyboardInterrupt is raised again where it was ignored."""


@contextmanager
def stoppable(message: str) -> Iterator[None]:
    """Turn the first signal into KeyboardInterrupt; leave at once on the second.

    Parameters
    ----------
    message : str
        Said on stderr should the clean end take too long.
    """
    stopping = _Stopping(message)
    before = {each: signal.signal(each, stopping.on_signal) for each in SIGNALS}
    hook, sys.unraisablehook = sys.unraisablehook, stopping.on_ignored(sys.unraisablehook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        stopping.over = True  # what was to be said is said by the caller
        if not stopping.asked:
            for each, handler in before.items():
                signal.signal(each, handler)


class _Stopping:
    """How far an end has come that a signal asked for."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.asked = self.ignored = self.over = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked and not self.ignored:
            os._exit(INTERRUPTED)
        if not self.asked:
            _after(PATIENCE, self.leave)
        self.asked, self.ignored = True, False
        raise KeyboardInterrupt

    def on_ignored(self, hook: Callable[[Any], object]) -> Callable[[Any], object]:
        """Return a hook for exceptions that are ignored which raises interruptions once more.

        A signal may reach Python inside a finaliser or a callback of the garbage collector,
        and whatever is raised there is printed and forgotten: the run would go on.
        """

        def ignore(what: Any) -> None:
            if not issubclass(what.exc_type, KeyboardInterrupt):
                hook(what)
            elif not self.over:
                self.ignored = True
                # Not here: this, too, runs where nothing can be raised.
                _after(ONCE_MORE, self.once_more)

        return ignore

    def once_more(self) -> None:
        if self.ignored and not self.over:
            signal.pthread_kill(main_thread().ident or 0, SIGNALS[0])

    def leave(self) -> None:
        if not self.over:
            with suppress(OSError):
                os.write(2, f"{self.message}\n".encode())
        os._exit(INTERRUPTED)


def _after(seconds: float, act: Callable[[], None]) -> None:
    timer = Timer(seconds, act)
    timer.daemon = True
    timer.start()


def again(words: Sequence[str]) -> str:
    """Return the command that goes on where this one stopped."""
    called = "python -m iitdask" if sys.argv[0].endswith("__main__.py") else "iitdask"
    return f"{called} {shlex.join(word for word in words if word != '--fresh')}"
