"""What a theory is made of: grids to be filled, declared as data.

A theory is a generator (``Recipe``). Each ``yield`` hands over a tuple of frozen
:class:`Stage` values and receives what they were filled with, variables by name,
in the same order. Nothing here knows where the blocks are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import xarray as xr

__all__ = [
    "Filled",
    "Grid",
    "Recipe",
    "Region",
    "Stage",
    "StageRef",
    "Variable",
    "gather",
    "scoped",
]

Array = np.ndarray[Any, np.dtype[Any]]
Result = TypeVar("Result")
Region = tuple[slice, ...]
"""The part of a grid that one block covers: one slice per axis, step 1, bounds given."""


def unit_cost(_region: Region) -> float:
    """The cost of a region nobody predicted."""
    return 1.0


@dataclass(frozen=True, slots=True)
class Variable:
    """One array that a stage fills."""

    name: str
    """Name in the store and in the answer."""
    dtype: str
    """NumPy dtype, such as ``"float64"``."""
    fill: float | int | bool
    """Value of cells no block has filled yet."""
    unit: str
    """Unit of the numbers: ``"bit"``, ``"mask"``, ``"count"``, ``"s"`` or ``""``."""
    doc: str
    """What the numbers mean, in one sentence."""
    inner: tuple[tuple[str, int], ...] = ()
    """Axes behind the grid's own, name and length; never split into blocks."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The named axes of a stage."""

    dims: tuple[str, ...]
    """Axis names."""
    shape: tuple[int, ...]
    """Axis lengths."""
    whole: tuple[str, ...] = ()
    """Axes that are never split."""
    power_of_two: tuple[str, ...] = ()
    """Axes whose blocks must be aligned powers of two (bitmask axes)."""


@dataclass(frozen=True, slots=True)
class StageRef:
    """The array that an earlier stage left in the ledger."""

    stage: str
    """Name of the stage that filled it."""
    variable: str
    """Name of the variable."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A grid, what fills it, and what that costs."""

    name: str
    """Path of the stage in the ledger, such as ``"system"`` or ``"points/3/mice"``."""
    grid: Grid
    """Axes and their lengths."""
    variables: tuple[Variable, ...]
    """The arrays that one block fills."""
    compute: Callable[[Any, Region], Mapping[str, Array]]
    """``compute(prepared, region)``: one array per variable, shaped as the region. Importable."""
    inputs: Mapping[str, Array | StageRef] = field(default_factory=dict)
    """Arrays handed to ``prepare`` (or to ``compute`` when there is none)."""
    cost: Callable[[Region], float] = unit_cost
    """Predicted seconds of a region on one core of a reference machine."""
    prepare: Callable[[Mapping[str, Array]], Any] | None = None
    """Turns the inputs into what ``compute`` works on; once per process and stage. Importable."""
    scratch: int = 0
    """Bytes a block needs beside its inputs and outputs."""
    version: int = 1
    """Raised when the numbers a stage produces change."""
    fixed: bool = False
    """Whether its size follows from the question alone, and not from what earlier stages found."""
    grows_later_stages: bool = True
    """Whether the more of it is filled, the more is asked for afterwards."""
    members: Mapping[str, Array] = field(default_factory=dict)
    """Of axes that list sets of units: the mask at each position; of pairs its mechanism and
    purview, after the direction where there are both; of shares of a mechanism's purviews the
    direction, the mechanism, groups and share, see kernels.shares. Under ``apart`` the direction
    and mechanism of cells that are left out. To be shown; no number depends on it."""
    until: Callable[[Mapping[str, Array]], bool] | None = None
    """When given, blocks run in grid order up to the first whose arrays satisfy it."""


Filled = Mapping[str, xr.Variable]
"""What a stage was filled with. No dataset: to make one takes longer than a small stage."""
Recipe = Generator[tuple[Stage, ...], tuple[Filled, ...], xr.DataTree]
"""A recipe: yields stages, receives their answers, returns the result."""


def scoped(
    prefix: str, recipe: Generator[tuple[Stage, ...], tuple[Filled, ...], Result]
) -> Generator[tuple[Stage, ...], tuple[Filled, ...], Result]:
    """Run a recipe with every stage's name put under a path."""
    answer: tuple[Filled, ...] | None = None
    while True:
        try:
            stages = recipe.send(answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        answer = yield tuple(_under_prefix(stage, prefix) for stage in stages)


def _under_prefix(stage: Stage, prefix: str) -> Stage:
    inputs = {
        name: replace(given, stage=f"{prefix}/{given.stage}")
        if isinstance(given, StageRef)
        else given
        for name, given in stage.inputs.items()
    }
    return replace(stage, name=f"{prefix}/{stage.name}", inputs=inputs)


def gather(
    recipes: Mapping[str, Recipe],
) -> Generator[tuple[Stage, ...], tuple[Filled, ...], dict[str, xr.DataTree]]:
    """Advance several recipes in step, under one plan; return their results by key."""
    results: dict[str, xr.DataTree] = {}
    waiting: dict[str, tuple[Stage, ...]] = {}
    for key, recipe in recipes.items():
        _advance(key, recipe, None, waiting, results)
    while waiting:
        batch = dict(waiting)
        waiting.clear()
        answers = iter((yield tuple(stage for stages in batch.values() for stage in stages)))
        for key, stages in batch.items():
            _advance(key, recipes[key], tuple(next(answers) for _ in stages), waiting, results)
    return {key: results[key] for key in recipes}


def _advance(
    key: str,
    recipe: Recipe,
    answer: tuple[Filled, ...] | None,
    waiting: dict[str, tuple[Stage, ...]],
    results: dict[str, xr.DataTree],
) -> None:
    try:
        waiting[key] = recipe.send(answer)  # type: ignore[arg-type]
    except StopIteration as stop:
        results[key] = stop.value
