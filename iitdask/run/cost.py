"""What a block takes: seconds as measured against the theory's model, and bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iitdask.run.plan import Block, Tiling
    from iitdask.theory.base import Region, Stage

__all__ = ["Fit", "Priced", "block_bytes", "fit", "seconds_left"]


@dataclass(slots=True, eq=False)
class Priced:
    """A cost model that works out no region twice."""

    cost: Callable[[Region], float]
    """The model."""
    known: dict[tuple[tuple[int, int], ...], float] = field(default_factory=dict)
    """What it said."""

    def __call__(self, region: Region) -> float:
        """Predicted seconds of a region."""
        key = tuple((part.start, part.stop) for part in region)
        if key not in self.known:
            self.known[key] = float(self.cost(region))
        return self.known[key]


@dataclass(frozen=True, slots=True)
class Fit:
    """Measured against predicted seconds of the blocks filled so far."""

    seconds: float = 0.0
    """Measured seconds."""
    cost: float = 0.0
    """Predicted seconds of the same blocks."""

    @property
    def per_cost(self) -> float:
        """Measured seconds per predicted second; 1 while nothing was measured.

        The ratio of sums weighs blocks by their length, so that a thousand
        trivial blocks do not drown one that matters.
        """
        return self.seconds / self.cost if self.seconds > 0 and self.cost > 0 else 1.0

    def more(self, seconds: float, cost: float) -> Fit:
        """Fit with more blocks in it."""
        return Fit(self.seconds + seconds, self.cost + cost)


def fit(stage: Stage, tiling: Tiling, ticks: Mapping[Block, float]) -> Fit:
    """Compare the seconds of filled blocks with what the stage predicted."""
    priced = [(s, float(stage.cost(tiling.region(b)))) for b, s in ticks.items()]
    # Blocks predicted to cost nothing say nothing about the price of a cost unit.
    known = [(seconds, cost) for seconds, cost in priced if cost > 0]
    return Fit(sum(seconds for seconds, _ in known), sum(cost for _, cost in known))


def block_bytes(stage: Stage, tiling: Tiling, inputs: int) -> int:
    """Bytes a worker needs to fill one block.

    Parameters
    ----------
    stage : Stage
        What is filled.
    tiling : Tiling
        Its blocks.
    inputs : int
        Bytes of the stage's inputs together.

    Returns
    -------
    int
        Inputs, the arrays of the largest block and the stage's scratch.
    """
    cells = math.prod(map(min, tiling.chunks, tiling.grid.shape))
    each = sum(math.prod(n for _, n in v.inner) * np.dtype(v.dtype).itemsize for v in stage.fills)
    return inputs + cells * each + stage.scratch


def seconds_left(cost: float, measured: Fit, threads: int) -> float:
    """Wall seconds until blocks of a predicted cost are filled by some threads."""
    return cost * measured.per_cost / max(threads, 1)
