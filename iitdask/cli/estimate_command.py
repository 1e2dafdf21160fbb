"""``iitdask plan`` and ``iitdask estimate``: stages, blocks and cost of a study."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from iitdask.cli.output import bytes_text, seconds_text
from iitdask.errors import BudgetRefusedError
from iitdask.kernels.iit4.mechanism_search import group_masks
from iitdask.model.system import Target
from iitdask.model.transition import Transition
from iitdask.result.formatting import units_of_mask, units_text
from iitdask.run.estimate import Estimate, StageEstimate
from iitdask.study.run import estimate_job, job_from_study
from iitdask.study.spec import Study, read_study
from iitdask.theory.stage import Region

__all__ = [
    "estimate",
    "plan",
    "print_blocks",
    "print_estimate",
    "require_within_budget",
]

MASK_AXES = {"mechanism", "purview", "source", "mask"}
MAX_LISTED_SETS = 8
"""Sets of units that are listed of one block."""
DIRECTIONS = ("cause", "effect")


def print_blocks(stage: StageEstimate, subject: Target | None, most: int) -> None:
    """Print what the blocks of a stage hold, the dearest (the last) first."""
    grid, count = stage.tiling.grid, len(stage.tiling)
    axes = " x ".join(f"{dim} {n}" for dim, n in zip(grid.dims, grid.shape, strict=True))
    print(f"\n{stage.name}: {count} block{'s' if count > 1 else ''}, {axes}")
    labels = _axis_labels(stage.name, subject)
    for block in islice(reversed(list(stage.tiling)), most):
        print(f"  {block}: {_block_text(stage, stage.tiling.region(block), labels)}")
    if count > most:
        print(f"  and {count - most} more; --blocks {count} lists all")


def _axis_labels(stage: str, subject: Target | None) -> tuple[Sequence[str], Sequence[str]]:
    """Names of the units of mechanisms, and of purviews."""
    if not isinstance(subject, Transition):
        return ((), ()) if subject is None else (subject.labels, subject.labels)
    names = subject.substrate.labels
    causes = [names[unit] for unit in subject.causes]
    effects = [names[unit] for unit in subject.effects]
    # Of what happened after, causes are sought before.
    return (effects, causes) if "causes" in stage.split("/") else (causes, effects)


def _block_text(
    stage: StageEstimate, region: Region, labels: tuple[Sequence[str], Sequence[str]]
) -> str:
    grid = stage.tiling.grid
    parts = [
        _list_text(dim, stage.members[dim][part], labels)
        if dim in stage.members
        else _axis_text(dim, n, part, labels[0])
        for dim, n, part in zip(grid.dims, grid.shape, region, strict=True)
    ]
    if "mechanism" in grid.dims and "purview" not in grid.dims:
        parts.append("all purviews" + _excluded_text(stage, region, labels))
    if stage.name.split("/")[-1] == "system":
        parts.append("all partitions of the system")
    if "source" in grid.dims:
        parts.append("all partitions with a part of these sources")
    return " x ".join(parts)


def _excluded_text(
    stage: StageEstimate, region: Region, labels: tuple[Sequence[str], Sequence[str]]
) -> str:
    """Name mechanisms of a block whose effects are searched elsewhere, in shares."""
    if "apart" not in stage.members:
        return ""
    directions, mechanisms = (range(part.start, part.stop) for part in region)
    rows = stage.members["apart"].tolist()
    apart = [row for row in rows if row[0] in directions and row[1] in mechanisms]
    shown = [
        f"{DIRECTIONS[side]}s of {_mask_text(mask, labels[0])}"
        for side, mask in apart[:MAX_LISTED_SETS]
    ]
    more = f", … ({len(apart)})" if len(apart) > MAX_LISTED_SETS else ""
    return f", but not the {', '.join(shown)}{more}" if apart else ""


def _list_text(dim: str, rows: Any, labels: tuple[Sequence[str], Sequence[str]]) -> str:
    """List sets of units, or pairs of them."""
    shown = [_set_text(row, labels) for row in rows[:MAX_LISTED_SETS].tolist()]
    more = f", … ({len(rows)})" if len(rows) > MAX_LISTED_SETS else ""
    return f"{dim}{'s' if len(rows) > 1 else ''} {', '.join(shown)}{more}"


def _set_text(row: Any, labels: tuple[Sequence[str], Sequence[str]]) -> str:
    if isinstance(row, int):
        return _mask_text(row, labels[0])
    if len(row) == 4:
        return _share_text(row, labels[0])
    *direction, mechanism, purview = row
    side = "".join(f"{DIRECTIONS[each]} " for each in direction)
    return f"{_mask_text(mechanism, labels[0])} ({side}{_mask_text(purview, labels[1])})"


def _share_text(row: Sequence[int], labels: Sequence[str]) -> str:
    """Name a mechanism and which of its purviews: those with an odd number of which units."""
    side, mechanism, groups, share = row
    masks = enumerate(group_masks(len(labels), groups))
    said = [
        f"{'odd' if share >> g & 1 else 'even'} in {_mask_text(mask, labels)}" for g, mask in masks
    ]
    which = ", ".join(said) if labels else f"share {share} of {1 << groups}"
    return f"{_mask_text(mechanism, labels)} ({DIRECTIONS[side]} purviews {which})"


def _mask_text(mask: int, labels: Sequence[str]) -> str:
    return units_text([labels[unit] if labels else str(unit) for unit in units_of_mask(mask)])


def _axis_text(dim: str, length: int, part: slice, labels: Sequence[str]) -> str:
    """Name the cells of one axis: sets of units where the axis numbers them."""
    count = part.stop - part.start
    if dim == "direction":
        return " and ".join(DIRECTIONS[part])
    if count == length:
        return f"all {length} {dim}s" if length > 1 else f"the {dim}"
    if dim not in MASK_AXES or length != 1 << len(labels):
        return f"{dim} {part.start}-{part.stop - 1}"
    free, fixed = _mask_text(count - 1, labels), _mask_text(part.start, labels)
    return f"{dim}s {fixed} with any of {free} ({count})" if count > 1 else f"{dim} {fixed}"


DEFAULT_SHOWN_BLOCKS = 6
SHOWN_WORKER_COUNTS = (1, 8, 64, 512)


def plan(spec: str, /, *, blocks: int = DEFAULT_SHOWN_BLOCKS) -> int:
    """Show the stages and blocks of a study without running the dear ones.

    Stages that depend on what a dear one finds are not known before it has run.

    Parameters
    ----------
    spec
        Study file, or the name of an example.
    blocks
        Blocks to describe of each stage, the dearest first; 0 describes none.
    """
    study, found, subject = _estimate_study(spec, 0.0)
    print_estimate(found, study)
    for each in found.stages:
        if blocks and len(each.tiling):
            print_blocks(each, subject, blocks)
    return 0


def estimate(
    spec: str,
    /,
    *,
    budget: float | None = None,
    workers: Annotated[int | None, Parameter(name=["--workers", "-n"])] = None,
    seconds: float = 3.0,
) -> int:
    """Say what a study will cost, from a little of it computed here.

    Parameters
    ----------
    spec
        Study file, or the name of an example.
    budget
        Core-seconds; exit code 1 when the study would take more.
    workers
        Workers to say the wall time for.
    seconds
        Seconds to spend on each dear stage.
    """
    study, found, _ = _estimate_study(spec, seconds)
    print_estimate(found, study, () if workers is None else (workers,))
    require_within_budget(found, budget)
    return 0


def require_within_budget(found: Estimate, budget: float | None) -> None:
    """Refuse a run that would exceed a number of core-seconds."""
    if budget is not None and found.core_seconds > budget:
        raise BudgetRefusedError(
            f"--budget {budget:g}: the run would take about {found.core_seconds:.3g} core-seconds "
            f"({found.low:.3g} to {found.high:.3g}); nothing was computed"
        )


def print_estimate(found: Estimate, study: Study, workers: Sequence[int] = ()) -> None:
    """Print an estimate stage by stage, and in all."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("stage", "blocks", "core time", "interval", "a worker needs", "basis"):
        table.add_column(column, justify="left" if column in ("stage", "basis") else "right")
    for each in found.stages:
        table.add_row(*_stage_row(each))
    console = Console(highlight=False)
    console.print(table)
    interval = f"{seconds_text(found.low)} to {seconds_text(found.high)}"
    print(
        f"\nin all: {found.blocks} blocks, {seconds_text(found.core_seconds)} of one core "
        f"({interval}), {bytes_text(found.bytes_per_worker)} a worker, "
        f"store at most {bytes_text(found.store_bytes)}"
    )
    print(
        f"of that, {seconds_text(found.between)} between the stages, in one process; a process "
        f"holds about {bytes_text(found.process_bytes)}, libraries included"
    )
    print(
        f"with a store: {seconds_text(found.stored)} more to write, read and check it, and a "
        f"process holds about {bytes_text(found.stored_process_bytes)}"
    )
    chosen = workers or ((study.run.workers,) if study.run.workers else SHOWN_WORKER_COUNTS)
    walls = ", ".join(f"{seconds_text(found.wall_seconds(k))} on {k}" for k in chosen)
    print(f"wall time by number of workers: {walls}")
    if not found.complete or any(each.basis == "model" for each in found.stages):
        print("stages that depend on what a dear stage finds are not known before it has run")


def _stage_row(each: StageEstimate) -> tuple[str, ...]:
    interval = f"{seconds_text(each.low)} to {seconds_text(each.high)}"
    needs = bytes_text(each.block_bytes)
    return each.name, str(each.blocks), seconds_text(each.seconds), interval, needs, each.basis


def _estimate_study(spec: str, seconds: float) -> tuple[Study, Estimate, Target | None]:
    """Read a study and estimate it; also what it is about, unless it is a sweep."""
    study, folder = read_study(spec)
    asked = job_from_study(study, folder, spec)
    found = estimate_job(asked, block_seconds=study.run.block_seconds, seconds=seconds)
    return study, found, asked.target
