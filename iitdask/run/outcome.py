"""The ``result`` group of a store: what anyone opens with xarray alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import xarray as xr
import zarr

from iitdask.errors import StoreError
from iitdask.run.place import explained, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["is_finished", "load_result", "save_result", "study_of"]

GROUP = "result"


def save_result(url: str, tree: xr.DataTree, provenance: Mapping[str, Any]) -> None:
    """Write a result beside the blocks it was made from; the mark that it is whole comes last."""
    store = open_store(url)
    with explained(url):
        # Node by node: xarray cannot yet write a tree below the root of a store.
        for node in tree.subtree:
            group = f"{GROUP}{node.path}".rstrip("/")
            data = node.to_dataset(inherit=False)
            data.to_zarr(store, group=group, mode="w", zarr_format=3, consolidated=False)
        root = zarr.open_group(store, mode="r+")
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        root.attrs.update({"finished": finished, "provenance": dict(provenance)})


def load_result(url: str) -> xr.DataTree:
    """Read the result of a finished store into memory."""
    if not is_finished(url):
        raise StoreError(f"{url}: the run has not finished; repeat `iitdask run` to go on")
    with xr.open_datatree(
        open_store(url), group=GROUP, engine="zarr", consolidated=False, chunks=None
    ) as tree:
        return tree.load()


def study_of(url: str) -> dict[str, Any]:
    """Root attributes of a store: study, fingerprint, versions, dates."""
    try:
        attrs = zarr.open_group(open_store(url), mode="r").attrs.asdict()
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{url}: expected a store of iitdask, found none ({error})") from error
    if "study" not in attrs:
        raise StoreError(f"{url}: a Zarr group, but not a store of iitdask")
    return attrs


def is_finished(url: str) -> bool:
    """Whether the run that owns a store has written its result."""
    return "finished" in study_of(url)
