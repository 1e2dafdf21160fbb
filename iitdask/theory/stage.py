"""Stages: grids to be filled, declared as data, and the recipes that yield them.

A theory is a generator (``Recipe``). Each ``yield`` hands over a tuple of frozen
:class:`Stage` values and receives what they were filled with, variables by name,
in the same order. Nothing here knows where the blocks are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import xarray as xr

Array = np.ndarray[Any, np.dtype[Any]]
Step = TypeVar("Step")
Reply = TypeVar("Reply")
Result = TypeVar("Result")
# The part of a grid that one block covers: one slice per axis, step 1, bounds given
Region = tuple[slice, ...]


def unit_cost(_region: Region) -> float:
    """Return 1 for every region: the default where no cost is predicted."""
    return 1.0


def uniform_cost(seconds: float) -> Callable[[Region], float]:
    """Return a cost that is the same for each position along the first axis, in seconds."""
    return lambda region: seconds * (region[0].stop - region[0].start)


@dataclass(frozen=True, slots=True, eq=False)
class CumulativeCost:
    """Predicted seconds of a range of positions along a grid's only axis."""

    before: Array  # (positions + 1,) seconds of all positions before each

    @classmethod
    def from_seconds(cls, seconds: Array) -> CumulativeCost:
        """Sum up the seconds of each position, (positions,)."""
        return cls(np.concatenate([[0.0], np.cumsum(seconds)]))

    def __call__(self, region: Region) -> float:
        """Return the seconds of the range."""
        return float(self.before[region[0].stop] - self.before[region[0].start])


@dataclass(frozen=True, slots=True)
class Variable:
    """One array that a stage fills."""

    name: str
    dtype: str  # NumPy dtype, such as ``"float64"``
    fill: float | int | bool  # Value of cells no block has filled yet
    unit: str  # Unit of the numbers: ``"bit"``, ``"mask"``, ``"count"``, ``"s"`` or ``""``
    doc: str
    # Axes behind those of the grid, name and length; never split into blocks
    inner: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Grid:
    """The named axes of a stage."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    unsplit: tuple[str, ...] = ()
    # Axes whose blocks must be aligned powers of two (bitmask axes)
    power_of_two: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StageRef:
    """Reference to an array that an earlier stage filled."""

    stage: str
    variable: str


@dataclass(frozen=True, slots=True)
class SharedArrays:
    """Large arrays made of one input of a stage, before its inputs are prepared.

    One copy serves all processes of a machine, and all stages with the same inputs.
    """

    source: str  # Name of the input, which the stage does not get itself
    uses: tuple[str, ...]  # Names of other inputs that the arrays depend on
    # Shapes of the arrays by name, float64 with two axes each, from those inputs
    shapes: Callable[[Mapping[str, Array]], Mapping[str, tuple[int, ...]]]
    # ``rows(inputs, shape, parts, name, rows)`` returns rows of an array: those inputs, the shape
    # of the source's grid, the regions of it and the parts of the input that cover it, the array's
    # name, which rows
    rows: Callable[
        [Mapping[str, Array], tuple[int, ...], Sequence[tuple[Region, Array]], str, slice], Array
    ]
    n_axes: int  # Axes of the source's grid; those behind them are never split

    def make(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the arrays, made in this process of the whole input."""
        source = inputs[self.source]
        shape = source.shape[: self.n_axes]
        parts = [(tuple(slice(0, n) for n in shape), source)]
        return self.whole(inputs, partial(self.rows, inputs, shape, parts))

    def whole(
        self, inputs: Mapping[str, Array], rows: Callable[[str, slice], Array]
    ) -> dict[str, Array]:
        """Return the arrays of which a function returns rows, by name."""
        shapes = self.shapes(inputs).items()
        return {name: rows(name, slice(0, n_rows)) for name, (n_rows, _) in shapes}


@dataclass(frozen=True, slots=True)
class Stage:
    """A grid, the function that fills it, and its predicted cost."""

    name: str  # Path of the stage in the ledger, such as ``"system"`` or ``"points/3/mice"``
    grid: Grid
    variables: tuple[Variable, ...]
    # ``compute(prepared, region)``: one array per variable, shaped as the region. Importable.
    compute: Callable[[Any, Region], Mapping[str, Array]]
    # Arrays handed to ``prepare`` (or to ``compute`` when there is none)
    inputs: Mapping[str, Array | StageRef] = field(default_factory=dict)
    # Predicted seconds of a region on one core of a reference machine
    cost: Callable[[Region], float] = unit_cost
    # Prepares the inputs for ``compute``, once per process and stage. Importable.
    prepare: Callable[[Mapping[str, Array]], Any] | None = None
    # Arrays that take the place of one of the inputs; their functions are importable
    shared: SharedArrays | None = None
    scratch: int = 0  # Bytes a block needs beside its inputs and outputs
    min_blocks: int = 16  # Blocks that it should have at least, so that as many workers share it
    cut_first: tuple[str, ...] = ()  # Axes each cell of which has blocks of its own
    version: int = 1  # Raised when the numbers a stage produces change
    # False if the recipe reads none of its variables: only later stages do, which verify them
    is_read_by_recipe: bool = True
    # True if its size follows from the target alone, not from the results of earlier stages
    size_is_known: bool = False
    # True if later stages grow with the number of cells filled here; used to extrapolate estimates
    grows_later_stages: bool = True
    # True if positions of a block share much of what is computed for them
    is_shared_in_block: bool = False
    # By axis, the units at each of its positions, for people to read; no result depends on them. A
    # position is a mask, or a row: mechanism and purview, the direction before them where there are
    # both; of a shard direction, mechanism, number of groups and shard. ``apart`` is no axis but
    # lists direction and mechanism of the cells that are left out.
    axis_masks: Mapping[str, Array] = field(default_factory=dict)
    # True for the arrays of the last block that is needed; blocks then run in grid order
    until: Callable[[Mapping[str, Array]], bool] | None = None


# Arrays of a filled stage, by variable name. A dataset would take longer to make than a small stage
# takes to compute.
Filled = Mapping[str, xr.Variable]
# Part of a recipe: yields the stages of each step, receives what they were filled with, and returns
# a value of its own
Steps = Generator[tuple[Stage, ...], tuple[Filled, ...], Result]
# A recipe: yields the stages of each step, receives what they were filled with, and returns the
# result
Recipe = Steps[xr.DataTree]


def answer_steps(
    generator: Generator[Step, Reply, Result], answer: Callable[[Step], Steps[Reply]]
) -> Steps[Result]:
    """Run a generator as part of a recipe and return its result.

    `answer` is the part of a recipe that returns the reply to one of the generator's steps.
    """
    reply: Reply | None = None
    while True:
        try:
            step = generator.send(reply)  # type: ignore[arg-type]
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        reply = yield from answer(step)


def compute_steps(steps: Steps[Result]) -> Result:
    """Run a part of a recipe here and now, every stage as one block, and return its result."""
    filled: dict[str, Filled] = {}
    reply: tuple[Filled, ...] | None = None
    while True:
        try:
            stages = steps.send(reply)  # type: ignore[arg-type]
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        for stage in stages:
            filled[stage.name] = _computed(stage, filled)
        reply = tuple(filled[stage.name] for stage in stages)


def _computed(stage: Stage, filled: Mapping[str, Filled]) -> Filled:
    inputs = {
        name: np.require(
            filled[given.stage][given.variable].values if isinstance(given, StageRef) else given,
            requirements=["C", "A", "W"],  # as kernels are compiled for
        )
        for name, given in stage.inputs.items()
    }
    if stage.shared is not None:
        inputs |= stage.shared.make(inputs)
    prepared = inputs if stage.prepare is None else stage.prepare(inputs)
    arrays = stage.compute(prepared, tuple(slice(0, length) for length in stage.grid.shape))
    dims = {
        each.name: (*stage.grid.dims, *(axis for axis, _ in each.inner)) for each in stage.variables
    }
    return {name: xr.Variable(dims[name], arrays[name], fastpath=True) for name in dims}


def scoped(prefix: str, recipe: Steps[Result]) -> Steps[Result]:
    """Run a recipe, or a part of one, with the names of all its stages put under a path."""

    def under_prefix(stages: tuple[Stage, ...]) -> Steps[tuple[Filled, ...]]:
        return (yield tuple(_under_prefix(stage, prefix) for stage in stages))

    return (yield from answer_steps(recipe, under_prefix))


def _under_prefix(stage: Stage, prefix: str) -> Stage:
    inputs = {
        name: replace(given, stage=f"{prefix}/{given.stage}")
        if isinstance(given, StageRef)
        else given
        for name, given in stage.inputs.items()
    }
    return replace(stage, name=f"{prefix}/{stage.name}", inputs=inputs)


def gather(recipes: Mapping[str, Steps[Any]]) -> Steps[dict[str, Any]]:
    """Run several recipes together, a step of each at a time, and return their results by key."""
    results: dict[str, Any] = {}
    waiting: dict[str, tuple[Stage, ...]] = {}

    def advance(key: str, answer: tuple[Filled, ...] | None) -> None:
        try:
            waiting[key] = recipes[key].send(answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            results[key] = stop.value

    for key in recipes:
        advance(key, None)
    while waiting:
        batch = dict(waiting)
        waiting.clear()
        answers = iter((yield tuple(stage for stages in batch.values() for stage in stages)))
        for key, stages in batch.items():
            advance(key, tuple(next(answers) for _ in stages))
    return {key: results[key] for key in recipes}
