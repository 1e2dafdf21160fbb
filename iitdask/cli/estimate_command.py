"""``iitdask plan`` and ``iitdask estimate``: stages, blocks and cost of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

from iitdask.cli.output import Workers, print_table
from iitdask.errors import BudgetRefusedError, InputError, quote
from iitdask.model.labels import join_labels, units_of_mask
from iitdask.model.system import Target
from iitdask.model.transition import Transition
from iitdask.result.formatting import bytes_text, seconds_text
from iitdask.run.estimate import Estimate, StageEstimate
from iitdask.study.run import estimate_job, job_from_study
from iitdask.study.spec import Study, read_study, require_worker_count
from iitdask.theory.iit4.mechanisms import group_masks
from iitdask.theory.stage import Region

DEFAULT_SHOWN_BLOCKS = 6
SHOWN_WORKER_COUNTS = (1, 8, 64, 512)
SHOWN_PROCESSES = (2, 8, 32)  # On one machine
STAGE_COLUMNS = ("stage", "blocks", "core time", "interval", "a worker needs", "basis")
DIRECTIONS = ("cause", "effect")
MASK_AXES = {"mechanism", "purview", "source", "mask"}  # Axes numbered by masks of units
MAX_LISTED_SETS = 8  # Sets of units that are listed of one block


def plan(spec: str, /, *, blocks: int = DEFAULT_SHOWN_BLOCKS) -> int:
    """Show the stages and blocks of a study without running the expensive ones.

    Stages that depend on what an expensive one finds are not known before it has run.

    Parameters
    ----------
    spec
        Study file, or the name of an example.
    blocks
        Blocks to describe of each stage, the most expensive first; 0 describes none.
    """
    if blocks < 0:
        raise InputError(f"--blocks: expected 0 or more, got {quote(blocks)}")
    study, costs, target = _estimate_study(spec, 0.0)
    _print_estimate(costs, study)
    for stage in costs.stages:
        if blocks and len(stage.tiling):
            _print_blocks(stage, target, blocks)
    return 0


def estimate(
    spec: str, /, *, budget: float | None = None, workers: Workers = None, seconds: float = 3.0
) -> int:
    """Estimate the cost of a study from a few of its blocks, computed here.

    Parameters
    ----------
    spec
        Study file, or the name of an example.
    budget
        Core-seconds; exit code 1 when the study would take more.
    workers
        Workers to estimate the wall time for.
    seconds
        Seconds to spend on each expensive stage.
    """
    require_valid_budget(budget)
    require_worker_count("--workers", workers)
    if not 0 <= seconds < math.inf:
        raise InputError(f"--seconds: expected a time, 0 or more, got {seconds}")
    study, costs, _ = _estimate_study(spec, seconds)
    _print_estimate(costs, study, () if workers is None else (workers,))
    require_within_budget(costs, budget)
    return 0


def require_valid_budget(budget: float | None) -> None:
    """Refuse a budget that is no number of core-seconds."""
    if budget is not None and not budget >= 0:
        raise InputError(f"--budget: expected core-seconds, 0 or more, got {budget}")


def require_within_budget(costs: Estimate, budget: float | None) -> None:
    """Refuse a run that would exceed a number of core-seconds."""
    if budget is not None and costs.core_seconds > budget:
        raise BudgetRefusedError(
            f"--budget {budget:g}: the run would take about {costs.core_seconds:.3g} core-seconds "
            f"({costs.low:.3g} to {costs.high:.3g}); nothing was computed"
        )


def _estimate_study(spec: str, seconds: float) -> tuple[Study, Estimate, Target | None]:
    """Return a study, its estimate, and its target unless it is a sweep."""
    study, folder = read_study(spec)
    job = job_from_study(study, folder, spec)
    costs = estimate_job(job, block_seconds=study.run.block_seconds, seconds=seconds)
    return study, costs, job.target


def _print_estimate(costs: Estimate, study: Study, workers: Sequence[int] = ()) -> None:
    rows = []
    for stage in costs.stages:
        interval = f"{seconds_text(stage.low)} to {seconds_text(stage.high)}"
        seconds, size = seconds_text(stage.seconds), bytes_text(stage.worker_bytes)
        rows.append((stage.name, str(stage.blocks), seconds, interval, size, stage.basis))
    print_table(STAGE_COLUMNS, rows, right=STAGE_COLUMNS[1:-1])
    interval = f"{seconds_text(costs.low)} to {seconds_text(costs.high)}"
    print(
        f"\nin all: {costs.blocks} blocks, {seconds_text(costs.core_seconds)} of one core "
        f"({interval}), {bytes_text(costs.bytes_per_worker)} a worker process, "
        f"store at most {bytes_text(costs.store_bytes)}"
    )
    nodes = ", ".join(
        f"{bytes_text(costs.bytes_per_node(each))} for {each}" for each in SHOWN_PROCESSES
    )
    print(f"processes of one machine share tables: {nodes}")
    print(
        f"of that, {seconds_text(costs.overhead_seconds)} between the stages, in one process; "
        f"a process holds about {bytes_text(costs.process_bytes)}, libraries included"
    )
    print(
        f"with a store: {seconds_text(costs.store_seconds)} more to write, read and check it, "
        f"and a process holds about {bytes_text(costs.stored_process_bytes)}"
    )
    counts = workers or ((study.run.workers,) if study.run.workers else SHOWN_WORKER_COUNTS)
    walls = ", ".join(f"{seconds_text(costs.wall_seconds(n))} on {n}" for n in counts)
    print(f"wall time by number of workers: {walls}")
    if not costs.complete or any(stage.basis == "model" for stage in costs.stages):
        print("stages that depend on what an expensive stage finds are not known before it has run")


def _print_blocks(stage: StageEstimate, target: Target | None, max_blocks: int) -> None:
    """Print what the blocks of a stage hold, the most expensive (the last) first."""
    grid, count = stage.tiling.grid, len(stage.tiling)
    axes = " x ".join(f"{dim} {n}" for dim, n in zip(grid.dims, grid.shape, strict=True))
    print(f"\n{stage.name}: {count} block{'s' if count > 1 else ''}, {axes}")
    text = _BlockText(stage, *_axis_labels(stage.name, target))
    for block in islice(reversed(list(stage.tiling)), max_blocks):
        print(f"  {block}: {text.block(stage.tiling.region(block))}")
    if count > max_blocks:
        print(f"  and {count - max_blocks} more; --blocks {count} lists all")


def _axis_labels(stage: str, target: Target | None) -> tuple[Sequence[str], Sequence[str]]:
    """Return the labels of the units of mechanisms, and of purviews."""
    if not isinstance(target, Transition):
        return ((), ()) if target is None else (target.labels, target.labels)
    labels = target.substrate.labels
    causes = [labels[unit] for unit in target.causes]
    effects = [labels[unit] for unit in target.effects]
    # Those of effects have their mechanisms at the state before; those of causes, and of the whole
    # account, at the state after.
    is_forward = any(part.startswith("effects") for part in stage.split("/"))
    return (causes, effects) if is_forward else (effects, causes)


class _BlockText:
    """Describes the blocks of a stage by sets of units, directions and cells."""

    def __init__(
        self, stage: StageEstimate, labels: Sequence[str], purview_labels: Sequence[str]
    ) -> None:
        self._stage, self._grid = stage, stage.tiling.grid
        self._labels, self._purview_labels = labels, purview_labels

    def block(self, region: Region) -> str:
        """Return what a block holds as text."""
        masks, grid = self._stage.axis_masks, self._grid
        parts = [
            self._listed(dim, masks[dim][part]) if dim in masks else self._cells(dim, length, part)
            for dim, length, part in zip(grid.dims, grid.shape, region, strict=True)
        ]
        if "mechanism" in grid.dims and "purview" not in grid.dims:
            parts.append("all purviews" + self._excluded(region))
        if self._stage.name.split("/")[-1] == "system":
            parts.append("all partitions of the system")
        if "source" in grid.dims:
            parts.append("all partitions with a part of these sources")
        return " x ".join(parts)

    def _cells(self, dim: str, length: int, part: slice) -> str:
        """Describe the cells of one axis: by sets of units where masks number them."""
        count = part.stop - part.start
        if dim == "direction":
            return " and ".join(DIRECTIONS[part])
        if count == length:
            return f"all {length} {dim}s" if length > 1 else f"the {dim}"
        if dim not in MASK_AXES or length != 1 << len(self._labels):
            return f"{dim} {part.start}-{part.stop - 1}"
        free, fixed = self._units(count - 1), self._units(part.start)
        return f"{dim}s {fixed} with any of {free} ({count})" if count > 1 else f"{dim} {fixed}"

    def _listed(self, dim: str, rows: Any) -> str:
        """List the sets of units, or pairs of them, of an axis that has them in `axis_masks`."""
        texts = [self._member(row) for row in rows[:MAX_LISTED_SETS].tolist()]
        more = f", … ({len(rows)})" if len(rows) > MAX_LISTED_SETS else ""
        return f"{dim}{'s' if len(rows) > 1 else ''} {', '.join(texts)}{more}"

    def _member(self, row: Any) -> str:
        if isinstance(row, int):
            return self._units(row)
        if len(row) == 4:
            return self._shard(*row)
        *direction, mechanism, purview = row
        side = "".join(f"{DIRECTIONS[each]} " for each in direction)
        return f"{self._units(mechanism)} ({side}{self._units(purview, self._purview_labels)})"

    def _shard(self, side: int, mechanism: int, groups: int, shard: int) -> str:
        """Describe one shard of a mechanism's purviews: odd or even in each group of units."""
        parities = [
            f"{'odd' if shard >> group & 1 else 'even'} in {self._units(mask)}"
            for group, mask in enumerate(group_masks(len(self._labels), groups))
        ]
        which = ", ".join(parities) if self._labels else f"share {shard} of {1 << groups}"
        return f"{self._units(mechanism)} ({DIRECTIONS[side]} purviews {which})"

    def _excluded(self, region: Region) -> str:
        """Name mechanisms of a block whose purviews are searched elsewhere, in shards."""
        if "apart" not in self._stage.axis_masks:
            return ""
        directions, mechanisms = (range(part.start, part.stop) for part in region)
        texts = [
            f"{DIRECTIONS[side]}s of {self._units(mask)}"
            for side, mask in self._stage.axis_masks["apart"].tolist()
            if side in directions and mask in mechanisms
        ]
        more = f", … ({len(texts)})" if len(texts) > MAX_LISTED_SETS else ""
        return f", but not the {', '.join(texts[:MAX_LISTED_SETS])}{more}" if texts else ""

    def _units(self, mask: int, labels: Sequence[str] | None = None) -> str:
        labels = self._labels if labels is None else labels
        units = units_of_mask(mask)
        return join_labels([labels[unit] if labels else str(unit) for unit in units], labels)
