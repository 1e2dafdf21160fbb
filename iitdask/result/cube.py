"""The cube of a sweep: outcomes of points spread over labelled axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.result.labels import text
from iitdask.theory.outcomes import OUTCOMES
from iitdask.theory.swept import DONE, FAILED, PENDING, UNREACHABLE

__all__ = ["STATUS", "cube", "is_cube"]

Array = NDArray[Any]

STATUS = {PENDING: "pending", DONE: "done", UNREACHABLE: "unreachable", FAILED: "failed"}
"""What the variable ``status`` says."""
NOTES = {
    "status": "what became of the point: " + ", ".join(STATUS.values()),
    "message": "why there are no numbers, where there are none",
    "reason": "why phi is 0, when a rule decided it",
    "seconds": "seconds the point took on one core; those of a block are shared by its points",
    "n_units": "units of the candidate system",
    "structure": "group of the store that holds the whole result of the point",
    "point": "number of what was computed for the cell; equal systems are computed once",
    "frequency": "share of the steps of the trajectory that are in the state",
}


def cube(
    compute: str,
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
    compute
        What was computed.
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

    def put(name: str, values: Array, unit: str, doc: str) -> None:
        about = {"comment": doc} | ({"units": unit} if unit else {})
        data[name] = (order, values.reshape(shape), about)

    for each in OUTCOMES[compute]:
        missing = -1 if each.dtype == "int64" else math.nan
        put(each.name, _spread(outcomes[each.name], point, missing), each.unit, each.doc)
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
    return xr.Dataset(data, labels, {"compute": compute, **attrs})


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
