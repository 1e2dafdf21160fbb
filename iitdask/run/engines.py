"""Engines: where bundles of blocks are computed.

Serial in this process, on a Dask cluster, or by processes that share a store. This is the
only module that submits anything to Dask.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from concurrent.futures import Future as ThreadFuture
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from itertools import groupby, islice
from threading import get_ident
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import cloudpickle

from iitdask.errors import (
    InterruptedRunError,
    RetiredError,
    StoreError,
    UnreachableStoreError,
    WorkerMismatchError,
)
from iitdask.run.checksum import build_id
from iitdask.run.compat import CompletionQueue, worker_thread_count
from iitdask.run.coordination import BlockClaims
from iitdask.run.events import ActivityBoard, BlockActivity, OnBlockStart, throttled
from iitdask.run.stage_group import StageGroup, with_stored_inputs
from iitdask.run.task import BlockError, BundleResult, BundleTask, StageContext
from iitdask.run.worker import clear_caches, run_bundle, run_pickled

if TYPE_CHECKING:
    from distributed import Client, Future  # heavy, and not needed by runs in memory

__all__ = [
    "DaskEngine",
    "Engine",
    "SerialEngine",
    "SharedStoreEngine",
    "WorkerInfo",
    "block_memory_limit",
    "choose_engine",
    "oversubscription_warnings",
    "query_workers",
    "require_same_build",
    "this_process",
]

WORKER_ANSWER_SECONDS = 30.0
"""Seconds that workers may take to answer."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker."""

    edition: str
    """Its iitdask."""
    cores: int
    """Cores its process may use."""
    threads: int = 0
    """Blocks it computes at a time."""
    name: str = ""
    """What Dask calls it."""


def this_process() -> dict[str, Any]:
    """What a process says of itself."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return {"edition": build_id(), "cores": cores}


def query_workers(client: Client) -> list[WorkerInfo]:
    """Ask every worker of a cluster.

    Raises
    ------
    WorkerMismatchError
        A worker has no iitdask, or one that does not know the question.
    """
    try:
        workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            return []
        # First what any Python knows: a worker that cannot open a question of ours breaks off.
        said: dict[str, Any] = client.run(find_spec, "iitdask", on_error="return")
        if not any(_lacks_iitdask(answer) for answer in said.values()):
            said = client.run(this_process, on_error="return")
    except (OSError, TimeoutError) as error:
        raise InterruptedRunError(f"the workers cannot be asked what they are: {error}") from error
    found = []
    for address, answer in said.items():
        about = workers.get(address, {})
        name = str(about.get("name", address))
        if not isinstance(answer, dict):
            if not _lacks_iitdask(answer):
                continue
            raise WorkerMismatchError(
                f"worker {name}: expected iitdask {build_id()}, got none that answers "
                f"({answer or 'not installed'}); install the same on every machine"
            )
        found.append(WorkerInfo(**answer, threads=int(about.get("nthreads", 0)), name=name))
    return found


def _lacks_iitdask(answer: Any) -> bool:
    """Whether a worker has no iitdask; one that left meanwhile says nothing of the kind."""
    return answer is None or (isinstance(answer, Exception) and not isinstance(answer, OSError))


def require_same_build(workers: Iterable[WorkerInfo]) -> None:
    """Raise a WorkerMismatchError unless all are of this process's iitdask."""
    own = build_id()
    other = [worker for worker in workers if worker.edition != own]
    if other:
        first = other[0]
        raise WorkerMismatchError(
            f"worker {first.name}: expected iitdask {own} as in this process, got "
            f"{first.edition} ({len(other)} worker(s) in all); install the same on every machine"
        )


def oversubscription_warnings(workers: Iterable[WorkerInfo]) -> list[str]:
    """What is not wrong but slow: workers whose threads are not as many as their cores."""
    return [
        f"worker {each.name} has {each.threads} threads on {each.cores} core(s): "
        "they take turns; give it as many cores as threads"
        for each in workers
        if each.threads > each.cores
    ]


Engine = Callable[[Iterator[BundleTask]], Generator[BundleResult, None, None]]
"""Runs jobs and gives one receipt for each, in any order.

Jobs are drawn one by one, since what comes next may depend on receipts.
"""

MIN_BUNDLES_IN_FLIGHT = 4
"""Bundles in flight on a cluster that has no workers yet."""

WORKER_TOPIC = "iitdask"
"""Under which workers tell what they begin."""

CLIENT_POLL_SECONDS = 0.1
"""Seconds after which to look whether the cluster is still there while no result comes."""
THREAD_COUNT_SECONDS = 1.0
"""Seconds for which it is believed how many threads a cluster has."""


@dataclass(frozen=True, slots=True)
class SerialEngine:
    """Runs bundles one after the other in this process."""

    activity: ActivityBoard | None = None
    """Where to note what is in hand."""

    def __call__(self, jobs: Iterator[BundleTask]) -> Generator[BundleResult, None, None]:
        """Run jobs as their receipts are asked for."""
        try:
            for job in jobs:
                begun = None if self.activity is None else self.activity.on_block_start("")
                receipt = run_bundle(job, begun=begun)
                if self.activity is not None:
                    self.activity.finish("")
                yield receipt
        finally:
            clear_caches()


@dataclass(slots=True, eq=False)
class _ThreadCount:
    """How many threads a cluster has: asked anew now and then, since workers come and go."""

    threads: int = 0
    asked: float = float("-inf")

    def count(self, client: Any) -> int:
        """Return how many there are."""
        if time.monotonic() - self.asked > THREAD_COUNT_SECONDS:
            with _scheduler_errors(client):
                self.threads = sum(client.nthreads().values())
            self.asked = time.monotonic()
        return self.threads


@dataclass(frozen=True, slots=True)
class DaskEngine:
    """Runs bundles on a Dask cluster, a window of them at a time.

    Those that are not worth the journey are run in this process.
    """

    client: Client
    """Client of the cluster."""
    per_thread: int = 3
    """Bundles in flight for each thread of the cluster."""
    activity: ActivityBoard | None = None
    """Where to note what workers have in hand."""
    thread_count: _ThreadCount = field(default_factory=_ThreadCount, repr=False, compare=False)
    """How many threads there are."""

    def __call__(self, jobs: Iterator[BundleTask]) -> Generator[BundleResult, None, None]:
        """Keep the window full until the jobs run out; cancel what is left when closed."""
        flight = _InFlight(self.client, self.activity or ActivityBoard())
        try:
            yield from self._top_up(flight, jobs)
            for batch in flight.batches():
                while batch:
                    yield flight.receipt(*batch.pop())
                # In batches: topping up one by one costs twice as much a task.
                yield from self._top_up(flight, jobs)
        finally:
            flight.cancel()

    def _top_up(
        self, flight: _InFlight, jobs: Iterator[BundleTask]
    ) -> Generator[BundleResult, None, None]:
        window = max(MIN_BUNDLES_IN_FLIGHT, self.per_thread * self.thread_count.count(self.client))
        # Not while the cluster is spoken to: drawing jobs may write to the store, and that
        # fails for other reasons.
        drawn = list(islice(jobs, max(0, window - len(flight.sent))))
        remote = [flight.with_stored_inputs(job) for job in drawn if not job.near]
        with _scheduler_errors(self.client):
            flight.send(remote)
        yield from SerialEngine(self.activity)(job for job in drawn if job.near)


@dataclass(slots=True, eq=False)
class _InFlight:
    """The bundles that are out."""

    client: Any
    activity: ActivityBoard
    sent: dict[Future[Any], BundleTask] = field(default_factory=dict)
    lent: dict[tuple[object, ...], Future[Any]] = field(default_factory=dict)
    contexts: dict[tuple[object, ...], StageContext] = field(default_factory=dict)
    number: int = 0
    # Part of every key, so that no result of an earlier run is taken for one of this.
    token: str = field(default_factory=lambda: uuid4().hex[:8])
    done: CompletionQueue = field(init=False)
    listening: bool = False

    def __post_init__(self) -> None:
        self.done = CompletionQueue(self.client)

    def _listen(self) -> None:
        """Hear from workers what they begin."""
        if not self.listening:
            self.client.subscribe_topic(WORKER_TOPIC, self._hear)
            self.listening = True

    def _hear(self, event: Any) -> None:
        told = event[1]
        # Other runs on this cluster tell of theirs.
        if self.token in told["bundle"] and self.sent:
            self.activity.start(told["bundle"], BlockActivity(**told["activity"]))

    def with_stored_inputs(self, job: BundleTask) -> BundleTask:
        """Put the inputs of a job's stage into its store, once, if it has one."""
        key = job.setting.key
        if key not in self.contexts:
            self.contexts[key] = with_stored_inputs(job.setting)
        return replace(job, setting=self.contexts[key])

    def send(self, jobs: list[BundleTask]) -> None:
        """Submit jobs, those of one stage in one call."""
        if jobs:
            self._listen()
        for _, some in groupby(jobs, key=lambda job: id(job.setting)):
            group = list(some)
            setting = group[0].setting
            slim = replace(setting, inputs={}) if setting.store is None else setting
            keys = [self._key(setting) for _ in group]
            futures = self.client.map(
                _run_on_worker,
                [cloudpickle.dumps(replace(job, setting=slim)) for job in group],
                wanted=build_id(),
                inputs=self._inputs(setting),
                key=keys,
                retries=2,
                pure=False,
            )
            self.sent.update(zip(futures, group, strict=True))
            self.done.add(futures)

    def batches(self) -> Generator[list[Any], None, None]:
        """Yield what is done, as (future, result) pairs, until nothing is out.

        Futures sent while the connection was down are never told that it stayed down:
        a client that has closed is noticed here, or waiting for them would not end.
        """
        while self.sent:
            if self.done.has_ready():
                yield self.done.take()
            elif self.client.status == "closed":
                _require_running(self.client)
            else:
                self.done.wait(CLIENT_POLL_SECONDS)

    def receipt(self, future: Future[Any], result: Any) -> BundleResult:
        """Return what became of a bundle, whatever happened to it."""
        job = self.sent.pop(future)
        self.activity.finish(str(future.key))
        if isinstance(result, BundleResult):
            return result
        error = result if isinstance(result, BaseException) else result[1]
        if isinstance(error, StoreError | UnreachableStoreError | WorkerMismatchError):
            raise error
        from distributed import CancelledError

        if isinstance(error, CancelledError):
            _require_running(self.client)
            # Inputs die with the workers that held them; they are sent again.
            self.lent.pop(job.setting.key, None)
        text = f"{type(error).__name__}: {error}"
        failed = tuple(BlockError(block, text, "") for block in job.blocks)
        return BundleResult(job.setting.layout.name, "", (), failed)

    def cancel(self) -> None:
        """Withdraw what is still out."""
        if self.sent and self.client.status == "running":
            with suppress(OSError):  # the scheduler may have gone this moment
                self.client.cancel(list(self.sent))
        if self.listening and self.client.status == "running":
            with suppress(OSError, ValueError):
                self.client.unsubscribe_topic(WORKER_TOPIC)
        for future in self.sent:
            self.activity.finish(str(future.key))
        self.sent.clear()
        self.lent.clear()

    def _key(self, setting: StageContext) -> str:
        self.number += 1
        return f"{setting.layout.name.replace('/', '.')}-{self.number:06d}-{self.token}"

    def _inputs(self, setting: StageContext) -> Future[Any] | None:
        if setting.store is not None or not setting.inputs:
            return None
        if setting.key not in self.lent:
            self.client.wait_for_workers(1)
            (self.lent[setting.key],) = self.client.scatter(
                [dict(setting.inputs)], broadcast=True, hash=False
            )
        return self.lent[setting.key]


def _run_on_worker(parcel: bytes, wanted: str, inputs: Any = None) -> BundleResult:
    """Fill the blocks of a parcel on a worker, which tells the driver what it begins."""
    return replace(
        run_pickled(parcel, wanted, inputs, _block_start_reporter()), warning=_worker_warning()
    )


def _worker_warning() -> str:
    """What is to be said of this worker; those that come late no census has seen."""
    from distributed import get_worker

    try:
        worker: Any = get_worker()
    except ValueError:
        return ""
    about = WorkerInfo(**this_process(), threads=worker_thread_count(worker), name=str(worker.name))
    return "; ".join(oversubscription_warnings([about]))


def _block_start_reporter() -> OnBlockStart | None:
    from distributed import get_worker

    try:
        worker: Any = get_worker()
        bundle = str(worker.get_current_task())
    except (ValueError, KeyError):
        return None  # no worker has this process, so nobody would hear
    return throttled(
        lambda activity: worker.log_event(
            WORKER_TOPIC, {"bundle": bundle, "activity": asdict(activity)}
        )
    )


def choose_engine(client: Client | None, activity: ActivityBoard | None = None) -> Engine:
    """Return the engine of a run.

    Parameters
    ----------
    client : distributed.Client, optional
        Client of the cluster; without one, blocks are computed in this process.
    activity : ActivityBoard, optional
        Record of the blocks being computed.
    """
    return SerialEngine(activity) if client is None else DaskEngine(client, activity=activity)


def block_memory_limit(client: Client | None, given: int | None = None) -> int | None:
    """Bytes one block may take on the least worker of a cluster; None when nobody knows.

    Parameters
    ----------
    client : distributed.Client, optional
        Client of the cluster; this process when not given.
    given : int, optional
        Bytes that each worker is said to have.
    """
    if client is None:
        return given or _physical_memory_bytes()
    with _scheduler_errors(client):
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    each = [
        (given or worker["memory_limit"] or _physical_memory_bytes() or 0)
        // max(worker["nthreads"], 1)
        for worker in workers
    ]
    return min((some for some in each if some), default=given)


def _physical_memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


@contextmanager
def _scheduler_errors(client: Client) -> Iterator[None]:
    """Turn a scheduler that went away into an error that says so."""
    _require_running(client)
    try:
        yield
    except OSError as error:  # what distributed's closed comms and time-outs are
        raise _unreachable_scheduler(client) from error


def _require_running(client: Client) -> None:
    if client.status != "running":
        raise _unreachable_scheduler(client)


def _unreachable_scheduler(client: Client) -> InterruptedRunError:
    return InterruptedRunError(
        f"the Dask scheduler is out of reach (client {client.status}); blocks already filled "
        "are safe in their store, start a cluster and run again"
    )


CLAIM_POLL_SECONDS = 0.5
"""Seconds between two looks at what others have in hand."""
LIFETIME_OVER_MESSAGE = "the time given to this worker is over; what it filled is in the store"


@dataclass(slots=True, eq=False)
class SharedStoreEngine:
    """Runs the bundles that no other process has in hand.

    A receipt without blocks says that others may have filled some.
    """

    claims: BlockClaims
    """Whose blocks are whose."""
    threads: int = 1
    """Bundles computed at a time."""
    until: float | None = None
    """Moment of ``time.monotonic`` after which no bundle is begun."""
    activity: ActivityBoard = field(default_factory=ActivityBoard)
    """Where to note what is in hand."""
    _folders: dict[str, StageGroup] = field(default_factory=dict)

    def __call__(self, jobs: Iterator[BundleTask]) -> Generator[BundleResult, None, None]:
        """Claim and run, give back what is not run."""
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="block")
        out: set[ThreadFuture[BundleResult]] = set()
        stages: dict[str, None] = {}
        idle = True
        try:
            for job in jobs:
                if self._is_over():
                    break
                stages[job.setting.layout.name] = None
                mine, doomed = self._claimed(job)
                if doomed:
                    yield BundleResult(job.setting.layout.name, "", (), doomed)
                if not mine.blocks:
                    continue
                idle = False
                out.add(pool.submit(self._run, mine))
                while len(out) >= self.threads:
                    ended, out = wait(out, return_when=FIRST_COMPLETED)
                    yield from (each.result() for each in ended)
            while out:
                ended, out = wait(out, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in ended)
            if self._is_over():
                raise RetiredError(LIFETIME_OVER_MESSAGE)
            if idle:
                time.sleep(CLAIM_POLL_SECONDS)
            for stage in stages:
                yield BundleResult(stage, "", (), ())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self.claims.release_all()
            clear_caches()

    def _run(self, job: BundleTask) -> BundleResult:
        bundle = str(get_ident())
        try:
            return run_bundle(job, begun=self.activity.on_block_start(bundle))
        finally:
            self.activity.finish(bundle)
            for block in job.blocks:
                self.claims.release(job.setting.layout.name, block)

    def _claimed(self, job: BundleTask) -> tuple[BundleTask, tuple[BlockError, ...]]:
        stage = job.setting.layout.name
        folder = self._folder(job)
        mine, doomed = [], []
        for block in job.blocks:
            if folder.is_committed(block):
                continue
            if self.claims.acquire(stage, block):
                mine.append(block)
            elif deaths := self.claims.poison_count(stage, block):
                what = f"{deaths} processes died over it; `iitdask run` on this store tries again"
                doomed.append(BlockError(block, what, ""))
        return replace(job, blocks=tuple(mine)), tuple(doomed)

    def _folder(self, job: BundleTask) -> StageGroup:
        name, store = job.setting.layout.name, job.setting.store
        if name not in self._folders:
            if store is None:
                raise StoreError(f"stage {name!r}: expected a store to share, got none")
            self._folders[name] = StageGroup.load(store, name)
        return self._folders[name]

    def _is_over(self) -> bool:
        return self.until is not None and time.monotonic() > self.until
