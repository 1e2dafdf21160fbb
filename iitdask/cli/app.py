"""The command line: commands by import path, so that ``--help`` imports nothing heavy."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from iitdask.cli.stop import INTERRUPTED, again, stoppable
from iitdask.errors import IITError, InputError, InterruptedRunError, LedgerMismatchError

__all__ = ["main"]

COMMANDS = {
    "run": ("iitdask.cli.run:run", "Compute a study, or what is missing of it."),
    "work": ("iitdask.cli.work:work", "Fill a store beside others, without a scheduler."),
    "plan": ("iitdask.cli.forecast:plan", "Show the stages and blocks of a study."),
    "estimate": ("iitdask.cli.forecast:estimate", "Say what a study will cost."),
    "status": ("iitdask.cli.store:status", "Say how far a store is."),
    "show": ("iitdask.cli.inspect:show", "Show the results of a store."),
    "view": ("iitdask.cli.view:view", "Look at a result: figures that explain each other."),
    "verify": ("iitdask.cli.store:verify", "Check a store, recompute a sample of it."),
    "export": ("iitdask.cli.export:export", "Write a result as .csv, .nc or .json."),
    "tidy": ("iitdask.cli.store:tidy", "Drop the blocks of a finished store."),
    "examples": (
        "iitdask.cli.inspect:examples",
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
        sys.exit(_say(import_module("iitdask.result.assemble").package_version()))
    if given[0] not in COMMANDS:
        names = ", ".join(COMMANDS)
        _complain(f"iitdask: expected one of the commands {names}, got {given[0]!r}")
        sys.exit(WRONG_INPUT)
    stopped = _stopped(given)
    try:
        with stoppable(stopped):
            code = _call(given[0], given[1:])
    except InterruptedRunError as error:
        if debug:
            raise
        _complain(f"iitdask: {error}")
        _leave(stopped)
    except IITError as error:
        if debug:
            raise
        _complain(f"iitdask: {error}")
        wrong = isinstance(error, InputError | LedgerMismatchError)
        sys.exit(WRONG_INPUT if wrong else FAILED)
    except KeyboardInterrupt:
        if debug:
            raise
        _leave(stopped)
    sys.exit(code or DONE)


def _stopped(words: list[str]) -> str:
    if words[0] not in ("run", "work"):
        return "iitdask: interrupted"
    return f"iitdask: interrupted; the store is consistent, go on with: {again(words)}"


def _leave(message: str) -> None:
    _complain(message)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit, which waits for clusters and for kernels in threads of this process.
    os._exit(INTERRUPTED)


def _call(name: str, words: list[str]) -> int | None:
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
    return _say("\n".join(lines))


def _say(text: str) -> int:
    print(text)
    return DONE


def _complain(text: str) -> None:
    print(text, file=sys.stderr)
