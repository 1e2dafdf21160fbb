"""Compilation of kernels ahead of use, in two processes where there are two cores."""

from __future__ import annotations

import os
import subprocess
import sys

from iitdask.kernels.jit import cache_directory, is_family_compiled, mark_family_compiled
from iitdask.run.engines import SerialEngine
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.theory.catalog import KERNEL_FAMILIES

__all__ = [
    "compile_share",
    "is_family_compiled",
    "precompile",
]


def precompile(family: str = "iit4") -> None:
    """Compile every kernel of a family of theories or computations into the cache.

    The shares of the work are compiled side by side. Each kernel has one signature, so
    that two processes at worst write the same code twice.

    Parameters
    ----------
    family : str
        A key of ``KERNEL_FAMILIES``.
    """
    first, *rest = range(1, len(KERNEL_FAMILIES[family].cases))
    if cache_directory() is not None and sys.executable and _available_cores() > 1:
        others = [_spawn_compile(family, share) for share in rest]
        compile_share(family, first)
        for other in others:
            other.wait()  # what one that failed left out is compiled below
    compile_share(family, 0)
    mark_family_compiled(family)


def compile_share(family: str, share: int) -> None:
    """Run one of the recipes of a family."""
    execute(KERNEL_FAMILIES[family].cases[share](), MemoryLedger(), SerialEngine())


def _spawn_compile(family: str, share: int) -> subprocess.Popen[bytes]:
    # The same package, even where the current directory holds another copy of it.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        f"from iitdask.study.precompile import compile_share; compile_share({family!r}, {share})"
    )
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-c", code], stdin=quiet, stdout=quiet, stderr=quiet)


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
