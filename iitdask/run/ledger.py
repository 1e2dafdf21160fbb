"""What a run asks of the place where its blocks are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from iitdask.run.job import Setting
    from iitdask.run.plan import Block, Tiling
    from iitdask.theory.base import Answer, Stage, Stored

__all__ = ["Ledger"]

Array = np.ndarray[Any, np.dtype[Any]]


class Ledger(Protocol):
    """Keeps the blocks of stages, and knows which are filled.

    After `open`, stages go by their name.
    """

    @property
    def fingerprint(self) -> str:
        """What tells the study of this ledger from others."""
        ...

    def open(self, stage: Stage, block_seconds: float) -> Tiling:
        """Create a stage, or reopen it with the tiling it was created with.

        A stage whose lineage changed (its version, grid, variables or inputs) is
        wiped and tiled anew.
        """
        ...

    def lend(self, stage: Stage) -> Setting:
        """Make a stage's inputs reachable for workers, and say how to fill it."""
        ...

    def tiling(self, stage: str) -> Tiling:
        """Return how an opened stage is cut into blocks."""
        ...

    def done(self, stage: str) -> set[Block]:
        """Blocks that are filled."""
        ...

    def fill(self, stage: str, block: Block, arrays: Mapping[str, Array], seconds: float) -> None:
        """Keep the arrays of a block and tick it."""
        ...

    def ticks(self, stage: str, blocks: Iterable[Block] | None = None) -> dict[Block, float]:
        """Seconds that filled blocks took; of all, or of some."""
        ...

    def arrays(self, stage: str, block: Block) -> dict[str, Array]:
        """Return the arrays of one filled block, checked."""
        ...

    def read(self, stored: Stored) -> Array:
        """Return one variable of a filled stage, checked."""
        ...

    def size(self, stored: Stored) -> int:
        """Bytes of one variable."""
        ...

    def answer(self, stage: str) -> Answer:
        """Return the variables of a stage by name, every filled block checked.

        Damaged blocks are unticked and named by a DamagedStoreError.
        """
        ...

    def verify(self, stage: str) -> list[Block]:
        """Find filled blocks that no longer hold what was written."""
        ...

    def forget(self, stage: str, blocks: Iterable[Block]) -> None:
        """Untick blocks and drop what they hold."""
        ...
