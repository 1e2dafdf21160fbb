"""Estimates of what a recipe takes, and of how many workers the remaining work is worth.

The recipe is run in memory. A cheap stage is filled; of an expensive one some parts are
computed, chosen with probabilities proportional to their predicted costs, and the rest stays
empty. Stages that follow are then smaller than in a full run, and are scaled up.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import numpy as np
import psutil

from iitdask.errors import IITError
from iitdask.kernels.jit import compile_seconds
from iitdask.run.events import BlocksFilled, Event, StageCompleted, StageOpened
from iitdask.run.execute import run_recipe
from iitdask.run.ledger import MemoryLedger
from iitdask.run.plan import (
    BLOCK_OVERHEAD_SECONDS,
    Calibration,
    StageMemory,
    Tiling,
    cell_bytes,
    stage_memory,
    tile,
)
from iitdask.run.worker import prepare_inputs
from iitdask.theory.stage import Array, Filled, Recipe, Region, Stage, StageRef

FULL_STAGE_SECONDS = 1.0  # Predicted seconds up to which a stage is filled to measure it
SAMPLE_PART_SECONDS = 0.05  # Predicted seconds of one sampled part of an expensive stage
POINT_STAGE_SECONDS = 0.25  # The same, and seconds of samples, of a point that stands for others
SHARED_PART_SECONDS = 0.25  # The same where positions of a block share work
MIN_SAMPLES, MAX_SAMPLES = 4, 40  # Parts of an expensive stage that are computed
COMMIT_RECORD_BYTES = 64
POINTS = "points"  # First part of the names of stages of points that are recipes of their own
START_SECONDS = 0.08  # Seconds a run takes to open its store and engine and to write its result
WRITE_SECONDS_PER_BYTE, READ_SECONDS_PER_BYTE = 2.5e-9, 1.5e-9
"""Seconds to compress, checksum and write a byte of a store, and to read and verify it."""
SHORT_STAGE_SECONDS = 0.25
"""Seconds below which the noise of a measured stage counts twice: other processes weigh more."""
NOISE_FACTOR = 1.5  # Factor by which a machine differs from itself
SAMPLED_FACTOR, SCALED_FACTOR, UNSEEN_FACTOR = 1.5, 2.0, 4.0
"""Factors by which a stage may differ that was sampled, follows a sample, was not computed."""
SAMPLING_ERRORS = (IITError, ValueError, ArithmeticError, LookupError, TypeError, AssertionError)
"""What a recipe may raise when it is given stages that were not filled completely."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What one stage takes."""

    name: str
    blocks: int
    seconds: float
    low: float  # Lower end of the interval of core-seconds
    high: float
    max_block_seconds: float  # Seconds of its most expensive block
    memory: StageMemory  # Bytes a worker needs that reads its inputs from a store
    store_bytes: int  # Bytes of its arrays before compression
    basis: str  # ``computed``, ``sampled``, ``scaled`` or ``model``
    tiling: Tiling = field(repr=False)
    private_bytes: int = 0  # Bytes beside libraries of a process that holds everything in memory
    axis_masks: Mapping[str, Array] = field(default_factory=dict, repr=False, compare=False)
    """What the cells of its axes stand for, see :class:`iitdask.theory.stage.Stage`."""

    @property
    def worker_bytes(self) -> int:
        """Peak bytes of a worker process of one thread, libraries included."""
        return self.memory.process()


@dataclass(frozen=True, slots=True, repr=False)
class Estimate:
    """What a run takes.

    Core-seconds are those of the machine that made the estimate; `low` and `high` are the ends
    of an interval meant to hold the actual value nine times in ten.
    """

    stages: tuple[StageEstimate, ...]  # Stages, in the order in which they are run
    complete: bool  # Whether the recipe could be followed to its end
    overhead_seconds: float = 0.0
    """Core-seconds of the recipe itself and of preparing its stages' inputs, in one process."""
    store_seconds: float = 0.0
    """Further core-seconds with a store: to write all arrays, and to read and verify them."""
    resident_bytes: int = 0  # Bytes of this process after the estimate
    baseline_bytes: int = 0  # Bytes of this process before the estimate
    memory_bytes: int = 0  # Bytes beyond the baseline of a process that holds all blocks in memory
    peak_step_bytes: int = 0  # Bytes beyond the baseline with a store: those of the largest step

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return sum(each.blocks for each in self.stages)

    @property
    def core_seconds(self) -> float:
        """Seconds of one core."""
        return sum(each.seconds for each in self.stages) + self.overhead_seconds

    @property
    def low(self) -> float:
        """Lower end of the interval of core-seconds."""
        return sum(each.low for each in self.stages) + self.overhead_seconds / NOISE_FACTOR

    @property
    def high(self) -> float:
        """Upper end of the interval of core-seconds."""
        return sum(each.high for each in self.stages) + self.overhead_seconds * NOISE_FACTOR

    @property
    def bytes_per_worker(self) -> int:
        """Peak bytes of a worker process of one thread, libraries and shared tables included.

        With a store, which it reads its inputs from.
        """
        return max((each.worker_bytes for each in self.stages), default=0)

    def bytes_per_node(self, workers: int = 1) -> int:
        """Return the peak bytes of so many such processes on one machine, tables counted once."""
        return max(
            (
                each.memory.shared + workers * (each.worker_bytes - each.memory.shared)
                for each in self.stages
            ),
            default=0,
        )

    @property
    def process_bytes(self) -> int:
        """Bytes that a process needs at most which runs the study alone, libraries included."""
        private = max((each.private_bytes for each in self.stages), default=0)
        return max(self.resident_bytes + private, self.baseline_bytes + self.memory_bytes)

    @property
    def stored_process_bytes(self) -> int:
        """Bytes that such a process needs at most with a store."""
        return min(self.process_bytes, self.baseline_bytes + self.peak_step_bytes)

    @property
    def store_bytes(self) -> int:
        """Bytes of all arrays before compression."""
        return sum(each.store_bytes for each in self.stages)

    def wall_seconds(self, workers: int = 1) -> float:
        """Return wall seconds on workers of one thread each; stages wait for one another."""
        stages = sum(
            max(
                (each.seconds + BLOCK_OVERHEAD_SECONDS * each.blocks) / max(workers, 1),
                each.max_block_seconds,
            )
            for each in self.stages
        )
        return START_SECONDS + self.overhead_seconds + stages

    def __repr__(self) -> str:
        known = "" if self.complete else "; later stages depend on what was not computed"
        return (
            f"Estimate({self.core_seconds:.3g} core-seconds ({self.low:.3g} to {self.high:.3g}), "
            f"{self.blocks} blocks in {len(self.stages)} stages, "
            f"{self.bytes_per_worker / 1e6:.3g} MB a worker process, "
            f"{self.store_bytes / 1e6:.3g} MB to store{known})"
        )

    def _repr_html_(self) -> str:
        """Return a table of the stages for a notebook."""
        names = ("stage", "blocks", "core-seconds", "interval", "MB a worker", "basis")
        rows = [
            (
                *(each.name, str(each.blocks), f"{each.seconds:.3g}"),
                f"{each.low:.3g} to {each.high:.3g}",
                *(f"{each.worker_bytes / 1e6:.3g}", each.basis),
            )
            for each in self.stages
        ]
        head = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in row)}</tr>" for row in rows
        )
        return f"<b>{escape(repr(self))}</b><table><tr>{head}</tr>{body}</table>"


def estimate_recipe(
    recipe: Recipe, *, block_seconds: float = 5.0, seconds: float = 3.0, points: float = 1.0
) -> Estimate:
    """Estimate what a recipe takes, by running a little of it here.

    Each of its points, which are recipes of their own, stands for so many as `points` says: their
    stages are then told by kind, and the interval is as wide as the points differ.
    """
    estimator = _Estimator(block_seconds, seconds, points)
    started, complete = time.perf_counter(), True
    try:
        run_recipe(recipe, estimator.step)
    except SAMPLING_ERRORS:
        if estimator.is_in_step or not estimator.unfilled_stages:
            raise
        complete = False
    recipe_seconds = time.perf_counter() - started - estimator.step_seconds
    stages = estimator.total.stages
    return replace(
        estimator.total,
        stages=stages if points == 1.0 else _by_kind(stages),
        complete=complete,
        overhead_seconds=recipe_seconds * points + estimator.total.overhead_seconds,
        resident_bytes=resident_bytes(),
    )


def resident_bytes() -> int:
    """Return the bytes that this process holds, libraries included."""
    return int(psutil.Process().memory_info().rss)


@dataclass(slots=True, eq=False)
class _Estimator:
    """Runs the steps of a recipe, partly, and adds up what they take."""

    block_seconds: float
    sample_seconds: float
    points: float = 1.0  # How many points each point of the recipe stands for
    total: Estimate = field(
        default_factory=lambda: Estimate((), complete=False, baseline_bytes=resident_bytes())
    )
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    seconds_per_cost: dict[str, float] = field(default_factory=dict)  # By point, "" beside them
    scale: dict[str, float] = field(default_factory=dict)
    unfilled_stages: set[str] = field(default_factory=set)
    is_in_step: bool = False
    step_seconds: float = 0.0
    filled_bytes: int = 0

    def step(self, stages: tuple[Stage, ...]) -> tuple[Filled, ...]:
        """Fill the stages of one step as far as that is cheap."""
        started, self.is_in_step = time.perf_counter(), True
        filled = tuple(map(self._stage, stages))
        self._add_step(stages)
        self.is_in_step = False
        self.step_seconds += time.perf_counter() - started
        return filled

    def _add_step(self, stages: tuple[Stage, ...]) -> None:
        """Add the memory and the storage of one step, whose stages were added last."""
        total = self.total
        estimates = total.stages[len(total.stages) - len(stages) :]
        arrays = sum(each.store_bytes for each in estimates)
        working = max(sum(each.private_bytes for each in estimates), arrays)
        inputs = [given for stage in stages for given in stage.inputs.values()]
        new_inputs = [given for given in inputs if not isinstance(given, StageRef)]
        written = arrays + sum(map(self.ledger.input_bytes, new_inputs))
        read = arrays + sum(map(self.ledger.input_bytes, inputs))
        self.filled_bytes += arrays
        moving = WRITE_SECONDS_PER_BYTE * written + READ_SECONDS_PER_BYTE * read
        overhead = BLOCK_OVERHEAD_SECONDS * sum(each.blocks for each in estimates)
        self.total = replace(
            total,
            store_seconds=total.store_seconds + moving + overhead,
            # Stages in memory are filled from copies of what earlier ones left.
            memory_bytes=max(total.memory_bytes, self.filled_bytes + working),
            peak_step_bytes=max(total.peak_step_bytes, working),
        )

    def _stage(self, stage: Stage) -> Filled:
        """Fill or sample a stage, add its estimate and return what there is of it."""
        tiling = tile(stage, self.block_seconds)
        self.ledger.open(stage, self.block_seconds)
        costs = [float(stage.cost(tiling.region(block))) for block in tiling]
        point = point_key(stage.name)
        # before this stage adds to it
        scale = 1.0 if stage.size_is_known else self.scale.get(point, 1.0)
        rate, factor, basis = self._measure(stage, sum(costs))
        if scale > 1.0:
            factor, basis = max(factor, SCALED_FACTOR), "scaled"
        scale *= self.points if point else 1.0
        seconds = sum(costs) * rate * scale
        arrays = math.prod(tiling.grid.shape) * cell_bytes(stage)
        inputs = {k: self.ledger.input_bytes(each) for k, each in stage.inputs.items()}
        private = stage_memory(stage, tiling, inputs, is_stored=False)
        estimate = StageEstimate(
            name=stage.name,
            blocks=max(1, round(len(tiling) * scale)) if len(tiling) else 0,
            seconds=seconds,
            low=seconds / factor,
            high=seconds * factor,
            max_block_seconds=max(costs, default=0.0) * rate,
            memory=stage_memory(stage, tiling, inputs, is_stored=True),
            private_bytes=private.own + private.block,
            store_bytes=round(scale * (arrays + COMMIT_RECORD_BYTES * len(tiling))),
            basis=basis,
            tiling=tiling,
            axis_masks=stage.axis_masks,
        )
        self.total = replace(self.total, stages=(*self.total.stages, estimate))
        return self.ledger.read_stage(stage.name)

    def _measure(self, stage: Stage, cost: float) -> tuple[float, float, str]:
        """Return seconds per predicted second, the factor they may be off by, and their basis."""
        is_blind = any(
            isinstance(given, StageRef) and given.stage in self.unfilled_stages
            for given in stage.inputs.values()
        )
        point = point_key(stage.name)
        known = self.seconds_per_cost.get(point, 1.0)
        most = FULL_STAGE_SECONDS if self.points == 1.0 or not point else POINT_STAGE_SECONDS
        if not is_blind and cost * known <= most:
            measured = self._fill(stage)
            is_short = measured <= SHORT_STAGE_SECONDS
            factor = 2 * NOISE_FACTOR if is_short else NOISE_FACTOR
            return measured / cost if cost > 0 else 0.0, factor, "computed"
        self.unfilled_stages.add(stage.name)
        if not is_blind and self.sample_seconds > 0:
            return *self._sample(stage), "sampled"
        return known, UNSEEN_FACTOR, "model"

    def _fill(self, stage: Stage) -> float:
        """Fill a stage; return the seconds of its blocks."""
        prepared, tiling = self._prepare(stage), self.ledger.tiling(stage.name)
        if len(tiling):  # loads compiled code, which is no part of the work
            stage.compute(prepared, tiling.region(next(iter(tiling))))
        measured = self._fill_timed(stage, prepared)
        if measured > SHORT_STAGE_SECONDS:
            return measured
        # Of so short a time one hiccup of the machine can be the greater part.
        return min(measured, self._fill_timed(stage, prepared))

    def _fill_timed(self, stage: Stage, prepared: Any) -> float:
        tiling, total = self.ledger.tiling(stage.name), 0.0
        for block in tiling:
            started = time.perf_counter()
            arrays = stage.compute(prepared, tiling.region(block))
            seconds = time.perf_counter() - started
            self.ledger.write_block(stage.name, block, arrays, seconds)
            total += seconds
            if stage.until is not None and stage.until(arrays):
                break
        return total

    def _prepare(self, stage: Stage) -> Any:
        """Prepare a stage's inputs; every process that works on it spends that time once."""
        context = self.ledger.worker_context(stage)
        started = time.perf_counter()
        prepared = prepare_inputs(context)
        copies = self.points if point_key(stage.name) else 1.0
        seconds = self.total.overhead_seconds + copies * (time.perf_counter() - started)
        self.total = replace(self.total, overhead_seconds=seconds)
        return prepared

    def _sample(self, stage: Stage) -> tuple[float, float]:
        """Compute parts of a stage; return seconds per cost and the factor they may be off by."""
        point = point_key(stage.name)
        known = self.seconds_per_cost.get(point, 1.0)
        parts = _split_longest_axis(stage, SAMPLE_PART_SECONDS / max(known, 1e-3))
        if stage.is_shared_in_block:  # then a part alone takes longer than within a block
            block = _longest_side(self.ledger.tiling(stage.name))
            parts = _split_longest_axis(stage, SHARED_PART_SECONDS / known, MIN_SAMPLES, block)
        costs = [float(stage.cost(region)) for region in parts]
        prepared = self._prepare(stage)
        chosen = random.Random(0).choices(range(len(parts)), weights=costs, k=MAX_SAMPLES)
        if len(parts) > MIN_SAMPLES:
            stage.compute(prepared, parts[min(chosen, key=lambda k: costs[k])])  # may compile
        ratios: list[float] = []
        computed: dict[int, Any] = {}
        ratio_of: dict[int, float] = {}
        is_one_of_many = self.points != 1.0 and bool(point)
        most = (
            min(self.sample_seconds, POINT_STAGE_SECONDS) if is_one_of_many else self.sample_seconds
        )
        until = time.perf_counter() + most
        for k in chosen:
            if k not in computed:
                started, compiled = time.perf_counter(), compile_seconds()
                computed[k] = stage.compute(prepared, parts[k])
                spent = time.perf_counter() - started - (compile_seconds() - compiled)
                ratio_of[k] = max(spent, 0.0) / costs[k]
            ratios.append(ratio_of[k])
            if time.perf_counter() > until and len(ratios) >= MIN_SAMPLES:
                break
        self.ledger.patch(stage.name, [(parts[k], arrays) for k, arrays in computed.items()])
        grown = len(parts) / len(computed) if stage.grows_later_stages else 1.0
        self.scale[point] = self.scale.get(point, 1.0) * grown
        rate = float(np.mean(ratios))
        spread = float(np.std(ratios)) / math.sqrt(len(ratios)) / rate
        if len(computed) == len(parts):
            self.unfilled_stages.discard(stage.name)
            rate, spread = sum(ratio_of[k] * costs[k] for k in ratio_of) / sum(costs), 0.0
        self.seconds_per_cost[point] = rate
        return rate, SAMPLED_FACTOR * (1 + 2 * spread)


def point_key(stage: str) -> str:
    """Return which point of a sweep a stage belongs to, "" if it is none's.

    Examples
    --------
    >>> point_key("points/3fa9/concepts"), point_key("sweep/0/sia")
    ('3fa9', '')
    """
    first, _, rest = stage.partition("/")
    return rest.partition("/")[0] if first == POINTS else ""


def _by_kind(stages: Iterable[StageEstimate]) -> tuple[StageEstimate, ...]:
    """Return estimates of all points, one for each kind of stage, from those of some points."""
    whole = [each for each in stages if not point_key(each.name)]
    own = [each for each in stages if point_key(each.name)]
    totals: dict[str, float] = {}
    kinds: dict[str, list[StageEstimate]] = {}
    for each in own:
        totals[point_key(each.name)] = totals.get(point_key(each.name), 0.0) + each.seconds
        kinds.setdefault(each.name.split("/", 2)[2], []).append(each)
    seconds = np.array([*totals.values()])
    spread = 0.0
    if len(seconds) > 1 and seconds.mean() > 0:
        spread = float(seconds.std(ddof=1) / seconds.mean() / math.sqrt(len(seconds)))
    factor = 1 + 2 * spread
    return (*whole, *(_merged(f"{POINTS}/{kind}", each, factor) for kind, each in kinds.items()))


def _merged(name: str, stages: Sequence[StageEstimate], factor: float) -> StageEstimate:
    return replace(
        max(stages, key=lambda each: each.worker_bytes),
        name=name,
        blocks=sum(each.blocks for each in stages),
        seconds=sum(each.seconds for each in stages),
        low=sum(each.low for each in stages) / factor,
        high=sum(each.high for each in stages) * factor,
        max_block_seconds=max(each.max_block_seconds for each in stages),
        private_bytes=max(each.private_bytes for each in stages),
        store_bytes=sum(each.store_bytes for each in stages),
        basis="sampled",
    )


def _longest_side(tiling: Tiling) -> int:
    """Return the length of a block along the longest axis of its stage."""
    axis = max(range(len(tiling.grid.shape)), key=lambda k: tiling.grid.shape[k])
    region = tiling.region(next(iter(tiling)))
    return int(region[axis].stop - region[axis].start)


def _split_longest_axis(
    stage: Stage, max_cost: float, count: int = MAX_SAMPLES, longest: int | None = None
) -> list[Region]:
    """Cut a stage along its longest axis into parts of at most a cost, as far as it goes.

    Into `count` parts or more, none of which has more than `longest` positions.
    """
    shape = stage.grid.shape
    axis = max(range(len(shape)), key=lambda k: shape[k])

    def split(step: int) -> Iterator[Region]:
        for begin in range(0, shape[axis], step):
            parts = [slice(0, n) for n in shape]
            parts[axis] = slice(begin, min(begin + step, shape[axis]))
            yield tuple(parts)

    step = 1 << max(shape[axis] - 1, 0).bit_length()
    while step > 1:
        regions = list(split(step))
        is_short = longest is None or step <= longest
        if len(regions) >= count and is_short and max(map(stage.cost, regions)) <= max_cost:
            break
        step //= 2
    return list(split(step))


HORIZON_SECONDS = 120.0  # Target seconds of work of each worker: less is not worth starting a job


@dataclass(slots=True, eq=False)
class WorkerDemand:
    """Observer that tells how many workers the stages that are open deserve."""

    threads: int = 1
    horizon: float = HORIZON_SECONDS
    _open: dict[str, StageOpened] = field(default_factory=dict)
    """What is left of each stage, as if it were opened now."""
    _measured: Calibration = field(default_factory=Calibration)

    def __call__(self, event: Event) -> None:
        """Subtract what an event says is filled."""
        if isinstance(event, StageOpened):
            self._open[event.stage] = event
        elif isinstance(event, StageCompleted):
            self._open.pop(event.stage, None)
        elif isinstance(event, BlocksFilled):
            self._measured = self._measured.updated(event.seconds, event.cost)
            if (stage := self._open.get(event.stage)) is not None:
                cost, todo = max(0.0, stage.cost - event.cost), max(0, stage.todo - event.blocks)
                self._open[event.stage] = replace(stage, cost=cost, todo=todo)

    @property
    def seconds(self) -> float:
        """Core-seconds left at the speed measured so far."""
        # Copied: events arrive in another thread.
        left = sum(stage.cost for stage in tuple(self._open.values()))
        return self._measured.seconds_per_cost * left

    def workers(self) -> int:
        """Return how many workers to have: at least one, at most one for each block."""
        blocks = sum(stage.todo for stage in tuple(self._open.values()))
        by_time = math.ceil(self.seconds / (self.horizon * self.threads))
        return max(1, min(by_time, math.ceil(blocks / self.threads)))
