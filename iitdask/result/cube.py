"""The cube of a sweep as a labelled dataset, its summaries, and results as files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from iitdask.errors import InputError, quote
from iitdask.result.formatting import as_json, text_array
from iitdask.result.netcdf import tree_with_netcdf_types
from iitdask.theory.catalog import computation_of, get_computation
from iitdask.theory.point_rows import DONE, FAILED, PENDING, UNREACHABLE
from iitdask.theory.variables import Outcome
from iitdask.types import Array

STATUS_NAMES = {PENDING: "pending", DONE: "done", UNREACHABLE: "unreachable", FAILED: "failed"}
"""Values of the variable ``status``."""
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

EXTRA_UNITS = {"seconds": "s", "n_units": "count"}
SUMMARY_VARIABLES = ("phi", "big_phi", "alpha")
DISPLAY_NAMES = {"phi": "phi_s", "big_phi": "Phi"}
MAX_SUMMARY_ROWS = 20


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
    """Return the outcomes of points as variables over the cells they belong to.

    ``cells`` are the number of the point in each cell, that of its problem, and the texts of
    problems; ``outcomes`` have one value per point, ``extra`` variables one per cell or are None.
    """
    point, problem, texts = cells
    shape, order = tuple(dims.values()), tuple(dims)
    data: dict[str, Any] = {}

    def add(name: str, values: Array, comment: str = "", **attrs: str) -> None:
        about = {"comment": comment or VARIABLE_COMMENTS[name]}
        about |= {key: value for key, value in attrs.items() if value}
        data[name] = (order, values.reshape(shape), about)

    for name, users in _computations_of(computes).items():
        outcome = next(iter(users.values()))
        values = _over_cells(outcomes[name], point, outcome.missing)
        partial = ", ".join(users) if len(users) < len(set(computes)) else ""
        add(name, values, _outcome_comment(users), units=outcome.unit, computations=partial)
    for name, more in extra.items():
        if more is not None:
            add(name, more, units=EXTRA_UNITS.get(name, ""))
    names = np.array([STATUS_NAMES[code] for code in range(len(STATUS_NAMES))], object)
    status = _over_cells(outcomes["status"], point, PENDING).astype(np.int64)
    status[problem >= 0] = FAILED
    message = _over_cells(outcomes["message"], point, "")
    for number, text in texts.items():
        message[problem == number] = text
    add("reason", _over_cells(outcomes["reason"], point, ""))
    add("status", names[status])
    add("message", message)
    labels = {}
    for name, (dim, listed) in coords.items():
        is_text = any(isinstance(value, str) for value in listed)
        labels[name] = (dim, text_array(listed) if is_text else np.array(listed))
    return xr.Dataset(data, labels, {"compute": ", ".join(computes), **attrs})


def rank_networks(cube: xr.Dataset, name: str, top: int) -> xr.Dataset:
    """Return the substrates of a sweep with the largest value over states, the largest first."""
    by_network = cube[name].transpose("substrate", "state").values.astype(np.float64)
    values = np.where(np.isnan(by_network), -np.inf, by_network)
    best = values.argmax(axis=1)
    largest = values[np.arange(len(values)), best]
    order = np.argsort(-largest, kind="stable")[:top]
    data = {
        name: ("rank", largest[order], cube[name].attrs),
        "state": ("rank", cube["state"].values[best[order]]),
        "substrate": ("rank", cube["substrate"].values[order]),
    }
    return xr.Dataset(data, attrs={**cube.attrs, "n_networks": len(values), "exhaustive": True})


def _computations_of(computes: Sequence[str]) -> dict[str, dict[str, Outcome]]:
    """Return, by the name of an outcome, the computations that have it."""
    computations: dict[str, dict[str, Outcome]] = {}
    for compute in computes:
        for outcome in get_computation(compute).outcomes:
            computations.setdefault(outcome.name, {})[compute] = outcome
    return computations


def _outcome_comment(users: Mapping[str, Outcome]) -> str:
    """Return the meaning of an outcome, of each computation where that differs."""
    meanings: dict[str, list[str]] = {}
    for compute, outcome in users.items():
        meanings.setdefault(outcome.doc, []).append(compute)
    if len(meanings) == 1:
        return next(iter(meanings))
    return "; ".join(f"of {' and '.join(of)}: {doc}" for doc, of in meanings.items())


def _over_cells(values: Array, point: Array, missing: Any) -> Array:
    """Return the value of each cell's point; `missing` where it has none."""
    cells = np.full(len(point), missing, values.dtype)
    has_point = point >= 0
    cells[has_point] = values[point[has_point]]
    return cells


def is_cube(tree: xr.DataTree) -> bool:
    """Return True for results of sweeps."""
    return "status" in tree.dataset.data_vars and "message" in tree.dataset.data_vars


def cube_summary(data: xr.Dataset) -> list[tuple[str, str]]:
    """Return the summary of a cube as pairs of name and value."""
    status = _text_values(data, "status")
    counts = {name: int((status == name).sum()) for name in STATUS_NAMES.values()}
    rows = [
        ("sweep", " x ".join(f"{dim} ({n})" for dim, n in data.sizes.items())),
        ("computed", str(data.attrs.get("compute", ""))),
        ("points", ", ".join(f"{count} {name}" for name, count in counts.items() if count)),
    ]
    point, seconds = np.ravel(data["point"].values), np.ravel(data["seconds"].values)
    computed, first = np.unique(point[point >= 0], return_index=True)
    rows.append(("different systems", str(len(computed))))
    if np.isfinite(seconds).any():
        rows.append(("core time", f"{np.nansum(seconds[point >= 0][first]):.3g} s"))
    for name in SUMMARY_VARIABLES:
        every: Array = data[name].values if name in data else np.zeros(0)
        values = every[np.isfinite(every)]
        if len(values):
            above = f"{int((values > 0).sum())} of {len(values)} above 0"
            text = f"{above}; mean {values.mean():.6g}, largest {values.max():.6g} bits"
            rows.append((DISPLAY_NAMES.get(name, name), text))
    messages, numbers = np.unique(_text_values(data, "message"), return_counts=True)
    pairs = zip(messages.tolist(), numbers.tolist(), strict=True)
    rows += [(f"{number} points", message) for message, number in pairs if message]
    return rows[:MAX_SUMMARY_ROWS]


def _text_values(data: xr.Dataset, name: str) -> Array:
    """Return texts as objects, whichever form they were read in."""
    return np.asarray(data[name].values).astype(object)


def axis_labels(data: xr.Dataset | xr.DataArray, dim: str) -> list[str]:
    """Return the values along an axis of a cube as text."""
    values = data[dim].values if dim in data.coords else np.arange(data.sizes[dim])
    return [f"{v:.6g}" if isinstance(v, float) else str(v) for v in values.tolist()]


def axis_table(data: xr.Dataset, dim: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return columns, and one row per value along an axis: means over all other axes."""
    names = [name for name in SUMMARY_VARIABLES if name in data]
    columns = [dim, "done"]
    for name in names:
        shown = DISPLAY_NAMES.get(name, name)
        columns += [f"mean {shown}", f"largest {shown}"]
    rows = []
    for k, label in enumerate(axis_labels(data, dim)):
        part = data.isel({dim: k})
        row = [label, str(int((_text_values(part, "status") == "done").sum()))]
        for name in names:
            values = part[name].values[np.isfinite(part[name].values)]
            row += [f"{values.mean():.6g}", f"{values.max():.6g}"] if len(values) else ["-", "-"]
        rows.append(tuple(row))
    return tuple(columns), rows


def write_result(tree: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a result to a file: ``.csv`` one table, ``.json`` and ``.nc`` (NetCDF 4) everything."""
    target = Path(path)
    writers: dict[str, Callable[[xr.DataTree, Path], Any]] = {
        ".csv": lambda tree, path: to_data_frame(tree).to_csv(path, index=False),
        ".json": lambda tree, path: path.write_text(json.dumps(as_json(tree), indent=1), "utf-8"),
        ".nc": _write_netcdf,
    }
    if target.suffix not in writers:
        raise InputError(f"{path}: expected a file ending in {', '.join(writers)}")
    with replaced_file(target) as partial:
        writers[target.suffix](tree, partial)
    return target


@contextmanager
def replaced_file(path: str | os.PathLike[str], where: str = "") -> Iterator[Path]:
    """Yield a path to write to, and put it in place of a file at the end, or not at all.

    An error begins with `where`.
    """
    target = Path(path)
    refused = f"{where}expected a file that can be written, got {quote(str(path))}"
    if "\0" in str(path):
        raise InputError(f"{refused}: its name holds a null character")
    partial = Path(target.parent, f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise InputError(f"{refused}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # there is none on a file system that is read-only
            partial.unlink()


def to_data_frame(tree: xr.DataTree) -> Any:
    """Return a result as one table, a pandas DataFrame; see :func:`write_result`."""
    if is_cube(tree):
        data = tree.to_dataset()
        return data.to_dataframe(dim_order=[str(dim) for dim in data.sizes]).reset_index()
    table = table_of(tree)
    if table is not None:
        return _rows_along(tree[table[0]].to_dataset(), table[1])
    computation = computation_of(tree)
    data = (tree if computation is None else tree[next(iter(computation.nodes))]).to_dataset()
    return _data_frame({str(name): [data[name].item()] for name in data if not data[name].ndim})


def table_of(tree: xr.DataTree) -> tuple[str, str] | None:
    """Return node and dimension of the rows of a result as one table: the first that has rows.

    The first of all where none has any; None if a result has no rows.
    """
    computation = None if is_cube(tree) else computation_of(tree)
    tables = () if computation is None else computation.tables
    found = [(n, dim) for n, dim in tables if n in tree.children and dim in tree[n].dims]
    filled = [each for each in found if tree[each[0]].sizes[each[1]]]
    return next(iter(filled + found), None)


def _data_frame(columns: dict[str, Any]) -> Any:
    return xr.Dataset({name: ("row", values) for name, values in columns.items()}).to_dataframe()


def _rows_along(data: xr.Dataset, dim: str) -> Any:
    """Return one row per value along a dimension; a second dimension becomes columns."""
    columns: dict[str, Any] = {}
    for name in [*(n for n in data.coords if data[n].dims == (dim,)), *data.data_vars]:
        values = data[name]
        if values.dims == (dim,):
            columns[str(name)] = values.values
        elif values.ndim == 2 and values.dims[0] == dim:
            for k, label in enumerate(np.asarray(data[values.dims[1]].values).tolist()):
                columns[f"{name}_{label}"] = values.values[:, k]
    return _data_frame(columns)


def _write_netcdf(tree: xr.DataTree, path: Path) -> None:
    if find_spec("h5netcdf") is None or find_spec("h5py") is None:
        raise InputError(
            "NetCDF: expected h5netcdf and h5py to be installed; pip install 'iitdask[netcdf]'"
        )
    tree_with_netcdf_types(tree).to_netcdf(path, engine="h5netcdf")
