"""Tiling of a stage into blocks, bundling of blocks into tasks, and calibration of the cost model.

A tiling depends on the stage and the target seconds of a block alone, never on how many workers
there are: the same study gives the same blocks everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import numpy as np

from iitdask.theory.stage import Grid, Region, Stage, StageRef

Block = tuple[int, ...]  # Coordinates of a block: its position along each axis of the grid

MAX_STAGE_BLOCKS = 20_000  # Each block is a file per variable, and clusters count files
MIN_SPREAD_SECONDS = 0.2  # Seconds from which a stage is worth spreading over workers
MIN_BLOCK_SECONDS = 0.02  # Seconds below which a block is not split merely for being spread
MAX_BLOCK_BYTES = 32 * 2**20  # Bytes a block may fill before it is split whatever its cost
MIN_MAPPED_BYTES = 2**27  # Bytes of shared arrays below which every process makes its own
TOLERANCE = 1.1  # Factor by which the longest block of a coarser tiling may exceed that of the best
MIN_BUNDLES = 32  # Bundles to keep while work remains, so that workers end together
BUNDLES_A_THREAD = 2  # The same on a cluster whose threads are known: a bundle costs messages
LEAST_BUNDLES = 4  # The same on the smallest: more workers may join
LAST_BUNDLE_DIVISOR = 8  # The last bundles of a stage are at least so much shorter than its first
MIN_COMMON_BUNDLES = 256  # Bundles fixed beforehand, for however many processes
MIN_BUNDLE_SECONDS = 0.05  # Seconds below which bundles are not made smaller for balance
BLOCK_OVERHEAD_SECONDS = 0.005
"""Seconds a block costs however little it computes: a few small files are written."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """A grid cut into equal blocks; iterating gives the blocks in grid order."""

    grid: Grid
    chunks: tuple[int, ...]  # Cells of a block along each axis; the last of an axis may be shorter

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.grid.shape, self.chunks, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def __iter__(self) -> Iterator[Block]:
        return product(*map(range, self.counts))

    def __contains__(self, block: object) -> bool:
        counts = self.counts
        return (
            isinstance(block, tuple)
            and len(block) == len(counts)
            and all(0 <= i < n for i, n in zip(block, counts, strict=True))
        )

    def region(self, block: Block) -> Region:
        """Return the cells of the grid that a block covers."""
        return tuple(
            slice(i * c, min((i + 1) * c, n))
            for i, c, n in zip(block, self.chunks, self.grid.shape, strict=True)
        )


def tile(stage: Stage, block_seconds: float) -> Tiling:
    """Cut a stage into blocks of about `block_seconds` predicted seconds.

    Axes that are cut first are cut into single cells. Then the grid is halved, each time along the
    axis that shortens its most expensive block most, until that block is short and small enough.
    Chunks are thus powers of two (or the whole axis), and blocks are aligned to them.
    """
    axes = zip(stage.grid.dims, stage.grid.shape, strict=True)
    first = (1 if dim in stage.cut_first else max(n, 1) for dim, n in axes)
    tiling = Tiling(stage.grid, tuple(first))
    if not len(tiling):
        return tiling
    total = sum(float(stage.cost(tiling.region(block))) for block in tiling)
    target, shortest = _target_seconds(total, block_seconds, stage.min_blocks)
    tried: list[tuple[float, Tiling]] = []
    while True:
        max_seconds, block = max((float(stage.cost(tiling.region(b))), b) for b in tiling)
        tried.append((max_seconds, tiling))
        is_large = _block_bytes(stage, tiling) > MAX_BLOCK_BYTES
        if max_seconds <= target and not is_large:
            break
        finer = _split_best_axis(stage, tiling, block)
        if finer is None or len(finer) > MAX_STAGE_BLOCKS:
            break
        if not is_large and total / len(finer) < shortest:
            break
        tiling = finer
    return _coarsest_adequate(stage, tried, target)


def _target_seconds(total: float, block_seconds: float, min_blocks: int) -> tuple[float, float]:
    """Return the target seconds of a block, and the average below which none is split."""
    # A stage worth spreading gets blocks shorter than the target, but not so short that
    # handing them out costs more than filling them.
    shortest = min(MIN_BLOCK_SECONDS, block_seconds / 2)
    if total < MIN_SPREAD_SECONDS:
        return block_seconds, shortest
    return min(block_seconds, max(total / min_blocks, MIN_BLOCK_SECONDS)), shortest


def cell_bytes(stage: Stage) -> int:
    """Return the bytes that one cell of a stage's grid takes in all its variables."""
    return sum(
        math.prod(n for _, n in v.inner) * np.dtype(v.dtype).itemsize for v in stage.variables
    )


def _block_bytes(stage: Stage, tiling: Tiling) -> int:
    return math.prod(tiling.chunks) * cell_bytes(stage)


def _split_best_axis(stage: Stage, tiling: Tiling, block: Block) -> Tiling | None:
    """Halve the chunks of the axis that shortens a block most; None if no axis can be halved."""
    region, grid = tiling.region(block), tiling.grid
    best: tuple[float, Tiling] | None = None
    for axis, (dim, chunk) in enumerate(zip(grid.dims, tiling.chunks, strict=True)):
        if dim in grid.unsplit or chunk == 1:
            continue
        half = 1 << (chunk - 1).bit_length() - 1
        part = region[axis]
        middle = min(part.start + half, part.stop)
        sides = (slice(part.start, middle), slice(middle, part.stop))
        cost = max(
            float(stage.cost((*region[:axis], side, *region[axis + 1 :])))
            for side in sides
            if side.start < side.stop
        )
        if best is None or cost < best[0]:
            chunks = (*tiling.chunks[:axis], half, *tiling.chunks[axis + 1 :])
            best = cost, Tiling(grid, chunks)
    return None if best is None else best[1]


def _coarsest_adequate(stage: Stage, tried: list[tuple[float, Tiling]], target: float) -> Tiling:
    """Return the first tiling about as good as the best.

    Splitting further may never shorten a block that one expensive cell fills.
    """
    small = [(s, t) for s, t in tried if _block_bytes(stage, t) <= MAX_BLOCK_BYTES] or tried[-1:]
    adequate = max(target, TOLERANCE * min(seconds for seconds, _ in small))
    return next(tiling for seconds, tiling in small if seconds <= adequate)


def bundles_to_keep(threads: int) -> int:
    """Return how many bundles to keep while work remains, for so many threads of a cluster.

    0 where their number is not known, or where this process computes.
    """
    return max(BUNDLES_A_THREAD * threads, LEAST_BUNDLES) if threads else MIN_BUNDLES


def plan_bundles(
    stage: Stage,
    tiling: Tiling,
    done: Container[Block],
    seconds_per_cost: float,
    block_seconds: float,
    *,
    min_bundles: int = MIN_BUNDLES,
    are_shrinking: bool = True,
) -> list[tuple[Block, ...]]:
    """Bundle the blocks that a task fills one after the other, the most expensive first.

    A bundle takes at most a share of what is left, so that the last ones are short and workers
    end together; unless they `are_shrinking`, all have one length.
    """
    divisor = LAST_BUNDLE_DIVISOR * max(1.0, MIN_BUNDLES / min_bundles)
    todo = [(float(stage.cost(tiling.region(b))), b) for b in tiling if b not in done]
    if stage.until is None:
        todo.sort(key=lambda pair: -pair[0])
    seconds = [cost * seconds_per_cost + BLOCK_OVERHEAD_SECONDS for cost, _ in todo]
    left = sum(seconds)
    first = budget = min(block_seconds, max(left / min_bundles, MIN_BUNDLE_SECONDS))
    bundles: list[tuple[Block, ...]] = []
    blocks: list[Block] = []
    spent = 0.0
    for (_, block), length in zip(todo, seconds, strict=True):
        if blocks and spent + length > budget:
            bundles.append(tuple(blocks))
            left -= spent
            if are_shrinking:
                least = max(first / divisor, MIN_BUNDLE_SECONDS)
                budget = min(first, max(left / min_bundles, least))
            blocks, spent = [], 0.0
        blocks.append(block)
        spent += length
    return [*bundles, tuple(blocks)] if blocks else bundles


@dataclass(slots=True, eq=False)
class CachedCost:
    """A cost model that computes no region twice."""

    cost: Callable[[Region], float]
    computed: dict[tuple[tuple[int, int], ...], float] = field(default_factory=dict)

    def __call__(self, region: Region) -> float:
        """Return the predicted seconds of a region."""
        key = tuple((part.start, part.stop) for part in region)
        if key not in self.computed:
            self.computed[key] = float(self.cost(region))
        return self.computed[key]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measured and predicted seconds of the blocks filled so far."""

    seconds: float = 0.0
    cost: float = 0.0  # Predicted seconds of the measured blocks

    @property
    def seconds_per_cost(self) -> float:
        """Measured seconds per predicted second; 1 while nothing was measured.

        The ratio of sums weighs blocks by their seconds, so that a thousand trivial blocks do
        not outweigh one that matters.
        """
        return self.seconds / self.cost if self.seconds > 0 and self.cost > 0 else 1.0

    def updated(self, seconds: float, cost: float) -> Calibration:
        """Return the calibration with more blocks in it."""
        return Calibration(self.seconds + seconds, self.cost + cost)


def calibrate(stage: Stage, tiling: Tiling, ticks: Mapping[Block, float]) -> Calibration:
    """Compare the seconds of filled blocks with what the stage predicted."""
    pairs = [(s, float(stage.cost(tiling.region(b)))) for b, s in ticks.items()]
    # Blocks predicted to cost nothing tell nothing about the seconds of a predicted second.
    priced = [(seconds, cost) for seconds, cost in pairs if cost > 0]
    return Calibration(sum(seconds for seconds, _ in priced), sum(cost for _, cost in priced))


PROCESS_BYTES = 280 * 10**6
"""Bytes of a process with the libraries and the kernels of IIT 4.0 loaded, as measured."""


class StageMemory(NamedTuple):
    """Bytes that a process needs to fill blocks of a stage, beside libraries."""

    shared: int  # Arrays that all processes of a machine have in common
    own: int  # Inputs that each process holds
    block: int  # Further bytes of each thread: a block, its compressed copy and scratch

    def process(self, threads: int = 1) -> int:
        """Return the bytes of a process, libraries and shared arrays included."""
        return PROCESS_BYTES + self.shared + self.own + threads * self.block


def stage_memory(
    stage: Stage, tiling: Tiling, input_bytes: Mapping[str, int], *, is_stored: bool
) -> StageMemory:
    """Return what a process needs to fill blocks of a stage.

    Parameters
    ----------
    stage, tiling : the stage, and how it is cut
    input_bytes : of each input
    is_stored : whether earlier stages are in a store, and read from there
    """
    own, shared = sum(input_bytes.values()), 0
    if stage.shared is not None:
        arrays = {
            name: np.asarray(stage.inputs[name])
            for name in stage.shared.uses
            if not isinstance(stage.inputs[name], StageRef)
        }
        made = sum(8 * math.prod(shape) for shape in stage.shared.shapes(arrays).values())
        shared = made if is_stored and made >= MIN_MAPPED_BYTES else 0
        own += made - shared
        if shared:  # what they are made of has gone when they are mapped
            source = input_bytes[stage.shared.source]
            own += max(source, made) - made - source
    cells = math.prod(map(min, tiling.chunks, tiling.grid.shape))
    return StageMemory(shared, own, 2 * cells * cell_bytes(stage) + stage.scratch)
