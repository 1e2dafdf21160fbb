"""One problem (a system, a theory, a computation) and the protocol that a run drives."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path
from typing import TYPE_CHECKING

from iitdask.result.label_tree import label_tree
from iitdask.run.estimate import Estimate, estimate_recipe
from iitdask.run.result_group import store_attrs
from iitdask.run.verify import Verification, verify_store
from iitdask.study.precompile import kernel_families
from iitdask.study.spec import Problem, Study, problem_from_study
from iitdask.study.store_contents import StoredSweep, read_problem
from iitdask.study.sweep import Sweep, order_points, sweep_from_study
from iitdask.theory.catalog import batched_computations, build_recipe, theory_name
from iitdask.theory.stage import Recipe
from iitdask.theory.sweeps.recipe import LargeProblem, empty_outcomes, sweep_recipe

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "StudyJob",
    "estimate_job",
    "estimate_problem",
    "estimate_sweep",
    "job_from_study",
    "job_kernel_families",
    "verify_stored_run",
]


def estimate_problem(
    point: Problem, *, block_seconds: float = 5.0, seconds: float = 3.0
) -> Estimate:
    """Estimate what a point takes, see :func:`iitdask.run.estimate.estimate_recipe`."""
    work = build_recipe(point.compute, point.target, point.options)
    return estimate_recipe(work, block_seconds=block_seconds, seconds=seconds)


def estimate_sweep(sweep: Sweep, *, block_seconds: float = 5.0, seconds: float = 3.0) -> Estimate:
    """Estimate what a sweep takes from the start, as :func:`estimate_problem` does for a point."""
    order = order_points(sweep.cells, [sweep.cells.digests])
    work = sweep_recipe(
        order.portions, order.heavy, empty_outcomes(sweep.cells.computes, order.count)
    )
    return estimate_recipe(work, block_seconds=block_seconds, seconds=seconds)


def verify_stored_run(url: str, sample: int = 10, seed: int | None = None) -> Verification:
    """Check a store and compute some of its blocks again, see :func:`iitdask.run.verify.verify_store`."""
    if "axes" in store_attrs(url):
        kept = StoredSweep(url)
        return verify_store(url, kept.recipe, kept.finish, sample, seed)
    point = read_problem(url)

    def again() -> Recipe:
        return build_recipe(point.compute, point.target, point.options)

    def finish(tree: xr.DataTree) -> xr.DataTree:
        return label_tree(tree, point.target, point.options)

    return verify_store(url, again, finish, sample, seed)


StudyJob = Problem | Sweep


def job_from_study(study: Study, folder: Path, where: str) -> StudyJob:
    """Build what a study asks for.

    Raises
    ------
    InputError
        It asks for something that cannot be.
    """
    if study.sweep is None:
        return problem_from_study(study, folder, where)
    return sweep_from_study(study, folder, where)


def job_kernel_families(asked: StudyJob) -> list[str]:
    """Families of kernels that a run needs."""
    if isinstance(asked, Problem):
        return _problem_kernel_families(asked, asked.target.labels)
    small = [batched_computations()[compute].family for compute in asked.cells.points]
    heavy = {
        family
        for each in asked.cells.heavy
        for family in _problem_kernel_families(
            each, each.fields.get("units") or each.substrate.labels
        )
    }
    return small + sorted(heavy)


def _problem_kernel_families(point: Problem | LargeProblem, units: Sized) -> list[str]:
    return kernel_families(theory_name(point.options), point.compute, len(units))


def estimate_job(asked: StudyJob, *, block_seconds: float, seconds: float = 3.0) -> Estimate:
    """Estimate what a run takes from the start."""
    if isinstance(asked, Problem):
        return estimate_problem(asked, block_seconds=block_seconds, seconds=seconds)
    return estimate_sweep(asked, block_seconds=block_seconds, seconds=seconds)
