"""Run one point: open or resume its ledger, drive its recipe, keep the labelled result."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import xarray as xr

from iitdask.errors import DamagedStoreError, IITError, InputError
from iitdask.result.assemble import labelled
from iitdask.run.census import census, remarks, require_one_edition
from iitdask.run.doings import posted
from iitdask.run.engines import Engine, engine_of, worker_memory
from iitdask.run.events import Observer, Remarked, once
from iitdask.run.execute import execute
from iitdask.run.journal import Journal
from iitdask.run.ledger import Ledger
from iitdask.run.memory import MemoryLedger
from iitdask.run.outcome import load_result, note, save_result, study_of
from iitdask.run.pantry import Pantry
from iitdask.run.place import absolute
from iitdask.run.presence import driving
from iitdask.run.store import ZarrLedger
from iitdask.run.survey import costs_of
from iitdask.study.keep import keep_point
from iitdask.study.provenance import provenance
from iitdask.study.spec import Point
from iitdask.theory.catalog import recipe

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["CACHED", "provenance", "run_point"]

CACHED = ("marginals",)
"""Stages that other studies of the same units can use."""


def run_point(
    point: Point,
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
    observers = [once(each) for each in observers]
    if client is not None:
        _look_at(client, observers)
    options: dict[str, Any] = {"block_seconds": block_seconds, "memory": memory}
    if store is None:
        if cache is not None:
            raise InputError("cache: expected a store beside it, got none; give store=...")
        return _computed(
            point, MemoryLedger(), engine_of(client), client, **options, observers=observers
        )
    url = os.fspath(store)
    with nullcontext() if cache is None else Pantry(os.fspath(cache), CACHED).opened() as pantry:
        ledger = ZarrLedger(url, point.described(), point.fingerprint, pantry=pantry)
        with driving(url, join) as driver, posted(url, driver) as doings:
            if "tidied" in study_of(url):
                try:
                    return load_result(url)
                except DamagedStoreError:
                    pass  # the blocks are gone: all of it is computed again
            keep_point(url, point)
            if cache is not None:
                note(url, {"cache": absolute(os.fspath(cache))})
            journal = Journal(url, driver)
            about = provenance()
            journal.begin({"study": point.fingerprint, "provenance": about})
            watched: list[Observer] = [*observers, journal]
            try:
                engine = engine_of(client, url, doings)
                tree = _computed(point, ledger, engine, client, **options, observers=watched)
                save_result(url, tree, about, costs_of(url))
            except KeyboardInterrupt:
                journal.end({"reason": "interrupted"})
                raise
            except IITError as error:
                journal.end({"reason": str(error).splitlines()[0]})
                raise
    return tree


def _computed(
    point: Point,
    ledger: Ledger,
    engine: Engine,
    client: Client | None,
    *,
    observers: Sequence[Observer],
    block_seconds: float,
    memory: int | None,
) -> xr.DataTree:
    tree = execute(
        recipe(point.compute, point.subject, point.options),
        ledger,
        engine,
        block_seconds=block_seconds,
        observers=observers,
        memory=worker_memory(client, memory),
    )
    return labelled(tree, point.subject, point.options)


def _look_at(client: Client, observers: Sequence[Observer]) -> None:
    """Refuse workers that would compute something else, remark on slow ones.

    Workers that come later are refused, or remarked upon, with their first bundle.
    """
    workers = census(client)
    require_one_edition(workers)
    for text in remarks(workers):
        for observer in observers:
            observer(Remarked(text))
