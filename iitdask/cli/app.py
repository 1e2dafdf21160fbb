"""The command line: commands by import path, and ends in one line whatever comes.

Commands are imported when they are called, so that ``--help`` imports nothing heavy. What they
print goes through streams that no terminal and no full disk can make fail with a traceback.
"""

from __future__ import annotations

import codecs
import difflib
import io
import os
import shlex
import signal
import sys
import time
import traceback
import warnings
from _thread import interrupt_main
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Timer, main_thread
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from iitdask.errors import (
    IdleEdgesWarning,
    IITError,
    InputError,
    InterruptedRunError,
    KernelCacheWarning,
    LedgerMismatchError,
    MemoryRefusedError,
    one_line,
    quote,
    without_secrets,
)

if TYPE_CHECKING:
    from cyclopts import App

COMMANDS = {
    "run": ("iitdask.cli.run_command:run", "Compute a study, or what is missing of it."),
    "work": ("iitdask.cli.run_command:work", "Fill a store beside others, without a scheduler."),
    "warm": ("iitdask.cli.run_command:warm", "Compile kernels, and keep them for other machines."),
    "plan": ("iitdask.cli.estimate_command:plan", "Show the stages and blocks of a study."),
    "estimate": ("iitdask.cli.estimate_command:estimate", "Estimate the cost of a study."),
    "status": ("iitdask.cli.store_commands:status", "Show how far a store is."),
    "show": ("iitdask.cli.store_commands:show", "Show the results of a store."),
    "compare": ("iitdask.cli.store_commands:compare", "Compare the results of two stores."),
    "view": ("iitdask.cli.store_commands:view", "Look at a result: linked figures."),
    "verify": ("iitdask.cli.store_commands:verify", "Check a store, recompute a sample of it."),
    "export": ("iitdask.cli.store_commands:export", "Write a result as .csv, .nc or .json."),
    "tidy": ("iitdask.cli.store_commands:tidy", "Drop the blocks of a finished store."),
    "examples": (
        "iitdask.cli.store_commands:examples",
        "List published systems, or print one as a study.",
    ),
    "theories": ("iitdask.cli.store_commands:theories", "List theories and their options."),
    "completion": ("iitdask.cli.app:completion", "Print a script that completes words in a shell."),
}
"""Import path and summary of each command."""
DONE, FAILED, WRONG_INPUT = 0, 1, 2  # Exit codes
INTERRUPTED_EXIT_CODE = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
CLEAN_EXIT_SECONDS = 10.0  # Time that a clean end may take before the process is ended
REPEAT_SECONDS = 0.02  # Time until KeyboardInterrupt is raised again where Python ignored it
PLAIN_TEXT = {
    "→": "->", "φ": "phi", "Φ": "Phi", "α": "alpha", "∅": "{}", "×": "x", "·": "*", "…": "...",
    "–": "-", "≥": ">=", "≤": "<=",
}  # fmt: skip
"""What is printed for a character that a terminal does not have; for others, their escape."""
PLAIN_TEXT_ERRORS = "iitdask-plain-text"
"""Name of the error handler that replaces characters so."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and leave with its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    message = _interrupted_message(words)
    with _safe_streams():
        try:
            with interruptible(message) as handler, warnings.catch_warnings():
                remarks: list[str] = []
                warnings.showwarning = partial(_show_warning, remarks, warnings.showwarning)
                code = _run_words(words)
                sys.stdout.flush()
                for remark in remarks:
                    _print_error(remark)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 the last net
            if debug:
                traceback.print_exception(error)
            code = _report(error, message, is_interrupted=handler.signalled)
    sys.exit(code)


def _run_words(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        return _print_text(_help_text())
    if words[0] == "--version":
        return _print_text(import_module("iitdask.run.checksum").package_version())
    if words[0] not in COMMANDS:
        names = ", ".join(COMMANDS)
        close = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"; did you mean {quote(close[0])}?" if close else ""
        raise InputError(f"expected one of the commands {names}, got {quote(words[0])}{hint}")
    return _call_command(words[0], words[1:]) or DONE


def _report(error: BaseException, message: str, *, is_interrupted: bool) -> int:
    """Say in one line what ended a command; return its exit code."""
    if is_interrupted or isinstance(error, KeyboardInterrupt):
        # Whatever a signal was turned into on its way, such as a TypeError within NumPy.
        if isinstance(error, InterruptedRunError):
            _print_error(f"iitdask: {error}")
        _exit_now(message)
    if isinstance(error, InterruptedRunError):  # a cluster went away, to which nobody could say so
        _exit_now(f"iitdask: {error}", FAILED)
    _print_error(f"iitdask: {_describe(error)}")
    wrong = InputError | LedgerMismatchError | MemoryRefusedError  # however often it is tried
    return WRONG_INPUT if isinstance(error, wrong) else FAILED


def _describe(error: BaseException) -> str:
    if isinstance(error, IITError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        path = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return one_line(f"{path}: {error.strerror}; see whether it may be read and written")
    if isinstance(error, MemoryError):
        return one_line(f"out of memory ({error or 'no more to be had'}); --debug shows more")
    return one_line(f"unexpected {type(error).__name__}: {error}; --debug shows more")


def _call_command(name: str, words: list[str]) -> int | None:
    from cyclopts import CycloptsError

    module, _, function = COMMANDS[name][0].partition(":")
    app = _command_line(f"iitdask {name}", suppress_keyboard_interrupt=False)
    app.default(getattr(import_module(module), function))
    try:
        code: int | None = app(
            words, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        message = " ".join(str(error).split())
        raise InputError(f"{name}: {message} (see `iitdask {name} --help`)") from error
    return code


def _command_line(name: str, **more: Any) -> App:
    """Make what parses words; flags have no negations, defaults that say nothing stay unsaid."""
    from cyclopts import App, Parameter

    parameter = Parameter(negative=(), show_default=_shown_default)
    app = App(
        name=name, help_format="markdown", version_flags=[], default_parameter=parameter, **more
    )
    for flag in app.help_flags:
        app[flag].show = False
    return app


def _shown_default(value: Any) -> str | None:
    """Return a default as help shows it; None for flags that are off and lists that are empty."""
    return None if value is None or value is False or value == () else str(value)


def all_commands() -> App:
    """Return all commands as one App, for their reference and for the completion of shells."""
    app = _command_line("iitdask")
    for name, (target, _) in COMMANDS.items():
        module, _, function = target.partition(":")
        command = _command_line(name)  # with a name of its own, whoever runs this process
        command.default(getattr(import_module(module), function))
        app.command(command)
    return app


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print the script by which a shell completes commands and options.

    Parameters
    ----------
    shell
        Shell that is to read it; `iitdask completion bash > FILE`, and the documentation say where.
    """
    print(all_commands().generate_completion(prog_name="iitdask", shell=shell))
    return DONE


def _help_text() -> str:
    lines = [
        "iitdask: integrated information theory on a cluster, exact and resumable\n",
        "usage: iitdask COMMAND [arguments]\n",
        *(f"  {name:<12}{summary}" for name, (_, summary) in COMMANDS.items()),
        "",
        "`iitdask COMMAND --help` says more; `--debug` shows the traceback of an error.",
        "`iitdask run` without arguments computes a small published example.",
    ]
    return "\n".join(lines)


def _interrupted_message(words: Sequence[str]) -> str:
    if not words or words[0] not in ("run", "work"):
        return "iitdask: interrupted"
    program = "python -m iitdask" if sys.argv[0].endswith("__main__.py") else "iitdask"
    # With --fresh the repeated command would delete what is there.
    again = f"{program} {shlex.join(word for word in words if word != '--fresh')}"
    again = without_secrets(again)
    return f"iitdask: interrupted; the store is consistent, go on with: {again}"


def _print_text(text: str) -> int:
    print(text)
    return DONE


def _print_error(text: str) -> None:
    print(text, file=sys.stderr)


def _show_warning(
    remarks: list[str], otherwise: Callable[..., object], message: Any, *more: Any, **named: Any
) -> None:
    """Print a warning of this package in one line, any other as Python does.

    Remarks on a network wait for the end of the command: wrong input gets one line alone.
    """
    if isinstance(message, IdleEdgesWarning):
        remarks.append(f"iitdask: {message}")
    elif isinstance(message, KernelCacheWarning):
        _print_error(f"iitdask: {message}")
    else:
        otherwise(message, *more, **named)


def _exit_now(message: str, code: int = INTERRUPTED_EXIT_CODE) -> None:
    _print_error(message)
    if "iitdask.study.run" in sys.modules:
        import_module("iitdask.study.run").discard_temporary_kernels()
    with suppress(OutputError):
        sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit, which waits for clusters and for kernels in threads of this process.
    os._exit(code)


class OutputError(IITError):
    """Standard output cannot be written."""


@contextmanager
def _safe_streams() -> Iterator[None]:
    """Write to stdout and stderr what they can take, and in no case fail with a traceback."""
    streams = sys.stdout, sys.stderr
    codecs.register_error(PLAIN_TEXT_ERRORS, _replace_by_plain_text)
    with _plain_text(streams[0]), _plain_text(streams[1]):
        sys.stdout = _SafeStream(streams[0])
        sys.stderr = _SafeStream(streams[1], is_needed=False)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams


@contextmanager
def _plain_text(stream: Any) -> Iterator[None]:
    """Replace characters that a stream cannot encode instead of raising an error."""
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    before = stream.errors
    stream.reconfigure(errors=PLAIN_TEXT_ERRORS)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):  # it flushes what nobody can take
            stream.reconfigure(errors=before)


def _replace_by_plain_text(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escape = "backslashreplace"
    plain = (PLAIN_TEXT.get(c) or c.encode("ascii", escape).decode("ascii") for c in text)
    return "".join(plain), error.end


class _SafeStream:
    """A standard stream; one that is closed or full raises an OutputError if it is needed."""

    def __init__(self, stream: Any, *, is_needed: bool = True) -> None:
        # A closed one is None. The null device takes its number, which no file of ours must get.
        self._stream = Path(os.devnull).open("w") if stream is None else stream  # noqa: SIM115
        self._is_needed = is_needed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text."""
        with self._writing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._writing():
            self._stream.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self._discard()
            if self._is_needed:
                reason = getattr(error, "strerror", None) or error
                raise OutputError(
                    f"stdout cannot be written ({reason}); what the command did is complete"
                ) from error

    def _discard(self) -> None:
        """Send what is buffered to nowhere: Python would write it at its end, and complain."""
        with suppress(OSError, ValueError):
            number = self._stream.fileno()
            if number in (1, 2):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)


@contextmanager
def interruptible(message: str) -> Iterator[_SignalHandler]:
    """Turn the first SIGINT or SIGTERM into KeyboardInterrupt; end at once on the second."""
    handler = _SignalHandler(message)
    previous = {each: signal.signal(each, handler.on_signal) for each in SIGNALS}
    sys.unraisablehook = handler.on_unraisable
    try:
        yield handler
    finally:
        sys.unraisablehook = handler.default_hook
        handler.finished = True  # the caller prints the message
        if not handler.signalled:
            for each, function in previous.items():
                signal.signal(each, function)


class _SignalHandler:
    """Which part of an interruption has happened."""

    def __init__(self, message: str) -> None:
        self.message, self.default_hook = message, sys.unraisablehook
        self.signalled = self.ignored = self.finished = False
        self._repeating = self._repeated = False

    def on_signal(self, _number: int, frame: FrameType | None) -> None:
        if self._repeated:
            self._repeated = False
            if not self.ignored:  # the signal before was not ignored after all
                return
        elif self.signalled and not self.ignored:
            self.exit_now()
        if not self.signalled:
            _start_timer(CLEAN_EXIT_SECONDS, self.exit_now)
        self.signalled, self.ignored = True, False
        if _is_called_by(frame, "on_unraisable"):  # an exception in the hook is lost for good
            self.start_repeating()
            return
        raise KeyboardInterrupt

    def on_unraisable(self, unraisable: Any) -> None:
        """Raise a KeyboardInterrupt that Python ignored again, where it is not lost.

        A signal may reach Python inside a finaliser or a callback of the garbage collector,
        whose exceptions are printed and forgotten: the run would go on.
        """
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            self.default_hook(unraisable)
        elif not self.finished:
            # Not here: this function, too, runs where nothing can be raised.
            self.start_repeating()

    def start_repeating(self) -> None:
        self.ignored = True
        if not self._repeating:
            self._repeating = True
            _start_timer(REPEAT_SECONDS, self.repeat_signal)

    def repeat_signal(self) -> None:
        """Send the signal again as long as the interruption is ignored."""
        while not self.finished:
            if self.ignored:
                self._repeated = True
                _signal_main_thread()
            time.sleep(REPEAT_SECONDS)

    def exit_now(self) -> None:
        if not self.finished:
            with suppress(OSError):
                os.write(2, f"{self.message}\n".encode(errors="backslashreplace"))
        os._exit(INTERRUPTED_EXIT_CODE)


def _signal_main_thread() -> None:
    """Have the main thread handle SIGINT; not every system can also wake it from a wait."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)
    else:
        interrupt_main(signal.SIGINT)


def _is_called_by(frame: FrameType | None, function: str) -> bool:
    """Return True if a frame runs a function of this name, or any of its callers does."""
    while frame is not None and frame.f_code.co_name != function:
        frame = frame.f_back
    return frame is not None


def _start_timer(seconds: float, function: Callable[[], None]) -> None:
    timer = Timer(seconds, function)
    timer.daemon = True
    timer.start()
