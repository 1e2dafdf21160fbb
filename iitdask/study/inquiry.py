"""Questions about a point or a store that need its recipe: what it costs, whether it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iitdask.result.assemble import labelled
from iitdask.run.audit import Audit, audit
from iitdask.run.forecast import Estimate, estimate_recipe
from iitdask.run.outcome import study_of
from iitdask.study.keep import kept_point
from iitdask.study.keeper import ordered
from iitdask.study.kept_sweep import KeptSweep
from iitdask.theory.catalog import recipe
from iitdask.theory.swept import blank, swept

if TYPE_CHECKING:
    import xarray as xr

    from iitdask.study.spec import Point
    from iitdask.study.sweep import Sweep
    from iitdask.theory.base import Stages

__all__ = ["audit_store", "estimate_point", "estimate_sweep"]


def estimate_point(point: Point, *, block_seconds: float = 5.0, seconds: float = 3.0) -> Estimate:
    """Estimate what a point takes, see :func:`iitdask.run.forecast.estimate_recipe`."""
    work = recipe(point.compute, point.subject, point.options)
    return estimate_recipe(work, block_seconds=block_seconds, seconds=seconds)


def estimate_sweep(sweep: Sweep, *, block_seconds: float = 5.0, seconds: float = 3.0) -> Estimate:
    """Estimate what a sweep takes from the start, as :func:`estimate_point` does for a point."""
    order = ordered(sweep.cells, [sweep.cells.digests])
    work = swept(order.portions, order.heavy, blank(sweep.cells.computes, order.count))
    return estimate_recipe(work, block_seconds=block_seconds, seconds=seconds)


def audit_store(url: str, sample: int = 10, seed: int | None = None) -> Audit:
    """Check a store and compute some of its blocks again, see :func:`iitdask.run.audit.audit`."""
    if "axes" in study_of(url):
        kept = KeptSweep(url)
        return audit(url, kept.recipe, kept.finish, sample, seed)
    point = kept_point(url)

    def again() -> Stages:
        return recipe(point.compute, point.subject, point.options)

    def finish(tree: xr.DataTree) -> xr.DataTree:
        return labelled(tree, point.subject, point.options)

    return audit(url, again, finish, sample, seed)
