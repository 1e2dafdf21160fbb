"""The command line: commands by import path, and clean ends on Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Timer, main_thread
from types import FrameType
from typing import Any

from iitdask.errors import IITError, InputError, InterruptedRunError, LedgerMismatchError

__all__ = [
    "INTERRUPTED_EXIT_CODE",
    "interruptible",
    "main",
    "resume_command",
]

INTERRUPTED_EXIT_CODE = 130
CLEAN_EXIT_SECONDS = 10.0
"""Seconds that a clean end may take."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
REPEAT_SECONDS = 0.02
"""Seconds until KeyboardInterrupt is raised again where it was ignored."""


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Turn the first signal into KeyboardInterrupt; leave at once on the second.

    Parameters
    ----------
    message : str
        Said on stderr should the clean end take too long.
    """
    stopping = _SignalHandler(message)
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


class _SignalHandler:
    """How far an end has come that a signal asked for."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.asked = self.ignored = self.over = False
        self._repeating = self._repeated = False

    def on_signal(self, _number: int, frame: FrameType | None) -> None:
        if self._repeated:
            self._repeated = False
            if not self.ignored:  # the one before it was heard after all
                return
        elif self.asked and not self.ignored:
            os._exit(INTERRUPTED_EXIT_CODE)
        if not self.asked:
            _start_timer(CLEAN_EXIT_SECONDS, self.leave)
        self.asked, self.ignored = True, False
        if _runs(frame, "_repeat_interruption"):  # raised in the hook it would be lost for good
            self.start_repeating()
            return
        raise KeyboardInterrupt

    def on_ignored(self, hook: Callable[[Any], object]) -> Callable[[Any], object]:
        """Return a hook for exceptions that are ignored which raises interruptions once more.

        A signal may reach Python inside a finaliser or a callback of the garbage collector,
        and whatever is raised there is printed and forgotten: the run would go on.
        """

        def _repeat_interruption(what: Any) -> None:
            if not issubclass(what.exc_type, KeyboardInterrupt):
                hook(what)
            elif not self.over:
                # Not here: this, too, runs where nothing can be raised.
                self.start_repeating()

        return _repeat_interruption

    def start_repeating(self) -> None:
        self.ignored = True
        if not self._repeating:
            self._repeating = True
            _start_timer(REPEAT_SECONDS, self.repeat)

    def repeat(self) -> None:
        """Send the signal again as long as the interruption is ignored."""
        while not self.over:
            if self.ignored:
                self._repeated = True
                signal.pthread_kill(main_thread().ident or 0, SIGNALS[0])
            time.sleep(REPEAT_SECONDS)

    def leave(self) -> None:
        if not self.over:
            with suppress(OSError):
                os.write(2, f"{self.message}\n".encode())
        os._exit(INTERRUPTED_EXIT_CODE)


def _runs(frame: FrameType | None, function: str) -> bool:
    """Whether a function of this name is among the callers of a frame, or is the frame's own."""
    while frame is not None and frame.f_code.co_name != function:
        frame = frame.f_back
    return frame is not None


def _start_timer(seconds: float, act: Callable[[], None]) -> None:
    timer = Timer(seconds, act)
    timer.daemon = True
    timer.start()


def resume_command(words: Sequence[str]) -> str:
    """Return the command that goes on where this one stopped."""
    called = "python -m iitdask" if sys.argv[0].endswith("__main__.py") else "iitdask"
    return f"{called} {shlex.join(word for word in words if word != '--fresh')}"


COMMANDS = {
    "run": ("iitdask.cli.run_command:run", "Compute a study, or what is missing of it."),
    "work": ("iitdask.cli.run_command:work", "Fill a store beside others, without a scheduler."),
    "plan": ("iitdask.cli.estimate_command:plan", "Show the stages and blocks of a study."),
    "estimate": ("iitdask.cli.estimate_command:estimate", "Say what a study will cost."),
    "status": ("iitdask.cli.store_commands:status", "Say how far a store is."),
    "show": ("iitdask.cli.store_commands:show", "Show the results of a store."),
    "view": (
        "iitdask.cli.store_commands:view",
        "Look at a result: figures that explain each other.",
    ),
    "verify": ("iitdask.cli.store_commands:verify", "Check a store, recompute a sample of it."),
    "export": ("iitdask.cli.store_commands:export", "Write a result as .csv, .nc or .json."),
    "tidy": ("iitdask.cli.store_commands:tidy", "Drop the blocks of a finished store."),
    "examples": (
        "iitdask.cli.store_commands:examples",
        "List published systems, or print one as a study.",
    ),
}
DONE, FAILED, WRONG_INPUT = 0, 1, 2


def main(arguments: list[str] | None = None) -> None:
    """Run a command and leave with its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    if not given or given[0] in ("-h", "--help", "help"):
        sys.exit(_help())
    if given[0] == "--version":
        sys.exit(_print_text(import_module("iitdask.result.label_tree").package_version()))
    if given[0] not in COMMANDS:
        names = ", ".join(COMMANDS)
        _print_error(f"iitdask: expected one of the commands {names}, got {given[0]!r}")
        sys.exit(WRONG_INPUT)
    stopped = _interrupted_message(given)
    try:
        with interruptible(stopped):
            code = _call_command(given[0], given[1:])
    except InterruptedRunError as error:
        if debug:
            raise
        _print_error(f"iitdask: {error}")
        _exit_now(stopped)
    except IITError as error:
        if debug:
            raise
        _print_error(f"iitdask: {error}")
        wrong = isinstance(error, InputError | LedgerMismatchError)
        sys.exit(WRONG_INPUT if wrong else FAILED)
    except KeyboardInterrupt:
        if debug:
            raise
        _exit_now(stopped)
    sys.exit(code or DONE)


def _interrupted_message(words: list[str]) -> str:
    if words[0] not in ("run", "work"):
        return "iitdask: interrupted"
    return f"iitdask: interrupted; the store is consistent, go on with: {resume_command(words)}"


def _exit_now(message: str) -> None:
    _print_error(message)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit, which waits for clusters and for kernels in threads of this process.
    os._exit(INTERRUPTED_EXIT_CODE)


def _call_command(name: str, words: list[str]) -> int | None:
    from cyclopts import App, CycloptsError

    path, _ = COMMANDS[name]
    module, _, attribute = path.partition(":")
    app = App(
        name=f"iitdask {name}",
        help_format="plaintext",
        version_flags=[],
        suppress_keyboard_interrupt=False,
    )
    app.default(getattr(import_module(module), attribute))
    try:
        code: int | None = app(
            words, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        message = " ".join(str(error).split())
        raise InputError(f"{name}: {message} (see `iitdask {name} --help`)") from error
    return code


def _help() -> int:
    lines = [
        "iitdask: integrated information theory on a cluster, exact and resumable",
        "",
        "usage: iitdask COMMAND [arguments]",
        "",
        *(f"  {name:<10}{text}" for name, (_, text) in COMMANDS.items()),
        "",
        "`iitdask COMMAND --help` says more; `--debug` shows the traceback of an error.",
        "`iitdask run` without arguments computes a small published example.",
    ]
    return _print_text("\n".join(lines))


def _print_text(text: str) -> int:
    print(text)
    return DONE


def _print_error(text: str) -> None:
    print(text, file=sys.stderr)
