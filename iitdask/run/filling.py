"""One stage on its way: what is filled, what is out, what failed."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from iitdask.errors import DamagedStoreError, MemoryRefusedError
from iitdask.run.cost import Fit, Priced, block_bytes, fit
from iitdask.run.events import BlockFailed, BlocksFilled, Event, StageOpened
from iitdask.run.job import Failure, Job, Receipt, Setting
from iitdask.run.plan import Block, plan
from iitdask.theory.base import Stage, Stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iitdask.run.ledger import Ledger

__all__ = ["Filling"]

ATTEMPTS = 3
"""How often a block is tried."""
SAMPLE = 256
"""Ticks of an earlier run that are read to learn how fast it went."""
NEAR = 0.02
"""Predicted seconds up to which a stage is filled by the driver itself: as long as it takes
to send for it."""
NEAR_BYTES = 64 * 2**20
"""Bytes of inputs up to which it is."""
DRIFT = 2.0
"""Factor by which blocks may be slower or faster than planned before bundles are made anew."""


class Filling:
    """The blocks of one stage, from opening to the last receipt.

    The only object of a run that changes: everything it knows beyond the ledger
    (attempts, failures, speed) may be lost at any time.
    """

    def __init__(self, stage: Stage, ledger: Ledger, block_seconds: float) -> None:
        self.stage = stage = replace(stage, cost=Priced(stage.cost))
        self.ledger = ledger
        self.block_seconds = block_seconds
        self.started = time.perf_counter()
        self.tiling = ledger.open(stage, block_seconds)
        self.attempts: Counter[Block] = Counter()
        self.failures: dict[Block, Failure] = {}
        self.setting: Setting | None = None
        self.fit = Fit()
        self.near = False
        self.reopen()

    def reopen(self) -> None:
        """Read from the ledger what is filled, and how fast that went."""
        self.look()
        if self.done and self.todo():
            some = sorted(self.done)[:: max(1, len(self.done) // SAMPLE)]
            self.fit = fit(self.stage, self.tiling, self.ledger.ticks(self.stage.name, some))

    def look(self) -> None:
        """Read from the ledger what is filled."""
        self.done = self.ledger.done(self.stage.name)
        self.stop = self._first_enough()

    def todo(self) -> list[Block]:
        """Blocks still to be filled, in grid order; those given up are not among them."""
        given_up = self.given_up()
        last = self.stop
        return [
            block
            for block in self.tiling
            if block not in self.done and block not in given_up and (last is None or block < last)
        ]

    def given_up(self) -> dict[Block, Failure]:
        """Blocks that failed as often as they may and that the result needs."""
        return {
            block: failure
            for block, failure in self.failures.items()
            if self.attempts[block] >= ATTEMPTS
            and block not in self.done
            and (self.stop is None or block < self.stop)
        }

    def opened(self) -> StageOpened:
        """Say what lies ahead."""
        todo = self.todo()
        return StageOpened(self.stage.name, len(self.tiling), len(todo), self._cost(todo))

    def refuse_beyond(self, memory: int | None) -> None:
        """Raise when a block would not fit into a worker's memory."""
        if memory is None or not self.todo():
            return
        inputs = self._input_bytes()
        needed = block_bytes(self.stage, self.tiling, inputs)
        if needed > memory:
            raise MemoryRefusedError(
                f"a block of stage {self.stage.name!r} needs {needed / 1e9:.3g} GB "
                f"({inputs / 1e9:.3g} GB of it inputs), a worker has {memory / 1e9:.3g} GB; "
                "give workers more memory or fewer threads"
            )

    def alone(self) -> None:
        """Take note that no other stage is filled at the same time: a short one stays here."""
        predicted = self._cost(list(self.tiling)) * self.fit.per_cost
        self.near = predicted <= NEAR and self._input_bytes() <= NEAR_BYTES

    def jobs(self) -> Iterator[Job]:
        """Hand out what is to be filled, as long as it is asked for."""
        todo = self.todo()
        if not todo:
            return
        self.setting = self.setting or self.ledger.lend(self.stage)
        again = [block for block in todo if block in self.failures]
        out = self.done | set(again) | set(self.given_up())
        # Alone, so that a block that kills its worker takes no other with it.
        yield from (Job(self.setting, (block,)) for block in again)
        while True:
            planned = self.fit.per_cost
            for bundle in plan(self.stage, self.tiling, out, planned, self.block_seconds):
                if self.stop is not None and bundle.blocks[0] > self.stop:
                    return
                out.update(bundle.blocks)
                yield Job(self.setting, bundle.blocks, self.near)
                if not 1 / DRIFT < self.fit.per_cost / planned < DRIFT:
                    break
            else:
                return

    def take(self, receipt: Receipt) -> Iterator[Event]:
        """Book a receipt; one without blocks says that others may have filled some."""
        name = self.stage.name
        if not receipt.filled and not receipt.failed:
            self.look()
        seconds = sum(filled.seconds for filled in receipt.filled)
        for filled in receipt.filled:
            if filled.arrays is not None:
                self.ledger.fill(name, filled.block, filled.arrays, filled.seconds)
            self.done.add(filled.block)
            if filled.enough and (self.stop is None or filled.block < self.stop):
                self.stop = filled.block
        if receipt.filled:
            cost = self._cost([filled.block for filled in receipt.filled])
            self.fit = self.fit.more(seconds, cost)
            yield BlocksFilled(name, len(receipt.filled), seconds, cost, receipt.worker)
        for failure in receipt.failed:
            self.failures[failure.block] = failure
            self.attempts[failure.block] += 1
            if self.attempts[failure.block] == ATTEMPTS:
                yield BlockFailed(name, failure.block, failure.error, ATTEMPTS)

    def finish(self) -> None:
        """Drop blocks behind the one that was enough: which ones ran is a matter of luck."""
        if self.stop is not None:
            beyond = {block for block in self.done if block > self.stop}
            self.ledger.forget(self.stage.name, beyond)
            self.done -= beyond

    def seconds(self) -> float:
        """Wall seconds since the stage was opened."""
        return time.perf_counter() - self.started

    def _input_bytes(self) -> int:
        return sum(
            self.ledger.size(given) if isinstance(given, Stored) else given.nbytes
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
