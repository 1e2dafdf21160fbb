"""Where bundles are run: here, or on a Dask cluster.

This is the only room that submits anything to Dask.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, islice
from typing import Any
from uuid import uuid4

import cloudpickle
from distributed import CancelledError, Client, Future, as_completed, get_worker

from iitdask.errors import (
    InterruptedRunError,
    StoreError,
    UnreachableStoreError,
    WorkerMismatchError,
)
from iitdask.run.census import Facts, facts, remarks
from iitdask.run.doings import Begun, Doing, Doings, begun_by
from iitdask.run.edition import edition
from iitdask.run.job import Failure, Job, Receipt, Setting
from iitdask.run.place import absolute
from iitdask.run.worker import release, run_bundle, run_parcel

__all__ = ["STORES", "Engine", "Futures", "Inline", "engine_of", "worker_memory"]

Engine = Callable[[Iterator[Job]], Generator[Receipt, None, None]]
"""Runs jobs and gives one receipt for each, in any order.

Jobs are drawn one by one, since what comes next may depend on receipts.
"""

FEWEST = 4
"""Bundles in flight on a cluster that has no workers yet."""

TOPIC = "iitdask"
"""Under which workers tell what they begin."""
STORES = "iitdask-stores"
"""Under which a scheduler is told of the stores that are filled."""

PAUSE = 0.1
"""Seconds after which to look whether the cluster is still there while no result comes."""
FRESH = 1.0
"""Seconds for which it is believed how many threads a cluster has."""


@dataclass(frozen=True, slots=True)
class Inline:
    """Runs bundles one after the other in this process."""

    doings: Doings | None = None
    """Where to note what is in hand."""

    def __call__(self, jobs: Iterator[Job]) -> Generator[Receipt, None, None]:
        """Run jobs as their receipts are asked for."""
        try:
            for job in jobs:
                begun = None if self.doings is None else self.doings.of("")
                receipt = run_bundle(job, begun=begun)
                if self.doings is not None:
                    self.doings.ended("")
                yield receipt
        finally:
            release()


@dataclass(slots=True, eq=False)
class _Crew:
    """How many threads a cluster has: asked anew now and then, since workers come and go."""

    threads: int = 0
    asked: float = float("-inf")

    def count(self, client: Any) -> int:
        """Return how many there are."""
        if time.monotonic() - self.asked > FRESH:
            with _reached(client):
                self.threads = sum(client.nthreads().values())
            self.asked = time.monotonic()
        return self.threads


@dataclass(frozen=True, slots=True)
class Futures:
    """Runs bundles on a Dask cluster, a window of them at a time.

    Those that are not worth the journey are run in this process.
    """

    client: Client
    """Client of the cluster."""
    per_thread: int = 3
    """Bundles in flight for each thread of the cluster."""
    doings: Doings | None = None
    """Where to note what workers have in hand."""
    crew: _Crew = field(default_factory=_Crew, repr=False, compare=False)
    """How many threads there are."""

    def __call__(self, jobs: Iterator[Job]) -> Generator[Receipt, None, None]:
        """Keep the window full until the jobs run out; cancel what is left when closed."""
        flight = _Flight(self.client, self.doings or Doings())
        try:
            yield from self._top_up(flight, jobs)
            for batch in flight.batches():
                while batch:
                    yield flight.receipt(*batch.pop())
                # In batches: topping up one by one costs twice as much a task.
                yield from self._top_up(flight, jobs)
        finally:
            flight.cancel()

    def _top_up(self, flight: _Flight, jobs: Iterator[Job]) -> Generator[Receipt, None, None]:
        window = max(FEWEST, self.per_thread * self.crew.count(self.client))
        # Not while the cluster is spoken to: drawing jobs may write to the store, and that
        # fails for other reasons.
        drawn = list(islice(jobs, max(0, window - len(flight.sent))))
        with _reached(self.client):
            flight.send([job for job in drawn if not job.near])
        yield from Inline(self.doings)(job for job in drawn if job.near)


@dataclass(slots=True, eq=False)
class _Flight:
    """The bundles that are out."""

    client: Any
    doings: Doings
    sent: dict[Future[Any], Job] = field(default_factory=dict)
    lent: dict[tuple[object, ...], Future[Any]] = field(default_factory=dict)
    number: int = 0
    # Part of every key, so that no result of an earlier run is taken for one of this.
    token: str = field(default_factory=lambda: uuid4().hex[:8])
    done: Any = None
    listening: bool = False

    def __post_init__(self) -> None:
        follow: Any = as_completed
        self.done = follow(loop=self.client.loop, with_results=True, raise_errors=False)

    def _listen(self) -> None:
        """Hear from workers what they begin."""
        if not self.listening:
            self.client.subscribe_topic(TOPIC, self._hear)
            self.listening = True

    def _hear(self, event: Any) -> None:
        told = event[1]
        # Other runs on this cluster tell of theirs.
        if self.token in told["bundle"] and self.sent:
            self.doings.begun(told["bundle"], Doing(**told["doing"]))

    def send(self, jobs: list[Job]) -> None:
        """Submit jobs, those of one stage in one call."""
        if jobs:
            self._listen()
        for _, some in groupby(jobs, key=lambda job: id(job.setting)):
            group = list(some)
            setting = group[0].setting
            slim = replace(setting, inputs={}) if setting.store is None else setting
            keys = [self._key(setting) for _ in group]
            futures = self.client.map(
                _open_parcel,
                [cloudpickle.dumps(replace(job, setting=slim)) for job in group],
                wanted=edition(),
                inputs=self._inputs(setting),
                key=keys,
                retries=2,
                pure=False,
            )
            self.sent.update(zip(futures, group, strict=True))
            self.done.update(futures)

    def batches(self) -> Generator[list[Any], None, None]:
        """Yield what is done, as (future, result) pairs, until nothing is out.

        Futures sent while the connection was down are never told that it stayed down:
        a client that has closed is noticed here, or waiting for them would not end.
        """
        while self.sent:
            if self.done.has_ready():
                yield self.done.next_batch(block=False)
            elif self.client.status == "closed":
                _require_running(self.client)
            else:
                with self.done.thread_condition:
                    if not self.done.has_ready():
                        self.done.thread_condition.wait(PAUSE)

    def receipt(self, future: Future[Any], result: Any) -> Receipt:
        """Return what became of a bundle, whatever happened to it."""
        job = self.sent.pop(future)
        self.doings.ended(str(future.key))
        if isinstance(result, Receipt):
            return result
        error = result if isinstance(result, BaseException) else result[1]
        if isinstance(error, StoreError | UnreachableStoreError | WorkerMismatchError):
            raise error
        if isinstance(error, CancelledError):
            _require_running(self.client)
            # Inputs die with the workers that held them; they are sent again.
            self.lent.pop(job.setting.key, None)
        text = f"{type(error).__name__}: {error}"
        failed = tuple(Failure(block, text, "") for block in job.blocks)
        return Receipt(job.setting.layout.name, "", (), failed)

    def cancel(self) -> None:
        """Withdraw what is still out."""
        if self.sent and self.client.status == "running":
            with suppress(OSError):  # the scheduler may have gone this moment
                self.client.cancel(list(self.sent))
        if self.listening and self.client.status == "running":
            with suppress(OSError, ValueError):
                self.client.unsubscribe_topic(TOPIC)
        for future in self.sent:
            self.doings.ended(str(future.key))
        self.sent.clear()
        self.lent.clear()

    def _key(self, setting: Setting) -> str:
        self.number += 1
        return f"{setting.layout.name.replace('/', '.')}-{self.number:06d}-{self.token}"

    def _inputs(self, setting: Setting) -> Future[Any] | None:
        if setting.store is not None or not setting.inputs:
            return None
        if setting.key not in self.lent:
            self.client.wait_for_workers(1)
            (self.lent[setting.key],) = self.client.scatter(
                [dict(setting.inputs)], broadcast=True, hash=False
            )
        return self.lent[setting.key]


def _open_parcel(parcel: bytes, wanted: str, inputs: Any = None) -> Receipt:
    """Fill the blocks of a parcel on a worker, which tells the driver what it begins."""
    return replace(run_parcel(parcel, wanted, inputs, _telling()), remark=_remark())


def _remark() -> str:
    """What is to be said of this worker; those that come late no census has seen."""
    try:
        worker: Any = get_worker()
    except ValueError:
        return ""
    about = Facts(**facts(), threads=worker.state.nthreads, name=str(worker.name))
    return "; ".join(remarks([about]))


def _telling() -> Begun | None:
    try:
        worker: Any = get_worker()
        bundle = str(worker.get_current_task())
    except (ValueError, KeyError):
        return None  # no worker has this process, so nobody would hear
    return begun_by(
        lambda doing: worker.log_event(TOPIC, {"bundle": bundle, "doing": asdict(doing)})
    )


def engine_of(
    client: Client | None, store: str | None = None, doings: Doings | None = None
) -> Engine:
    """Choose the engine of a run, and tell its scheduler which store is filled.

    Parameters
    ----------
    client : distributed.Client, optional
        Client of the cluster; this process when not given.
    store : str, optional
        Address of the store.
    doings : Doings, optional
        Where to note what is in hand.
    """
    if client is None:
        return Inline(doings)
    if store is not None:
        with _reached(client):
            client.log_event(STORES, {"store": absolute(store)})
    return Futures(client, doings=doings)


def worker_memory(client: Client | None, given: int | None = None) -> int | None:
    """Bytes one block may take on the least worker of a cluster; None when nobody knows.

    Parameters
    ----------
    client : distributed.Client, optional
        Client of the cluster; this process when not given.
    given : int, optional
        Bytes that each worker is said to have.
    """
    if client is None:
        return given or _physical()
    with _reached(client):
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    each = [
        (given or worker["memory_limit"] or _physical() or 0) // max(worker["nthreads"], 1)
        for worker in workers
    ]
    return min((some for some in each if some), default=given)


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


@contextmanager
def _reached(client: Client) -> Iterator[None]:
    """Turn a scheduler that went away into an error that says so."""
    _require_running(client)
    try:
        yield
    except OSError as error:  # what distributed's closed comms and time-outs are
        raise _lost(client) from error


def _require_running(client: Client) -> None:
    if client.status != "running":
        raise _lost(client)


def _lost(client: Client) -> InterruptedRunError:
    return InterruptedRunError(
        f"the Dask scheduler is out of reach (client {client.status}); blocks already filled "
        "are safe in their store, start a cluster and run again"
    )
