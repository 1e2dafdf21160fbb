"""Key-value access to the place where a store lies: a directory or object storage.

Only this module knows paths, URLs and keys. Credentials, regions and endpoints of object storage
come from the environment alone, by the names each provider's own tools use
(``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``,
``AZURE_STORAGE_ACCOUNT_NAME``): no URL and no file written here holds a secret.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import socket
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, wraps
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import psutil
from zarr.abc.buffer import Buffer
from zarr.abc.store import Store as ZarrStore
from zarr.buffer import default_buffer_prototype
from zarr.buffer.cpu import Buffer as CpuBuffer
from zarr.storage import LocalStore, ObjectStore

from iitdask.errors import (
    InputError,
    StoreError,
    UnreachableStoreError,
    quote,
    without_secrets,
)
from iitdask.model.documents import path_text
from iitdask.run.compat import run_coroutine

EXPECTED_ADDRESS = "store: expected a path or an address s3://, gs:// or az://"
OBJECT_STORE_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
MAX_RETRIES = 6  # Times a request to object storage is repeated before it counts as unreachable
RETRY_TIMEOUT = timedelta(seconds=60)  # Time that all tries of one request may take together
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY_ERRNOS = (errno.EROFS, errno.EACCES, errno.EPERM)
GONE_ERRNOS = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV)
INVALID_PATH_ERRNOS = (errno.ENAMETOOLONG, errno.ELOOP)
MAX_CONCURRENT_KEYS = 64  # Keys requested at once from a store whose requests cross a network
TEMP_SUFFIX = ".partial"  # End of the name of a file that is being written
STALE_TEMP_SECONDS = 60.0  # Seconds for which a temporary file of another machine is left alone
CLOCK_SKEW_SECONDS = 1.0  # Seconds by which the two clocks of one machine may differ
OWN_FILE_NAME = re.compile(r"zarr\.json|(c|\d+)(\.\d+)*|.*\.partial", re.DOTALL)
"""Names of the files that groups and arrays consist of."""


@dataclass(frozen=True, slots=True)
class Store:
    """A key-value store: opened once per run and handed to all that read or write it.

    Keys are paths below the store with ``/`` between their parts. A store may be pickled; a
    worker that unpickles it opens the same place.
    """

    url: str  # Address as the user gave it; error messages name it
    zarr: ZarrStore = field(compare=False, repr=False)  # The same place as zarr and xarray open it

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        """Pickle the address alone: connections do not travel."""
        return open_store, (self.url,)

    @property
    def address(self) -> str:
        """URL that means the same place to processes with another working directory."""
        return self.url

    @property
    def directory(self) -> Path | None:
        """Directory of the store; None if it is not on this file system."""
        return None

    def read(self, key: str) -> bytes | None:
        """Return the content of a key; None if there is none."""
        buffer = run_coroutine(self.zarr.get(key, default_buffer_prototype()))
        return None if buffer is None else buffer.to_bytes()

    def read_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield keys with their contents, in order; None for those missing or unreadable."""

        async def read_one(key: str) -> bytes | None:
            try:
                buffer = await self.zarr.get(key, default_buffer_prototype())
            except OSError:
                return None
            return None if buffer is None else buffer.to_bytes()

        async def read_all(batch: list[str]) -> list[bytes | None]:
            return await asyncio.gather(*map(read_one, batch))

        waiting = iter(keys)
        while batch := list(islice(waiting, MAX_CONCURRENT_KEYS)):
            yield from zip(batch, run_coroutine(read_all(batch)), strict=True)

    def write_many(self, contents: Mapping[str, bytes]) -> None:
        """Write several keys, each atomically, in no order."""

        async def write_all() -> None:
            puts = (self.zarr.set(k, CpuBuffer.from_bytes(c)) for k, c in contents.items())
            await asyncio.gather(*puts)

        run_coroutine(write_all())

    def write(self, key: str, content: bytes) -> None:
        """Write one key, atomically replacing what it held."""
        self.write_many({key: content})

    def create(self, key: str, content: bytes) -> bool:
        """Write a key unless it exists; return whether it was written.

        Of several processes exactly one succeeds on a file system (also a shared one) and on
        object storage; in any other Zarr store several may.
        """
        if isinstance(self.zarr, ObjectStoreWithErrors):
            return self.zarr.create(key, content)
        if self.exists(key):
            return False
        self.write(key, content)
        return True

    def exists(self, key: str) -> bool:
        """Return whether there is a key."""
        return bool(run_coroutine(self.zarr.exists(key)))

    def delete(self, key: str) -> None:
        """Delete one key, which may be missing."""
        run_coroutine(self.zarr.delete(key))

    def delete_prefix(self, path: str) -> None:
        """Delete everything under a path."""
        run_coroutine(self.zarr.delete_dir(path))

    def list_dir(self, path: str) -> list[str]:
        """Return the names directly under a path, in no order."""

        async def list_names() -> list[str]:
            names = self.zarr.list_dir(path)
            return [name.rstrip("/").rsplit("/", 1)[-1] async for name in names]

        return run_coroutine(list_names())

    def nbytes(self) -> int:
        """Return the bytes of all keys."""
        return run_coroutine(self.zarr.getsize_prefix(""))

    def delete_groups(self, path: str) -> None:
        """Delete the Zarr groups and arrays under a path; files of others stay in a directory."""
        self.delete_prefix(path)

    def delete_abandoned_temp(self, *, is_alone: bool) -> None:
        """Delete what killed writers left half-written; `is_alone`: nobody else is at work."""


@dataclass(frozen=True, slots=True)
class DirectoryStore(Store):
    """A store that is a directory; keys are files in it."""

    root: str  # Absolute path of the directory

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        """Pickle the path: it means the same in another working directory."""
        return _open_directory, (self.url, self.root)

    @property
    def address(self) -> str:
        """Absolute path of the directory."""
        return self.root

    @property
    def directory(self) -> Path:
        """The directory."""
        return Path(self.root)

    def read(self, key: str) -> bytes | None:
        """Return the content of a file; None if there is none."""
        try:
            # A FIFO would be waited for until somebody writes into it.
            with open(f"{self.root}/{key}", "rb", opener=_open_without_waiting) as file:
                return file.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def read_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield keys with their contents, in order; None for those missing or unreadable."""
        for key in keys:
            try:
                yield key, self.read(key)
            except OSError:
                yield key, None

    def write_many(self, contents: Mapping[str, bytes]) -> None:
        """Write several files, each by a rename."""
        for key, content in contents.items():
            _replace_file(f"{self.root}/{key}", content)

    def create(self, key: str, content: bytes) -> bool:
        """Write a file unless it exists; return whether it was written."""
        return _create_exclusive(f"{self.root}/{key}", content)

    def exists(self, key: str) -> bool:
        """Return whether there is a file."""
        return os.path.isfile(f"{self.root}/{key}")

    def delete(self, key: str) -> None:
        """Delete one file, which may be missing."""
        # A damaged store may hold a directory where a file should be, or the reverse.
        path = f"{self.root}/{key}"
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            _unlink(path)

    def delete_prefix(self, path: str) -> None:
        """Delete a directory and everything in it."""
        shutil.rmtree(f"{self.root}/{path}", ignore_errors=True)

    def list_dir(self, path: str) -> list[str]:
        """Return the names in a directory, in no order."""
        # One directory read instead of one await per name: 20 000 commit records take milliseconds.
        try:
            return os.listdir(f"{self.root}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            return []

    def nbytes(self) -> int:
        """Return the bytes of all files."""
        total = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                with suppress(FileNotFoundError):  # another process may be writing or deleting
                    total += os.lstat(f"{folder}/{name}").st_size
        return total

    def delete_groups(self, path: str) -> None:
        """Delete the files of Zarr groups and arrays under a path, and folders left empty."""
        for folder, _, names in os.walk(f"{self.root}/{path}", topdown=False):
            for name in filter(OWN_FILE_NAME.fullmatch, names):
                _unlink(f"{folder}/{name}")
            with suppress(OSError):  # what others wrote is in it, or it is a symbolic link
                os.rmdir(folder)

    def delete_abandoned_temp(self, *, is_alone: bool) -> None:
        """Delete what killed writers left half-written; `is_alone`: nobody else is at work.

        A writer on this machine is known by its process. Of one on another machine only the
        age of its file is known, and while others are at work, that is not enough.
        """
        for folder, _, names in os.walk(self.root):
            for name in names:
                if name.endswith(TEMP_SUFFIX):
                    with suppress(OSError, ValueError):
                        if _is_abandoned(f"{folder}/{name}", is_alone):
                            os.unlink(f"{folder}/{name}")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # not on every system


def local_path(url: str) -> Path | None:
    """Return the directory a URL means; None if it is not on this file system."""
    if "://" not in url:
        try:
            return Path(url).expanduser()
        except RuntimeError as error:  # ~name of nobody
            raise InputError(f"{quote(url)}: expected the path of a directory: {error}") from error
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    if parts.netloc not in ("", "localhost") or not parts.path or parts.query or parts.fragment:
        raise InputError(f"{EXPECTED_ADDRESS} or file:///PATH, got {quote(url)}")
    return Path(unquote(parts.path))


def open_store(url: str | os.PathLike[str] | Store) -> Store:
    """Open a directory or a prefix of an object store."""
    if isinstance(url, Store):
        return url
    url = path_text(url, EXPECTED_ADDRESS)
    path = local_path(url)
    if path is not None:
        _require_valid_path(url, path)
        return _open_directory(url, str(path.absolute()))
    if urlsplit(url).scheme not in OBJECT_STORE_SCHEMES:
        raise InputError(f"{EXPECTED_ADDRESS}, got {quote(url)}, which cannot be written")
    return Store(url, _open_object_store(url))


def _require_valid_path(url: str, path: Path) -> None:
    """Raise an InputError if no directory can ever lie at a path."""
    if not url:
        raise InputError(f"{EXPECTED_ADDRESS}, got nothing")
    try:
        path.stat()
    except ValueError as error:  # a null byte
        raise InputError(f"{quote(url)}: expected the path of a directory: {error}") from error
    except OSError as error:
        if error.errno in INVALID_PATH_ERRNOS:
            reason = error.strerror
            raise InputError(f"{quote(url)}: expected the path of a directory: {reason}") from error
    if path.is_symlink() and not path.exists():
        raise InputError(f"{quote(url)}: expected a directory, got a link to nothing")


def _open_directory(url: str, root: str) -> DirectoryStore:
    return DirectoryStore(url, LocalStore(root), root)


@contextmanager
def write_errors_as_store_errors(what: str) -> Iterator[None]:
    """Turn an error of the operating system into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreError) or error.errno is None:
            raise
        reason, advice = _reason_and_advice(error)
        raise StoreError(
            f"{what}: {reason} ({error.strerror}); blocks already filled are safe, {advice}"
        ) from error


def _reason_and_advice(error: OSError) -> tuple[str, str]:
    if error.errno in DISK_FULL_ERRNOS:
        return "no space left to write", "free some space and run again"
    if error.errno in READ_ONLY_ERRNOS:
        return "cannot be written", "make the store writable, or use another, and run again"
    if error.errno in GONE_ERRNOS:
        return "its directory is not there", "put it back, or use another place, and run again"
    return "cannot be written", "run again when it can"


def _open_object_store(url: str) -> ObjectStoreWithErrors:
    if without_secrets(url) != url:
        raise InputError("store: expected credentials in the environment, got them in the address")
    try:
        from obstore.store import from_url  # noqa: PLC0415 an extra: most stores are directories
    except ImportError:
        raise InputError(
            f"{url}: needs obstore; install it with: pip install 'iitdask[remote]'"
        ) from None
    retry: Any = {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT}
    with _unreachable_as_error(url):
        return ObjectStoreWithErrors(from_url(url, retry_config=retry))


def _with_unreachable_as_error(
    method: Callable[..., Coroutine[Any, Any, Any]],
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(method)
    async def call(self: ObjectStoreWithErrors, *args: Any, **more: Any) -> Any:
        with _unreachable_as_error(str(self)):
            return await method(self, *args, **more)

    return call


class ObjectStoreWithErrors(ObjectStore[Any]):
    """A prefix of an object store whose errors say in one line what is wrong.

    An unreachable store is not damage: it raises an UnreachableStoreError, and nothing counts as
    missing or wrong because a network failed.
    """

    get = _with_unreachable_as_error(ObjectStore.get)
    exists = _with_unreachable_as_error(ObjectStore.exists)
    delete = _with_unreachable_as_error(ObjectStore.delete)
    delete_dir = _with_unreachable_as_error(ObjectStore.delete_dir)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a key."""
        with _unreachable_as_error(str(self)), _missing_bucket_as_error(str(self)):
            await super().set(key, value)

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        """Yield the names directly under a prefix."""
        with _unreachable_as_error(str(self)):
            async for name in super().list_dir(prefix):
                yield name

    def create(self, key: str, content: bytes) -> bool:
        """Write a key unless it exists, in one step; return whether it was written."""
        from obstore import exceptions, put  # noqa: PLC0415

        with _unreachable_as_error(str(self)), _missing_bucket_as_error(str(self)):
            try:
                put(self.store, key, content, mode="create")
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                return False
            except (exceptions.NotSupportedError, NotImplementedError):
                put(self.store, key, content)
        return True


@contextmanager
def _unreachable_as_error(where: str) -> Iterator[None]:
    from obstore import exceptions  # noqa: PLC0415

    try:
        yield
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise UnreachableStoreError(
            f"{where}: the credentials of the environment are refused ({_first_line(error)})"
        ) from error
    except exceptions.BaseError as error:
        raise UnreachableStoreError(f"{where}: out of reach ({_first_line(error)})") from error


@contextmanager
def _missing_bucket_as_error(where: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(
            f"{where}: expected a bucket that exists, found none; make it first"
        ) from error


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split("\n\n")[0].split())[:300]


def _is_abandoned(temp: str, is_alone: bool) -> bool:
    written = os.path.getmtime(temp)
    match temp.rsplit(".", 3):
        case [_, writer, _, _] if writer.rpartition("-")[0] == _host():
            return not process_exists(int(writer.rpartition("-")[2]), written)
    return is_alone and time.time() - written > STALE_TEMP_SECONDS


@cache
def _host() -> str:
    """Name of this machine as part of a file name: the parts of a name end with dots."""
    return socket.gethostname().replace(".", "_").replace("/", "_")


def process_exists(pid: int, since: float) -> bool:
    """Return True if this machine has a process of that id that was created before a time.

    Ids are reused, in containers soon: a process that began later is another one. A zombie has
    ended, only its parent has not noticed yet.
    """
    try:
        process = psutil.Process(pid)
        created: float = process.create_time()
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return created <= since + CLOCK_SKEW_SECONDS


def _write_temp(path: str, content: bytes) -> str:
    """Write content to a temporary file beside a path; return its name, which says by whom."""
    temp = f"{path}.{_host()}-{os.getpid()}.{uuid4().hex}{TEMP_SUFFIX}"
    try:
        try:
            _write_file(temp, content)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _write_file(temp, content)
    except BaseException:
        _unlink(temp)  # a full disk may have taken part of it
        raise
    return temp


def _write_file(path: str, content: bytes) -> None:
    with open(path, "wb") as out:
        out.write(content)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _replace_file(path: str, content: bytes) -> None:
    temp = _write_temp(path, content)
    try:
        os.replace(temp, path)
    except BaseException:
        _unlink(temp)
        raise


def _create_exclusive(path: str, content: bytes) -> bool:
    # A hard link appears with its whole content, and is the oldest exclusive step NFS honours.
    temp = _write_temp(path, content)
    try:
        os.link(temp, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            with open(path, "xb") as out:
                out.write(content)
        except FileExistsError:
            return False
    finally:
        _unlink(temp)
    return True
