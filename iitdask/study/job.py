"""What a run drives: a job, which is one problem or a sweep over many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import xarray as xr

from iitdask.model.system import Target
from iitdask.run.events import Observer
from iitdask.run.ledger import Ledger
from iitdask.run.storage import Store
from iitdask.theory.stage import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class JobRun:
    """One execution of a job."""

    recipe: Recipe  # Stages to fill; can be executed once
    finish: Callable[[xr.DataTree], xr.DataTree]
    """Turns what the recipe returns into the labelled result."""
    observers: tuple[Observer, ...] = ()  # Receive the events of the run, after those of the caller


class StudyJob(Protocol):
    """Everything that run, estimate, plan and verify need to know of a job.

    :class:`iitdask.study.problem.Problem` and :class:`iitdask.study.sweep.Sweep` are jobs.
    """

    @property
    def is_sweep(self) -> bool:
        """True if the store cannot rebuild the job: other processes need the study file."""

    @property
    def target(self) -> Target | None:
        """What the problem is about; None for a sweep, which has many."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides whether a store belongs to this job."""

    def to_dict(self) -> dict[str, Any]:
        """Return the study as a store records it: plain values, comparable field by field."""

    def kernel_families(self) -> list[str]:
        """Return the families of kernels that the job needs compiled."""

    def recipe(self) -> Recipe:
        """Return the stages of the whole job, as if nothing were stored."""

    def start(self, ledger: Ledger, store: Store | None = None, *, live: bool = True) -> JobRun:
        """Record the job in its store and return one execution of it."""
