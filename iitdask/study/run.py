"""The driver of every run, and what else is done with a job: prepare, estimate, verify.

A run opens its ledger and a session, executes the recipe of its job, and saves the
labelled result. Problems and sweeps, alone or shared between processes, go this way.
"""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from iitdask.cluster.local import available_cores
from iitdask.errors import (
    DamagedStoreError,
    IITError,
    InputError,
    PartialResultWarning,
    RetiredError,
    WorkerMismatchError,
    quote,
)
from iitdask.kernels.jit import (
    adopt_archive,
    cache_directory,
    is_family_compiled,
    mark_family_compiled,
    pack_kernels,
    remove_fallback_directory,
    sole_compiler,
    write_archive,
)
from iitdask.model.system import Target
from iitdask.result.cube import STATUS_NAMES
from iitdask.run.checksum import build_id, text_digest
from iitdask.run.coordination import BlockClaims, Session, open_session
from iitdask.run.engines import (
    SerialEngine,
    SharedStoreEngine,
    choose_engine,
    worker_memory,
)
from iitdask.run.estimate import Estimate, estimate_recipe
from iitdask.run.events import (
    EventLog,
    Observer,
    StageCompleted,
    StageOpened,
    Warned,
    deduplicated,
    publishing,
)
from iitdask.run.execute import execute
from iitdask.run.ledger import MemoryLedger
from iitdask.run.result_group import (
    is_finished,
    load_result,
    load_with_structures,
    result_made_of,
    save_result,
    set_attrs,
    store_attrs,
)
from iitdask.run.storage import Store, open_store
from iitdask.run.task import WorkerMemory
from iitdask.run.verify import Verification, verify_store
from iitdask.run.worker import clear_shared_arrays
from iitdask.run.worker_inventory import (
    oversubscription_warnings,
    query_workers,
    require_same_build,
    require_same_versions,
    share_kernels,
    version_warnings,
)
from iitdask.run.zarr_io import require_current_format
from iitdask.run.zarr_ledger import StageCache, ZarrLedger
from iitdask.study.partial_structure import load_stored_result
from iitdask.study.problem import (
    Problem,
    StoredSweep,
    problem_from_study,
    provenance,
    read_problem,
    with_figure_nodes,
)
from iitdask.study.spec import Study, require_worker_count
from iitdask.study.sweep import Sweep, sweep_from_study
from iitdask.theory.catalog import KERNEL_FAMILIES
from iitdask.theory.point_rows import PENDING

if TYPE_CHECKING:
    from distributed import Client

BLOCK_SECONDS = 5.0  # Target seconds of a bundle of blocks where a study does not say
THREAD_BLOCK_SECONDS = 1.0  # The same on threads of this process, which cost little to feed
COMPARED_SESSIONS = 4  # Sessions on a store whose builds a process that joins compares with its own
COMPILE_COLLECTIONS = 50_000, 20, 100  # Thresholds of the garbage collector for compiling
ARCHIVE_FOLDER = "archives"  # Folder beside the cache of kernels, for job arrays
CACHED_STAGES = ("marginals",)  # Stages that other studies of the same units can use
StudyJob = Problem | Sweep  # What a study asks for


def job_from_study(study: Study, folder: Path, where: str) -> StudyJob:
    """Build the problem or the sweep that a study describes."""
    if study.sweep is None:
        return problem_from_study(study, folder, where)
    return sweep_from_study(study, folder, where)


def run_job(
    job: StudyJob,
    *,
    client: Client | None = None,
    store: str | os.PathLike[str] | Store | None = None,
    observers: Sequence[Observer] = (),
    block_seconds: float = BLOCK_SECONDS,
    memory: int | None = None,
    join: bool = False,
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> xr.DataTree:
    """Compute a job, or what its store lacks of it, and return the labelled result.

    `memory` is the bytes a worker has, `block_seconds` the target of a bundle of blocks. With
    `join` the run works beside another session on the same store instead of being refused.
    `cache` is a directory that keeps marginal tables for other studies. Without a `client`
    blocks are computed on so many threads of this process as `workers` says.
    """
    listeners: list[Observer] = [deduplicated(observer) for observer in observers]
    threads = _checked_threads(client, workers)
    if client is not None:
        _check_workers(client, listeners)
    prepare_workers = partial(_share_kernels, families=job.kernel_families())
    options: dict[str, Any] = {
        "block_seconds": min(block_seconds, THREAD_BLOCK_SECONDS) if threads > 1 else block_seconds,
        "memory": worker_memory(client, memory, threads),
    }
    if store is None:
        if cache is not None:
            raise InputError("cache: expected a store beside it, got none; give store=...")
        ledger = MemoryLedger()
        engine = choose_engine(client, threads=threads, prepare_workers=prepare_workers)
        started = job.start(ledger)
        listeners += started.observers
        with _shared_arrays_dropped(), nullcontext() if client is None else _heap_frozen():
            tree = execute(started.recipe, ledger, engine, observers=listeners, **options)
        return started.finish(tree)
    opened = open_store(store)
    stages = nullcontext() if cache is None else StageCache(cache, CACHED_STAGES).opened()
    with stages as stage_cache, ThreadPoolExecutor(1) as background, _shared_arrays_dropped():
        origin = background.submit(provenance)  # asks git, which takes longer than small runs
        stored = _open_ledger(opened, job, stage_cache)
        with open_session(opened, join) as session, publishing(session) as activity:
            started = job.start(stored, opened)
            saved = _tidied_result(opened)
            if saved is None:
                saved = _complete_result(stored, job, listeners)
            if saved is not None:
                return saved
            if cache is not None:
                set_attrs(opened, {"cache": open_store(cache).address})
            with _logged(session, job, origin.result()) as log, _heap_frozen():
                engine = choose_engine(client, activity, threads, prepare_workers)
                listeners += [log, *started.observers]
                tree = execute(started.recipe, stored, engine, observers=listeners, **options)
                result = started.finish(tree)
                made_of = _made_of(stored, job)
                save_result(opened, result, origin.result(), log.costs(), made_of)
            session.delete_abandoned_temp()
            return result


def open_stored_result(
    store: str | os.PathLike[str] | Store, *, figures: bool = False
) -> xr.DataTree:
    """Return the verified result of a store; one that is not finished says so.

    With what figures derive from the substrate, if asked for.
    """
    opened = open_store(store)
    tree = load_stored_result(opened)
    if "partial" in tree.attrs:
        warnings.warn(f"{opened.url}: {tree.attrs['partial']}", PartialResultWarning, stacklevel=3)
        return tree
    if "finished" not in store_attrs(opened):
        computed = int((tree.to_dataset()["status"] != STATUS_NAMES[PENDING]).sum())
        text = f"the sweep is not finished; {computed} of its cells are computed so far"
        tree.attrs["partial"] = text
        warnings.warn(f"{opened.url}: {text}", PartialResultWarning, stacklevel=3)
    return with_figure_nodes(tree, opened) if figures else tree


def stored_target(store: str | os.PathLike[str] | Store) -> Target:
    """Return what the study of a store is about."""
    return read_problem(open_store(store)).target


def run_shared(
    store: str | os.PathLike[str] | Store,
    job: StudyJob | None = None,
    *,
    threads: int = 1,
    seconds: float | None = None,
    observers: Sequence[Observer] = (),
    memory: int | None = None,
) -> xr.DataTree:
    """Work on a store until it is finished, beside any number of other processes.

    Every process replays the recipe, computes the blocks that no other process has
    claimed and waits for the rest. One of them writes the result.
    """
    store = open_store(store)
    until = None if seconds is None else time.monotonic() + seconds
    about = store_attrs(store)
    if "finished" in about and "tidied" in about:
        return load_result(store)
    job = read_problem(store) if job is None else job
    with (
        open_session(store, join=True) as session,
        publishing(session) as activity,
        _shared_arrays_dropped(),
    ):
        _require_same_session_build(session)
        claims = BlockClaims(session)
        origin = provenance()
        with _logged(session, job, origin) as log:
            ledger = _open_ledger(store, job, claims=claims)
            started = job.start(ledger, store, live=False)
            tree = execute(
                started.recipe,
                ledger,
                SharedStoreEngine(claims, threads, until, activity),
                observers=[*observers, log, *started.observers],
                block_seconds=float(about.get("block_seconds", BLOCK_SECONDS)),
                memory=None if memory is None else WorkerMemory(memory, threads),
            )
            result = started.finish(tree)

            def save() -> None:
                save_result(store, result, origin, log.costs(), _made_of(ledger, job))

            _save_once(store, claims, save, until)
        session.delete_abandoned_temp()
    return result


def prepare_store(
    store: str | os.PathLike[str] | Store, job: StudyJob, block_seconds: float = BLOCK_SECONDS
) -> None:
    """Create a store for :func:`run_shared`, or check that an old one is for this job."""
    store = open_store(store)
    job.start(_open_ledger(store, job), store, live=False)
    if "block_seconds" not in store_attrs(store):
        set_attrs(store, {"block_seconds": block_seconds})


def estimate_job(
    job: StudyJob, *, block_seconds: float = BLOCK_SECONDS, seconds: float = 3.0
) -> Estimate:
    """Estimate what a run takes from the start; `seconds` are spent on each expensive stage."""
    is_number = isinstance(seconds, int | float | np.integer | np.floating) and not isinstance(
        seconds, bool
    )
    if not (is_number and 0 <= seconds < math.inf):
        raise InputError(f"seconds: expected a time, 0 or more, got {quote(seconds)}")
    recipe, points = job.sampled_recipe() if isinstance(job, Sweep) else (job.recipe(), 1.0)
    return estimate_recipe(
        recipe, block_seconds=block_seconds, seconds=float(seconds), points=points
    )


def verify_stored_run(
    store: str | os.PathLike[str] | Store, sample: int = 10, seed: int | None = None
) -> Verification:
    """Check a store and recompute a sample, see :func:`iitdask.run.verify.verify_store`."""
    store = open_store(store)
    attrs = store_attrs(store)
    require_current_format(store, attrs)
    stored = StoredSweep(store) if "axes" in attrs else read_problem(store)
    return verify_store(store, stored.recipe, stored.finish, sample, seed)


def precompile(family: str = "iit4") -> None:
    """Compile every kernel of a family of theories or computations into the cache.

    The shares of the work are compiled side by side. Each kernel has one signature, so
    that two processes at worst write the same code twice.
    """
    first, *rest = range(1, len(KERNEL_FAMILIES[family].cases))
    if cache_directory() is not None and sys.executable and available_cores() > 1:
        others = [_spawn_compile(family, share) for share in rest]
        compile_share(family, first)
        for other in others:
            other.wait()  # what one that failed left out is compiled below
    compile_share(family, 0)
    mark_family_compiled(family)


def load_kernels(families: Sequence[str]) -> None:
    """Load families of kernels in this process; those not in the cache are compiled first.

    Of several processes on a machine that do so at once, one compiles.
    """
    for family in families:
        if not is_family_compiled(family):
            with sole_compiler():
                if not is_family_compiled(family):
                    precompile(family)
        compile_share(family, 0)


def save_kernels(folder: str) -> str:
    """Write an archive of all compiled kernels into a folder; return its SHA-256."""
    with _private_folder_errors(folder):
        sha256 = write_archive(Path(folder))
    if sha256 is None:
        raise InputError("--kernels: expected a cache of compiled kernels, it is turned off")
    return sha256


def kernel_options() -> list[str]:
    """Keep all compiled kernels beside the cache; return the options by which others find them.

    Nothing where there is no cache, or no folder that is this user's alone.
    """
    directory = cache_directory()
    if directory is None:
        return []
    folder = str(directory.parent / ARCHIVE_FOLDER)
    try:
        return ["--kernels", folder, "--kernels-sha256", save_kernels(folder)]
    except InputError:
        return []


def adopt_kernels(folder: str, sha256: str) -> bool:
    """Use the archive of a folder; False if it is not the one of that SHA-256, or of no use."""
    with _private_folder_errors(folder):
        return adopt_archive(Path(folder), sha256)


@contextmanager
def _private_folder_errors(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"--kernels: expected a folder that is yours alone, got {quote(folder)} ({error})"
        ) from error


def _share_kernels(client: Client, families: Sequence[str]) -> None:
    """Give the workers of a cluster the kernels of a job, compiled here if need be."""
    for family in families:
        if not is_family_compiled(family):
            precompile(family)
    load = partial(load_kernels, tuple(families))
    share_kernels(client, "-".join(families), pack_kernels, load)


def discard_temporary_kernels() -> None:
    """Remove kernels compiled for this run alone: for a process that ends by ``os._exit``."""
    remove_fallback_directory()


def uncompiled_families(job: StudyJob) -> list[str]:
    """Return the families of kernels that a job needs and that are not in the cache."""
    return [family for family in job.kernel_families() if not is_family_compiled(family)]


def compile_share(family: str, share: int) -> None:
    """Run one of the recipes of a family."""
    with _rare_collections():
        execute(KERNEL_FAMILIES[family].cases[share](), MemoryLedger(), SerialEngine())


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for unreachable objects less often, as compiling makes many that are all in use.

    A tenth of the time that it takes went into looking through them.
    """
    before = gc.get_threshold()
    gc.set_threshold(*COMPILE_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _shared_arrays_dropped() -> Iterator[None]:
    """Drop at the end what stages in this process have shared."""
    try:
        yield
    finally:
        clear_shared_arrays()


@contextmanager
def _heap_frozen() -> Iterator[None]:
    """Keep the garbage collector from going through what is there before the run, again and again.

    Modules of Dask, Numba and xarray take a tenth of a second each time, in which nothing is sent.
    """
    if gc.get_freeze_count():  # by the program, or by another run
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _logged(session: Session, job: StudyJob, origin: dict[str, Any]) -> Iterator[EventLog]:
    """Log a run in its store, and why it ended if it did not finish."""
    log = EventLog(session)
    log.start({"study": job.fingerprint, "provenance": origin})
    try:
        yield log
    except (KeyboardInterrupt, IITError) as error:
        log.stop(str(error).splitlines()[0] if str(error) else "interrupted")
        raise


def _open_ledger(
    store: Store,
    job: StudyJob,
    cache: StageCache | None = None,
    claims: BlockClaims | None = None,
) -> ZarrLedger:
    """Open the ledger of a job, or create it."""
    # The points of a sweep are inputs of its stages, and nowhere else in the store.
    study, is_sweep = job.to_dict(), job.is_sweep
    return ZarrLedger(
        store, study, job.fingerprint, cache=cache, keep_inputs=is_sweep, claims=claims
    )


def _tidied_result(store: Store) -> xr.DataTree | None:
    """Result of a store whose blocks were dropped; None if there are blocks, or it is damaged."""
    if "tidied" not in store_attrs(store):
        return None
    try:
        return load_with_structures(store)
    except DamagedStoreError:
        return None  # without blocks, everything is computed again


def _made_of(ledger: ZarrLedger, job: StudyJob) -> dict[str, Any] | None:
    """Return what the result of a problem is made of: these blocks, names, and this iitdask.

    None for a sweep, which may grow.
    """
    if isinstance(job, Sweep):
        return None
    names = text_digest([job.to_dict(), *map(str, job.target.substrate.attrs.items())])
    return {"blocks": ledger.block_counts(), "names": names, "build": build_id()}


def _complete_result(
    ledger: ZarrLedger, job: StudyJob, observers: Sequence[Observer]
) -> xr.DataTree | None:
    """Return the result of a finished store if all its blocks are there, none of which is read."""
    made_of = _made_of(ledger, job) if is_finished(ledger.store) else None
    result = None if made_of is None else result_made_of(ledger.store, made_of)
    if result is None or made_of is None:
        return None
    for stage, blocks in made_of["blocks"].items():
        for observer in observers:
            observer(StageOpened(stage, blocks, 0, 0.0))
            observer(StageCompleted(stage, 0.0))
    return result


def _save_once(
    store: Store, claims: BlockClaims, save: Callable[[], None], until: float | None
) -> None:
    """Wait until one process has written the result: this one, if no other has claimed it."""
    backoff = claims.backoff()
    while True:
        if claims.acquire("result"):
            try:
                save()
                claims.clear()
            finally:
                claims.release("result")
            return
        if is_finished(store):
            return
        if until is not None and time.monotonic() > until:
            raise RetiredError("the time given to this worker is over; the result is not written")
        backoff.sleep(until)


def _checked_threads(client: Any, workers: Any) -> int:
    """Return the number of threads of this process; refuse what is no client or number."""
    if workers is not None:
        if client is not None:
            raise InputError("workers: expected either workers or a client, got both")
        require_worker_count("workers", workers)
        return int(workers)
    if client is None:
        return 1
    if not all(hasattr(client, name) for name in ("submit", "nthreads", "scheduler_info")):
        hint = ""
        if isinstance(client, str):
            hint = f"; distributed.Client({quote(client)}) connects to one"
        elif hasattr(client, "get_client"):
            hint = "; its get_client() makes one"
        raise InputError(f"client: expected a distributed.Client, got {quote(client)}{hint}")
    if getattr(client, "asynchronous", False) is True:
        raise InputError(
            "client: expected a distributed.Client that waits, got an asynchronous one"
        )
    return 1


def _check_workers(client: Client, observers: Sequence[Observer]) -> None:
    """Refuse workers of another build, warn about oversubscribed ones.

    Workers that join later are checked with their first bundle.
    """
    workers = query_workers(client)
    require_same_build(workers)
    require_same_versions(workers)
    for text in oversubscription_warnings(workers) + version_warnings(workers):
        for observer in observers:
            observer(Warned(text))


def _require_same_session_build(session: Session) -> None:
    # Of some: who joined before has compared with others.
    for other in filter(session.monitor.is_at_work, session.monitor.sample(COMPARED_SESSIONS)):
        if other.build_id not in ("", session.record.build_id):
            raise WorkerMismatchError(
                f"{session.store.url}: expected iitdask {build_id()} as in this process, but "
                f"{other.describe()} works with {other.build_id}; install one on all machines"
            )


def _spawn_compile(family: str, share: int) -> subprocess.Popen[bytes]:
    # The same package, even where the current directory holds another copy of it.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        f"from iitdask.study.run import compile_share; compile_share({family!r}, {share})"
    )
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-c", code], stdin=quiet, stdout=quiet, stderr=quiet)
