"""Engines: where bundles of blocks are computed.

Serial in this process, on a Dask cluster, or by processes that share a store. This is the
only module that submits anything to Dask.
"""

from __future__ import annotations

import pickle
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from concurrent.futures import Future as ThreadFuture
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import count, groupby, islice
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import cloudpickle
import psutil

from iitdask.errors import (
    InterruptedRunError,
    RetiredError,
    StoreError,
    UnreachableStoreError,
    WorkerMismatchError,
)
from iitdask.run.checksum import build_id, software_versions
from iitdask.run.compat import CompletionQueue, worker_thread_count
from iitdask.run.coordination import CLAIM_TRUST_SECONDS, Backoff, BlockClaims
from iitdask.run.events import ActivityBoard, BlockActivity, throttled
from iitdask.run.stage_group import StageGroup, with_stored_inputs
from iitdask.run.task import BlockError, BundleResult, BundleTask, StageContext, WorkerMemory
from iitdask.run.worker import clear_caches, run_bundle, run_pickled
from iitdask.run.worker_inventory import (
    DEATH_TOPICS,
    PAUSED_MEMORY_SHARE,
    DeathWatch,
    WorkerInfo,
    oversubscription_warnings,
    require_same_versions,
    this_process,
    version_warnings,
    watch_deaths,
)

if TYPE_CHECKING:
    from distributed import Client, Future  # heavy, and not needed by runs in memory


Engine = Callable[[Iterator[BundleTask]], Generator[BundleResult, None, None]]
"""Runs tasks and yields one result for each, in any order.

Tasks are drawn one by one, since the next ones may depend on results.
"""

MIN_BUNDLES_IN_FLIGHT = 4  # Bundles in flight on a cluster that has no workers yet
WORKER_TOPIC = "iitdask"  # Dask topic under which workers report the blocks they begin
CLIENT_POLL_SECONDS = 0.1  # Seconds between two checks of the connection while no result comes
THREAD_COUNT_SECONDS = 1.0  # Seconds in which the threads of a cluster are not counted again
MAX_WAITING_SLOTS = 8  # Bundles that a cluster may lack before more are sent, all in one message


@dataclass(frozen=True, slots=True)
class SerialEngine:
    """Runs bundles one after the other in this process."""

    activity: ActivityBoard = field(default_factory=ActivityBoard)  # Shows the block being computed

    def __call__(self, tasks: Iterator[BundleTask]) -> Generator[BundleResult, None, None]:
        """Run each task when its result is requested."""
        try:
            for task in tasks:
                result = run_bundle(task, self.activity.on_block_start(""))
                self.activity.finish("")
                yield result
        finally:
            clear_caches()


def _run_in_thread(task: BundleTask, activity: ActivityBoard) -> BundleResult:
    """Run a bundle and show its blocks under the number of the thread."""
    bundle = str(get_ident())
    try:
        return run_bundle(task, activity.on_block_start(bundle))
    finally:
        activity.finish(bundle)


def _finished(running: set[ThreadFuture[BundleResult]], most: int) -> Iterator[BundleResult]:
    """Yield results, and take them out, until at most so many bundles are running."""
    while len(running) > most:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        running -= done
        yield from (future.result() for future in done)


@dataclass(frozen=True, slots=True)
class ThreadEngine:
    """Runs bundles on threads of this process; kernels release the interpreter lock."""

    threads: int
    activity: ActivityBoard = field(default_factory=ActivityBoard)  # Shows the blocks computed

    def __call__(self, tasks: Iterator[BundleTask]) -> Generator[BundleResult, None, None]:
        """Keep all threads busy until the tasks run out."""
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="block")
        running: set[ThreadFuture[BundleResult]] = set()
        try:
            for task in tasks:
                if task.run_locally:
                    yield _run_in_thread(task, self.activity)
                    continue
                running.add(pool.submit(_run_in_thread, task, self.activity))
                # More than threads, so that none waits for the driver.
                yield from _finished(running, 2 * self.threads - 1)
            yield from _finished(running, 0)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            clear_caches()


@dataclass(slots=True, eq=False)
class DaskEngine:
    """Runs bundles on a Dask cluster, a limited number of them at a time.

    Tasks that are cheaper to run than to send are run in this process.
    """

    client: Client
    per_thread: int = 3  # Bundles in flight for each thread of the cluster
    activity: ActivityBoard = field(default_factory=ActivityBoard)  # Shows what workers compute
    # What workers need before their first bundle; called when there is one to send
    prepare_workers: Callable[[Client], None] | None = None
    _watch: DeathWatch = field(default_factory=DeathWatch)
    _threads: int = 0
    _threads_queried: float = float("-inf")

    def __call__(self, tasks: Iterator[BundleTask]) -> Generator[BundleResult, None, None]:
        """Keep the cluster busy until the tasks run out; cancel what is left when closed."""
        in_flight = _InFlight(self.client, self.activity, CompletionQueue(self.client), self._watch)
        try:
            yield from self._top_up(in_flight, tasks)
            for batch in in_flight.batches():
                while batch:
                    yield in_flight.result(*batch.pop())
                yield from in_flight.deaths()
                # In batches: topping up one by one costs twice as much a task.
                yield from self._top_up(in_flight, tasks)
        finally:
            in_flight.cancel()

    def count_threads(self) -> int:
        """Return how many threads the cluster had when they were counted last."""
        return self._threads

    def _top_up(
        self, in_flight: _InFlight, tasks: Iterator[BundleTask]
    ) -> Generator[BundleResult, None, None]:
        # Now and then anew: workers come and go.
        if time.monotonic() - self._threads_queried > THREAD_COUNT_SECONDS:
            with _scheduler_errors(self.client):
                threads: dict[str, int] = self.client.nthreads()
                if not self._watch.knows(threads):
                    about = self.client.scheduler_info(n_workers=-1)["workers"]
                    self._watch.update_workers(about)
            self._threads = sum(threads.values())
            self._threads_queried = time.monotonic()
        window = max(MIN_BUNDLES_IN_FLIGHT, self.per_thread * self._threads)
        free = window - len(in_flight.sent)
        if in_flight.sent and free < min(self._threads, MAX_WAITING_SLOTS):
            return  # every thread still has one to go on with
        # Outside _scheduler_errors: drawing tasks may write to the store, which has errors of
        # its own.
        drawn = list(islice(tasks, max(0, free)))
        remote = [in_flight.with_stored_inputs(task) for task in drawn if not task.run_locally]
        if remote and self.prepare_workers is not None:
            with _scheduler_errors(self.client):
                self.prepare_workers(self.client)
            self.prepare_workers = None
        with _scheduler_errors(self.client):
            in_flight.send(remote)
        yield from SerialEngine(self.activity)(task for task in drawn if task.run_locally)


@dataclass(slots=True, eq=False)
class _InFlight:
    """The tasks that a cluster has and that have no result yet."""

    client: Any
    activity: ActivityBoard
    done: CompletionQueue
    watch: DeathWatch
    sent: dict[Future[Any], BundleTask] = field(default_factory=dict)
    scattered: dict[tuple[object, ...], Future[Any]] = field(default_factory=dict)
    contexts: dict[tuple[object, ...], StageContext] = field(default_factory=dict)
    pickled: dict[tuple[object, ...], bytes] = field(default_factory=dict)  # Contexts, by their key
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    # Part of every key, so that no result of an earlier run is mistaken for one of this.
    token: str = field(default_factory=lambda: uuid4().hex[:8])
    subscribed: bool = False

    def _on_worker_message(self, event: Any) -> None:
        message = event[1]
        # Other runs on this cluster have messages under the same topic.
        if self.token in message["bundle"] and self.sent:
            self.activity.start(message["bundle"], BlockActivity(**message["activity"]))

    def with_stored_inputs(self, task: BundleTask) -> BundleTask:
        """Write the inputs of a task's stage into its store, once, if it has one."""
        key = task.context.key
        if key not in self.contexts:
            self.contexts[key] = with_stored_inputs(task.context)
        return replace(task, context=self.contexts[key])

    def send(self, tasks: list[BundleTask]) -> None:
        """Submit tasks, those of one stage by one call."""
        if tasks and not self.subscribed:
            self.client.subscribe_topic(WORKER_TOPIC, self._on_worker_message)
            watch_deaths(self.client, self.watch.on_event)
            self.subscribed = True
        for _, tasks_of_stage in groupby(tasks, key=lambda task: id(task.context)):
            group = list(tasks_of_stage)
            context = group[0].context
            name = context.layout.name.replace("/", ".")
            keys = [f"{name}-{next(self.numbers):06d}-{self.token}" for _ in group]
            futures = self.client.map(
                _run_on_worker,
                [pickle.dumps(task.blocks) for task in group],
                context=self._pickled_context(context),
                expected_build=build_id(),
                versions=software_versions(),
                inputs=self._inputs(context),
                key=keys,
                retries=2,
                pure=False,
            )
            self.sent.update(zip(futures, group, strict=True))
            self.done.add(futures)

    def batches(self) -> Generator[list[Any], None, None]:
        """Yield results as lists of (future, result) pairs, or none, until no task is left.

        Futures sent while the connection was down never learn that it stayed down, so a
        closed client is noticed here; otherwise waiting for them would not end.
        """
        while self.sent:
            batch = self.done.take(CLIENT_POLL_SECONDS)
            yield batch
            if not batch and self.client.status == "closed":
                _require_running(self.client)

    def deaths(self) -> Iterator[BundleResult]:
        """Yield what there is to say of workers that died; BlockFailedError if that repeats."""
        by_key = {str(future.key): task for future, task in self.sent.items()}
        for stage, text in self.watch.reports(by_key):
            yield BundleResult(stage, "", (), (), warning=text)

    def result(self, future: Future[Any], result: Any) -> BundleResult:
        """Return the outcome of a task, also if its worker died or Dask cancelled it."""
        task = self.sent.pop(future)
        self.activity.finish(str(future.key))
        if isinstance(result, BundleResult):
            if result.filled:
                self.watch.stage_goes_on(result.stage)
            return result
        error = result if isinstance(result, BaseException) else result[1]
        if isinstance(error, StoreError | UnreachableStoreError | WorkerMismatchError):
            raise error
        from distributed import CancelledError

        if isinstance(error, CancelledError):
            _require_running(self.client)
            # Scattered inputs die with the workers that held them; they are scattered again.
            self.scattered.pop(task.context.key, None)
        text = f"{type(error).__name__}: {error}"
        failed = tuple(BlockError(block, text, "") for block in task.blocks)
        return BundleResult(task.context.layout.name, "", (), failed)

    def cancel(self) -> None:
        """Cancel all tasks that have no result yet."""
        if self.sent and self.client.status == "running":
            with suppress(OSError):  # the scheduler may have gone this moment
                self.client.cancel(list(self.sent))
        if self.subscribed and self.client.status == "running":
            for topic in (WORKER_TOPIC, *DEATH_TOPICS):
                with suppress(OSError, ValueError):
                    self.client.unsubscribe_topic(topic)
        for future in self.sent:
            self.activity.finish(str(future.key))
        self.sent.clear()
        self.scattered.clear()

    def _pickled_context(self, context: StageContext) -> bytes:
        """Return a context without inputs that are sent apart, pickled once a stage."""
        if context.key not in self.pickled:
            slim = replace(context, inputs={}) if context.store is None else context
            self.pickled[context.key] = cloudpickle.dumps(slim)
        return self.pickled[context.key]

    def _inputs(self, context: StageContext) -> Future[Any] | None:
        if context.store is not None or not context.inputs:
            return None
        if context.key not in self.scattered:
            self.client.wait_for_workers(1)
            (self.scattered[context.key],) = self.client.scatter(
                [dict(context.inputs)], broadcast=True, hash=False
            )
        return self.scattered[context.key]


def _run_on_worker(
    blocks: bytes,
    context: bytes,
    expected_build: str,
    versions: Mapping[str, str],
    inputs: Any = None,
) -> BundleResult:
    """Run pickled blocks on a worker, reporting those that it begins to the driver."""
    from distributed import get_worker

    try:
        worker: Any = get_worker()
        bundle = str(worker.get_current_task())
    except (ValueError, KeyError):  # this process is no worker, so no driver listens
        return run_pickled(context, blocks, expected_build, inputs)

    def report(activity: BlockActivity) -> None:
        worker.log_event(WORKER_TOPIC, {"bundle": bundle, "activity": asdict(activity)})

    # Workers may have joined after the start.
    info = WorkerInfo(**this_process(), threads=worker_thread_count(worker), name=str(worker.name))
    require_same_versions([info], versions)
    result = run_pickled(context, blocks, expected_build, inputs, throttled(report))
    warnings = oversubscription_warnings([info]) + version_warnings([info], versions)
    return replace(result, warning="; ".join(warnings))


def choose_engine(
    client: Client | None,
    activity: ActivityBoard | None = None,
    threads: int = 1,
    prepare_workers: Callable[[Client], None] | None = None,
) -> Engine:
    """Return the engine of a run: on a cluster, or on threads of this process."""
    activity = activity or ActivityBoard()
    if client is not None:
        return DaskEngine(client, activity=activity, prepare_workers=prepare_workers)
    return SerialEngine(activity) if threads == 1 else ThreadEngine(threads, activity)


def worker_memory(
    client: Client | None, worker_bytes: int | None = None, threads: int = 1
) -> WorkerMemory | None:
    """Return the memory of the worker that has least for each of its threads; None if unknown.

    Of a process that Dask watches what it may hold before it is paused.

    Parameters
    ----------
    client : of a cluster, None where `threads` of this process fill blocks
    worker_bytes : memory of each worker where it is known beforehand
    """
    total = psutil.virtual_memory().total
    if client is None:
        return WorkerMemory(worker_bytes or total, threads)
    with _scheduler_errors(client):
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    found = []
    for worker in workers:
        limit = worker_bytes or worker["memory_limit"]
        usable = int(PAUSED_MEMORY_SHARE * limit) if limit else total
        found.append(WorkerMemory(usable, max(worker["nthreads"], 1)))
    expected = (
        None if worker_bytes is None else WorkerMemory(int(PAUSED_MEMORY_SHARE * worker_bytes))
    )
    return min(found, key=lambda each: each.nbytes / each.threads, default=expected)


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


LIFETIME_OVER_MESSAGE = "the time given to this worker is over; what it filled is in the store"


@dataclass(slots=True, eq=False)
class SharedStoreEngine:
    """Runs the bundles that no other process has claimed."""

    claims: BlockClaims
    threads: int = 1
    until: float | None = None  # Time by ``time.monotonic`` after which no bundle is begun
    activity: ActivityBoard = field(default_factory=ActivityBoard)
    backoff: Backoff = field(init=False)
    is_shared: ClassVar[bool] = True  # It needs bundles that other processes make alike

    def __post_init__(self) -> None:
        self.backoff = self.claims.backoff()

    def __call__(self, tasks: Iterator[BundleTask]) -> Generator[BundleResult, None, None]:
        """Claim bundles and compute them; release the claims of those not computed."""
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="block")
        running: set[ThreadFuture[BundleResult]] = set()
        waiting = _UnclaimedTasks(self.claims, list(tasks))
        is_idle = True
        try:
            while not self._is_over():
                task = waiting.claim_next()
                if task is None:
                    break
                is_idle = False
                self.backoff.reset()
                running.add(pool.submit(self._run, task))
                yield from _finished(running, self.threads - 1)
            yield from _finished(running, 0)
            if self._is_over():
                raise RetiredError(LIFETIME_OVER_MESSAGE)
            yield from waiting.poisoned()
            if is_idle:
                self.backoff.sleep(self.until)
            for stage in waiting.groups:
                yield BundleResult(stage, "", (), ())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self.claims.release_all()
            clear_caches()

    def _run(self, task: BundleTask) -> BundleResult:
        """Run a bundle; its claim stays if it is filled, so that nobody looks for it again."""
        stage, is_filled = task.context.layout.name, False
        try:
            result = _run_in_thread(task, self.activity)
            is_filled = not result.failed
            return result
        finally:
            if not is_filled:
                self.claims.release(stage, task.claim)
            else:
                self.claims.retain(stage, task.claim)

    def _is_over(self) -> bool:
        return self.until is not None and time.monotonic() > self.until


class _UnclaimedTasks:
    """Tasks of which other processes have some: what is free is told by two listings a stage.

    Each process begins somewhere else, and goes on somewhere else where it meets another one.
    """

    def __init__(self, claims: BlockClaims, tasks: list[BundleTask]) -> None:
        self.claims, self.tasks = claims, tasks
        self.refused: list[BundleTask] = []  # Tasks whose claims were looked into
        self.groups = {task.context.layout.name: _stage_group(task.context) for task in tasks}
        self._list_claims()

    def claim_next(self) -> BundleTask | None:
        """Claim a task for this process; None if there is none to be had now."""
        while self.free:
            task = self.free.pop()
            if self.claims.acquire(task.context.layout.name, task.claim, only_free=True):
                self.tasks.remove(task)
                return task
            self._refresh()
        # Nothing is free, so that there is time to see whose claims are void.
        while self.taken:
            task = self.taken.pop()
            if self.claims.acquire(task.context.layout.name, task.claim):
                self.tasks.remove(task)
                return task
            self.refused.append(task)
        return None

    def poisoned(self) -> Iterator[BundleResult]:
        """Yield results that say which blocks nobody tries any more."""
        for task in self.refused:
            stage = task.context.layout.name
            if deaths := self.claims.poison_count(stage, task.claim):
                error = f"{deaths} processes died over it; `iitdask run` on this store tries again"
                failed = tuple(BlockError(block, error, "") for block in task.blocks)
                yield BundleResult(stage, "", (), failed)
            else:
                self.claims.trust(stage, task.claim)

    def _refresh(self) -> None:
        """Drop what has been filled meanwhile."""
        done = {stage: group.done() for stage, group in self.groups.items()}
        self.tasks = [
            replace(task, blocks=left)
            for task in self.tasks
            if (left := tuple(b for b in task.blocks if b not in done[task.context.layout.name]))
        ]
        self._list_claims()

    def _list_claims(self) -> None:
        others = {stage: self.claims.others(stage) for stage in self.groups}
        age = [others[task.context.layout.name].get(task.claim) for task in self.tasks]
        pairs = list(zip(self.tasks, age, strict=True))
        free = [task for task, seconds in pairs if seconds is None]
        is_ordered = any(task.context.stage.until is not None for task in free)
        begin = 0 if is_ordered or not free else random.randrange(len(free))
        # The next one at the end.
        self.free = [*free[begin:], *free[:begin]][::-1]
        self.taken = [task for task, seconds in pairs if (seconds or 0.0) > CLAIM_TRUST_SECONDS]


def _stage_group(context: StageContext) -> StageGroup:
    if context.store is None:
        raise StoreError(f"stage {context.layout.name!r}: expected a store to share, got none")
    return StageGroup(context.store, context.layout)
