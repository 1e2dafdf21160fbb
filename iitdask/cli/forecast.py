"""``iitdask plan`` and ``iitdask estimate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from iitdask.cli.contents import print_blocks
from iitdask.cli.units import bytes_text, seconds_text
from iitdask.errors import BudgetRefusedError
from iitdask.study.asked import asked_of, estimate_asked
from iitdask.study.spec import Point, Study, read_study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iitdask.model.subject import Subject
    from iitdask.run.forecast import Estimate, StageEstimate

__all__ = ["estimate", "plan", "print_estimate", "within_budget"]

SHOWN = 6
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
    study, found, subject = _estimated(spec, 0.0)
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


def _estimated(spec: str, seconds: float) -> tuple[Study, Estimate, Subject | None]:
    """Read a study and estimate it; also what it is about, unless it is a sweep."""
    study, folder = read_study(spec)
    asked = asked_of(study, folder, spec)
    found = estimate_asked(asked, block_seconds=study.run.block_seconds, seconds=seconds)
    return study, found, asked.subject if isinstance(asked, Point) else None
