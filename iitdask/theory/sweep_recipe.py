"""Sweeps as one recipe: stages over many points, and recipes of their own for the largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from iitdask.theory.catalog import batched_computations, get_computation
from iitdask.theory.point_rows import (
    DONE,
    UNREACHABLE,
    LargeProblem,
    OnResult,
    problem_recipe,
    read_outcomes,
    rows_stage,
    store_rows,
)
from iitdask.theory.reasons import Reason
from iitdask.theory.small_systems import COUNTS, QUANTITIES, SmallSystems
from iitdask.theory.stage import Array, Recipe, Stage, gather

RECIPES_IN_STEP = 64  # Recipes of large problems that run a step at a time together


@dataclass(frozen=True, slots=True, eq=False)
class PointBatch:
    """Small systems that became part of a sweep at the same time."""

    name: str  # Name of their stage
    compute: str
    numbers: Array  # Numbers of their points, in the order of the stage
    points: SmallSystems

    def stage(self) -> Stage:
        """Return the stage that computes them."""
        return batched_computations()[self.compute].stage(self.name, self.points)

    def store(
        self, outcomes: dict[str, Array], numbers: Array, arrays: Mapping[str, Array]
    ) -> None:
        """Put what the stage holds of some points into the outcomes of their numbers."""
        store_outcomes(outcomes, numbers, arrays["value"], arrays["number"])


@dataclass(frozen=True, slots=True, eq=False)
class RowBatch:
    """Points that are rows of a stage and that became part of a sweep at the same time."""

    name: str  # Name of their stage
    compute: str
    numbers: Array  # Numbers of their points, in the order of the stage
    inputs: Mapping[str, Array]  # See :func:`iitdask.theory.point_rows.row_inputs`
    seconds: Array  # Predicted seconds of each

    def stage(self) -> Stage:
        """Return the stage that computes them."""
        return rows_stage(self.name, self.compute, self.inputs, self.seconds)

    def store(
        self, outcomes: dict[str, Array], numbers: Array, arrays: Mapping[str, Array]
    ) -> None:
        """Put what the stage holds of some points into the outcomes of their numbers."""
        store_rows(outcomes, self.compute, numbers, arrays)


def sweep_recipe(
    batches: Sequence[PointBatch | RowBatch],
    large: Mapping[int, LargeProblem],
    outcomes: dict[str, Array],
    *,
    on_result: OnResult | None = None,
) -> Recipe:
    """Compute all points of a sweep into `outcomes` (see :func:`empty_outcomes`).

    `on_result` receives the result of each large problem, which rows are not.
    """
    nonempty = [batch for batch in batches if len(batch.numbers)]
    if nonempty:
        stages = tuple(batch.stage() for batch in nonempty)
        for batch, filled in zip(nonempty, (yield stages), strict=True):
            arrays = {name: variable.values for name, variable in filled.items()}
            batch.store(outcomes, batch.numbers, arrays)
    numbers = list(large)
    for begin in range(0, len(numbers), RECIPES_IN_STEP):
        numbers_in_step = numbers[begin : begin + RECIPES_IN_STEP]
        recipes = {str(k): problem_recipe(large[k], on_result) for k in numbers_in_step}
        trees = yield from gather(recipes)
        for k in numbers_in_step:
            for name, value in read_outcomes(large[k].compute, trees[str(k)]).items():
                outcomes[name][k] = value
    return xr.DataTree(xr.Dataset({name: ("point", array) for name, array in outcomes.items()}))


def batch_stage_name(number: int, compute: str) -> str:
    """Return the name of the stage of the small systems of an extension, 0 for the first points."""
    return f"sweep/{number}/{compute}"


def row_stage_name(number: int, compute: str) -> str:
    """Return the name of the stage of the points of an extension that are rows."""
    return f"sweep/{number}/{compute}-rows"


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
