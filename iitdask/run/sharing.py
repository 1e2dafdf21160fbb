"""The engine of processes that share a store and know of each other by it alone."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from threading import get_ident

from iitdask.errors import RetiredError
from iitdask.run.claims import Claims
from iitdask.run.doings import Doings
from iitdask.run.folder import Folder
from iitdask.run.job import Failure, Job, Receipt
from iitdask.run.worker import release, run_bundle

__all__ = ["Shared"]

PAUSE = 0.5
"""Seconds between two looks at what others have in hand."""
OVER = "the time given to this worker is over; what it filled is in the store"


@dataclass(slots=True, eq=False)
class Shared:
    """Runs the bundles that no other process has in hand.

    A receipt without blocks says that others may have filled some.
    """

    claims: Claims
    """Whose blocks are whose."""
    threads: int = 1
    """Bundles computed at a time."""
    until: float | None = None
    """Moment of ``time.monotonic`` after which no bundle is begun."""
    doings: Doings = field(default_factory=Doings)
    """Where to note what is in hand."""
    _folders: dict[str, Folder] = field(default_factory=dict)

    def __call__(self, jobs: Iterator[Job]) -> Generator[Receipt, None, None]:
        """Claim and run, give back what is not run."""
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="block")
        out: set[Future[Receipt]] = set()
        stages: dict[str, None] = {}
        idle = True
        try:
            for job in jobs:
                if self._is_over():
                    break
                stages[job.setting.layout.name] = None
                mine, doomed = self._claimed(job)
                if doomed:
                    yield Receipt(job.setting.layout.name, "", (), doomed)
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
                raise RetiredError(OVER)
            if idle:
                time.sleep(PAUSE)
            for stage in stages:
                yield Receipt(stage, "", (), ())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self.claims.drop_all()
            release()

    def _run(self, job: Job) -> Receipt:
        bundle = str(get_ident())
        try:
            return run_bundle(job, begun=self.doings.of(bundle))
        finally:
            self.doings.ended(bundle)
            for block in job.blocks:
                self.claims.drop(job.setting.layout.name, block)

    def _claimed(self, job: Job) -> tuple[Job, tuple[Failure, ...]]:
        stage = job.setting.layout.name
        folder = self._folder(job)
        mine, doomed = [], []
        for block in job.blocks:
            if folder.is_done(block):
                continue
            if self.claims.take(stage, block):
                mine.append(block)
            elif deaths := self.claims.doomed(stage, block):
                what = f"{deaths} processes died over it; `iitdask run` on this store tries again"
                doomed.append(Failure(block, what, ""))
        return replace(job, blocks=tuple(mine)), tuple(doomed)

    def _folder(self, job: Job) -> Folder:
        name, store = job.setting.layout.name, job.setting.store
        if name not in self._folders:
            self._folders[name] = Folder.load(str(store), name)
        return self._folders[name]

    def _is_over(self) -> bool:
        return self.until is not None and time.monotonic() > self.until
