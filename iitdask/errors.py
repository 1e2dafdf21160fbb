"""Every exception iitdask raises on purpose.

One base class; each error is also the builtin a caller would expect. A message
says what is wrong, where, what was expected and what came, in one line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

MAX_LINE_CHARACTERS = 380  # Of a message; the command line writes its name before it
MAX_VALUE_CHARACTERS = 200  # Of a user's value in a message
MAX_SHOWN_BITS = 600  # Of an integer; Python writes no more than 4,300 digits
PASSWORD = re.compile(r"(?<=://)[^/\s]*:[^/\s]*(?=@)")  # In an address
QUERY = re.compile(r"(://[^\s?]*[?])[^\s'\"]+")  # Of an address, and what comes before it


class IITError(Exception):
    """Base of all iitdask errors."""

    def __str__(self) -> str:
        """Return the message as one line, whatever names and texts of users it holds."""
        return one_line(super().__str__())


def one_line(text: str) -> str:
    r"""Return a text as one line that can be printed, its middle left out if it is long.

    Examples
    --------
    >>> one_line("a" + chr(10) + "b"), len(one_line("x" * 1000))
    ('a\\nb', 380)
    """
    text = without_secrets(text)
    if not text.isprintable():
        if len(text) > 2 * MAX_LINE_CHARACTERS:
            text = text[:MAX_LINE_CHARACTERS] + text[-MAX_LINE_CHARACTERS:]
        text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    if len(text) <= MAX_LINE_CHARACTERS:
        return text
    first = MAX_LINE_CHARACTERS * 2 // 3
    return f"{text[:first]} ... {text[first + 5 - MAX_LINE_CHARACTERS :]}"


def without_secrets(text: str) -> str:
    """Return a text without the passwords and queries of the addresses in it.

    Examples
    --------
    >>> without_secrets("s3://key:secret@bucket/store")
    's3://...@bucket/store'
    """
    return QUERY.sub(r"\1...", PASSWORD.sub("...", text))


def quote(value: object) -> str:
    """Return a value for a message: what `repr` gives, cut at 200 characters.

    Examples
    --------
    >>> quote({"a": [1, None]}), len(quote("x" * 1000))
    ("{'a': [1, None]}", 200)
    """
    text = ""
    for piece in _pieces(value):
        text += piece
        if len(text) > MAX_VALUE_CHARACTERS:
            return text[: MAX_VALUE_CHARACTERS - 3] + "..."
    return text


def _pieces(value: object) -> Iterator[str]:
    """Yield what `repr` gives, piece by piece: of a value that aliases repeat there is no end."""
    if isinstance(value, dict):
        yield "{"
        for number, (key, each) in enumerate(value.items()):
            yield ", " if number else ""
            yield from _pieces(key)
            yield ": "
            yield from _pieces(each)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "[" if isinstance(value, list) else "("
        for number, each in enumerate(value):
            yield ", " if number else ""
            yield from _pieces(each)
        yield "]" if isinstance(value, list) else ",)" if len(value) == 1 else ")"
    elif isinstance(value, str | bytes):
        yield repr(value[: MAX_VALUE_CHARACTERS + 1])
    elif isinstance(value, int) and value.bit_length() > MAX_SHOWN_BITS:
        yield f"an integer of {value.bit_length()} bits"
    else:
        try:
            yield " ".join(repr(value).split())
        except Exception:  # noqa: BLE001 - of what a user gave
            yield f"a {type(value).__name__}"


class InputError(IITError, ValueError):
    """An argument, a study file or an option is not acceptable."""


class SubstrateError(InputError):
    """A transition probability matrix, connectivity or label is not acceptable."""


class StateError(InputError):
    """A state or a set of units does not fit the substrate."""


class UnreachableStateError(StateError):
    """No past state of the substrate leads to the given state."""


class SpecError(InputError):
    """A study file cannot be read as a study."""


class StoreError(IITError, OSError):
    """A store cannot be opened, read or written."""


class MissingStoreError(StoreError, InputError):
    """There is no store of iitdask where one is expected."""


class LedgerMismatchError(StoreError):
    """A store holds another study than the one to be run."""


class BusyStoreError(StoreError):
    """Another process is filling the store at this moment."""


class DamagedStoreError(StoreError):
    """Data in a store differ from what was written."""


class UnreachableStoreError(IITError):
    """A store on a network cannot be reached, or refuses the credentials it is given.

    Not an OSError: data that cannot be read for the moment must not count as damaged.
    """


class ClusterError(IITError, RuntimeError):
    """A Dask cluster cannot be started, or its scheduler does not answer."""


class MemoryRefusedError(IITError, MemoryError):
    """A block needs more memory than a worker has."""


class BudgetRefusedError(IITError, RuntimeError):
    """A run would exceed its budget of core-seconds."""


class BlockFailedError(IITError, RuntimeError):
    """One or more blocks of a stage could not be computed."""


class InterruptedRunError(IITError, RuntimeError):
    """A run was interrupted from outside; its store is consistent and can be resumed."""


class RetiredError(InterruptedRunError):
    """A worker reached the end of its lifetime; blocks are left for other workers."""


class WorkerMismatchError(InputError):
    """Processes of one run have different builds of iitdask, or none."""


class KernelCacheWarning(UserWarning):
    """Compiled kernels cannot be kept where they should be; they are compiled once per run."""


class LargeRunWarning(UserWarning):
    """A call will take more than ten minutes, or most of the memory."""


class IdleEdgesWarning(UserWarning):
    """Edges of a substrate are declared that make no difference; they move ties."""


class PartialResultWarning(UserWarning):
    """A result that is opened lacks points that are not computed yet."""


def levels_to_user() -> int:
    """Return the stack level of the code that called this package, for a warning."""
    package = str(Path(__file__).parent)
    frame: FrameType | None = sys._getframe()
    level = 0
    while frame is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, IITError)


__all__ = [name for name, value in vars().items() if _is_error(value)]
