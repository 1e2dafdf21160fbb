"""The driver of a run: open or resume a store, execute a recipe, save the labelled result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import xarray as xr

from iitdask.errors import (
    DamagedStoreError,
    IITError,
    InputError,
    RetiredError,
    WorkerMismatchError,
)
from iitdask.result.cube import is_cube
from iitdask.result.label_tree import label_tree
from iitdask.run.checksum import build_id
from iitdask.run.coordination import BlockClaims, Session, live_sessions, open_session
from iitdask.run.engines import (
    CLAIM_POLL_SECONDS,
    Engine,
    SharedStoreEngine,
    block_memory_limit,
    choose_engine,
    oversubscription_warnings,
    query_workers,
    require_same_build,
)
from iitdask.run.events import EventLog, Observer, Remarked, deduplicated, publishing
from iitdask.run.execute import execute
from iitdask.run.ledger import Ledger, MemoryLedger
from iitdask.run.result_group import (
    consolidate,
    is_finished,
    load_result,
    save_result,
    set_attrs,
    store_attrs,
)
from iitdask.run.status import read_costs
from iitdask.run.storage import absolute_url
from iitdask.run.zarr_ledger import StageCache, ZarrLedger
from iitdask.study.problem import StudyJob
from iitdask.study.spec import Problem
from iitdask.study.store_contents import provenance, read_problem, write_problem
from iitdask.study.sweep import Sweep, prepare_shared_sweep, register_points
from iitdask.theory.catalog import build_recipe
from iitdask.theory.stage import Recipe

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "CACHED_STAGES",
    "prepare_store",
    "provenance",
    "run_problem",
    "run_shared",
]

CACHED_STAGES = ("marginals",)
"""Stages that other studies of the same units can use."""


def run_problem(
    point: Problem,
    *,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    observers: Sequence[Observer] = (),
    block_seconds: float = 5.0,
    memory: int | None = None,
    join: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> xr.DataTree:
    """Compute a point, or what is missing of it, and return the labelled tree.

    Parameters
    ----------
    point : Point
        What to compute.
    client : distributed.Client, optional
        Where to compute; this process when not given.
    store : str or path, optional
        Zarr store that makes the run resumable and keeps its result.
    observers : sequence of callable
        Told every event.
    block_seconds : float
        Wished seconds of a block.
    memory : int, optional
        Bytes a worker has; what its cluster says when not given.
    join : bool
        Work beside another driver of the same store instead of being refused.
    cache : str or path, optional
        Directory that keeps marginal tables for other studies.

    Raises
    ------
    BusyStoreError
        Another driver fills the store at this moment.
    WorkerMismatchError
        A worker of the cluster has another iitdask, or none.
    """
    observers = [deduplicated(each) for each in observers]
    if client is not None:
        _check_workers(client, observers)
    options: dict[str, Any] = {"block_seconds": block_seconds, "memory": memory}
    if store is None:
        if cache is not None:
            raise InputError("cache: expected a store beside it, got none; give store=...")
        return _run_problem_recipe(
            point, MemoryLedger(), choose_engine(client), client, **options, observers=observers
        )
    url = os.fspath(store)
    with (
        nullcontext()
        if cache is None
        else StageCache(os.fspath(cache), CACHED_STAGES).opened() as pantry
    ):
        ledger = ZarrLedger(url, point.described(), point.fingerprint, pantry=pantry)
        with open_session(url, join) as driver, publishing(url, driver) as doings:
            if "tidied" in store_attrs(url):
                try:
                    return load_result(url)
                except DamagedStoreError:
                    pass  # the blocks are gone: all of it is computed again
            write_problem(url, point)
            if cache is not None:
                set_attrs(url, {"cache": absolute_url(os.fspath(cache))})
            journal = EventLog(url, driver)
            about = provenance()
            journal.begin({"study": point.fingerprint, "provenance": about})
            watched: list[Observer] = [*observers, journal]
            try:
                engine = choose_engine(client, doings)
                tree = _run_problem_recipe(
                    point, ledger, engine, client, **options, observers=watched
                )
                save_result(url, tree, about, read_costs(url))
            except KeyboardInterrupt:
                journal.end({"reason": "interrupted"})
                raise
            except IITError as error:
                journal.end({"reason": str(error).splitlines()[0]})
                raise
    return tree


def _run_problem_recipe(
    point: Problem,
    ledger: Ledger,
    engine: Engine,
    client: Client | None,
    *,
    observers: Sequence[Observer],
    block_seconds: float,
    memory: int | None,
) -> xr.DataTree:
    tree = execute(
        build_recipe(point.compute, point.target, point.options),
        ledger,
        engine,
        block_seconds=block_seconds,
        observers=observers,
        memory=block_memory_limit(client, memory),
    )
    return label_tree(tree, point.target, point.options)


def _check_workers(client: Client, observers: Sequence[Observer]) -> None:
    """Refuse workers that would compute something else, remark on slow ones.

    Workers that come later are refused, or remarked upon, with their first bundle.
    """
    workers = query_workers(client)
    require_same_build(workers)
    for text in oversubscription_warnings(workers):
        for observer in observers:
            observer(Remarked(text))


def prepare_store(url: str | os.PathLike[str], asked: StudyJob, block_seconds: float = 5.0) -> None:
    """Make a store for :func:`run_shared`; an old one is compared."""
    url = os.fspath(url)
    ZarrLedger(url, asked.described(), asked.fingerprint)
    if isinstance(asked, Sweep):
        register_points(url, asked)
    else:
        write_problem(url, asked)
    if "block_seconds" not in store_attrs(url):
        set_attrs(url, {"block_seconds": block_seconds})


def run_shared(
    url: str | os.PathLike[str],
    asked: StudyJob | None = None,
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
    about = store_attrs(url)
    if "finished" in about and "tidied" in about:
        return load_result(url)
    asked = read_problem(url) if asked is None else asked
    with open_session(url, join=True) as owner, publishing(url, owner) as doings:
        _require_same_session_build(url, owner)
        journal = EventLog(url, owner)
        journal.begin({"study": asked.fingerprint, "provenance": provenance()})
        claims = BlockClaims(url, owner)
        try:
            ledger = ZarrLedger(url, asked.described(), asked.fingerprint)
            work, finish, more = _job_parts(url, asked, ledger)
            tree = execute(
                work,
                ledger,
                SharedStoreEngine(claims, threads, until, doings),
                block_seconds=float(about.get("block_seconds", 5.0)),
                observers=[*observers, journal, *more],
                memory=None if memory is None else memory // threads,
            )
            result = finish(tree)
            _write_result_once(url, claims, result, until)
        except (KeyboardInterrupt, IITError) as error:
            reason = str(error).splitlines()[0] if str(error) else "interrupted"
            journal.end({"reason": reason})
            raise
    return result


def _job_parts(
    url: str, asked: StudyJob, ledger: ZarrLedger
) -> tuple[Recipe, Callable[[xr.DataTree], xr.DataTree], tuple[Observer, ...]]:
    """Make a recipe, what turns its answer into the result, and who else watches the run."""
    if isinstance(asked, Sweep):
        work, keeper = prepare_shared_sweep(url, asked, ledger)
        return work, lambda _: xr.DataTree(keeper.cube()), (keeper,)
    point = asked
    work = build_recipe(point.compute, point.target, point.options)
    return work, lambda tree: label_tree(tree, point.target, point.options), ()


def _write_result_once(
    url: str, claims: BlockClaims, result: xr.DataTree, until: float | None
) -> None:
    """See to it that one process writes the result."""
    while True:
        with claims.held("result") as mine:
            if mine:
                save_result(url, result, provenance(), read_costs(url))
                if is_cube(result):
                    consolidate(url)
                claims.clear()
                return
        if is_finished(url):
            return
        if until is not None and time.monotonic() > until:
            raise RetiredError("the time given to this worker is over; the result is not written")
        time.sleep(CLAIM_POLL_SECONDS)


def _require_same_session_build(url: str, owner: Session) -> None:
    for other in live_sessions(url):
        if other.edition not in ("", owner.edition):
            raise WorkerMismatchError(
                f"{url}: expected iitdask {build_id()} as in this process, but "
                f"{other.described()} works with {other.edition}; install one on all machines"
            )
