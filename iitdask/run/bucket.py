"""Stores on object storage: S3, Google Cloud Storage, Azure.

Credentials, regions and endpoints come from the environment alone, by the
names that each provider's own tools use (``AWS_ACCESS_KEY_ID``,
``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``,
``AZURE_STORAGE_ACCOUNT_NAME`` …): no address, no file of ours holds a secret.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from zarr.storage import ObjectStore

from iitdask.errors import InputError, StoreError, UnreachableStoreError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["SCHEMES", "Bucket", "open_bucket"]

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
"""Schemes of addresses that mean object storage."""
RETRIES = 6
"""How often a request is repeated before the store counts as out of reach."""
PATIENCE = timedelta(seconds=60)
"""How long that may take."""


def open_bucket(url: str) -> Bucket:
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
    retry: Any = {"max_retries": RETRIES, "retry_timeout": PATIENCE}
    with _explained(url):
        return Bucket(from_url(url, retry_config=retry))


class Bucket(ObjectStore[Any]):
    """A prefix of an object store whose errors say, in a line, what is wrong.

    What cannot be reached is not damage: it raises an UnreachableStoreError,
    and nothing is taken for missing or wrong because a network failed.
    """

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a key; None when there is none."""
        with _explained(str(self)):
            return await super().get(key, prototype, byte_range)

    async def exists(self, key: str) -> bool:
        """Whether there is a key."""
        with _explained(str(self)):
            return await super().exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a key."""
        with _explained(str(self)), _written(str(self)):
            await super().set(key, value)

    async def delete(self, key: str) -> None:
        """Delete a key, which may be missing."""
        with _explained(str(self)):
            await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Delete all keys under a prefix."""
        with _explained(str(self)):
            await super().delete_dir(prefix)

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        """List what lies directly under a prefix."""
        with _explained(str(self)):
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

        with _explained(str(self)), _written(str(self)):
            try:
                put(self.store, key, content, mode="create")
            except (AlreadyExistsError, PreconditionError):
                return False
            except (NotSupportedError, NotImplementedError):
                put(self.store, key, content)
        return True


@contextmanager
def _explained(where: str) -> Iterator[None]:
    from obstore.exceptions import (  # noqa: PLC0415
        BaseError,
        PermissionDeniedError,
        UnauthenticatedError,
    )

    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise UnreachableStoreError(
            f"{where}: the credentials of the environment are refused ({_line(error)})"
        ) from error
    except BaseError as error:
        raise UnreachableStoreError(f"{where}: out of reach ({_line(error)})") from error


@contextmanager
def _written(where: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(
            f"{where}: expected a bucket that exists, found none; make it first"
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split("\n\n")[0].split())[:300]
