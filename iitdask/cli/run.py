"""``iitdask run``."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from xarray import DataTree

from iitdask.cli.cluster import Place
from iitdask.cli.forecast import within_budget
from iitdask.cli.progress import watching
from iitdask.cli.tables import print_result
from iitdask.cli.units import bytes_text, memory_bytes
from iitdask.cluster.jobs import Wishes
from iitdask.errors import BusyStoreError, MemoryRefusedError
from iitdask.run.demand import Demand
from iitdask.run.outcome import study_of
from iitdask.run.place import erase, local_path, names, open_store
from iitdask.run.presence import drivers
from iitdask.study.asked import Asked, asked_of, estimate_asked, families_of
from iitdask.study.driver import run_point
from iitdask.study.spec import Point, Study, read_study
from iitdask.study.sweep import Sweep, run_sweep
from iitdask.study.warmth import SECONDS, is_warm, warm_up

__all__ = ["run", "warm"]

FIRST = "iit4-2023-fig4"
STORES = "IITDASK_STORE"


def run(
    spec: str | None = None,
    /,
    *,
    store: str | None = None,
    cluster: str = "local",
    workers: Annotated[int | None, Parameter(name=["--workers", "-n"])] = None,
    memory: str | None = None,
    budget: float | None = None,
    cache: str | None = None,
    adapt: Annotated[bool, Parameter(negative=())] = False,
    jobs: Annotated[Wishes | None, Parameter(name="*")] = None,
    print_job: Annotated[bool, Parameter(negative=())] = False,
    join: Annotated[bool, Parameter(negative=())] = False,
    fresh: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
    dashboard: Annotated[bool, Parameter(negative=())] = False,
    dashboard_port: int = 0,
) -> int:
    """Compute a study, or what is missing of it, and show the result.

    Running it again on the same store goes on where it stopped.

    Parameters
    ----------
    spec
        Study file (YAML or JSON), or the name of an example. Without it a small published
        system is computed.
    store
        Directory of the Zarr store; NAME.zarr in the current directory when not given.
    cluster
        local; tcp://HOST:PORT of a running Dask scheduler; slurm (scheduler here, a job a
        worker), slurm-allocation (all in one job) or slurm-array (no scheduler); kubernetes.
    workers
        Worker processes on this machine, or jobs; threads of one process when not given.
    memory
        Memory of one worker or job, such as 4GB; blocks that need more are refused.
    budget
        Core-seconds; a run that would take more is refused beforehand.
    cache
        Directory that keeps marginal tables for other studies of the same units.
    adapt
        With slurm: only as many jobs, up to --workers, as the remaining work is worth.
    print_job
        Show the job script and submit nothing.
    join
        Work beside a run that fills the same store already.
    fresh
        Delete what the store holds and begin again.
    quiet
        Show the result only.
    dashboard
        Serve a live page on this machine while it runs, and at /iit of the Dask dashboard.
    dashboard_port
        Port of the live page; any free one when not given.
    """
    where = spec or FIRST
    study, folder = read_study(where)
    limit = memory or study.run.memory
    place = Place(cluster, workers or study.run.workers, limit, jobs or Wishes(), adapt)
    place.become_part()
    given = memory_bytes(limit, "memory")
    asked = asked_of(study, folder, where)
    url = store or _default_store(where)
    if print_job:
        return place.show(asked, where, url)
    if fresh:
        _delete(url)
    if place.is_left_to_slurm:
        return place.submit(asked, where, url, study.run.block_seconds)
    if not quiet:
        _announce(study, where)
    for family in families_of(asked):
        warm(quiet, family)
    if budget is not None or (memory is not None and isinstance(asked, Point)):
        _refuse_beyond(asked, study, budget, given)
    started = time.perf_counter()
    demand = Demand(place.wishes.cores or 1)
    with (
        place.opened(demand) as client,
        watching(not quiet) as observers,
        _live_page(url, dashboard, dashboard_port, client),
    ):
        options: dict[str, Any] = {
            "client": client,
            "store": url,
            "observers": [*observers, demand],
            "block_seconds": study.run.block_seconds,
            "memory": given,
            "join": join,
        }
        tree = _computed(asked, cache, options)
    print_result(tree)
    if not quiet:
        _conclude(time.perf_counter() - started, url, spec is None)
    return 0


def _conclude(seconds: float, url: str, first: bool) -> None:
    print(f"\n{seconds:.2f} s; kept in {url}")
    if first:
        _suggest(url)


def _computed(asked: Asked, cache: str | None, options: dict[str, Any]) -> DataTree:
    if isinstance(asked, Sweep):
        return run_sweep(asked, **options)
    return run_point(asked, cache=cache, **options)


def _refuse_beyond(asked: Asked, study: Study, budget: float | None, memory: int | None) -> None:
    """Refuse what can be foreseen to be too much, before a store is made."""
    seconds = 0.0 if budget is None else 3.0
    found = estimate_asked(asked, block_seconds=study.run.block_seconds, seconds=seconds)
    within_budget(found, budget)
    for each in found.stages:
        if memory is not None and each.block_bytes > memory:
            raise MemoryRefusedError(
                f"a block of stage {each.name!r} needs {bytes_text(each.block_bytes)}, a worker "
                f"has {bytes_text(memory)}; give --memory more"
            )


def _live_page(url: str, wanted: bool, port: int, client: Any) -> AbstractContextManager[None]:
    if not wanted:
        return nullcontext()
    from iitdask.cli.live import dashboard

    return dashboard(url, "127.0.0.1", port, client)


def _default_store(where: str) -> str:
    base = Path(os.environ.get(STORES, "."))
    return str(base / f"{Path(where).stem}.zarr")


def _delete(url: str) -> None:
    path = local_path(url)
    there = bool(names(open_store(url), "")) if path is None else path.exists()
    if there:
        study_of(url)  # never delete what is not a store
        busy = drivers(url)
        if busy:
            raise BusyStoreError(f"--fresh: {url} is being filled by {busy[0].described()}")
        if path is None:
            erase(open_store(url), "")
        else:
            shutil.rmtree(path)


def _announce(study: Study, where: str) -> None:
    title = ", ".join(part for part in (study.title, study.figure) if part)
    print(f"{where}{': ' + title if title else ''}", file=sys.stderr)
    if study.citation:
        print(study.citation, file=sys.stderr)


def warm(quiet: bool, family: str) -> None:
    """Compile before any worker starts, and say so the first time."""
    if is_warm(family):
        return
    if not quiet:
        said = (
            f"compiling kernels of {family}, once on this machine (about {SECONDS[family]} s) ..."
        )
        print(said, file=sys.stderr, flush=True)
    started = time.perf_counter()
    warm_up(family)
    if not quiet:
        print(f"compiled in {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)


def _suggest(url: str) -> None:
    print(
        "\nTry next:\n"
        f"  iitdask show {url}            the same again, without computing\n"
        "  iitdask examples                       published systems\n"
        "  iitdask run iit4-2023-fig6d            six units, 1.5 million relations\n"
        "  iitdask examples basic > my.yaml       a study file to start from; iitdask run my.yaml"
    )
