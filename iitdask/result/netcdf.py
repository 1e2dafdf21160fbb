"""Results in NetCDF, whose attributes have fewer types than those of Zarr and JSON.

A result has attributes that are mappings or truth values. `to_netcdf` of xarray refuses them, so
its methods write results, which name the version of iitdask, with attributes of types that NetCDF
has. Every other dataset is written as ever.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import xarray as xr

MAX_INTEGER_BITS = 63  # Of an attribute; a larger number is written as text


def with_netcdf_types(data: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose attributes have types of NetCDF; mappings and the like become JSON."""
    out = data.copy()
    parts: list[Any] = [out, *out.variables.values()]
    for each in parts:
        each.attrs = {name: _netcdf_value(value) for name, value in each.attrs.items()}
    return out


def tree_with_netcdf_types(tree: xr.DataTree) -> xr.DataTree:
    """Return a tree of what :func:`with_netcdf_types` makes of its nodes."""
    plain = {
        each.path.removeprefix(tree.path.rstrip("/")) or "/": with_netcdf_types(
            each.to_dataset(inherit=each is tree)
        )
        for each in tree.subtree
    }
    return xr.DataTree.from_dict(plain, name=tree.name)


def _netcdf_value(value: Any) -> Any:
    if isinstance(value, bool | np.bool_):
        return json.dumps(bool(value))
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        return str(value)
    is_plain = isinstance(value, str | int | float | np.ndarray | np.number)
    return value if is_plain else json.dumps(value, default=str)


def register_netcdf() -> None:
    """Let `to_netcdf` of datasets and trees write results of iitdask, once."""
    if not hasattr(xr.Dataset.to_netcdf, "writes_results"):
        pairs: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
            (xr.Dataset, with_netcdf_types),
            (xr.DataTree, tree_with_netcdf_types),
        )
        for kind, convert in pairs:
            kind.to_netcdf = _writing_results(kind.to_netcdf, convert)


def _writing_results(write: Callable[..., Any], convert: Callable[[Any], Any]) -> Any:
    @wraps(write)
    def to_netcdf(self: Any, *args: Any, **options: Any) -> Any:
        return write(convert(self) if _is_result(self) else self, *args, **options)

    to_netcdf.writes_results = True  # type: ignore[attr-defined]
    return to_netcdf


def _is_result(given: xr.Dataset | xr.DataTree) -> bool:
    nodes = given.subtree if isinstance(given, xr.DataTree) else (given,)
    return any("iitdask_version" in node.attrs for node in nodes)
