"""The files of compiled kernels, and the archive in which they travel.

Each file begins with a digest of the rest. Code is kept under the name and the text of its source,
so that a folder of it is good wherever the package lies.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    _CacheLocator,
)

PACKAGE = Path(__file__).parent
DIGEST_BYTES = 16
FILE_NAME = re.compile(r"(?P<kernel>[\w.-]+?)(\.\d+\.nbc|\.nbi|\.warm)")
"""Name of a file in an archive: the code of a kernel, its index, the mark of a family."""
ORDER = (".nbc", ".nbi", ".warm")
"""Endings in the order in which files are unpacked: what names others comes after them."""
LOCK_FILE, LOCK_POLL_SECONDS = "lock", 0.2
ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError)


class _KernelLocator(_CacheLocator):
    """Where the code of a kernel is: by the name and the text of its source, wherever that lies.

    By numba's own locators a copy of the cache would be void, for its sources are elsewhere or
    were written at another time.
    """

    directory = Path()

    def __init__(self, function: Callable[..., Any], source: str) -> None:
        self._py_file = source
        self._line = function.__code__.co_firstlineno
        # Of a source outside of the package the name alone says too little.
        is_foreign = PACKAGE not in Path(source).parents
        self._folder = _text_digest(source.encode())[:16] if is_foreign else ""

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _KernelLocator:
        return cls(py_func, py_file)

    def get_cache_path(self) -> str:
        return str(self.directory / self._folder)

    def ensure_cache_path(self) -> None:
        Path(self.get_cache_path()).mkdir(mode=0o700, exist_ok=True)

    def get_source_stamp(self) -> str:
        return _file_digest(self._py_file)

    def get_disambiguator(self) -> str:
        return str(self._line)


@cache
def _file_digest(path: str) -> str:
    return _text_digest(Path(path).read_bytes())


def _text_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _KernelCacheImpl(CompileResultCacheImpl):
    _locator_classes = [_KernelLocator]  # noqa: RUF012 its interface


class _KernelFiles(IndexDataCacheFile):
    """The files of one kernel; one that does not hold what was written counts as missing."""

    def _load_index(self) -> dict[Any, str]:
        content = read_checked(self._index_path)
        stamp, overloads = (None, {}) if content is None else pickle.loads(content)
        return overloads if stamp == self._source_stamp else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        write_checked(self._index_path, self._dump((self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        content = read_checked(self._data_path(name))
        if content is None:
            raise FileNotFoundError(name)
        return pickle.loads(content)

    def _save_data(self, name: str, data: Any) -> None:
        write_checked(self._data_path(name), self._dump(data))


class KernelCache(FunctionCache):
    """Compiled signatures of one kernel on disk, as far as the disk takes them."""

    _impl_class = _KernelCacheImpl

    def __init__(self, function: Callable[..., Any], directory: Path) -> None:
        super().__init__(function)
        self._impl.locator.directory = directory
        self._cache_path = self._impl.locator.get_cache_path()
        self._cache_file = _KernelFiles(
            self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp()
        )

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a compiled signature, if the disk takes it."""
        with suppress(OSError):  # the code is in memory, which is enough for this process
            super().save_overload(sig, data)


def read_checked(path: str) -> bytes | None:
    """Return the content of a file of the cache; None if it is not what was written."""
    try:
        return checked_content(Path(path).read_bytes())
    except OSError:
        return None


def checked_content(stored: bytes) -> bytes | None:
    """Return the content that the bytes of a file of the cache hold; None if they are damaged."""
    digest, content = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
    return content if digest == _digest(content) else None


def write_checked(path: str, content: bytes) -> None:
    """Replace a file in one step, after which a power cut cannot leave a part of it."""
    _replace_file(path, _digest(content) + content, is_synced=True)


def _replace_file(path: str, stored: bytes, *, is_synced: bool) -> None:
    temp = Path(f"{path}.{uuid4().hex}.partial")
    try:
        with temp.open("xb") as out:
            out.write(stored)
            if is_synced:
                out.flush()
                os.fsync(out.fileno())
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


@contextmanager
def locked_folder(folder: Path, seconds: float) -> Iterator[None]:
    """Hold the lock of a folder, for which processes of this machine wait at most so long."""
    try:
        import fcntl  # noqa: PLC0415 not on every system
    except ImportError:
        yield
        return
    deadline = time.monotonic() + seconds
    with (folder / LOCK_FILE).open("ab") as file:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOCK_POLL_SECONDS)
            except OSError:  # the disk has no locks
                break
        yield  # closing the file releases the lock


def pack_folder(folder: Path) -> bytes:
    """Return the intact files of a folder as an archive, which names the folder."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.comment = folder.name.encode()
        for path in sorted(folder.iterdir()):
            if path.suffix not in ORDER or read_checked(str(path)) is None:
                continue
            entry = zipfile.ZipInfo(path.name)  # without a time, so that the same gives the same
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes(), compresslevel=1)
    return content.getvalue()


def unpack_folder(content: bytes, folder: Path) -> bool:
    """Add the files of an archive to a folder; False if it is of another one, or damaged.

    A kernel that the folder has stays as it is, so that no index names code of another compilation.
    """
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            if archive.comment != folder.name.encode():
                return False
            names = sorted(archive.namelist(), key=lambda name: ORDER.index(Path(name).suffix))
            known = {path.name[:-4] for path in folder.glob("*.nbi") if read_checked(str(path))}
            for name in names:
                match = FILE_NAME.fullmatch(name)
                if match is None:
                    return False
                stored = archive.read(name)
                if checked_content(stored) is not None and match["kernel"] not in known:
                    _replace_file(str(folder / name), stored, is_synced=False)
    except ARCHIVE_ERRORS:
        return False
    return True
