"""What the blocks of a plan hold: mechanisms, purviews, partitions, candidates."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from iitdask.kernels.shares import group_masks
from iitdask.model.transition import Transition
from iitdask.result.labels import members, units_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iitdask.model.subject import Subject
    from iitdask.run.forecast import StageEstimate
    from iitdask.theory.base import Region

__all__ = ["print_blocks"]

MASKS = {"mechanism", "purview", "source", "mask"}
LISTED = 8
"""Sets of units that are listed of one block."""
SIDES = ("cause", "effect")


def print_blocks(stage: StageEstimate, subject: Subject | None, most: int) -> None:
    """Print what the blocks of a stage hold, the dearest (the last) first."""
    grid, count = stage.tiling.grid, len(stage.tiling)
    axes = " x ".join(f"{dim} {n}" for dim, n in zip(grid.dims, grid.shape, strict=True))
    print(f"\n{stage.name}: {count} block{'s' if count > 1 else ''}, {axes}")
    labels = _labels(stage.name, subject)
    for block in islice(reversed(list(stage.tiling)), most):
        print(f"  {block}: {_contents(stage, stage.tiling.region(block), labels)}")
    if count > most:
        print(f"  and {count - most} more; --blocks {count} lists all")


def _labels(stage: str, subject: Subject | None) -> tuple[Sequence[str], Sequence[str]]:
    """Names of the units of mechanisms, and of purviews."""
    if not isinstance(subject, Transition):
        return ((), ()) if subject is None else (subject.labels, subject.labels)
    names = subject.substrate.labels
    causes = [names[unit] for unit in subject.causes]
    effects = [names[unit] for unit in subject.effects]
    # Of what happened after, causes are sought before.
    return (effects, causes) if "causes" in stage.split("/") else (causes, effects)


def _contents(
    stage: StageEstimate, region: Region, labels: tuple[Sequence[str], Sequence[str]]
) -> str:
    grid = stage.tiling.grid
    parts = [
        _listed(dim, stage.members[dim][part], labels)
        if dim in stage.members
        else _part(dim, n, part, labels[0])
        for dim, n, part in zip(grid.dims, grid.shape, region, strict=True)
    ]
    if "mechanism" in grid.dims and "purview" not in grid.dims:
        parts.append("all purviews" + _without(stage, region, labels))
    if stage.name.split("/")[-1] == "system":
        parts.append("all partitions of the system")
    if "source" in grid.dims:
        parts.append("all partitions with a part of these sources")
    return " x ".join(parts)


def _without(
    stage: StageEstimate, region: Region, labels: tuple[Sequence[str], Sequence[str]]
) -> str:
    """Name mechanisms of a block whose effects are searched elsewhere, in shares."""
    if "apart" not in stage.members:
        return ""
    directions, mechanisms = (range(part.start, part.stop) for part in region)
    rows = stage.members["apart"].tolist()
    apart = [row for row in rows if row[0] in directions and row[1] in mechanisms]
    shown = [f"{SIDES[side]}s of {_units(mask, labels[0])}" for side, mask in apart[:LISTED]]
    more = f", … ({len(apart)})" if len(apart) > LISTED else ""
    return f", but not the {', '.join(shown)}{more}" if apart else ""


def _listed(dim: str, rows: Any, labels: tuple[Sequence[str], Sequence[str]]) -> str:
    """List sets of units, or pairs of them."""
    shown = [_row(row, labels) for row in rows[:LISTED].tolist()]
    more = f", … ({len(rows)})" if len(rows) > LISTED else ""
    return f"{dim}{'s' if len(rows) > 1 else ''} {', '.join(shown)}{more}"


def _row(row: Any, labels: tuple[Sequence[str], Sequence[str]]) -> str:
    if isinstance(row, int):
        return _units(row, labels[0])
    if len(row) == 4:
        return _share(row, labels[0])
    *direction, mechanism, purview = row
    side = "".join(f"{SIDES[each]} " for each in direction)
    return f"{_units(mechanism, labels[0])} ({side}{_units(purview, labels[1])})"


def _share(row: Sequence[int], labels: Sequence[str]) -> str:
    """Name a mechanism and which of its purviews: those with an odd number of which units."""
    side, mechanism, groups, share = row
    masks = enumerate(group_masks(len(labels), groups))
    said = [f"{'odd' if share >> g & 1 else 'even'} in {_units(mask, labels)}" for g, mask in masks]
    which = ", ".join(said) if labels else f"share {share} of {1 << groups}"
    return f"{_units(mechanism, labels)} ({SIDES[side]} purviews {which})"


def _units(mask: int, labels: Sequence[str]) -> str:
    return units_text([labels[unit] if labels else str(unit) for unit in members(mask)])


def _part(dim: str, length: int, part: slice, labels: Sequence[str]) -> str:
    """Name the cells of one axis: sets of units where the axis numbers them."""
    count = part.stop - part.start
    if dim == "direction":
        return " and ".join(SIDES[part])
    if count == length:
        return f"all {length} {dim}s" if length > 1 else f"the {dim}"
    if dim not in MASKS or length != 1 << len(labels):
        return f"{dim} {part.start}-{part.stop - 1}"
    free, fixed = _units(count - 1, labels), _units(part.start, labels)
    return f"{dim}s {fixed} with any of {free} ({count})" if count > 1 else f"{dim} {fixed}"
