"""``iitdask plan`` and ``iitdask estimate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from iitdask.cli.units import bytes_text, seconds_text
from iitdask.errors import BudgetRefusedError
from iitdask.result.labels import members, units_text
from iitdask.study.asked import asked_of, estimate_asked
from iitdask.study.spec import Point, Study, read_study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iitdask.run.forecast import Estimate, StageEstimate
    from iitdask.theory.base import Grid, Region

__all__ = ["estimate", "plan", "print_estimate", "within_budget"]

SHOWN = 6
MASKS = {"mechanism", "purview", "source", "mask"}
WORKERS = (1, 8, 64, 512)


def plan(spec: str, /, *, blocks: int = SHOWN) -> int:
    """Show the stages and blocks of a study without running the dear ones.

    Stages that depend on what a dear one finds are not known before it has run.

    Parameters
    ----------
    spec
        Study file, or the name of an example.
    blocks
        Blocks to describe of each stage, the dearest first; 0 describes none.
    """
    study, found, labels = _estimated(spec, 0.0)
    print_estimate(found, study)
    for each in found.stages:
        count = len(each.tiling)
        if not blocks or count < 2:
            continue
        print(f"\n{each.name}: {count} blocks, " + _axes(each.tiling.grid))
        for block in list(each.tiling)[-1 : -1 - min(blocks, count) : -1]:
            region = each.tiling.region(block)
            print(f"  {block}: {_contents(each.tiling.grid, region, labels)}")
        if count > blocks:
            print(f"  and {count - blocks} more; --blocks {count} lists all")
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
    study, found, _ = _estimated(spec, seconds)
    print_estimate(found, study, () if workers is None else (workers,))
    within_budget(found, budget)
    return 0


def within_budget(found: Estimate, budget: float | None) -> None:
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
        table.add_row(*_row(each))
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
    chosen = workers or ((study.run.workers,) if study.run.workers else WORKERS)
    walls = ", ".join(f"{seconds_text(found.wall_seconds(k))} on {k}" for k in chosen)
    print(f"wall time by number of workers: {walls}")
    if not found.complete or any(each.basis == "model" for each in found.stages):
        print("stages that depend on what a dear stage finds are not known before it has run")


def _row(each: StageEstimate) -> tuple[str, ...]:
    interval = f"{seconds_text(each.low)} to {seconds_text(each.high)}"
    needs = bytes_text(each.block_bytes)
    return each.name, str(each.blocks), seconds_text(each.seconds), interval, needs, each.basis


def _estimated(spec: str, seconds: float) -> tuple[Study, Estimate, Sequence[str]]:
    """Read a study and estimate it; also the names of the units its stages are about."""
    study, folder = read_study(spec)
    asked = asked_of(study, folder, spec)
    found = estimate_asked(asked, block_seconds=study.run.block_seconds, seconds=seconds)
    return study, found, asked.subject.labels if isinstance(asked, Point) else ()


def _axes(grid: Grid) -> str:
    return " x ".join(f"{dim} {n}" for dim, n in zip(grid.dims, grid.shape, strict=True))


def _contents(grid: Grid, region: Region, labels: Sequence[str]) -> str:
    parts = [
        _part(dim, n, part, labels)
        for dim, n, part in zip(grid.dims, grid.shape, region, strict=True)
    ]
    if "mechanism" in grid.dims and "purview" not in grid.dims:
        parts.append("all purviews")
    return " x ".join(parts)


def _part(dim: str, length: int, part: slice, labels: Sequence[str]) -> str:
    """Name the cells of one axis: sets of units where the axis numbers them."""
    count = part.stop - part.start
    if dim == "direction":
        names = ("cause", "effect")[part]
        return " and ".join(names)
    if dim not in MASKS or length != 1 << len(labels):
        return f"all {length} {dim}s" if count == length else f"{dim} {part.start}-{part.stop - 1}"
    if count == length:
        return f"all {length} {dim}s"
    free = [labels[i] for i in members(count - 1)]
    fixed = [labels[i] for i in members(part.start)]
    if not free:
        return f"{dim} {units_text(fixed)}"
    return f"{dim}s {units_text(fixed)} with any of {units_text(free)} ({count})"
