"""Drive a recipe: fill the stages it asks for until it returns its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.errors import (
    BlockFailedError,
    DamagedStoreError,
    InputError,
    InterruptedRunError,
    StoreError,
)
from iitdask.run.events import Event, Observer, Remarked, RunFinished, StageFilled
from iitdask.run.filling import Filling
from iitdask.run.worker import compute_block
from iitdask.theory.base import Answer, Stage, Stages, Stored

if TYPE_CHECKING:
    import xarray as xr

    from iitdask.run.engines import Engine
    from iitdask.run.ledger import Ledger
    from iitdask.run.plan import Block

__all__ = ["drive", "execute", "repeat_block"]

Array = np.ndarray[Any, np.dtype[Any]]
Tell = Callable[[Event], None]

REPAIRS = 3
"""How often blocks found damaged are filled anew before the store is given up."""
SHOWN = 20
"""Failed blocks an error lists."""


def execute(
    recipe: Stages,
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

    def fill(stages: tuple[Stage, ...]) -> tuple[Answer, ...]:
        fillings = [Filling(stage, ledger, block_seconds) for stage in _checked(stages)]
        if len(fillings) == 1:
            fillings[0].alone()
        for filling in fillings:
            filling.refuse_beyond(memory)
            tell(filling.opened())
        return _filled(fillings, ledger, engine, tell)

    result = drive(recipe, fill)
    tell(RunFinished(ledger.fingerprint, time.perf_counter() - started))
    return result


def repeat_block(recipe: Stages, ledger: Ledger, stage: str, block: Block) -> Mapping[str, Array]:
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
        answer: tuple[Answer, ...] | None = None
        while True:
            try:
                stages = recipe.send(answer)  # type: ignore[arg-type]
            except StopIteration:
                raise InputError(f"the recipe asks for no stage {stage!r}") from None
            for each in stages:
                if each.name == stage:
                    return _alone(each, ledger, block)
            answer = tuple(_complete(each, ledger) for each in stages)


def _alone(stage: Stage, ledger: Ledger, block: Block) -> dict[str, Array]:
    tiling = ledger.open(stage, 5.0)
    if block not in tiling:
        counts = " x ".join(map(str, tiling.counts))
        raise InputError(f"stage {stage.name!r} has {counts} blocks, none is {block}")
    return compute_block(ledger.lend(stage), block)


def _complete(stage: Stage, ledger: Ledger) -> Answer:
    missing = len(ledger.open(stage, 5.0)) - len(ledger.done(stage.name))
    if missing and stage.until is None:
        raise StoreError(f"stage {stage.name!r} comes before and lacks {missing} block(s)")
    return ledger.answer(stage.name)


def drive(recipe: Stages, fill: Callable[[tuple[Stage, ...]], tuple[Answer, ...]]) -> xr.DataTree:
    """Answer a recipe with what the stages it asks for were filled with; what it returns."""
    with closing(recipe):
        answer: tuple[Answer, ...] | None = None
        while True:
            try:
                stages = recipe.send(answer)  # type: ignore[arg-type]
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            answer = None  # not held while the next stages are filled
            answer = fill(stages)


def _checked(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    names = {stage.name for stage in stages}
    if len(names) < len(stages):
        listed = ", ".join(stage.name for stage in stages)
        raise InputError(f"stages of one step need different names, these are {listed}")
    for stage in stages:
        for given in stage.inputs.values():
            if isinstance(given, Stored) and given.stage in names:
                raise InputError(
                    f"stage {stage.name!r} reads {given.stage!r} of the same step; yield it later"
                )
    return stages


def _filled(
    fillings: list[Filling], ledger: Ledger, engine: Engine, tell: Tell
) -> tuple[Answer, ...]:
    """Fill stages until what the ledger gives back is what was put there."""
    for attempt in range(1 + REPAIRS):
        _run(fillings, engine, tell)
        _raise_failures(fillings)
        answers: list[Answer] = []
        for filling in fillings:
            filling.finish()
            try:
                found = ledger.answer(filling.stage.name)
            except DamagedStoreError:
                if attempt == REPAIRS:
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
        tell(StageFilled(filling.stage.name, filling.seconds()))
    return tuple(answers)


def _run(fillings: list[Filling], engine: Engine, tell: Tell) -> None:
    """Run what is to be filled, blocks that failed once more in the next round."""
    by_name = {filling.stage.name: filling for filling in fillings}
    while any(filling.todo() for filling in fillings):
        heard = False
        jobs = chain.from_iterable(filling.jobs() for filling in fillings)
        with closing(engine(jobs)) as receipts:
            for receipt in receipts:
                heard = True
                if receipt.remark:
                    tell(Remarked(receipt.remark))
                for event in by_name[receipt.stage].take(receipt):
                    tell(event)
        if not heard:
            raise InterruptedRunError("the engine gave no receipt for the blocks it was given")


def _raise_failures(fillings: list[Filling]) -> None:
    lines: list[str] = []
    call, trace = "", ""
    for filling in fillings:
        given_up = filling.given_up()
        for block, failure in sorted(given_up.items()):
            where = f"stage {filling.stage.name!r}, block {block}"
            tries = filling.attempts[block]
            lines.append(f"{where}, tried {tries} times: {failure.error}")
            call = call or f"repeat_block(recipe, ledger, {filling.stage.name!r}, {block})"
            trace = trace or failure.traceback
    if lines:
        shown = "\n  ".join(
            lines[:SHOWN] + ([f"… {len(lines)} in all"] if len(lines) > SHOWN else [])
        )
        raise BlockFailedError(
            f"{len(lines)} block(s) failed; all others are filled.\n  {shown}\n"
            f"To repeat one alone: iitdask.run.execute.{call}\n{trace}".rstrip()
        )
