"""Execution of a recipe: fill the stages it asks for until it returns its result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

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
from iitdask.run.ledger import Ledger
from iitdask.run.plan import (
    Block,
    CachedCost,
    Calibration,
    calibrate,
    plan_bundles,
    worker_block_bytes,
)
from iitdask.run.task import BlockError, BundleResult, BundleTask, StageContext
from iitdask.run.worker import compute_block
from iitdask.theory.stage import Filled, Recipe, Stage, StageRef, run_recipe

if TYPE_CHECKING:
    import xarray as xr

    from iitdask.run.engines import Engine

__all__ = [
    "StageRun",
    "execute",
    "repeat_block",
]

MAX_ATTEMPTS = 3
"""How often a block is tried."""
CALIBRATION_BLOCKS = 256
"""Ticks of an earlier run that are read to learn how fast it went."""
LOCAL_SECONDS = 0.02
"""Predicted seconds up to which a stage is filled by the driver itself: as long as it takes
to send for it."""
LOCAL_INPUT_BYTES = 64 * 2**20
"""Bytes of inputs up to which it is."""
REPLAN_FACTOR = 2.0
"""Factor by which blocks may be slower or faster than planned before bundles are made anew."""


class StageRun:
    """The blocks of one stage, from opening to the last receipt.

    The only object of a run that changes: everything it knows beyond the ledger
    (attempts, failures, speed) may be lost at any time.
    """

    def __init__(self, stage: Stage, ledger: Ledger, block_seconds: float) -> None:
        self.stage = stage = replace(stage, cost=CachedCost(stage.cost))
        self.ledger = ledger
        self.block_seconds = block_seconds
        self.started = time.perf_counter()
        self.tiling = ledger.open(stage, block_seconds)
        self.attempts: Counter[Block] = Counter()
        self.failures: dict[Block, BlockError] = {}
        self.setting: StageContext | None = None
        self.fit = Calibration()
        self.near = False
        self.reopen()

    def reopen(self) -> None:
        """Read from the ledger what is filled, and how fast that went."""
        self.look()
        if self.done and self.todo():
            some = sorted(self.done)[:: max(1, len(self.done) // CALIBRATION_BLOCKS)]
            self.fit = calibrate(self.stage, self.tiling, self.ledger.ticks(self.stage.name, some))

    def look(self) -> None:
        """Read from the ledger what is filled."""
        self.done = self.ledger.done(self.stage.name)
        self.stop = self._first_enough()

    def todo(self) -> list[Block]:
        """Blocks still to be filled, in grid order; those given up are not among them."""
        given_up = self.exhausted()
        last = self.stop
        return [
            block
            for block in self.tiling
            if block not in self.done and block not in given_up and (last is None or block < last)
        ]

    def exhausted(self) -> dict[Block, BlockError]:
        """Blocks that failed as often as they may and that the result needs."""
        return {
            block: failure
            for block, failure in self.failures.items()
            if self.attempts[block] >= MAX_ATTEMPTS
            and block not in self.done
            and (self.stop is None or block < self.stop)
        }

    def opened(self) -> StageOpened:
        """Say what lies ahead."""
        todo = self.todo()
        return StageOpened(self.stage.name, len(self.tiling), len(todo), self._cost(todo))

    def check_memory(self, memory: int | None) -> None:
        """Raise when a block would not fit into a worker's memory."""
        if memory is None or not self.todo():
            return
        inputs = self._input_bytes()
        needed = worker_block_bytes(self.stage, self.tiling, inputs)
        if needed > memory:
            raise MemoryRefusedError(
                f"a block of stage {self.stage.name!r} needs {needed / 1e9:.3g} GB "
                f"({inputs / 1e9:.3g} GB of it inputs), a worker has {memory / 1e9:.3g} GB; "
                "give workers more memory or fewer threads"
            )

    def alone(self) -> None:
        """Take note that no other stage is filled at the same time: a short one stays here."""
        predicted = self._cost(list(self.tiling)) * self.fit.seconds_per_cost
        self.near = predicted <= LOCAL_SECONDS and self._input_bytes() <= LOCAL_INPUT_BYTES

    def jobs(self) -> Iterator[BundleTask]:
        """Hand out what is to be filled, as long as it is asked for."""
        todo = self.todo()
        if not todo:
            return
        self.setting = self.setting or self.ledger.worker_context(self.stage)
        again = [block for block in todo if block in self.failures]
        out = self.done | set(again) | set(self.exhausted())
        # Alone, so that a block that kills its worker takes no other with it.
        yield from (BundleTask(self.setting, (block,)) for block in again)
        while True:
            planned = self.fit.seconds_per_cost
            for bundle in plan_bundles(self.stage, self.tiling, out, planned, self.block_seconds):
                if self.stop is not None and bundle.blocks[0] > self.stop:
                    return
                out.update(bundle.blocks)
                yield BundleTask(self.setting, bundle.blocks, self.near)
                if not 1 / REPLAN_FACTOR < self.fit.seconds_per_cost / planned < REPLAN_FACTOR:
                    break
            else:
                return

    def take(self, receipt: BundleResult) -> Iterator[Event]:
        """Book a receipt; one without blocks says that others may have filled some."""
        name = self.stage.name
        if not receipt.filled and not receipt.failed:
            self.look()
        seconds = sum(filled.seconds for filled in receipt.filled)
        for filled in receipt.filled:
            if filled.arrays is not None:
                self.ledger.fill(name, filled.block, filled.arrays, filled.seconds)
            self.done.add(filled.block)
            if filled.meets_until and (self.stop is None or filled.block < self.stop):
                self.stop = filled.block
        if receipt.filled:
            cost = self._cost([filled.block for filled in receipt.filled])
            self.fit = self.fit.more(seconds, cost)
            yield BlocksFilled(name, len(receipt.filled), seconds, cost, receipt.worker)
        for failure in receipt.failed:
            self.failures[failure.block] = failure
            self.attempts[failure.block] += 1
            if self.attempts[failure.block] == MAX_ATTEMPTS:
                yield BlockFailed(name, failure.block, failure.error, MAX_ATTEMPTS)

    def finish(self) -> None:
        """Drop blocks behind the one that was enough: which ones ran is a matter of luck."""
        if self.stop is not None:
            beyond = {block for block in self.done if block > self.stop}
            self.ledger.delete_blocks(self.stage.name, beyond)
            self.done -= beyond

    def seconds(self) -> float:
        """Wall seconds since the stage was opened."""
        return time.perf_counter() - self.started

    def _input_bytes(self) -> int:
        return sum(
            self.ledger.size(given) if isinstance(given, StageRef) else given.nbytes
            for given in self.stage.inputs.values()
        )

    def _cost(self, blocks: list[Block]) -> float:
        return sum(float(self.stage.cost(self.tiling.region(block))) for block in blocks)

    def _first_enough(self) -> Block | None:
        if self.stage.until is None:
            return None
        for block in sorted(self.done):
            try:
                if self.stage.until(self.ledger.arrays(self.stage.name, block)):
                    return block
            except DamagedStoreError:
                self.done.discard(block)
        return None


Array = np.ndarray[Any, np.dtype[Any]]
Emit = Callable[[Event], None]

MAX_REPAIRS = 3
"""How often blocks found damaged are filled anew before the store is given up."""
MAX_LISTED_FAILURES = 20
"""Failed blocks an error lists."""


def execute(
    recipe: Recipe,
    ledger: Ledger,
    engine: Engine,
    *,
    block_seconds: float = 5.0,
    observers: Sequence[Observer] = (),
    memory: int | None = None,
) -> xr.DataTree:
    """Run a recipe, leaving out whatever the ledger already holds.

    Parameters
    ----------
    recipe : Stages
        What is to be computed.
    ledger : Ledger
        Where the blocks are kept.
    engine : Engine
        Where the blocks are filled.
    block_seconds : float
        Wished seconds of a bundle. New stages are tiled by it; others keep theirs.
    observers : sequence of callable
        Called with every event, in order. What they raise stops the run.
    memory : int, optional
        Bytes that one block may take; a stage whose blocks need more is refused.

    Returns
    -------
    DataTree
        What the recipe returns.

    Raises
    ------
    BlockFailedError
        Blocks raised or killed their worker each time they were tried. All
        other blocks of the stages in hand are filled.
    MemoryRefusedError
        A block needs more than `memory`.
    StoreError
        The store cannot be written, or does not keep what is written to it.
    InterruptedRunError
        The cluster went away.
    """
    started = time.perf_counter()

    def tell(event: Event) -> None:
        for observer in observers:
            observer(event)

    def fill(stages: tuple[Stage, ...]) -> tuple[Filled, ...]:
        fillings = [StageRun(stage, ledger, block_seconds) for stage in _check_step(stages)]
        if len(fillings) == 1:
            fillings[0].alone()
        for filling in fillings:
            filling.check_memory(memory)
            tell(filling.opened())
        return _fill_until_verified(fillings, ledger, engine, tell)

    result = run_recipe(recipe, fill)
    tell(RunFinished(ledger.fingerprint, time.perf_counter() - started))
    return result


def repeat_block(recipe: Recipe, ledger: Ledger, stage: str, block: Block) -> Mapping[str, Array]:
    """Compute one block alone, here and now, letting its exception through.

    Parameters
    ----------
    recipe : Stages
        The recipe of the run that failed, made anew.
    ledger : Ledger
        The ledger of that run; stages before the one in question must be filled.
    stage : str
        Name of the stage.
    block : tuple of int
        Block coordinates, as BlockFailedError names them.

    Returns
    -------
    mapping of str to ndarray
        The arrays of the block; the ledger is not ticked.
    """
    with closing(recipe):
        answer: tuple[Filled, ...] | None = None
        while True:
            try:
                stages = recipe.send(answer)  # type: ignore[arg-type]
            except StopIteration:
                raise InputError(f"the recipe asks for no stage {stage!r}") from None
            for each in stages:
                if each.name == stage:
                    return _recompute(each, ledger, block)
            answer = tuple(_read_complete_stage(each, ledger) for each in stages)


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
    return ledger.answer(stage.name)


def _check_step(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    names = {stage.name for stage in stages}
    if len(names) < len(stages):
        listed = ", ".join(stage.name for stage in stages)
        raise InputError(f"stages of one step need different names, these are {listed}")
    for stage in stages:
        for given in stage.inputs.values():
            if isinstance(given, StageRef) and given.stage in names:
                raise InputError(
                    f"stage {stage.name!r} reads {given.stage!r} of the same step; yield it later"
                )
    return stages


def _fill_until_verified(
    fillings: list[StageRun], ledger: Ledger, engine: Engine, tell: Emit
) -> tuple[Filled, ...]:
    """Fill stages until what the ledger gives back is what was put there."""
    for attempt in range(1 + MAX_REPAIRS):
        _run_rounds(fillings, engine, tell)
        _raise_failures(fillings)
        answers: list[Filled] = []
        for filling in fillings:
            filling.finish()
            try:
                found = ledger.answer(filling.stage.name)
            except DamagedStoreError:
                if attempt == MAX_REPAIRS:
                    raise
                filling.reopen()
                tell(filling.opened())
                continue
            # Another process may have found damage first, and unticked it.
            filling.look()
            if not filling.todo():
                answers.append(found)
        if len(answers) == len(fillings):
            break
    for filling in fillings:
        tell(StageCompleted(filling.stage.name, filling.seconds()))
    return tuple(answers)


def _run_rounds(fillings: list[StageRun], engine: Engine, tell: Emit) -> None:
    """Run what is to be filled, blocks that failed once more in the next round."""
    by_name = {filling.stage.name: filling for filling in fillings}
    while any(filling.todo() for filling in fillings):
        heard = False
        jobs = chain.from_iterable(filling.jobs() for filling in fillings)
        with closing(engine(jobs)) as receipts:
            for receipt in receipts:
                heard = True
                if receipt.warning:
                    tell(Warned(receipt.warning))
                for event in by_name[receipt.stage].take(receipt):
                    tell(event)
        if not heard:
            raise InterruptedRunError("the engine gave no receipt for the blocks it was given")


def _raise_failures(fillings: list[StageRun]) -> None:
    lines: list[str] = []
    call, trace = "", ""
    for filling in fillings:
        given_up = filling.exhausted()
        for block, failure in sorted(given_up.items()):
            where = f"stage {filling.stage.name!r}, block {block}"
            tries = filling.attempts[block]
            lines.append(f"{where}, tried {tries} times: {failure.error}")
            call = call or f"repeat_block(recipe, ledger, {filling.stage.name!r}, {block})"
            trace = trace or failure.traceback
    if lines:
        shown = "\n  ".join(
            lines[:MAX_LISTED_FAILURES]
            + ([f"… {len(lines)} in all"] if len(lines) > MAX_LISTED_FAILURES else [])
        )
        raise BlockFailedError(
            f"{len(lines)} block(s) failed; all others are filled.\n  {shown}\n"
            f"To repeat one alone: iitdask.run.execute.{call}\n{trace}".rstrip()
        )
