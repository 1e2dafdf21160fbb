"""Large arrays that all processes of a machine have in common: a file that each maps into memory.

One process makes the file, by several threads, while the others wait. It is taken by others as
long as a process holds it, which knows that it is whole. Where it is not wanted any more it is
deleted by the last process that has it mapped, or by the next one that makes such a file: what
killed processes left is locked by none.
"""

from __future__ import annotations

import functools
import math
import mmap
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from multiprocessing.util import Finalize
from pathlib import Path
from typing import IO

import numpy as np

from iitdask.errors import StoreError
from iitdask.types import Array

MAX_MAPPED = 4  # Files that one process has mapped: of several studies, or systems
PIECE_BYTES = 2**19  # Bytes that a thread writes at a time: they stay in its cache
FOLDER = "iitdask-tables-{user}"  # In the directory for temporary files
LOCK_FILE = "lock"

Shapes = Mapping[str, tuple[int, ...]]  # Of float64 arrays with two axes, in a file in this order
Rows = Callable[[str, slice], Array]  # Returns rows of an array, by its name


def total_bytes(shapes: Shapes) -> int:
    """Return the bytes of float64 arrays."""
    return sum(8 * math.prod(shape) for shape in shapes.values())


def _offsets(shapes: Shapes) -> dict[str, int]:
    """Return where in a file each array begins, and under an empty name where the last one ends."""
    sizes = [8 * math.prod(shape) for shape in shapes.values()]
    starts = accumulate((-(-size // PIECE_BYTES) * PIECE_BYTES for size in sizes), initial=0)
    return dict(zip((*shapes, ""), starts, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class MappedArrays:
    """Arrays that lie in a file, which stays while this process has them."""

    arrays: Mapping[str, Array]
    file: IO[bytes]  # Holds a shared lock, as long as anything of it is mapped
    path: Path

    def release(self) -> None:
        """Delete the file if no other process has it mapped; what is mapped stays valid."""
        with suppress(OSError, ValueError):
            _lock(self.file, wait=False)
            self.path.unlink()
        self.file.close()


_MAPPED: dict[str, MappedArrays] = {}
"""What this process has mapped, by key."""


def mapped_arrays(
    key: str, shapes: Shapes, open_rows: Callable[[], Rows], threads: int
) -> Mapping[str, Array] | None:
    """Return arrays in a file that processes of this machine share; None where there can be none.

    Parameters
    ----------
    key : name of their content
    shapes : of each array
    open_rows : returns what returns rows of them; called in one process of a machine
    threads : that write the file

    Returns
    -------
    Arrays that may be written; what one process writes no other sees
    """
    if key in _MAPPED:
        return _MAPPED[key].arrays
    while len(_MAPPED) >= MAX_MAPPED:
        _MAPPED.pop(next(iter(_MAPPED))).release()
    try:
        folder = _own_folder()
        with _locked(folder / LOCK_FILE):
            path = folder / key
            found = _open_held(path, shapes)
            if found is None:
                _delete_unused(folder)
                found = _write(path, shapes, open_rows, threads)
    except StoreError:
        raise
    except (OSError, ImportError):  # no directory that can be written, no room in it, no locks
        return None
    _MAPPED[key] = found
    return found.arrays


def release_mapped_arrays() -> None:
    """Let go of all files of this process."""
    while _MAPPED:
        _MAPPED.popitem()[1].release()


# Also in processes that multiprocessing starts, where `atexit` calls nothing.
Finalize(None, release_mapped_arrays, exitpriority=10)


def _own_folder() -> Path:
    """Return the directory of this user's files, in which nobody else can put any."""
    user = os.getuid()
    folder = Path(tempfile.gettempdir()).resolve() / FOLDER.format(user=user)
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != user or about.st_mode & 0o022:
        raise PermissionError(f"others can write to {str(folder)!r}")
    return folder


def _lock(file: IO[bytes], *, shared: bool = False, wait: bool = True) -> None:
    """Lock an open file; the system gives the lock back when it is closed or its process dies."""
    import fcntl  # noqa: PLC0415 not on every system

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)


def _is_locked(file: IO[bytes]) -> bool:
    try:
        _lock(file, wait=False)
    except BlockingIOError:
        return True
    return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        _lock(file)
        yield


def _open_held(path: Path, shapes: Shapes) -> MappedArrays | None:
    """Map a file that another process holds; None where it is not there, or held by none."""
    with suppress(FileNotFoundError):
        file = path.open("rb")
        if _is_locked(file):
            return _map(file, path, shapes)
        file.close()
    return None


def _map(file: IO[bytes], path: Path, shapes: Shapes) -> MappedArrays:
    """Map a file and hold it."""
    _lock(file, shared=True)
    offsets = _offsets(shapes)
    content = mmap.mmap(file.fileno(), offsets[""], access=mmap.ACCESS_COPY)
    arrays = {
        name: np.frombuffer(content, np.float64, math.prod(shape), offsets[name]).reshape(shape)
        for name, shape in shapes.items()
    }
    return MappedArrays(arrays, file, path)


def _write(path: Path, shapes: Shapes, open_rows: Callable[[], Rows], threads: int) -> MappedArrays:
    """Write a file, while this process alone has the folder, and map it."""
    file, offsets = path.open("w+b", buffering=0), _offsets(shapes)
    try:
        # Where there is no room this is an error; a page without room would be the end.
        os.posix_fallocate(file.fileno(), 0, offsets[""])
        write = functools.partial(_write_piece, file, offsets, shapes, open_rows())
        sizes = {name: 8 * math.prod(shape) for name, shape in shapes.items()}
        pieces = [(name, k) for name in shapes for k in range(0, sizes[name], PIECE_BYTES)]
        with ThreadPoolExecutor(threads, thread_name_prefix="tables") as pool:
            list(pool.map(write, pieces))
        return _map(file, path, shapes)
    except BaseException:
        path.unlink()
        file.close()
        raise


def _write_piece(
    file: IO[bytes],
    offsets: Mapping[str, int],
    shapes: Shapes,
    rows: Rows,
    piece: tuple[str, int],
) -> None:
    """Write a piece of an array, from one of its bytes on: the rows that lie in it."""
    name, begin = piece
    row_bytes, size = 8 * shapes[name][1], 8 * math.prod(shapes[name])
    end = min(begin + PIECE_BYTES, size)
    first, last = begin // row_bytes, -(-end // row_bytes)
    data = np.ascontiguousarray(rows(name, slice(first, last))).data.cast("B")
    data = data[begin - first * row_bytes : end - first * row_bytes]
    position = offsets[name] + begin
    while data:
        written = os.pwrite(file.fileno(), data, position)
        data, position = data[written:], position + written


def _delete_unused(folder: Path) -> None:
    """Delete the files that no living process holds."""
    for path in folder.iterdir():
        if path.name == LOCK_FILE:
            continue
        with suppress(OSError), path.open("rb") as file:
            _lock(file, wait=False)
            path.unlink()
