"""The cube of a sweep: outcomes of points spread over labelled axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.result.labels import text
from iitdask.theory.outcomes import OUTCOMES, Outcome
from iitdask.theory.swept import DONE, FAILED, PENDING, UNREACHABLE

__all__ = ["STATUS", "cube", "is_cube"]

Array = NDArray[Any]

STATUS = {PENDING: "pending", DONE: "done", UNREACHABLE: "unreachable", FAILED: "failed"}
"""What the variable ``status`` says."""
NOTES = {
    "status": "what became of the point: " + ", ".join(STATUS.values()) + "; a point that is "
    "done has all that its computation gives, see the attribute `computations` of variables",
    "message": "why there are no numbers, where there are none",
    "reason": "why phi is 0, when a rule decided it",
    "seconds": "seconds the point took on one core; those of a block are shared by its points",
    "n_units": "units of the candidate system",
    "structure": "group of the store that holds the whole result of the point",
    "point": "number of what was computed for the cell; equal systems are computed once",
    "frequency": "share of the steps of the trajectory that are in the state",
}


def cube(
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
        Outcomes by name, one per point, see :mod:`iitdask.theory.swept`.
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

    for name, users in _users(computes).items():
        each = next(iter(users.values()))
        found = _spread(outcomes[name], point, each.missing)
        of = ", ".join(users) if len(users) < len(set(computes)) else ""
        put(name, found, each.unit, _comment(users), of)
    for name, values in extra.items():
        if values is not None:
            put(name, values, {"seconds": "s", "n_units": "count"}.get(name, ""), NOTES[name])
    names = np.array([STATUS[code] for code in range(len(STATUS))], object)
    status = _spread(outcomes["status"], point, PENDING).astype(np.int64)
    status[problem >= 0] = FAILED
    message = _spread(outcomes["message"], point, "")
    for number, said in texts.items():
        message[problem == number] = said
    put("reason", _spread(outcomes["reason"], point, ""), "", NOTES["reason"])
    put("status", names[status], "", NOTES["status"])
    put("message", message, "", NOTES["message"])
    labels = {
        name: (dim, text(values) if _is_text(values) else np.array(values))
        for name, (dim, values) in coords.items()
    }
    return xr.Dataset(data, labels, {"compute": ", ".join(computes), **attrs})


def _users(computes: Sequence[str]) -> dict[str, dict[str, Outcome]]:
    """By name of an outcome: the computations that have it, with what it is of each."""
    out: dict[str, dict[str, Outcome]] = {}
    for compute in computes:
        for each in OUTCOMES[compute]:
            out.setdefault(each.name, {})[compute] = each
    return out


def _comment(users: Mapping[str, Outcome]) -> str:
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


def _spread(values: Array, point: Array, missing: Any) -> Array:
    out = np.full(len(point), missing, values.dtype)
    there = point >= 0
    out[there] = values[point[there]]
    return out
