"""Fill a store together with other processes, without anyone in charge.

Every process replays the recipe, computes the blocks that nobody else has in
hand and waits for the rest. One of them writes the result.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import xarray as xr

from iitdask.errors import IITError, RetiredError, WorkerMismatchError
from iitdask.result.assemble import labelled
from iitdask.result.cube import is_cube
from iitdask.run.claims import Claims
from iitdask.run.doings import posted
from iitdask.run.edition import edition
from iitdask.run.events import Observer
from iitdask.run.execute import execute
from iitdask.run.journal import Journal
from iitdask.run.outcome import (
    consolidate,
    is_finished,
    load_result,
    note,
    save_result,
    study_of,
)
from iitdask.run.presence import Driver, drivers, driving
from iitdask.run.sharing import PAUSE, Shared
from iitdask.run.store import ZarrLedger
from iitdask.run.survey import costs_of
from iitdask.study.asked import Asked
from iitdask.study.keep import keep_point, kept_point
from iitdask.study.provenance import provenance
from iitdask.study.sweep import Sweep, enrol_sweep, shared_sweep
from iitdask.theory.base import Stages
from iitdask.theory.catalog import recipe

__all__ = ["prepare_store", "work_on"]


def prepare_store(url: str | os.PathLike[str], asked: Asked, block_seconds: float = 5.0) -> None:
    """Make a store for :func:`work_on`; an old one is compared."""
    url = os.fspath(url)
    ZarrLedger(url, asked.described(), asked.fingerprint)
    if isinstance(asked, Sweep):
        enrol_sweep(url, asked)
    else:
        keep_point(url, asked)
    if "block_seconds" not in study_of(url):
        note(url, {"block_seconds": block_seconds})


def work_on(
    url: str | os.PathLike[str],
    asked: Asked | None = None,
    *,
    threads: int = 1,
    seconds: float | None = None,
    observers: Sequence[Observer] = (),
    memory: int | None = None,
) -> xr.DataTree:
    """Work on a store until it is finished, beside any number of others.

    Parameters
    ----------
    url : str or path
        Address of a store that was prepared, or that a run has begun.
    asked : Point or Sweep, optional
        What the store is for; a store tells its point, but not its sweep.
    threads : int
        Blocks computed at a time.
    seconds : float, optional
        Time after which no block is begun.
    observers : sequence of callable
        Told every event.
    memory : int, optional
        Bytes that this process may use.

    Returns
    -------
    DataTree
        The result, the same for every process.

    Raises
    ------
    InputError
        The store holds a sweep, and `asked` is not given.
    RetiredError
        The time is over and the store not finished.
    WorkerMismatchError
        Another process is at work with another edition of iitdask.
    """
    url = os.fspath(url)
    until = None if seconds is None else time.monotonic() + seconds
    about = study_of(url)
    if "finished" in about and "tidied" in about:
        return load_result(url)
    asked = kept_point(url) if asked is None else asked
    with driving(url, join=True) as owner, posted(url, owner) as doings:
        _require_one_edition(url, owner)
        journal = Journal(url, owner)
        journal.begin({"study": asked.fingerprint, "provenance": provenance()})
        claims = Claims(url, owner)
        try:
            ledger = ZarrLedger(url, asked.described(), asked.fingerprint)
            work, finish, more = _work(url, asked, ledger)
            tree = execute(
                work,
                ledger,
                Shared(claims, threads, until, doings),
                block_seconds=float(about.get("block_seconds", 5.0)),
                observers=[*observers, journal, *more],
                memory=None if memory is None else memory // threads,
            )
            result = finish(tree)
            _finish(url, claims, result, until)
        except (KeyboardInterrupt, IITError) as error:
            reason = str(error).splitlines()[0] if str(error) else "interrupted"
            journal.end({"reason": reason})
            raise
    return result


def _work(
    url: str, asked: Asked, ledger: ZarrLedger
) -> tuple[Stages, Callable[[xr.DataTree], xr.DataTree], tuple[Observer, ...]]:
    """Make a recipe, what turns its answer into the result, and who else watches the run."""
    if isinstance(asked, Sweep):
        work, keeper = shared_sweep(url, asked, ledger)
        return work, lambda _: xr.DataTree(keeper.cube()), (keeper,)
    point = asked
    work = recipe(point.compute, point.subject, point.options)
    return work, lambda tree: labelled(tree, point.subject, point.options), ()


def _finish(url: str, claims: Claims, result: xr.DataTree, until: float | None) -> None:
    """See to it that one process writes the result."""
    while True:
        with claims.held("result") as mine:
            if mine:
                save_result(url, result, provenance(), costs_of(url))
                if is_cube(result):
                    consolidate(url)
                claims.clear()
                return
        if is_finished(url):
            return
        if until is not None and time.monotonic() > until:
            raise RetiredError("the time given to this worker is over; the result is not written")
        time.sleep(PAUSE)


def _require_one_edition(url: str, owner: Driver) -> None:
    for other in drivers(url):
        if other.edition not in ("", owner.edition):
            raise WorkerMismatchError(
                f"{url}: expected iitdask {edition()} as in this process, but "
                f"{other.described()} works with {other.edition}; install one on all machines"
            )
