"""Sweeps as one recipe: stages over small systems, and recipes of their own for large ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.errors import IITError, StateError, UnreachableStateError
from iitdask.model.substrate import Substrate
from iitdask.model.system import Target
from iitdask.theory.catalog import (
    batched_computations,
    build_recipe,
    get_computation,
    target_from_fields,
)
from iitdask.theory.options import Theory
from iitdask.theory.reasons import Reason
from iitdask.theory.stage import Recipe, gather, scoped
from iitdask.theory.sweeps.small_systems import (
    COUNTS,
    QUANTITIES,
    SmallSystems,
)

__all__ = [
    "DONE",
    "FAILED",
    "PENDING",
    "UNREACHABLE",
    "LargeProblem",
    "PointBatch",
    "batch_stage_name",
    "empty_outcomes",
    "read_outcomes",
    "store_outcomes",
    "sweep_recipe",
]

Array = NDArray[Any]
PENDING, DONE, UNREACHABLE, FAILED = 0, 1, 2, 3
"""What became of a point."""
RECIPES_IN_STEP = 64
"""Recipes that go in step."""


@dataclass(frozen=True, slots=True, eq=False)
class LargeProblem:
    """A point that is split itself."""

    key: str
    """What tells it from others, in hexadecimal digits."""
    substrate: Substrate
    """The substrate."""
    fields: Mapping[str, Any]
    """What is asked of it."""
    options: Theory
    """The theory."""
    compute: str
    """The computation."""


OnResult = Callable[[LargeProblem, Target, xr.DataTree], None]
"""Takes over the whole result of a point."""


@dataclass(frozen=True, slots=True, eq=False)
class PointBatch:
    """Points that became part of a sweep at the same time."""

    name: str
    """Name of the stage of its small points."""
    compute: str
    """What is computed of them."""
    small: Array
    """Numbers of the small points, in the order of the stage."""
    points: SmallSystems
    """The small points."""


def sweep_recipe(
    portions: Sequence[PointBatch],
    heavy: Mapping[int, LargeProblem],
    out: dict[str, Array],
    *,
    keep: OnResult | None = None,
) -> Recipe:
    """Compute all points of a sweep: a tree whose root has dim ``point``.

    Parameters
    ----------
    portions
        The small points, stage by stage.
    heavy
        The others, by number.
    out
        Outcomes of all points by name, see :func:`empty_outcomes`; filled.
    keep
        Given the whole result of each of the others.
    """
    some = [portion for portion in portions if len(portion.points)]
    if some:
        batchings = batched_computations()
        stages = tuple(batchings[p.compute].stage(p.name, p.points) for p in some)
        for portion, filled in zip(some, (yield stages), strict=True):
            store_outcomes(out, portion.small, filled["value"].values, filled["number"].values)
    numbers = list(heavy)
    for begin in range(0, len(numbers), RECIPES_IN_STEP):
        chosen = numbers[begin : begin + RECIPES_IN_STEP]
        recipes = {str(k): _captured(heavy[k], keep) for k in chosen}
        trees = yield from gather(recipes)
        for k in chosen:
            _store_tree_outcomes(out, k, heavy[k].compute, trees[str(k)])
    return xr.DataTree(_outcomes_dataset(out))


def batch_stage_name(number: int, compute: str) -> str:
    """Name of the stage of the small points that became part of a sweep at the same time."""
    return f"sweep/{number}/{compute}"


def read_outcomes(compute: str, tree: xr.DataTree) -> dict[str, Any]:
    """Return the outcomes of a computation by name, and ``reason``: why phi is 0."""
    values = {outcome.name: outcome.value(tree) for outcome in get_computation(compute).outcomes}
    if "system" in tree.children:
        values["reason"] = str(tree["system"].attrs.get("reasons", ""))
    return values


def empty_outcomes(computes: Sequence[str], count: int) -> dict[str, Array]:
    """Arrays of the outcomes of computations with nothing known yet, by name."""
    out: dict[str, Array] = {}
    for compute in computes:
        for each in get_computation(compute).outcomes:
            out[each.name] = np.full(count, each.missing, each.dtype)
    out["status"] = np.zeros(count, np.int8)
    out["reason"] = np.full(count, "", object)
    out["message"] = np.full(count, "", object)
    return out


def store_outcomes(out: dict[str, Array], numbers: Array, values: Array, counts: Array) -> None:
    """Put what a stage of small points holds where it belongs."""
    for column, name in enumerate(QUANTITIES[: values.shape[1]]):
        out[name][numbers] = values[:, column]
    for column, name in enumerate(COUNTS[1 : counts.shape[1]], 1):
        out[name][numbers] = counts[:, column]
    codes = counts[:, 0]
    for code in np.unique(codes).tolist():
        here, reason = numbers[codes == code], Reason(max(code, 0))  # -1 where nothing is filled
        is_unreachable = bool(reason & Reason.UNREACHABLE)
        out["status"][here] = UNREACHABLE if is_unreachable else DONE
        out["reason"][here] = "" if is_unreachable else reason.names
        out["message"][here] = reason.text if is_unreachable else ""


def _captured(point: LargeProblem, keep: OnResult | None) -> Recipe:
    """Run the recipe of one point; what is wrong with it becomes its result."""
    try:
        subject = target_from_fields(point.compute, point.substrate, point.fields, "point")
        asked = build_recipe(point.compute, subject, point.options)
        tree = yield from scoped(f"points/{point.key}", asked)
    except UnreachableStateError as error:
        return _failed(UNREACHABLE, error)
    except (StateError, IITError) as error:
        return _failed(FAILED, error)
    if keep is not None:
        keep(point, subject, tree)
    return tree


def _failed(status: int, error: Exception) -> xr.DataTree:
    message = " ".join(str(error).split()).removeprefix("point: ")
    return xr.DataTree(xr.Dataset(attrs={"status": status, "message": message}))


def _store_tree_outcomes(
    out: dict[str, Array], number: int, compute: str, tree: xr.DataTree
) -> None:
    if "status" in tree.attrs:
        out["status"][number] = tree.attrs["status"]
        out["message"][number] = tree.attrs["message"]
        return
    out["status"][number] = DONE
    for name, value in read_outcomes(compute, tree).items():
        out[name][number] = value


def _outcomes_dataset(out: Mapping[str, Array]) -> xr.Dataset:
    return xr.Dataset({name: ("point", values) for name, values in out.items()})
