"""Key-value access to the place where a store lies: a directory, object storage or anything fsspec opens.

Only this module knows paths, URLs and keys. Credentials, regions and endpoints of object storage come
from the environment alone, by the names each provider's own tools use.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, cpu, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, ObjectStore

from iitdask.errors import InputError, StoreError, UnreachableStoreError

__all__ = [
    "OBJECT_STORE_SCHEMES",
    "ObjectStoreWithErrors",
    "absolute_url",
    "create_key",
    "delete_key",
    "delete_prefix",
    "delete_stale_temp",
    "disk_full_as_error",
    "key_exists",
    "list_dir",
    "local_path",
    "open_object_store",
    "open_store",
    "read_key",
    "read_keys",
    "write_key",
    "write_keys",
]

OBJECT_STORE_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
"""Schemes of addresses that mean object storage."""
MAX_RETRIES = 6
"""How often a request is repeated before the store counts as out of reach."""
RETRY_TIMEOUT = timedelta(seconds=60)
"""How long that may take."""


def open_object_store(url: str) -> ObjectStoreWithErrors:
    """Open a prefix of an object store.

    Parameters
    ----------
    url : str
        ``s3://BUCKET/PREFIX``, ``gs://…`` or ``az://CONTAINER/PREFIX``.

    Raises
    ------
    InputError
        The address holds a secret or cannot be understood, or obstore is not installed.
    """
    try:
        from obstore.store import from_url  # noqa: PLC0415 an extra: most stores are directories
    except ImportError:
        raise InputError(
            f"{url}: needs obstore; install it with: pip install 'iitdask[remote]'"
        ) from None
    if urlsplit(url).password is not None:
        raise InputError("store: expected credentials in the environment, got them in the address")
    retry: Any = {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT}
    with _unreachable_as_error(url):
        return ObjectStoreWithErrors(from_url(url, retry_config=retry))


class ObjectStoreWithErrors(ObjectStore[Any]):
    """A prefix of an object store whose errors say, in a line, what is wrong.

    What cannot be reached is not damage: it raises an UnreachableStoreError,
    and nothing is taken for missing or wrong because a network failed.
    """

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a key; None when there is none."""
        with _unreachable_as_error(str(self)):
            return await super().get(key, prototype, byte_range)

    async def exists(self, key: str) -> bool:
        """Whether there is a key."""
        with _unreachable_as_error(str(self)):
            return await super().exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a key."""
        with _unreachable_as_error(str(self)), _missing_bucket_as_error(str(self)):
            await super().set(key, value)

    async def delete(self, key: str) -> None:
        """Delete a key, which may be missing."""
        with _unreachable_as_error(str(self)):
            await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Delete all keys under a prefix."""
        with _unreachable_as_error(str(self)):
            await super().delete_dir(prefix)

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        """List what lies directly under a prefix."""
        with _unreachable_as_error(str(self)):
            async for name in super().list_dir(prefix):
                yield name

    def create(self, key: str, content: bytes) -> bool:
        """Write a key unless it is there, in one step; whether it was written."""
        from obstore import put  # noqa: PLC0415
        from obstore.exceptions import (  # noqa: PLC0415
            AlreadyExistsError,
            NotSupportedError,
            PreconditionError,
        )

        with _unreachable_as_error(str(self)), _missing_bucket_as_error(str(self)):
            try:
                put(self.store, key, content, mode="create")
            except (AlreadyExistsError, PreconditionError):
                return False
            except (NotSupportedError, NotImplementedError):
                put(self.store, key, content)
        return True


@contextmanager
def _unreachable_as_error(where: str) -> Iterator[None]:
    from obstore.exceptions import (  # noqa: PLC0415
        BaseError,
        PermissionDeniedError,
        UnauthenticatedError,
    )

    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise UnreachableStoreError(
            f"{where}: the credentials of the environment are refused ({_first_line(error)})"
        ) from error
    except BaseError as error:
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


DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
MAX_CONCURRENT_KEYS = 64
"""Keys that are asked for at once where each takes a journey."""
STALE_TEMP_SECONDS = 60.0
"""Seconds after which a half-written file has no writer any more."""


def local_path(url: str) -> Path | None:
    """Return the directory a URL means, or None when it is not on this file system."""
    parts = urlsplit(url)
    if "://" not in url:
        return Path(url).expanduser()
    return Path(parts.path) if parts.scheme == "file" else None


def absolute_url(url: str) -> str:
    """Return an address that means the same to processes that started elsewhere."""
    path = local_path(url)
    return url if path is None else str(path.absolute())


def open_store(url: str) -> Store:
    """Open a directory, a bucket, or anything fsspec has a name for, as a Zarr store."""
    path = local_path(url)
    if path is not None:
        return LocalStore(path)
    if urlsplit(url).scheme in OBJECT_STORE_SCHEMES:
        return open_object_store(url)
    return FsspecStore.from_url(url)


@contextmanager
def disk_full_as_error(what: str) -> Iterator[None]:
    """Turn a full disk into an error that says so; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL_ERRNOS:
            raise
        raise StoreError(
            f"{what}: no space left to write ({error.strerror}); "
            "blocks already filled are safe, free some space and run again"
        ) from error


def list_dir(store: Store, path: str) -> list[str]:
    """List what lies directly under a path, in no order."""
    if isinstance(store, LocalStore):
        # One directory read instead of one await per name: 20 000 ticks in milliseconds.
        try:
            return os.listdir(f"{store.root}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            return []

    async def listed() -> list[str]:
        return [name.rstrip("/").rsplit("/", 1)[-1] async for name in store.list_dir(path)]

    return sync(listed())


def write_key(store: Store, key: str, content: bytes) -> None:
    """Write one key, replacing what it held in one step."""
    write_keys(store, {key: content})


def write_keys(store: Store, contents: Mapping[str, bytes]) -> None:
    """Write several keys, each in one step, in no order."""
    if isinstance(store, LocalStore):
        for key, content in contents.items():
            _replace_file(f"{store.root}/{key}", content)
        return

    async def all_set() -> None:
        await asyncio.gather(*(store.set(k, cpu.Buffer.from_bytes(c)) for k, c in contents.items()))

    sync(all_set())


def create_key(store: Store, key: str, content: bytes) -> bool:
    """Write one key unless it is there already; whether it was written.

    Of several processes one alone succeeds, on a file system (also a shared one)
    and on object storage; where fsspec is all there is, several may.
    """
    if isinstance(store, LocalStore):
        return _create_exclusive(f"{store.root}/{key}", content)
    if isinstance(store, ObjectStoreWithErrors):
        return store.create(key, content)
    if key_exists(store, key):
        return False
    write_key(store, key, content)
    return True


def read_key(store: Store, key: str) -> bytes | None:
    """Read one key; None when there is none."""
    if isinstance(store, LocalStore):
        return _read_file(store, key)
    found = sync(store.get(key, default_buffer_prototype()))
    return None if found is None else found.to_bytes()


def read_keys(store: Store, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """Read several keys, in order; None for those that are missing or cannot be read."""
    if isinstance(store, LocalStore):
        for key in keys:
            try:
                yield key, _read_file(store, key)
            except OSError:
                yield key, None
        return

    async def read(key: str) -> bytes | None:
        try:
            found = await store.get(key, default_buffer_prototype())
        except OSError:
            return None
        return None if found is None else found.to_bytes()

    async def some(wanted: list[str]) -> list[bytes | None]:
        return await asyncio.gather(*map(read, wanted))

    waiting = iter(keys)
    while wanted := list(islice(waiting, MAX_CONCURRENT_KEYS)):
        yield from zip(wanted, sync(some(wanted)), strict=True)


def key_exists(store: Store, key: str) -> bool:
    """Whether there is a key."""
    if isinstance(store, LocalStore):
        return os.path.isfile(f"{store.root}/{key}")
    return bool(sync(store.exists(key)))


def delete_key(store: Store, key: str) -> None:
    """Delete one key, which may be missing."""
    if isinstance(store, LocalStore):
        # A damaged store may hold a directory where a file should be, or the reverse.
        path = f"{store.root}/{key}"
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            _unlink(path)
        return
    sync(store.delete(key))


def delete_prefix(store: Store, path: str) -> None:
    """Delete everything under a path."""
    if isinstance(store, LocalStore):
        shutil.rmtree(Path(store.root) / path, ignore_errors=True)
        return
    sync(store.delete_dir(path))


def delete_stale_temp(store: Store, path: str) -> None:
    """Remove what writers killed half-way left in the arrays under a path."""
    if not isinstance(store, LocalStore):
        return
    # Only old ones: another driver's workers may be writing at this moment.
    before = time.time() - STALE_TEMP_SECONDS
    folder = Path(store.root) / path
    for left in (*folder.glob("*.partial"), *folder.glob("*/*.partial")):
        try:
            if left.stat().st_mtime < before:
                left.unlink()
        except FileNotFoundError:
            continue


def _read_file(store: LocalStore, key: str) -> bytes | None:
    try:
        with open(f"{store.root}/{key}", "rb") as file:
            return file.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _write_temp(path: str, content: bytes) -> str:
    """Write what is to appear at a path under another name beside it."""
    draft = f"{path}.{uuid4().hex}.partial"
    try:
        try:
            _write_file(draft, content)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _write_file(draft, content)
    except BaseException:
        _unlink(draft)  # what a full disk took is little, but it is something
        raise
    return draft


def _write_file(path: str, content: bytes) -> None:
    with open(path, "wb") as out:
        out.write(content)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _replace_file(path: str, content: bytes) -> None:
    draft = _write_temp(path, content)
    try:
        os.replace(draft, path)
    except BaseException:
        _unlink(draft)
        raise


def _create_exclusive(path: str, content: bytes) -> bool:
    # Linked into place, so that it appears with its content; the oldest way that NFS honours.
    draft = _write_temp(path, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            with open(path, "xb") as out:
                out.write(content)
        except FileExistsError:
            return False
    finally:
        _unlink(draft)
    return True
