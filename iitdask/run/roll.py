"""The points a growing store knows, in the order in which they became part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from iitdask.errors import DamagedStoreError
from iitdask.run.folder import UNREADABLE
from iitdask.run.place import erase, explained, names, open_store

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["enrol", "enrolled"]

GROUP = "roll"
WHOLE = "whole"


def enrolled(url: str) -> list[NDArray[Any]]:
    """Return the digests of the points of a store, ``(P, 2)`` uint64 each time it grew.

    Raises
    ------
    DamagedStoreError
        One of the lists cannot be read.
    """
    store = open_store(url)
    found: list[NDArray[Any]] = []
    for number in sorted(int(name) for name in names(store, GROUP) if name.isdigit()):
        try:
            array = zarr.open_array(store, path=f"{GROUP}/{number}", mode="r")
            if WHOLE not in array.attrs:
                break  # a run died while it wrote it, before it computed any of its points
            found.append(np.asarray(array[...]))
        except UNREADABLE as error:
            what = " ".join(str(error).split())
            raise DamagedStoreError(f"{url}: {GROUP}/{number} cannot be read ({what})") from error
    return found


def enrol(url: str, number: int, digests: NDArray[Any]) -> None:
    """Keep one more list of points; a mark that it is whole is written last."""
    store = open_store(url)
    path = f"{GROUP}/{number}"
    with explained(f"{url}: {path}"):
        erase(store, path)
        codecs: Any = [ZstdCodec(level=3), Crc32cCodec()]
        about: dict[str, Any] = {
            "comment": "Digests of points; their order is that of the stage of this number."
        }
        array = zarr.create_array(
            store, name=path, data=digests, compressors=codecs, attributes=about
        )
        array.attrs.update({WHOLE: True})
