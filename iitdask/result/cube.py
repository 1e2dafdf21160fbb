"""The cube of a sweep as a labelled dataset, its summaries, and results as files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.errors import InputError
from iitdask.result.formatting import as_json, text_array
from iitdask.theory.catalog import computation_of, get_computation
from iitdask.theory.sweeps.recipe import DONE, FAILED, PENDING, UNREACHABLE
from iitdask.theory.variables import Outcome

__all__ = [
    "STATUS_NAMES",
    "axis_table",
    "build_cube",
    "cube_summary",
    "is_cube",
    "to_data_frame",
    "write_result",
]

Array = NDArray[Any]

STATUS_NAMES = {PENDING: "pending", DONE: "done", UNREACHABLE: "unreachable", FAILED: "failed"}
"""What the variable ``status`` says."""
VARIABLE_COMMENTS = {
    "status": "what became of the point: " + ", ".join(STATUS_NAMES.values()) + "; a point that is "
    "done has all that its computation gives, see the attribute `computations` of variables",
    "message": "why there are no numbers, where there are none",
    "reason": "why phi is 0, when a rule decided it",
    "seconds": "seconds the point took on one core; those of a block are shared by its points",
    "n_units": "units of the candidate system",
    "structure": "group of the store that holds the whole result of the point",
    "point": "number of what was computed for the cell; equal systems are computed once",
    "frequency": "share of the steps of the trajectory that are in the state",
}


def build_cube(
    computes: Sequence[str],
    *,
    dims: Mapping[str, int],
    coords: Mapping[str, tuple[str, list[Any]]],
    cells: tuple[Array, Array, Mapping[int, str]],
    outcomes: Mapping[str, Array],
    extra: Mapping[str, Array | None],
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """Spread the outcomes of points over the cells they belong to.

    Parameters
    ----------
    computes
        What was computed; of outcomes that not all of them have, the attribute ``computations``
        says whose they are, and the cells of others lack them.
    dims, coords
        Dimensions with their lengths; coordinates with their dimension and labels.
    cells
        Number of the point in each cell, number of the problem, and the texts of problems.
    outcomes
        Outcomes by name, one per point, see :mod:`iitdask.theory.sweeps.recipe`.
    extra
        More variables, one value per cell; those that are None are left out.
    attrs
        What is said about the whole.
    """
    point, problem, texts = cells
    shape, order = tuple(dims.values()), tuple(dims)
    data: dict[str, Any] = {}

    def put(name: str, values: Array, unit: str, doc: str, of: str = "") -> None:
        more = {"units": unit, "computations": of}
        about = {"comment": doc} | {key: value for key, value in more.items() if value}
        data[name] = (order, values.reshape(shape), about)

    for name, users in _computations_of(computes).items():
        each = next(iter(users.values()))
        found = _over_cells(outcomes[name], point, each.missing)
        of = ", ".join(users) if len(users) < len(set(computes)) else ""
        put(name, found, each.unit, _outcome_comment(users), of)
    for name, values in extra.items():
        if values is not None:
            put(
                name,
                values,
                {"seconds": "s", "n_units": "count"}.get(name, ""),
                VARIABLE_COMMENTS[name],
            )
    names = np.array([STATUS_NAMES[code] for code in range(len(STATUS_NAMES))], object)
    status = _over_cells(outcomes["status"], point, PENDING).astype(np.int64)
    status[problem >= 0] = FAILED
    message = _over_cells(outcomes["message"], point, "")
    for number, said in texts.items():
        message[problem == number] = said
    put("reason", _over_cells(outcomes["reason"], point, ""), "", VARIABLE_COMMENTS["reason"])
    put("status", names[status], "", VARIABLE_COMMENTS["status"])
    put("message", message, "", VARIABLE_COMMENTS["message"])
    labels = {
        name: (dim, text_array(values) if _is_text(values) else np.array(values))
        for name, (dim, values) in coords.items()
    }
    return xr.Dataset(data, labels, {"compute": ", ".join(computes), **attrs})


def _computations_of(computes: Sequence[str]) -> dict[str, dict[str, Outcome]]:
    """By name of an outcome: the computations that have it, with what it is of each."""
    out: dict[str, dict[str, Outcome]] = {}
    for compute in computes:
        for each in get_computation(compute).outcomes:
            out.setdefault(each.name, {})[compute] = each
    return out


def _outcome_comment(users: Mapping[str, Outcome]) -> str:
    """Say what an outcome means, of each computation where that differs."""
    said: dict[str, list[str]] = {}
    for compute, each in users.items():
        said.setdefault(each.doc, []).append(compute)
    if len(said) == 1:
        return next(iter(said))
    return "; ".join(f"of {' and '.join(of)}: {doc}" for doc, of in said.items())


def is_cube(tree: xr.DataTree) -> bool:
    """Whether a result is that of a sweep."""
    return "status" in tree.dataset.data_vars and "message" in tree.dataset.data_vars


def _is_text(values: list[Any]) -> bool:
    return any(isinstance(v, str) for v in values)


def _over_cells(values: Array, point: Array, missing: Any) -> Array:
    out = np.full(len(point), missing, values.dtype)
    there = point >= 0
    out[there] = values[point[there]]
    return out


SUMMARY_VARIABLES = ("phi", "big_phi", "alpha")
DISPLAY_NAMES = {"phi": "phi_s", "big_phi": "Phi"}


def cube_summary(data: xr.Dataset) -> list[tuple[str, str]]:
    """What there is to say about the whole, as names and values."""
    status = _text_values(data, "status")
    counts = [f"{int((status == name).sum())} {name}" for name in STATUS_NAMES.values()]
    rows = [
        ("sweep", " x ".join(f"{dim} ({n})" for dim, n in data.sizes.items())),
        ("computed", str(data.attrs.get("compute", ""))),
        ("points", ", ".join(text for text in counts if not text.startswith("0 "))),
    ]
    point = data["point"].values
    rows.append(("different systems", str(len(np.unique(point[point >= 0])))))
    seconds, first = _flat_values(data, "seconds"), _flat_values(data, "point")
    if np.isfinite(seconds).any():
        _, places = np.unique(first[first >= 0], return_index=True)
        rows.append(("core time", f"{np.nansum(seconds[first >= 0][places]):.3g} s"))
    for name in SUMMARY_VARIABLES:
        if name in data:
            values = data[name].values
            there = values[np.isfinite(values)]
            if len(there):
                rows.append((DISPLAY_NAMES.get(name, name), _range_text(there)))
    messages, numbers = np.unique(_text_values(data, "message"), return_counts=True)
    for message, number in zip(messages.tolist(), numbers.tolist(), strict=True):
        if message:
            rows.append((f"{number} points", message))
    return rows[:20]


def _text_values(data: xr.Dataset, name: str) -> np.ndarray:
    """Text as objects, whichever of its forms it was read in."""
    return np.asarray(data[name].values).astype(object)


def _flat_values(data: xr.Dataset, name: str) -> np.ndarray:
    return np.asarray(data[name].values).ravel()


def _range_text(values: np.ndarray) -> str:
    above = int((values > 0).sum())
    mean, largest = f"mean {values.mean():.6g}", f"largest {values.max():.6g}"
    return f"{above} of {len(values)} above 0; {mean}, {largest} bits"


def axis_table(data: xr.Dataset, dim: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns, and one row for each value along an axis: means over all other axes."""
    shown = [name for name in SUMMARY_VARIABLES if name in data]
    columns = [dim, "done"]
    for name in shown:
        columns += [
            f"mean {DISPLAY_NAMES.get(name, name)}",
            f"largest {DISPLAY_NAMES.get(name, name)}",
        ]
    labels = data[dim].values if dim in data.coords else np.arange(data.sizes[dim])
    done = np.moveaxis(_text_values(data, "status") == "done", data["status"].dims.index(dim), 0)
    done = done.reshape(len(labels), -1)
    rows = []
    for k, label in enumerate(labels.tolist()):
        row = [f"{label:.6g}" if isinstance(label, float) else str(label), str(int(done[k].sum()))]
        for name in shown:
            values = np.moveaxis(data[name].values, data[name].dims.index(dim), 0)[k].ravel()
            values = values[np.isfinite(values)]
            row += [f"{values.mean():.6g}", f"{values.max():.6g}"] if len(values) else ["-", "-"]
        rows.append(tuple(row))
    return tuple(columns), rows


def write_result(tree: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a result to a file; its ending says how.

    Parameters
    ----------
    tree
        A result.
    path
        ``.csv``: of a sweep one row per point, otherwise the distinctions, complexes, links or
        events (the system where there are none); ``.json``, ``.nc`` (NetCDF 4): everything.

    Raises
    ------
    InputError
        The ending is none of these, or the file cannot be written.
    """
    target = Path(path)
    writers: dict[str, Callable[[xr.DataTree, Path], None]] = {
        ".csv": _write_csv,
        ".json": _write_json,
        ".nc": _write_netcdf,
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


def to_data_frame(tree: xr.DataTree) -> Any:
    """Return a result as one table, a pandas DataFrame; see :func:`write_result`."""
    if is_cube(tree):
        data = tree.to_dataset()
        return data.to_dataframe(dim_order=[str(dim) for dim in data.sizes]).reset_index()
    computation = computation_of(tree)
    for node, dim in () if computation is None else computation.tables:
        if node in tree.children and dim in tree[node].dims:
            return _rows_along(tree[node].to_dataset(), dim)
    data = (tree if computation is None else tree[next(iter(computation.nodes))]).to_dataset()
    return _data_frame({str(name): [data[name].item()] for name in data if not data[name].ndim})


def _data_frame(columns: dict[str, Any]) -> Any:
    return xr.Dataset({name: ("row", values) for name, values in columns.items()}).to_dataframe()


def _rows_along(data: xr.Dataset, dim: str) -> Any:
    """One row per value along a dimension; a second dimension becomes columns."""
    columns: dict[str, Any] = {}
    for name in [*(n for n in data.coords if data[n].dims == (dim,)), *data.data_vars]:
        values = data[name]
        if values.dims == (dim,):
            columns[str(name)] = values.values
        elif values.ndim == 2 and values.dims[0] == dim:
            for k, label in enumerate(np.asarray(data[values.dims[1]].values).tolist()):
                columns[f"{name}_{label}"] = values.values[:, k]
    return _data_frame(columns)


def _write_csv(tree: xr.DataTree, path: Path) -> None:
    to_data_frame(tree).to_csv(path, index=False)


def _write_json(tree: xr.DataTree, path: Path) -> None:
    path.write_text(json.dumps(as_json(tree), indent=1), encoding="utf-8")


def _write_netcdf(tree: xr.DataTree, path: Path) -> None:
    if find_spec("h5netcdf") is None or find_spec("h5py") is None:
        raise InputError(
            "NetCDF: expected h5netcdf and h5py to be installed; pip install 'iitdask[netcdf]'"
        )
    plain = {node.path: _netcdf_attrs(node.to_dataset(inherit=False)) for node in tree.subtree}
    xr.DataTree.from_dict(plain).to_netcdf(path, engine="h5netcdf")


def _netcdf_attrs(data: xr.Dataset) -> xr.Dataset:
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
