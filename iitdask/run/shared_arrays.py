"""Large arrays that all processes of a machine have in common: a file that each maps into memory.

One process makes the file, block by block, while the others wait. Where it is not wanted any more
it is deleted by the last process that has it mapped, or by the next one that makes such a file:
what killed processes left is locked by none.
"""

from __future__ import annotations

import math
import mmap
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import IO, Any

import numpy as np

from iitdask.cluster.local import available_cores
from iitdask.errors import StoreError
from iitdask.run.checksum import array_crc
from iitdask.types import Array

MAX_MAPPED = 4  # Files that one process has mapped: of several studies, or systems
CHECKSUM_BYTES = 8
CHECKED_BYTES = 2**26  # Bytes under one checksum
FOLDER = "iitdask-tables-{user}"  # In the directory for temporary files
LOCK_FILE = "lock"

Shapes = Mapping[str, tuple[int, ...]]  # Shapes of float64 arrays, one after the other in the file


def total_bytes(shapes: Shapes) -> int:
    """Return the bytes of float64 arrays."""
    return sum(8 * math.prod(shape) for shape in shapes.values())


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
    key: str, shapes: Shapes, fill: Callable[[Mapping[str, Array]], None]
) -> Mapping[str, Array] | None:
    """Return arrays in a file that processes of this machine share; None where there can be none.

    Parameters
    ----------
    key : name of their content
    shapes : of each array
    fill : writes them, block by block; called in one process of a machine

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
            found = _open_intact(path, shapes)
            if found is None:
                _delete_unused(folder)
                _write(path, shapes, fill)
                found = _open_intact(path, shapes, is_new=True)
    except StoreError:
        raise
    except (OSError, ImportError):  # no directory that can be written, no room in it, no locks
        return None
    if found is not None:
        _MAPPED[key] = found
    return None if found is None else found.arrays


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


def _open_intact(path: Path, shapes: Shapes, *, is_new: bool = False) -> MappedArrays | None:
    """Map a file, verified and held; None where it is not there, or not what was written.

    One that `is_new` this process has just written. Where another process holds it, that one has
    verified it.
    """
    size = total_bytes(shapes)
    with suppress(FileNotFoundError):
        file = path.open("rb")
        if os.fstat(file.fileno()).st_size == size + CHECKSUM_BYTES:
            is_verified = is_new or _is_locked(file)
            _lock(file, shared=True)
            content = mmap.mmap(file.fileno(), size + CHECKSUM_BYTES, access=mmap.ACCESS_COPY)
            if is_verified or _checksum(content, size) == int.from_bytes(content[size:], "little"):
                return MappedArrays(_views(content, shapes), file, path)
        file.close()
        path.unlink()
    return None


def _write(path: Path, shapes: Shapes, fill: Callable[[Mapping[str, Array]], None]) -> None:
    size, partial = total_bytes(shapes), path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("w+b") as file:
        _lock(file)
        # Where there is no room this is an error; a page without room would be the end.
        os.posix_fallocate(file.fileno(), 0, size + CHECKSUM_BYTES)
        content = mmap.mmap(file.fileno(), size + CHECKSUM_BYTES)
        try:
            fill(_views(content, shapes))
        except BaseException:
            partial.unlink()
            raise
        content[size:] = _checksum(content, size).to_bytes(CHECKSUM_BYTES, "little")
        partial.rename(path)


def _views(content: mmap.mmap, shapes: Shapes) -> dict[str, Array]:
    begin, views = 0, dict[str, Array]()
    for name, shape in shapes.items():
        count = math.prod(shape)
        views[name] = np.frombuffer(content, np.float64, count, begin).reshape(shape)
        begin += 8 * count
    return views


def _checksum(content: Any, size: int) -> int:
    """Return the checksum of the checksums of parts, which threads compute side by side."""
    whole = np.frombuffer(content, np.uint8, size)
    parts = [whole[k : k + CHECKED_BYTES] for k in range(0, size, CHECKED_BYTES)]
    with ThreadPoolExecutor(min(available_cores(), len(parts) or 1)) as pool:
        return array_crc(np.array(list(pool.map(array_crc, parts)), np.uint64))


def _delete_unused(folder: Path) -> None:
    """Delete the files that no living process holds."""
    for path in folder.iterdir():
        if path.name == LOCK_FILE:
            continue
        with suppress(OSError), path.open("rb") as file:
            _lock(file, wait=False)
            path.unlink()
