"""Sweeps as one recipe: stages over small systems, and recipes of their own for large ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

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
from iitdask.theory.small_systems import COUNTS, QUANTITIES, SmallSystems
from iitdask.theory.stage import Array, Recipe, gather, scoped

PENDING, DONE, UNREACHABLE, FAILED = 0, 1, 2, 3  # Status of a point
RECIPES_IN_STEP = 64  # Recipes of large problems that run a step at a time together


@dataclass(frozen=True, slots=True, eq=False)
class LargeProblem:
    """A point that has a recipe of its own."""

    key: str  # Digest of everything that decides its numbers, hexadecimal
    substrate: Substrate
    fields: Mapping[str, Any]  # Fields of the target
    options: Theory
    compute: str


# Receives the result of a large problem
OnResult = Callable[[LargeProblem, Target, xr.DataTree], None]


@dataclass(frozen=True, slots=True, eq=False)
class PointBatch:
    """Small systems that became part of a sweep at the same time."""

    name: str  # Name of their stage
    compute: str
    small: Array  # Numbers of their points, in the order of the stage
    points: SmallSystems


def sweep_recipe(
    batches: Sequence[PointBatch],
    large: Mapping[int, LargeProblem],
    outcomes: dict[str, Array],
    *,
    on_result: OnResult | None = None,
) -> Recipe:
    """Compute all points of a sweep into `outcomes` (see :func:`empty_outcomes`).

    `on_result` receives the result of each large problem.
    """
    nonempty = [batch for batch in batches if len(batch.points)]
    if nonempty:
        batchings = batched_computations()
        stages = tuple(batchings[p.compute].stage(p.name, p.points) for p in nonempty)
        for batch, filled in zip(nonempty, (yield stages), strict=True):
            store_outcomes(outcomes, batch.small, filled["value"].values, filled["number"].values)
    numbers = list(large)
    for begin in range(0, len(numbers), RECIPES_IN_STEP):
        numbers_in_step = numbers[begin : begin + RECIPES_IN_STEP]
        recipes = {str(k): _captured(large[k], on_result) for k in numbers_in_step}
        trees = yield from gather(recipes)
        for k in numbers_in_step:
            _store_tree_outcomes(outcomes, k, large[k].compute, trees[str(k)])
    return xr.DataTree(xr.Dataset({name: ("point", array) for name, array in outcomes.items()}))


def batch_stage_name(number: int, compute: str) -> str:
    """Return the name of the stage of the small systems of an extension, 0 for the first points."""
    return f"sweep/{number}/{compute}"


def read_outcomes(compute: str, tree: xr.DataTree) -> dict[str, Any]:
    """Return the outcomes of a computation by name, and ``reason``: why phi is 0."""
    values = {outcome.name: outcome.value(tree) for outcome in get_computation(compute).outcomes}
    if "system" in tree.children:
        values["reason"] = str(tree["system"].attrs.get("reasons", ""))
    return values


def empty_outcomes(computes: Sequence[str], count: int) -> dict[str, Array]:
    """Return arrays for the outcomes of computations, (count,) by name, with nothing known yet."""
    outcomes: dict[str, Array] = {}
    for compute in computes:
        for outcome in get_computation(compute).outcomes:
            outcomes[outcome.name] = np.full(count, outcome.missing)
    outcomes["status"] = np.zeros(count, np.int8)
    outcomes["reason"] = np.full(count, "", object)
    outcomes["message"] = np.full(count, "", object)
    return outcomes


def store_outcomes(
    outcomes: dict[str, Array], numbers: Array, values: Array, counts: Array
) -> None:
    """Put what a stage of small systems holds into the outcomes of (B,) numbered points.

    `values` (B, quantities) and `counts` (B, counts) are its variables ``value`` and ``number``.
    """
    for column, name in enumerate(QUANTITIES[: values.shape[1]]):
        outcomes[name][numbers] = values[:, column]
    for column, name in enumerate(COUNTS[1 : counts.shape[1]], 1):
        outcomes[name][numbers] = counts[:, column]
    codes = counts[:, 0]
    for code in np.unique(codes).tolist():
        points, reason = numbers[codes == code], Reason(max(code, 0))  # -1 where nothing is filled
        is_unreachable = bool(reason & Reason.UNREACHABLE)
        outcomes["status"][points] = UNREACHABLE if is_unreachable else DONE
        outcomes["reason"][points] = "" if is_unreachable else reason.names
        outcomes["message"][points] = reason.text if is_unreachable else ""


def _captured(point: LargeProblem, on_result: OnResult | None) -> Recipe:
    """Run the recipe of one point; an error becomes its result."""
    try:
        target = target_from_fields(point.compute, point.substrate, point.fields, "point")
        steps = build_recipe(point.compute, target, point.options)
        tree = yield from scoped(f"points/{point.key}", steps)
    except UnreachableStateError as error:
        return _failed(UNREACHABLE, error)
    except (StateError, IITError) as error:
        return _failed(FAILED, error)
    if on_result is not None:
        on_result(point, target, tree)
    return tree


def _failed(status: int, error: Exception) -> xr.DataTree:
    message = " ".join(str(error).split()).removeprefix("point: ")
    return xr.DataTree(xr.Dataset(attrs={"status": status, "message": message}))


def _store_tree_outcomes(
    outcomes: dict[str, Array], number: int, compute: str, tree: xr.DataTree
) -> None:
    if "status" in tree.attrs:
        outcomes["status"][number] = tree.attrs["status"]
        outcomes["message"][number] = tree.attrs["message"]
        return
    outcomes["status"][number] = DONE
    for name, value in read_outcomes(compute, tree).items():
        outcomes[name][number] = value
