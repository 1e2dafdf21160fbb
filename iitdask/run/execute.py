"""Execution of a recipe: fill the stages it asks for until it returns its result."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

from iitdask.errors import (
    BlockFailedError,
    DamagedStoreError,
    InputError,
    InterruptedRunError,
    MemoryRefusedError,
    StoreError,
)
from iitdask.run.events import (
    BlockFailed,
    BlocksFilled,
    Event,
    Observer,
    RunFinished,
    StageCompleted,
    StageOpened,
    Warned,
)
from iitdask.run.ledger import Ledger, MemoryLedger
from iitdask.run.plan import (
    MIN_COMMON_BUNDLES,
    Block,
    CachedCost,
    Calibration,
    StageMemory,
    bundles_to_keep,
    calibrate,
    cell_bytes,
    plan_bundles,
    stage_memory,
)
from iitdask.run.stage_group import StageReader
from iitdask.run.task import (
    BlockError,
    BlockResult,
    BundleResult,
    BundleTask,
    StageContext,
    WorkerMemory,
)
from iitdask.run.worker import compute_block
from iitdask.theory.stage import Array, Filled, Recipe, Result, Stage, StageRef, Steps

if TYPE_CHECKING:
    import xarray as xr

    from iitdask.run.engines import Engine

MAX_ATTEMPTS = 3
CALIBRATION_BLOCKS = 256  # Blocks of an earlier run whose seconds are read to calibrate predictions
LOCAL_SECONDS = 0.02  # Predicted seconds up to which the driver fills a stage: sending takes that
LOCAL_INPUT_BYTES = 64 * 2**20  # Bytes of inputs up to which the driver fills a stage itself
REPLAN_FACTOR = 2.0
"""Ratio of measured to planned speed, or of threads, beyond which blocks left are bundled again."""


class StageRun:
    """The blocks of one stage while they are filled.

    The only object of a run that changes: everything it knows beyond the ledger
    (attempts, failures, speed) may be lost at any time.
    """

    def __init__(
        self,
        stage: Stage,
        ledger: Ledger,
        block_seconds: float,
        *,
        is_shared: bool = False,
        count_threads: Callable[[], int] | None = None,
    ) -> None:
        self.stage = stage = replace(stage, cost=CachedCost(stage.cost))
        self.ledger = ledger
        self.block_seconds = block_seconds
        self.started = time.perf_counter()
        self.tiling = ledger.open(stage, block_seconds)
        self.attempts: Counter[Block] = Counter()
        self.failures: dict[Block, BlockError] = {}
        self.context: StageContext | None = None
        self.calibration = Calibration()
        self.common_bundles: list[tuple[Block, ...]] = []
        self.is_local = False
        self.count_threads = count_threads  # Of the cluster; None where this process computes
        self.reader: StageReader | None = None
        self.is_shared = is_shared  # Whether bundles are those that other processes make, too
        self.reopen()

    def reopen(self) -> None:
        """Read from the ledger which blocks are filled, and how fast."""
        self.refresh()
        if self.done and not self.is_shared and self.todo():
            sample = sorted(self.done)[:: max(1, len(self.done) // CALIBRATION_BLOCKS)]
            self.calibration = calibrate(
                self.stage, self.tiling, self.ledger.block_seconds(self.stage.name, sample)
            )

    def refresh(self) -> None:
        """Read from the ledger which blocks are filled."""
        self.done = self.ledger.done(self.stage.name)
        self.last_needed = self._first_meeting_until()

    def todo(self) -> list[Block]:
        """Return the blocks still to be filled, in grid order, without exhausted ones."""
        exhausted, last = self.exhausted(), self.last_needed
        return [
            block
            for block in self.tiling
            if block not in self.done and block not in exhausted and (last is None or block < last)
        ]

    def exhausted(self) -> dict[Block, BlockError]:
        """Return the blocks that the result needs and that failed as often as they may."""
        return {
            block: failure
            for block, failure in self.failures.items()
            if self.attempts[block] >= MAX_ATTEMPTS
            and block not in self.done
            and (self.last_needed is None or block < self.last_needed)
        }

    def opened(self) -> StageOpened:
        """Return the event that announces the work ahead."""
        todo, tiling = self.todo(), self.tiling
        memory = self._memory()
        nbytes = memory.shared + memory.own + memory.block
        if isinstance(self.ledger, MemoryLedger):
            nbytes += math.prod(tiling.grid.shape) * cell_bytes(self.stage)
        return StageOpened(self.stage.name, len(tiling), len(todo), self._cost(todo), nbytes)

    def check_memory(self, memory: WorkerMemory | None) -> None:
        """Raise a MemoryRefusedError if a worker needs more memory than it has."""
        if memory is None or not self.todo():
            return
        needs = self._memory()
        needed = needs.process(memory.threads)
        if needed > memory.nbytes:
            raise MemoryRefusedError(
                f"stage {self.stage.name!r}: a worker of {memory.threads} thread(s) needs "
                f"{needed / 1e9:.3g} GB ({(needs.shared + needs.own) / 1e9:.3g} GB of it inputs), "
                f"it may hold {memory.nbytes / 1e9:.3g} GB; give workers more memory, or fewer "
                "threads"
            )

    def _memory(self) -> StageMemory:
        inputs = {k: self.ledger.input_bytes(each) for k, each in self.stage.inputs.items()}
        is_stored = not isinstance(self.ledger, MemoryLedger)
        return stage_memory(self.stage, self.tiling, inputs, is_stored=is_stored)

    def allow_local_execution(self) -> None:
        """Fill the stage in this process if it is short; no other stage is filled meanwhile."""
        predicted = self._cost(list(self.tiling)) * self.calibration.seconds_per_cost
        self.is_local = predicted <= LOCAL_SECONDS and self._input_bytes() <= LOCAL_INPUT_BYTES

    def tasks(self) -> Iterator[BundleTask]:
        """Yield bundles until all are handed out, replanning when speed or threads differ."""
        if self.is_shared:
            yield from self._common_tasks()
            return
        todo = self.todo()
        if not todo:
            return
        self.context = self.context or self.ledger.worker_context(self.stage)
        retries = [block for block in todo if block in self.failures]
        handed_out = self.done | set(retries) | set(self.exhausted())
        # One block each, so that a block that kills its worker takes no other with it; in either
        # order, since what waits behind it on the same worker is lost, too.
        if any(self.attempts[block] > 1 for block in retries):
            retries.reverse()
        needs = self._memory()
        yield from (BundleTask(self.context, (block,), needs=needs) for block in retries)
        while True:
            planned, threads = self.calibration.seconds_per_cost, self._threads()
            for bundle in plan_bundles(
                self.stage,
                self.tiling,
                handed_out,
                planned,
                self.block_seconds,
                min_bundles=bundles_to_keep(threads),
            ):
                if self.last_needed is not None and bundle[0] > self.last_needed:
                    return
                handed_out.update(bundle)
                yield BundleTask(self.context, bundle, self.is_local, needs=needs)
                speed = self.calibration.seconds_per_cost / planned
                growth = (1 + self._threads()) / (1 + threads)
                if not all(1 / REPLAN_FACTOR < x < REPLAN_FACTOR for x in (speed, growth)):
                    break
            else:
                return

    def _common_tasks(self) -> Iterator[BundleTask]:
        """Yield what is not filled of the bundles that every process makes of the stage alike."""
        todo = set(self.todo())
        if not todo:
            return
        self.context = self.context or self.ledger.worker_context(self.stage)
        if not self.common_bundles:
            self.common_bundles = plan_bundles(
                self.stage,
                self.tiling,
                (),
                1.0,
                self.block_seconds,
                min_bundles=MIN_COMMON_BUNDLES,
                are_shrinking=False,  # each is claimed by a request
            )
        for bundle in self.common_bundles:
            blocks = tuple(block for block in bundle if block in todo)
            if blocks:
                yield BundleTask(self.context, blocks, claim=bundle[0])

    def record(self, result: BundleResult) -> Iterator[Event]:
        """Record the outcome of a bundle and yield the events it causes."""
        name = self.stage.name
        if not result.worker:
            result = self._with_written_blocks(result)
        seconds = sum(block.seconds for block in result.filled)
        for filled in result.filled:
            if filled.arrays is not None:
                self.ledger.write_block(name, filled.block, filled.arrays, filled.seconds)
            self.done.add(filled.block)
            if filled.meets_until:
                self.last_needed = min(filled.block, self.last_needed or filled.block)
        self._read_early([filled.block for filled in result.filled])
        if result.filled:
            cost = self._cost([filled.block for filled in result.filled])
            self.calibration = self.calibration.updated(seconds, cost)
            yield BlocksFilled(name, len(result.filled), seconds, cost, result.worker)
        for failure in result.failed:
            self.failures[failure.block] = failure
            self.attempts[failure.block] += 1
            if self.attempts[failure.block] == MAX_ATTEMPTS:
                yield BlockFailed(name, failure.block, failure.error, MAX_ATTEMPTS)

    def _with_written_blocks(self, result: BundleResult) -> BundleResult:
        """Return what became of blocks of which no worker told: those in the ledger are filled.

        A worker that dies may have filled the blocks before the one that killed it.
        """
        self.refresh()
        written = [each.block for each in result.failed if each.block in self.done]
        seconds = self.ledger.block_seconds(self.stage.name, written)
        return replace(
            result,
            filled=tuple(BlockResult(b, seconds.get(b, 0.0), None, False) for b in written),
            failed=tuple(each for each in result.failed if each.block not in self.done),
        )

    def _read_early(self, blocks: list[Block]) -> None:
        """Read what workers have committed, while they go on: else all of it is read in the end."""
        if self._threads() <= 1 or not self.stage.is_read_by_recipe:
            return
        if self.reader is None:
            self.reader = self.ledger.reader(self.stage.name)
            blocks = sorted(self.done)  # those of earlier runs, too
        if self.reader is not None:
            self.reader.add(blocks)

    def close(self) -> None:
        """Stop reading."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    def finish(self) -> None:
        """Delete blocks after the last needed one, which ran only because they were in flight."""
        if self.last_needed is not None:
            beyond = {block for block in self.done if block > self.last_needed}
            self.ledger.delete_blocks(self.stage.name, beyond)
            self.done -= beyond

    def _threads(self) -> int:
        return 0 if self.count_threads is None else self.count_threads()

    def _input_bytes(self) -> int:
        return sum(map(self.ledger.input_bytes, self.stage.inputs.values()))

    def _cost(self, blocks: list[Block]) -> float:
        return sum(float(self.stage.cost(self.tiling.region(block))) for block in blocks)

    def _first_meeting_until(self) -> Block | None:
        """Return the first filled block that satisfies `until` of the stage, if there is one."""
        if self.stage.until is None:
            return None
        for block in sorted(self.done):
            try:
                if self.stage.until(self.ledger.read_block(self.stage.name, block)):
                    return block
            except DamagedStoreError:
                self.done.discard(block)
        return None


MAX_REPAIRS = 3  # Times that damaged blocks are filled again before the store is given up
MAX_LISTED_FAILURES = 20


def execute(
    recipe: Recipe,
    ledger: Ledger,
    engine: Engine,
    *,
    block_seconds: float = 5.0,
    observers: Sequence[Observer] = (),
    memory: WorkerMemory | None = None,
) -> xr.DataTree:
    """Run a recipe, computing only blocks that the ledger lacks, and return what it returns.

    New stages are tiled into blocks of about `block_seconds`; a stage whose blocks need more than
    the `memory` of a worker is refused. An exception in an observer stops the run.
    """
    started = time.perf_counter()
    filler = _StageFiller(ledger, engine, block_seconds, observers, memory)
    with closing(filler):
        result = run_recipe(recipe, filler)
    filler.emit(RunFinished(ledger.fingerprint, time.perf_counter() - started))
    return result


def run_recipe(
    recipe: Steps[Result], fill: Callable[[tuple[Stage, ...]], tuple[Filled, ...]]
) -> Result:
    """Run a recipe to its end, close it, and return its result.

    `fill` fills the stages of one step; its return value is sent to the recipe.
    """
    with closing(recipe):
        filled: tuple[Filled, ...] | None = None
        while True:
            try:
                stages = recipe.send(filled)  # type: ignore[arg-type]
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            filled = None  # frees the arrays before the next stages are filled
            filled = fill(stages)


def recompute_block(
    recipe: Recipe, ledger: Ledger, stage: str, block: Block
) -> Mapping[str, Array]:
    """Compute one block in this process, letting its exception through; nothing is written."""
    with closing(recipe):
        filled: tuple[Filled, ...] | None = None
        while True:
            try:
                stages = recipe.send(filled)  # type: ignore[arg-type]
            except StopIteration:
                raise InputError(f"the recipe asks for no stage {stage!r}") from None
            for candidate in stages:
                if candidate.name == stage:
                    return _recompute(candidate, ledger, block)
            filled = tuple(_read_complete_stage(earlier, ledger) for earlier in stages)


def _recompute(stage: Stage, ledger: Ledger, block: Block) -> dict[str, Array]:
    tiling = ledger.open(stage, 5.0)
    if block not in tiling:
        counts = " x ".join(map(str, tiling.counts))
        raise InputError(f"stage {stage.name!r} has {counts} blocks, none is {block}")
    return compute_block(ledger.worker_context(stage), block)


def _read_complete_stage(stage: Stage, ledger: Ledger) -> Filled:
    missing = len(ledger.open(stage, 5.0)) - len(ledger.done(stage.name))
    if missing and stage.until is None:
        raise StoreError(f"stage {stage.name!r} comes before and lacks {missing} block(s)")
    return ledger.read_stage(stage.name)


def _check_step(stages: tuple[Stage, ...]) -> None:
    names = {stage.name for stage in stages}
    if len(names) < len(stages):
        listed = ", ".join(stage.name for stage in stages)
        raise InputError(f"stages of one step need different names, these are {listed}")
    for stage in stages:
        for source in stage.inputs.values():
            if isinstance(source, StageRef) and source.stage in names:
                raise InputError(
                    f"stage {stage.name!r} reads {source.stage!r} of the same step; yield it later"
                )


@dataclass(frozen=True, slots=True)
class _StageFiller:
    """Fills the stages of a step until the ledger returns exactly what was written.

    Blocks that failed, or that the ledger has lost, run again in the next round.
    """

    ledger: Ledger
    engine: Engine
    block_seconds: float
    observers: Sequence[Observer]
    memory: WorkerMemory | None
    opened: dict[str, StageRun] = field(default_factory=dict)  # Not yet complete
    unread: dict[str, Stage] = field(default_factory=dict)  # Filled, but read by later stages only

    def emit(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)

    def __call__(self, stages: tuple[Stage, ...]) -> tuple[Filled, ...]:
        _check_step(stages)
        stage_runs = self._open(stages)
        by_name = {stage_run.stage.name: stage_run for stage_run in stage_runs}
        for repairs_left in reversed(range(1 + MAX_REPAIRS)):
            try:
                while any(stage_run.todo() for stage_run in stage_runs):
                    tasks = chain.from_iterable(stage_run.tasks() for stage_run in stage_runs)
                    n_results = 0
                    with closing(self.engine(tasks)) as results:
                        for n_results, result in enumerate(results, 1):  # noqa: B007
                            self._record(by_name, result)
                    if not n_results:
                        raise InterruptedRunError("the engine returned no result for its blocks")
            except DamagedStoreError:
                if not repairs_left or not self._repair_unread():
                    raise
                for stage_run in stage_runs:
                    stage_run.reopen()
                continue
            _raise_failures(stage_runs)
            complete = self._read_complete(stage_runs, repairs_left)
            if complete is not None:
                for stage_run in stage_runs:
                    self.opened.pop(stage_run.stage.name).close()
                    seconds = time.perf_counter() - stage_run.started
                    self.emit(StageCompleted(stage_run.stage.name, seconds))
                return complete
        names = ", ".join(by_name)
        raise DamagedStoreError(f"stage {names}: the store does not keep the blocks written to it")

    def _open(self, stages: Iterable[Stage]) -> list[StageRun]:
        is_shared = getattr(self.engine, "is_shared", False)
        count_threads = getattr(self.engine, "count_threads", None)
        stage_runs = [
            StageRun(
                stage,
                self.ledger,
                self.block_seconds,
                is_shared=is_shared,
                count_threads=count_threads,
            )
            for stage in stages
        ]
        if len(stage_runs) == 1:
            stage_runs[0].allow_local_execution()
        for stage_run in stage_runs:
            stage_run.check_memory(self.memory)
            self.opened[stage_run.stage.name] = stage_run
            self.emit(stage_run.opened())
        return stage_runs

    def close(self) -> None:
        """Stop reading stages that are not complete."""
        for stage_run in self.opened.values():
            stage_run.close()

    def _record(self, stage_runs: Mapping[str, StageRun], result: BundleResult) -> None:
        if result.warning:
            self.emit(Warned(result.warning))
        is_warning = not (result.filled or result.failed)
        if is_warning and result.stage not in stage_runs:
            return  # a worker died at an earlier stage, as is known only now
        for event in stage_runs[result.stage].record(result):
            self.emit(event)

    def _repair_unread(self) -> bool:
        """Fill again what readers of earlier stages deleted as damaged; False if there is nothing.

        Stages that the recipe reads were verified when they were read.
        """
        damaged = tuple(
            stage
            for name, stage in self.unread.items()
            if len(self.ledger.done(name)) < len(self.ledger.tiling(name))
        )
        if damaged:
            self(damaged)
        return bool(damaged)

    def _read_complete(
        self, stage_runs: list[StageRun], repairs_left: int
    ) -> tuple[Filled, ...] | None:
        """Read the filled stages; None if blocks of them have to be filled again."""
        complete: list[Filled] = []
        for stage_run in stage_runs:
            stage_run.finish()
            filled: Filled = {}
            stage = stage_run.stage
            try:
                if stage.is_read_by_recipe:
                    filled = self.ledger.read_stage(stage.name, stage_run.reader)
                else:
                    self.unread[stage.name] = stage
            except DamagedStoreError:
                if not repairs_left:
                    raise
                stage_run.reopen()
                self.emit(stage_run.opened())
                continue
            # Another process may have found the damage first and deleted the block.
            stage_run.refresh()
            if not stage_run.todo():
                complete.append(filled)
        return tuple(complete) if len(complete) == len(stage_runs) else None


def _raise_failures(stage_runs: list[StageRun]) -> None:
    lines: list[str] = []
    call, trace = "", ""
    for stage_run in stage_runs:
        exhausted = stage_run.exhausted()
        for block, failure in sorted(exhausted.items()):
            where = f"stage {stage_run.stage.name!r}, block {block}"
            tries = stage_run.attempts[block]
            lines.append(f"{where}, tried {tries} times: {failure.error}")
            call = call or f"recompute_block(recipe, ledger, {stage_run.stage.name!r}, {block})"
            trace = trace or failure.traceback
    if lines:
        omitted = [f"… {len(lines)} in all"] if len(lines) > MAX_LISTED_FAILURES else []
        shown = "\n  ".join(lines[:MAX_LISTED_FAILURES] + omitted)
        raise BlockFailedError(
            f"{len(lines)} block(s) failed; all others are filled.\n  {shown}\n"
            f"To repeat one alone: iitdask.run.execute.{call}\n{trace}".rstrip()
        )
