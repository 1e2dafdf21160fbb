"""What a study asks for: one point, or a sweep."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path

from iitdask.run.forecast import Estimate
from iitdask.study.inquiry import estimate_point, estimate_sweep
from iitdask.study.spec import Point, Study, point_of
from iitdask.study.sweep import Sweep, sweep_of
from iitdask.study.warmth import families_for
from iitdask.theory.catalog import theory_name
from iitdask.theory.swept import Heavy

__all__ = ["Asked", "asked_of", "estimate_asked", "families_of"]

Asked = Point | Sweep


def asked_of(study: Study, folder: Path, where: str) -> Asked:
    """Build what a study asks for.

    Raises
    ------
    InputError
        It asks for something that cannot be.
    """
    if study.sweep is None:
        return point_of(study, folder, where)
    return sweep_of(study, folder, where)


def families_of(asked: Asked) -> list[str]:
    """Families of kernels that a run needs."""
    if isinstance(asked, Point):
        return _families(asked, asked.subject.labels)
    small = [f"sweep-{compute}" for compute in asked.cells.points]
    heavy = {
        family
        for each in asked.cells.heavy
        for family in _families(each, each.fields.get("units") or each.substrate.labels)
    }
    return small + sorted(heavy)


def _families(point: Point | Heavy, units: Sized) -> list[str]:
    return families_for(theory_name(point.options), point.compute, len(units))


def estimate_asked(asked: Asked, *, block_seconds: float, seconds: float = 3.0) -> Estimate:
    """Estimate what a run takes from the start."""
    if isinstance(asked, Point):
        return estimate_point(asked, block_seconds=block_seconds, seconds=seconds)
    return estimate_sweep(asked, block_seconds=block_seconds, seconds=seconds)
