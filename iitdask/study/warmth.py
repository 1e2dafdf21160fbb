"""Kernels compiled before they are needed: by two processes where there are two cores."""

from __future__ import annotations

import os
import subprocess
import sys

from iitdask.kernels.jit import cache_directory, is_warm, mark_warm
from iitdask.kernels.mechanisms import TOGETHER
from iitdask.run.engines import Inline
from iitdask.run.execute import execute
from iitdask.run.memory import MemoryLedger
from iitdask.theory.rehearsal import REHEARSALS

__all__ = ["SECONDS", "families_for", "is_warm", "rehearse", "warm_up"]

SECONDS = {
    "iit4": 15,
    "iit4-large": 10,
    "iit3": 15,
    "complexes": 20,
    "causation2019": 5,
    "sweep-sia": 20,
    "sweep-ces": 35,
}
"""What the kernels of a family take to compile on two cores, about."""


def warm_up(family: str = "iit4") -> None:
    """Compile every kernel of a family of theories or computations into the cache.

    The shares of the work are compiled side by side. Each kernel has one signature, so
    that two processes at worst write the same code twice.

    Parameters
    ----------
    family : str
        A key of ``REHEARSALS``.
    """
    first, *rest = range(1, len(REHEARSALS[family]))
    if cache_directory() is not None and sys.executable and _cores() > 1:
        others = [_beside(family, share) for share in rest]
        rehearse(family, first)
        for other in others:
            other.wait()  # what one that failed left out is compiled below
    rehearse(family, 0)
    mark_warm(family)


def families_for(theory: str, compute: str, units: int) -> list[str]:
    """Return the families of kernels that a computation of so many units needs."""
    if theory in REHEARSALS and theory != "iit4":
        return [theory]
    own = "complexes" if compute == "complexes" else "iit4"
    return [own, "iit4-large"] if compute != "sia" and units >= TOGETHER else [own]


def rehearse(family: str, share: int) -> None:
    """Run one of the recipes of a family."""
    execute(REHEARSALS[family][share](), MemoryLedger(), Inline())


def _beside(family: str, share: int) -> subprocess.Popen[bytes]:
    # The same package, even where the current directory holds another copy of it.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        f"from iitdask.study.warmth import rehearse; rehearse({family!r}, {share})"
    )
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-c", code], stdin=quiet, stdout=quiet, stderr=quiet)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
