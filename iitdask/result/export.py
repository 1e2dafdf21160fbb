"""Results as files that other programs read: tables, NetCDF, JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from iitdask.errors import InputError
from iitdask.result.cube import is_cube
from iitdask.result.summary import as_json

__all__ = ["export", "table"]

ROWS = {"distinctions": "mechanism", "complexes": "complex", "links": "link"}
"""Nodes that are tables, with the dimension of their rows."""


def export(tree: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a result to a file; its ending says how.

    Parameters
    ----------
    tree
        A result.
    path
        ``.csv``: of a sweep one row per point, otherwise the distinctions, complexes or links
        (the system where there are none); ``.json``: everything; ``.nc``: everything, NetCDF 4.

    Raises
    ------
    InputError
        The ending is none of these, or the file cannot be written.
    """
    target = Path(path)
    writers: dict[str, Callable[[xr.DataTree, Path], None]] = {
        ".csv": _csv,
        ".json": _json,
        ".nc": _netcdf,
    }
    if target.suffix not in writers:
        raise InputError(f"{path}: expected a file ending in {', '.join(writers)}")
    beside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        writers[target.suffix](tree, beside)
        beside.replace(target)
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be written, {error}") from error
    finally:
        beside.unlink(missing_ok=True)
    return target


def table(tree: xr.DataTree) -> Any:
    """Return a result as one table, a pandas DataFrame; see :func:`export`."""
    if is_cube(tree):
        data = tree.to_dataset()
        return data.to_dataframe(dim_order=[str(dim) for dim in data.sizes]).reset_index()
    for node, dim in ROWS.items():
        if node in tree.children and dim in tree[node].dims:
            return _rows(tree[node].to_dataset(), dim)
    data = tree["system"].to_dataset()
    return _frame({str(name): [data[name].item()] for name in data if not data[name].ndim})


def _frame(columns: dict[str, Any]) -> Any:
    return xr.Dataset({name: ("row", values) for name, values in columns.items()}).to_dataframe()


def _rows(data: xr.Dataset, dim: str) -> Any:
    """One row per value along a dimension; a second dimension becomes columns."""
    columns: dict[str, Any] = {}
    for name in [*(n for n in data.coords if data[n].dims == (dim,)), *data.data_vars]:
        values = data[name]
        if values.dims == (dim,):
            columns[str(name)] = values.values
        elif values.ndim == 2 and values.dims[0] == dim:
            for k, label in enumerate(np.asarray(data[values.dims[1]].values).tolist()):
                columns[f"{name}_{label}"] = values.values[:, k]
    return _frame(columns)


def _csv(tree: xr.DataTree, path: Path) -> None:
    table(tree).to_csv(path, index=False)


def _json(tree: xr.DataTree, path: Path) -> None:
    path.write_text(json.dumps(as_json(tree), indent=1), encoding="utf-8")


def _netcdf(tree: xr.DataTree, path: Path) -> None:
    if find_spec("h5netcdf") is None or find_spec("h5py") is None:
        raise InputError(
            "NetCDF: expected h5netcdf and h5py to be installed; pip install 'iitdask[netcdf]'"
        )
    plain = {node.path: _plain(node.to_dataset(inherit=False)) for node in tree.subtree}
    xr.DataTree.from_dict(plain).to_netcdf(path, engine="h5netcdf")


def _plain(data: xr.Dataset) -> xr.Dataset:
    """Attributes that NetCDF has a type for."""
    out = data.copy()
    parts: list[Any] = [out, *out.variables.values()]
    for each in parts:
        kept = {}
        for name, value in each.attrs.items():
            fine = isinstance(value, str | int | float | np.ndarray) and not isinstance(value, bool)
            kept[name] = value if fine else json.dumps(value, default=str)
        each.attrs = kept
    return out
