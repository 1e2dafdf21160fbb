"""A result that is written while it comes into being: chunk by chunk, readable all the time."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from iitdask.run.lease import alone
from iitdask.run.outcome import GROUP, consolidate
from iitdask.run.place import erase, explained, open_store

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["Mosaic", "chunks_of"]

CELLS = 1 << 16
"""Cells of a chunk, about."""


def chunks_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunk lengths of about ``CELLS`` cells: the last axes whole, the first ones cut."""
    out, room = [], CELLS
    for length in reversed(shape):
        out.append(max(1, min(length, room)))
        room //= out[-1]
    return tuple(reversed(out))


class Mosaic:
    """The result group of a store while its numbers arrive."""

    def __init__(self, url: str, data: xr.Dataset) -> None:
        self.url = url
        store = open_store(url)
        with explained(url), alone(store, GROUP):
            erase(store, GROUP)
            encoding = {
                str(name): {"chunks": chunks_of(values.shape)}
                for name, values in data.data_vars.items()
                if values.ndim
            }
            data.to_zarr(
                store,
                group=GROUP,
                mode="w",
                zarr_format=3,
                consolidated=False,
                encoding=encoding,
            )
        consolidate(url)
        group = zarr.open_group(store, path=GROUP, mode="r+")
        self._arrays: dict[str, Any] = {str(name): group[str(name)] for name in data.data_vars}

    def update(self, data: xr.Dataset, changed: NDArray[Any]) -> None:
        """Write the chunks in which a cell has changed; changed has the shape of the cube."""
        with explained(self.url), alone(open_store(self.url), GROUP):
            for name, array in self._arrays.items():
                values = data[name].values
                for region in _regions(array.shape, array.chunks):
                    if changed[region].any():
                        array[region] = np.asarray(values[region])


def _regions(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Any:
    steps = [range(0, length, chunk) for length, chunk in zip(shape, chunks, strict=True)]
    for corner in product(*steps):
        yield tuple(
            slice(start, min(start + chunk, length))
            for start, chunk, length in zip(corner, chunks, shape, strict=True)
        )
