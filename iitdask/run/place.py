"""Where a store is: the one room that knows of paths, URLs and keys."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

from zarr.core.buffer import default_buffer_prototype
from zarr.core.buffer.cpu import Buffer
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore

from iitdask.errors import StoreError
from iitdask.run.bucket import SCHEMES, Bucket, open_bucket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from zarr.abc.store import Store

__all__ = [
    "absolute",
    "create",
    "delete",
    "erase",
    "explained",
    "get",
    "get_all",
    "has",
    "local_path",
    "names",
    "open_store",
    "put",
    "put_all",
    "sweep",
]

FULL = (errno.ENOSPC, errno.EDQUOT)
TOGETHER = 64
"""Keys that are asked for at once where each takes a journey."""
STALE = 60.0
"""Seconds after which a half-written file has no writer any more."""


def local_path(url: str) -> Path | None:
    """Return the directory a URL means, or None when it is not on this file system."""
    parts = urlsplit(url)
    if "://" not in url:
        return Path(url).expanduser()
    return Path(parts.path) if parts.scheme == "file" else None


def absolute(url: str) -> str:
    """Return an address that means the same to processes that started elsewhere."""
    path = local_path(url)
    return url if path is None else str(path.absolute())


def open_store(url: str) -> Store:
    """Open a directory, a bucket, or anything fsspec has a name for, as a Zarr store."""
    path = local_path(url)
    if path is not None:
        return LocalStore(path)
    if urlsplit(url).scheme in SCHEMES:
        return open_bucket(url)
    return FsspecStore.from_url(url)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn a full disk into an error that says so; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StoreError(
            f"{what}: no space left to write ({error.strerror}); "
            "blocks already filled are safe, free some space and run again"
        ) from error


def names(store: Store, path: str) -> list[str]:
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


def put(store: Store, key: str, content: bytes) -> None:
    """Write one key, replacing what it held in one step."""
    put_all(store, {key: content})


def put_all(store: Store, contents: Mapping[str, bytes]) -> None:
    """Write several keys, each in one step, in no order."""
    if isinstance(store, LocalStore):
        for key, content in contents.items():
            _replace(f"{store.root}/{key}", content)
        return

    async def all_set() -> None:
        await asyncio.gather(*(store.set(k, Buffer.from_bytes(c)) for k, c in contents.items()))

    sync(all_set())


def create(store: Store, key: str, content: bytes) -> bool:
    """Write one key unless it is there already; whether it was written.

    Of several processes one alone succeeds, on a file system (also a shared one)
    and on object storage; where fsspec is all there is, several may.
    """
    if isinstance(store, LocalStore):
        return _created(f"{store.root}/{key}", content)
    if isinstance(store, Bucket):
        return store.create(key, content)
    if has(store, key):
        return False
    put(store, key, content)
    return True


def get(store: Store, key: str) -> bytes | None:
    """Read one key; None when there is none."""
    if isinstance(store, LocalStore):
        return _content(store, key)
    found = sync(store.get(key, default_buffer_prototype()))
    return None if found is None else found.to_bytes()


def get_all(store: Store, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """Read several keys, in order; None for those that are missing or cannot be read."""
    if isinstance(store, LocalStore):
        for key in keys:
            try:
                yield key, _content(store, key)
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
    while wanted := list(islice(waiting, TOGETHER)):
        yield from zip(wanted, sync(some(wanted)), strict=True)


def has(store: Store, key: str) -> bool:
    """Whether there is a key."""
    if isinstance(store, LocalStore):
        return os.path.isfile(f"{store.root}/{key}")
    return bool(sync(store.exists(key)))


def delete(store: Store, key: str) -> None:
    """Delete one key, which may be missing."""
    if isinstance(store, LocalStore):
        # A damaged store may hold a directory where a file should be, or the reverse.
        path = f"{store.root}/{key}"
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            _drop(path)
        return
    sync(store.delete(key))


def erase(store: Store, path: str) -> None:
    """Delete everything under a path."""
    if isinstance(store, LocalStore):
        shutil.rmtree(Path(store.root) / path, ignore_errors=True)
        return
    sync(store.delete_dir(path))


def sweep(store: Store, path: str) -> None:
    """Remove what writers killed half-way left in the arrays under a path."""
    if not isinstance(store, LocalStore):
        return
    # Only old ones: another driver's workers may be writing at this moment.
    before = time.time() - STALE
    folder = Path(store.root) / path
    for left in (*folder.glob("*.partial"), *folder.glob("*/*.partial")):
        try:
            if left.stat().st_mtime < before:
                left.unlink()
        except FileNotFoundError:
            continue


def _content(store: LocalStore, key: str) -> bytes | None:
    try:
        with open(f"{store.root}/{key}", "rb") as file:
            return file.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _draft(path: str, content: bytes) -> str:
    """Write what is to appear at a path under another name beside it."""
    draft = f"{path}.{uuid4().hex}.partial"
    try:
        try:
            _spill(draft, content)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _spill(draft, content)
    except BaseException:
        _drop(draft)  # what a full disk took is little, but it is something
        raise
    return draft


def _spill(path: str, content: bytes) -> None:
    with open(path, "wb") as out:
        out.write(content)


def _drop(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _replace(path: str, content: bytes) -> None:
    draft = _draft(path, content)
    try:
        os.replace(draft, path)
    except BaseException:
        _drop(draft)
        raise


def _created(path: str, content: bytes) -> bool:
    # Linked into place, so that it appears with its content; the oldest way that NFS honours.
    draft = _draft(path, content)
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
        _drop(draft)
    return True
