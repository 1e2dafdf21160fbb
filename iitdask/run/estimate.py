"""Estimates of what a recipe takes, and of how many workers the remaining work is worth.

The recipe is driven in memory. A cheap stage is filled; of an expensive one some parts are computed,
chosen with probabilities proportional to their predicted costs, and the rest stays empty. Stages that
follow are then smaller than in a full run and are scaled up.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil

from iitdask.errors import IITError
from iitdask.run.events import BlocksFilled, Event, StageCompleted, StageOpened
from iitdask.run.ledger import MemoryLedger
from iitdask.run.plan import BLOCK_OVERHEAD_SECONDS, Tiling, tile, worker_block_bytes
from iitdask.run.worker import prepare_inputs
from iitdask.theory.stage import Filled, Recipe, Region, Stage, StageRef

__all__ = [
    "Estimate",
    "StageEstimate",
    "WorkerDemand",
    "estimate_recipe",
]

Array = np.ndarray[Any, np.dtype[Any]]

FULL_STAGE_SECONDS = 1.0
"""Predicted seconds up to which a stage is filled to know it."""
SAMPLE_PART_SECONDS = 0.05
"""Predicted seconds of one part of a dear stage that is computed."""
MIN_SAMPLES, MAX_SAMPLES = 4, 40
"""Parts of a dear stage that are computed."""
COMMIT_RECORD_BYTES = 64
START_SECONDS = 0.08
"""Seconds a run takes to open its store and engine and to write its result."""
WRITE_SECONDS_PER_BYTE, READ_SECONDS_PER_BYTE = 2.5e-9, 1.5e-9
"""Seconds that a byte of a store takes to compress, checksum and write, or to read and check."""
NOISE_FACTOR, SHORT_STAGE_SECONDS = 1.5, 0.25
"""Factor by which one machine differs from itself; twice that where it computes less than
a quarter of a second, in which other processes weigh more."""
SAMPLED_FACTOR, SCALED_FACTOR, UNSEEN_FACTOR = 1.5, 2.0, 4.0
"""Factors by which a stage may differ that was sampled, follows a sample, was not seen."""
EXPECTED_ON_PARTIAL_DATA = (
    IITError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AssertionError,
)
"""What a recipe may raise when it is given stages with holes."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What one stage will take."""

    name: str
    """Name of the stage."""
    blocks: int
    """Number of blocks."""
    seconds: float
    """Core-seconds."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    dearest: float
    """Seconds of its dearest block."""
    block_bytes: int
    """Bytes a worker needs for one block."""
    store_bytes: int
    """Bytes its arrays take before compression."""
    basis: str
    """``computed``, ``sampled``, ``scaled`` or ``model``."""
    tiling: Tiling = field(repr=False)
    """Its blocks."""
    axis_masks: Mapping[str, Array] = field(default_factory=dict, repr=False, compare=False)
    """What its axes list, see :class:`iitdask.theory.stage.Stage`."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take.

    Core-seconds are of the machine that made the estimate; `low` and `high` are
    the ends of an interval meant to hold the actual value nine times in ten.
    """

    stages: tuple[StageEstimate, ...]
    """Stages, in the order in which they are run."""
    complete: bool
    """Whether the recipe could be followed to its end."""
    between: float = 0.0
    """Core-seconds of the recipe itself and to make its stages' inputs ready: one process."""
    stored: float = 0.0
    """Core-seconds more with a store: to write all arrays, and to read and check what is used."""
    resident: int = 0
    """Bytes of this process after the estimate."""
    libraries: int = 0
    """Bytes of this process before it."""
    held: int = 0
    """Bytes that a process holds beside these, all blocks in its memory."""
    passing: int = 0
    """The same with a store: what the stages of the largest step need."""

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return sum(each.blocks for each in self.stages)

    @property
    def core_seconds(self) -> float:
        """Seconds of one core."""
        return sum(each.seconds for each in self.stages) + self.between

    @property
    def low(self) -> float:
        """Lower end of the interval of core-seconds."""
        return sum(each.low for each in self.stages) + self.between / NOISE_FACTOR

    @property
    def high(self) -> float:
        """Upper end of the interval of core-seconds."""
        return sum(each.high for each in self.stages) + self.between * NOISE_FACTOR

    @property
    def bytes_per_worker(self) -> int:
        """Bytes that a worker of one thread needs for its dearest block."""
        return max((each.block_bytes for each in self.stages), default=0)

    @property
    def process_bytes(self) -> int:
        """Bytes that a process which runs the study alone holds at most, libraries and all."""
        return max(self.resident + self.bytes_per_worker, self.libraries + self.held)

    @property
    def stored_process_bytes(self) -> int:
        """The same with a store, which holds what one in memory has to."""
        return min(self.process_bytes, self.libraries + self.passing)

    @property
    def store_bytes(self) -> int:
        """Bytes of all arrays before compression."""
        return sum(each.store_bytes for each in self.stages)

    def wall_seconds(self, workers: int = 1) -> float:
        """Wall seconds on some workers of one thread each; stages wait for one another."""
        return (
            START_SECONDS
            + self.between
            + sum(
                max(
                    (each.seconds + BLOCK_OVERHEAD_SECONDS * each.blocks) / max(workers, 1),
                    each.dearest,
                )
                for each in self.stages
            )
        )


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


@dataclass(slots=True, eq=False)
class _Estimator:
    """What is known on the way."""

    block_seconds: float
    seconds: float
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    found: list[StageEstimate] = field(default_factory=list)
    seconds_per_cost: float = 1.0
    scale: float = 1.0
    unfilled_stages: set[str] = field(default_factory=set)
    between: float = 0.0
    stored: float = 0.0
    filled: int = 0
    held: int = 0
    passing: int = 0
    libraries: int = field(default_factory=_resident_bytes)

    def step(self, stages: Sequence[Stage]) -> None:
        """Book what the stages of one step hold together, beside what there was."""
        found = self.found[-len(stages) :] if stages else []
        inputs = [sum(map(self.bytes_of, stage.inputs.values())) for stage in stages]
        sizes = [each.store_bytes for each in found]
        self.filled += sum(sizes)
        working = sum(each.block_bytes for each in found)
        self.passing = max(self.passing, working, sum(sizes))
        # Stages in memory are filled from copies of what earlier ones left.
        self.held = max(self.held, self.filled + max(working, sum(sizes)))
        self.stored += (WRITE_SECONDS_PER_BYTE + READ_SECONDS_PER_BYTE) * sum(
            sizes
        ) + READ_SECONDS_PER_BYTE * sum(inputs)
        self.stored += BLOCK_OVERHEAD_SECONDS * sum(each.blocks for each in found)
        given = [
            x for stage in stages for x in stage.inputs.values() if not isinstance(x, StageRef)
        ]
        self.stored += WRITE_SECONDS_PER_BYTE * sum(map(self.bytes_of, given))

    def bytes_of(self, given: Array | StageRef) -> int:
        """Bytes of an input."""
        return self.ledger.size(given) if isinstance(given, StageRef) else given.nbytes

    def estimate(self, complete: bool) -> Estimate:
        """Return what is known by now."""
        return Estimate(
            tuple(self.found),
            complete,
            self.between,
            self.stored,
            _resident_bytes(),
            self.libraries,
            self.held,
            self.passing,
        )


def estimate_recipe(
    recipe: Recipe, *, block_seconds: float = 5.0, seconds: float = 3.0
) -> Estimate:
    """Estimate what a recipe takes, by running a little of it here.

    Parameters
    ----------
    recipe : Stages
        What is to be computed.
    block_seconds : float
        Wished seconds of a block.
    seconds : float
        Seconds to spend on each dear stage; 0 takes the model at its word.
    """
    walk = _Estimator(block_seconds, seconds)
    with closing(recipe):
        answer: tuple[Filled, ...] | None = None
        while True:
            began = time.perf_counter()
            try:
                stages = recipe.send(answer)  # type: ignore[arg-type]
            except StopIteration:
                walk.between += time.perf_counter() - began
                return walk.estimate(complete=True)
            except EXPECTED_ON_PARTIAL_DATA:
                if walk.unfilled_stages:
                    return walk.estimate(complete=False)
                raise
            walk.between += time.perf_counter() - began
            answer = None  # not held while the next stages are filled
            answer = tuple(_estimate_stage(walk, stage) for stage in stages)
            walk.step(stages)


def _estimate_stage(walk: _Estimator, stage: Stage) -> Filled:
    inputs = sum(map(walk.bytes_of, stage.inputs.values()))
    tiling = tile(stage, walk.block_seconds)
    walk.ledger.open(stage, walk.block_seconds)
    costs = [float(stage.cost(tiling.region(block))) for block in tiling]
    total = sum(costs)
    blind = any(
        isinstance(x, StageRef) and x.stage in walk.unfilled_stages for x in stage.inputs.values()
    )
    scale = 1.0 if stage.size_is_known else walk.scale  # before this stage adds to it
    rate, factor, basis = walk.seconds_per_cost, UNSEEN_FACTOR, "model"
    if total * walk.seconds_per_cost <= FULL_STAGE_SECONDS and not blind:
        measured = _fill_stage(walk, stage)
        rate = measured / total if total > 0 else 0.0
        factor, basis = (
            NOISE_FACTOR if measured > SHORT_STAGE_SECONDS else 2 * NOISE_FACTOR,
            "computed",
        )
    elif not blind and walk.seconds > 0:
        rate, factor = _sample_stage(walk, stage)
        basis = "sampled"
    else:
        walk.unfilled_stages.add(stage.name)
    if scale > 1.0:
        factor, basis = max(factor, SCALED_FACTOR), "scaled"
    seconds = total * rate * scale
    walk.found.append(
        StageEstimate(
            stage.name,
            max(1, round(len(tiling) * scale)) if len(tiling) else 0,
            seconds,
            seconds / factor,
            seconds * factor,
            max(costs, default=0.0) * rate,
            worker_block_bytes(stage, tiling, inputs),
            round(scale * _stage_store_bytes(stage, tiling)),
            basis,
            tiling,
            stage.axis_masks,
        )
    )
    return walk.ledger.answer(stage.name)


def _stage_store_bytes(stage: Stage, tiling: Tiling) -> int:
    cells = math.prod(tiling.grid.shape)
    each = sum(
        math.prod(n for _, n in v.inner) * np.dtype(v.dtype).itemsize for v in stage.variables
    )
    return cells * each + COMMIT_RECORD_BYTES * len(tiling)


def _fill_stage(walk: _Estimator, stage: Stage) -> float:
    """Fill a stage; return the seconds of its blocks."""
    ready, tiling = _prepare_inputs(walk, stage), walk.ledger.tiling(stage.name)
    if len(tiling):  # loads compiled code, which is no part of the work
        stage.compute(ready, tiling.region(next(iter(tiling))))
    measured = _fill_timed(walk, stage, ready)
    # Of so short a time one hiccup of the machine can be the greater part.
    return (
        measured
        if measured > SHORT_STAGE_SECONDS
        else min(measured, _fill_timed(walk, stage, ready))
    )


def _fill_timed(walk: _Estimator, stage: Stage, ready: Any) -> float:
    """Fill the blocks of a stage; return the seconds that took."""
    tiling, total = walk.ledger.tiling(stage.name), 0.0
    for block in tiling:
        began = time.perf_counter()
        arrays = stage.compute(ready, tiling.region(block))
        seconds = time.perf_counter() - began
        walk.ledger.fill(stage.name, block, arrays, seconds)
        total += seconds
        if stage.until is not None and stage.until(arrays):
            break
    return total


def _prepare_inputs(walk: _Estimator, stage: Stage) -> Any:
    """Make a stage's inputs ready; every process that works on it spends that time once."""
    context = walk.ledger.worker_context(stage)
    began = time.perf_counter()
    ready = prepare_inputs(context)
    walk.between += time.perf_counter() - began
    return ready


def _sample_stage(walk: _Estimator, stage: Stage) -> tuple[float, float]:
    """Compute parts of a stage; return seconds per cost and the factor it may be off by."""
    parts = list(_split_longest_axis(stage, SAMPLE_PART_SECONDS / max(walk.seconds_per_cost, 1e-3)))
    costs = [float(stage.cost(region)) for region in parts]
    ready = _prepare_inputs(walk, stage)
    chance = random.Random(0)
    chosen = chance.choices(range(len(parts)), weights=costs, k=MAX_SAMPLES)
    stage.compute(ready, parts[min(chosen, key=lambda k: costs[k])])  # compiles, if need be
    ratios: list[float] = []
    seen: dict[int, Any] = {}
    until = time.perf_counter() + walk.seconds
    for k in chosen:
        began = time.perf_counter()
        seen[k] = stage.compute(ready, parts[k])
        ratios.append((time.perf_counter() - began) / costs[k])
        if time.perf_counter() > until and len(ratios) >= MIN_SAMPLES:
            break
    walk.ledger.patch(stage.name, [(parts[k], arrays) for k, arrays in seen.items()])
    walk.unfilled_stages.add(stage.name)
    walk.scale *= len(parts) / len(seen) if stage.grows_later_stages else 1.0
    rate = float(np.mean(ratios))
    walk.seconds_per_cost = rate
    spread = float(np.std(ratios)) / math.sqrt(len(ratios)) / rate
    return rate, SAMPLED_FACTOR * (1 + 2 * spread)


def _split_longest_axis(stage: Stage, wished: float) -> Iterator[Region]:
    """Cut a stage along its longest axis only, into parts of about a cost."""
    shape = stage.grid.shape
    axis = max(range(len(shape)), key=lambda k: shape[k])
    length, whole = shape[axis], [slice(0, n) for n in shape]

    def region(begin: int, step: int) -> Region:
        part = slice(begin, min(begin + step, length))
        return (*whole[:axis], part, *whole[axis + 1 :])

    step = 1 << max(length - 1, 0).bit_length()
    while step > 1:
        regions = [region(begin, step) for begin in range(0, length, step)]
        if len(regions) >= MAX_SAMPLES and max(map(stage.cost, regions)) <= wished:
            break
        step //= 2
    return (region(begin, step) for begin in range(0, length, step))


HORIZON_SECONDS = 120.0
"""Wished seconds of work for each worker: what takes less is not worth a job's start."""


@dataclass(slots=True)
class _OpenStage:
    """What is left of one stage."""

    cost: float
    """Predicted seconds."""
    blocks: int
    """Blocks."""


@dataclass(slots=True, eq=False)
class WorkerDemand:
    """Observer that knows how much work is left in the stages that are open.

    Parameters
    ----------
    threads : int
        Blocks one worker computes at a time.
    """

    threads: int = 1
    horizon: float = HORIZON_SECONDS
    _open: dict[str, _OpenStage] = field(default_factory=dict)
    _seconds: float = 0.0
    _cost: float = 0.0

    def __call__(self, event: Event) -> None:
        """Book an event."""
        if isinstance(event, StageOpened):
            self._open[event.stage] = _OpenStage(event.cost, event.todo)
        elif isinstance(event, StageCompleted):
            self._open.pop(event.stage, None)
        elif isinstance(event, BlocksFilled):
            left = self._open.setdefault(event.stage, _OpenStage(0.0, 0))
            left.cost = max(0.0, left.cost - event.cost)
            left.blocks = max(0, left.blocks - event.blocks)
            self._seconds += event.seconds
            self._cost += event.cost

    @property
    def seconds(self) -> float:
        """Core-seconds left, as fast as it went so far."""
        slowness = self._seconds / self._cost if self._cost > 0 else 1.0
        # Copied: events arrive in another thread.
        return slowness * sum(each.cost for each in tuple(self._open.values()))

    def workers(self) -> int:
        """How many workers to have: never more than there are blocks for, at least one."""
        blocks = sum(each.blocks for each in tuple(self._open.values()))
        by_time = math.ceil(self.seconds / (self.horizon * self.threads))
        return max(1, min(by_time, math.ceil(blocks / self.threads)))
