"""``iitdask work``: a worker that needs no scheduler, only a store."""

from __future__ import annotations

import sys
import time
from typing import Annotated

from cyclopts import Parameter

from iitdask.cli.progress import watching
from iitdask.cli.run import warm
from iitdask.cli.units import duration, memory_bytes
from iitdask.errors import InputError, RetiredError
from iitdask.study.asked import Asked, asked_of, families_of
from iitdask.study.keep import kept_point
from iitdask.study.sharing import prepare_store, work_on
from iitdask.study.spec import read_study

__all__ = ["work"]

AGAIN = 75
"""Exit code that says: not finished, call again (EX_TEMPFAIL)."""


def work(
    store: str,
    /,
    *,
    spec: str | None = None,
    threads: Annotated[int, Parameter(name=["--threads", "-n"])] = 1,
    lifetime: str | None = None,
    memory: str | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Fill a store beside any number of others, without a scheduler.

    Each process takes blocks that nobody has in hand; the store says which. Start as many as
    there are cores, anywhere the store can be reached, and end them as you like.

    Parameters
    ----------
    store
        Directory or s3://, gs://, az:// address of a store that a run has begun.
    spec
        Study file that makes the store when there is none; a sweep needs it always.
    threads
        Blocks computed at a time in this process.
    lifetime
        Time after which no block is begun, such as 55m; then the exit code is 75.
    memory
        Memory of this process, such as 4GB; blocks that need more are refused.
    quiet
        Say nothing.
    """
    if threads < 1:
        raise InputError(f"--threads: expected 1 or more, got {threads}")
    seconds = duration(lifetime, "--lifetime")
    given = memory_bytes(memory, "memory")
    asked: Asked | None = None
    if spec is not None:
        study, folder = read_study(spec)
        asked = asked_of(study, folder, spec)
        prepare_store(store, asked, study.run.block_seconds)
    began = time.monotonic()
    asked = kept_point(store) if asked is None else asked
    for family in families_of(asked):
        warm(quiet, family)
    left = None if seconds is None else max(0.0, seconds - (time.monotonic() - began))
    with watching(not quiet) as observers:
        try:
            work_on(store, asked, threads=threads, seconds=left, observers=observers, memory=given)
        except RetiredError as error:
            print(f"iitdask: {error}", file=sys.stderr)
            return AGAIN
    if not quiet:
        print(f"finished; see it with: iitdask show {store}", file=sys.stderr)
    return 0
